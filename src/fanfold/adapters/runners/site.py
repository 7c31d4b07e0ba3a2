"""This machine as a place where chunks run: its name, its cores, and how a chunk is carried out."""

import functools
import os
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any

from fanfold.values.errors import InfrastructureError, UsageError
from fanfold.values.messages import Report


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
