"""Heads of Rays that tests start, kill and start again, and programs that connect to them.

A process can be connected to one Ray only, so what uses a head runs in a program of its own.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[3]
TRIES = 3
"""Ray gives a node 30 s to start, which a busy machine may need for other things."""
_MARK = "HEAD_OF_TESTS"


def paths() -> str:
    """Return a PYTHONPATH that these tests and the packages are found by."""
    places = [ROOT, ROOT / "src", ROOT / "runners/ray/src"]
    return os.pathsep.join([os.environ.get("PYTHONPATH", ""), *map(str, places)]).strip(os.pathsep)


class Head:
    """A head that listens on loopback alone, and the processes that it has started.

    Args:
        client: Whether it has a client server.
        settings: More of its environment.
    """

    def __init__(self, *, client: bool = False, **settings: str) -> None:
        # Sockets lie in there, whose paths may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        self.home = self.folder / "home"
        self.home.mkdir()
        self.port = _free_port()
        self.client_port = _free_port() if client else 0
        self.settings = {
            **os.environ,
            "HOME": str(self.home),
            "PYTHONPATH": paths(),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # Ray's client server forks while its threads are inside gRPC, which may end the child.
            "GRPC_ENABLE_FORK_SUPPORT": "false",
            _MARK: str(self.folder),
            **settings,
        }
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def client_address(self) -> str:
        return f"ray://127.0.0.1:{self.client_port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head"]
        command += [f"--port={self.port}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
        command += [f"--temp-dir={self.folder}", "--include-dashboard=false"]
        command += ["--disable-usage-stats", "--object-store-memory=100000000"]
        if self.client_port:
            command.append(f"--ray-client-server-port={self.client_port}")
        log = self.folder / "start.log"
        for _ in range(TRIES):
            with log.open("w") as out:
                ended = subprocess.run(
                    command, env=self.settings, stdout=out, stderr=out, timeout=120
                )
            if ended.returncode == 0:
                return
            self.kill()
        raise AssertionError(log.read_text())

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Return what it has started and still runs, by its mark in the environment."""
        found = []
        for one in psutil.process_iter():
            try:
                if name in ("", one.name()) and one.environ().get(_MARK) == str(self.folder):
                    found.append(one)
            except psutil.Error:
                continue
        return found

    def kill(self) -> None:
        killed = self.processes()
        for one in killed:
            one.kill()
        psutil.wait_procs(killed, timeout=10)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Program:
    """A program that runs beside the test, and is told to go on by lines.

    Args:
        body: Its text; `step(name)` in it prints the name and waits until the test goes on.
        settings: Its environment.
    """

    def __init__(self, body: str, settings: Mapping[str, str]) -> None:
        self.told: dict[str, str] = {}
        clean = {key: value for key, value in settings.items() if key != _MARK}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _STEPS + body],
            env=clean,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def step(self, name: str) -> None:
        """Wait until the program is there; what it prints before is in `told`, by first words."""
        out: Any = self._process.stdout
        for line in out:
            if line == f"STEP {name}\n":
                return
            word, _, rest = line.rstrip("\n").partition(" ")
            self.told[word] = rest
        raise AssertionError(f"{name} was never reached: {self._process.communicate()[1]}")

    def go_on(self) -> None:
        """Let it go on after a step."""
        stdin: Any = self._process.stdin
        stdin.write("\n")
        stdin.flush()

    def end(self, timeout_s: float = 120.0) -> tuple[str, str]:
        """Return what it printed since, and its errors; it must end well."""
        out, errors = self._process.communicate(timeout=timeout_s)
        assert self._process.returncode == 0, f"{self._process.returncode}\n{out}\n{errors}"
        return out, errors

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


_STEPS = """
def step(name):
    print("STEP", name, flush=True)
    input()
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
