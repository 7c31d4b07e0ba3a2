"""A Ray on this machine that starts without a worker, and whose autoscaler brings some in."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from ray._raylet import GcsClient

DEADLINE_S = 60.0
LOOK_S = 0.1
HOST = "127.0.0.1"
_STATUS = b"__autoscaling_status"


class Growing:
    """A head node without a CPU; further nodes are processes of this machine.

    Args:
        path: Where its workers find modules.
    """

    def __init__(self, path: str) -> None:
        # Sockets lie in there, whose names may have a hundred characters.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        with socket.socket() as free:
            free.bind((HOST, 0))
            self._port: int = free.getsockname()[1]
        self.address = f"{HOST}:{self._port}"
        config = self._folder / "autoscaling.json"
        config.write_text(json.dumps(_config(self.address)))
        environment = {
            **os.environ,
            "PYTHONPATH": path,
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            # Or it listens on all interfaces.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            # As this process has it, which has decided on it by now.
            "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "disabled"),
        }
        with (self._folder / "printed").open("wb") as printed:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", *self._options(config)],
                env=environment,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait()

    def stop(self) -> None:
        """End all of its processes: they name its folder, and their workers are their children."""
        mine = [process for process in psutil.process_iter(["cmdline"]) if self._owns(process)]
        for process in [*mine, *(child for one in mine for child in _children(one))]:
            # Workers end by themselves when their node goes.
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _options(self, config: Path) -> list[str]:
        return [
            "start",
            "--head",
            "--block",
            "--num-cpus=0",
            "--include-dashboard=false",
            f"--temp-dir={self._folder}",
            f"--node-ip-address={HOST}",
            f"--port={self._port}",
            f"--autoscaling-config={config}",
        ]

    def _owns(self, process: psutil.Process) -> bool:
        return any(str(self._folder) in part for part in process.info["cmdline"] or ())

    def _wait(self) -> None:
        """Wait until its head is a node, and its autoscaler has said something."""
        until = time.monotonic() + DEADLINE_S
        while not self._said():
            printed = (self._folder / "printed").read_text()
            assert self._process.poll() is None, printed
            assert time.monotonic() < until, printed
            time.sleep(LOOK_S)

    def _said(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, self._port)):
                return False
        head = GcsClient(address=self.address)
        return bool(head.internal_kv_get(_STATUS, None)) and bool(head.get_all_node_info())


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def _config(address: str) -> dict[str, Any]:
    lists = (
        "cluster_synced_files",
        "rsync_exclude",
        "rsync_filter",
        "initialization_commands",
        "setup_commands",
        "head_setup_commands",
        "worker_setup_commands",
        "head_start_ray_commands",
        "worker_start_ray_commands",
    )
    kinds = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "small": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    }
    return {
        "cluster_name": "growing",
        "max_workers": 2,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "docker": {},
        "auth": {},
        "provider": {"type": "fake_multinode", "gcs_address": address},
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in lists},
    }
