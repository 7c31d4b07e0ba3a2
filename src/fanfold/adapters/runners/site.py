"""This machine as a place where chunks run: its name, its cores, and how a chunk is carried out."""

import functools
import os
import socket
import subprocess
import time
import traceback
from collections.abc import Callable
from typing import Any

from fanfold.values.errors import InfrastructureError, ResourcesUnavailable, UsageError
from fanfold.values.messages import Report
from fanfold.values.resources import Resources


def identity() -> str:
    """Return this process as `host/pid/start`, stable for its life.

    `start` is the Unix time in milliseconds at which the process first asked, so that a reused
    process id is not taken for the process that had it before. Thread-safe.
    """
    return _identity(os.getpid())


def cores() -> int:
    """Return how many cores this process may use, which in a container is fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def stopped(pid: int) -> bool:
    """Return whether a process of this machine was stopped, by SIGSTOP or a debugger."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The name in parentheses before it may hold anything.
            state = stat.read().rpartition(b")")[2].split()[0].decode()
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return False
        shown = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True)
        state = shown.stdout.decode().strip()
    return state[:1] in ("T", "t")


def check_count(name: str, count: object) -> None:
    """See that an option is None or a whole number from 1 on.

    Raises:
        UsageError: It is not.
    """
    if count is None:
        return
    # True and False are numbers to Python, but surely no numbers of workers.
    if not isinstance(count, int) or isinstance(count, bool):
        raise UsageError(f"{name} must be a whole number, not {count!r}.")
    if count < 1:
        raise UsageError(f"{name} must be at least 1, not {count}.")


def refuse(want: Resources, where: str) -> None:
    """Refuse a chunk that wants more than a slot, where nothing else can be held for it.

    Raises:
        ResourcesUnavailable: It does.
    """
    if not want.plain:
        raise ResourcesUnavailable(f"{want} can't be held for a chunk: {where} give one CPU each.")


def carry_out(
    chunk: str, worker: str, work: Callable[[], tuple[Report, Any]]
) -> tuple[Report, Any]:
    """Run a chunk and all that belongs to it; never raises.

    Args:
        chunk: Id of the chunk.
        worker: Who runs it.
        work: Returns the chunk's report and what is kept of its values.
    """
    try:
        report, values = work()
        return report, values
    except BaseException as error:
        # Even a SystemExit would only end this worker and leave the chunk without its one report.
        # Nothing is lost: the report carries the error, and the engine decides.
        return Report(chunk=chunk, worker=worker, error=translate(error)), None


def translate(error: BaseException) -> InfrastructureError:
    """Return what came out of the machinery around a user's code as an error of our own tree (R3).

    The message holds the original's text, for the chain does not survive pickling.
    """
    if isinstance(error, InfrastructureError):
        return error
    text = "".join(traceback.format_exception_only(error)).strip()
    told = InfrastructureError(f"The chunk ended without a report of its own: {text}")
    told.__cause__ = error
    return told


@functools.cache
def _identity(pid: int) -> str:
    return f"{socket.gethostname()}/{pid}/{time.time_ns() // 1_000_000}"
