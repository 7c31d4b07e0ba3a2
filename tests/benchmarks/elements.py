"""The functions that are mapped, plain and as tasks. Light, for workers import it."""

import os
import time
from typing import Any

import numpy as np

from fanfold import INPUTS, task


def plus_one(x: int) -> int:
    """Do next to nothing."""
    return x + 1


def spin(x: int, seconds: float = 0.01) -> int:
    """Use the processor for so many seconds, whoever else wants it."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
    return x


def nap(seconds: float) -> float:
    """Wait without using the processor."""
    time.sleep(seconds)
    return seconds


def small(x: int) -> bytes:
    """Return 100 bytes, none of them shared with another result."""
    return x.to_bytes(100, "little")


def noted(x: int, ledger: str, seconds: float = 0.002) -> int:
    """Note in a file that this element was started, and by which process; then sleep."""
    # One write of a short line to a file that is open for appending is never torn.
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{os.getpid()} {x}\n".encode())
    os.close(file)
    time.sleep(seconds)
    return x + 1


def block(x: int, size: int) -> Any:
    """Return an array of so many equal numbers, 8 bytes each."""
    return np.full(size, float(x))


def dot(x: int, big: Any) -> float:
    """Read all of a big array."""
    return float(big.sum()) + x


@task
def plus_one_task(x: int) -> int:
    """Do next to nothing.

    Decorated, as users write it: the module's name is then the task's, so that the function itself
    travels by value. The other tasks here travel by name.
    """
    return x + 1


spin_task = task(spin)
nap_task = task(nap)
small_task = task(small)
noted_task = task(noted)
block_task = task(block)
dot_task = task(dot)
kept_task = noted_task.with_options(name="kept", cache_policy=INPUTS)
