"""Schedulers and workers that run as daemons of their own, as an administrator starts them."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from runners.dask.tests.desk import DEADLINE_S, until

_TOP = str(Path(__file__).parents[3])
_PATH = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))


class Daemons:
    """Processes of one cluster on loopback, all of which end with the test."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Start a scheduler at the address, and wait until it listens."""
        started = self._start("scheduler", "--port", str(self.port), "--no-show")
        until(self._listening)
        return started

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker, which joins when it is ready."""
        return self._start("worker", self.address, "--nthreads", "1", *options)

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a daemon and what it started."""
        family: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(process.pid)
            family = [top, *top.children(recursive=True)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait(DEADLINE_S)
        psutil.wait_procs(family, DEADLINE_S)

    def end_all(self) -> None:
        for process in reversed(self._started):
            self.end(process)

    def _start(self, kind: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options]
        command += ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        with (self._folder / f"{kind}.log").open("ab") as log:
            started = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                # Also what is tested in place of what is installed.
                env=os.environ | {"PYTHONPATH": os.pathsep.join([_TOP, *_PATH])},
            )
        self._started.append(started)
        return started

    def _listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def daemons(folder: Path) -> Iterator[Daemons]:
    """Have a place for daemons, which is empty at the end."""
    started = Daemons(folder)
    try:
        yield started
    finally:
        started.end_all()
