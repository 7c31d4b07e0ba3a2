"""SIGINT in a worker's main thread, by which Ray cancels the task that runs there.

Ray sends it until it has put away what the task returned. A chunk that is over then has come to its
report, and to tear that up would have it run twice if it was only recalled. So what strikes behind
a chunk, and still is meant for its task, is let go.
"""

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import ray


class _Over:
    """Handles SIGINT behind a chunk.

    Args:
        task_id: Of the chunk's task, whose interrupts count no more.
        before: What handled it before, and does so again for other tasks.
    """

    def __init__(self, task_id: str | None, before: Any) -> None:
        self.before = before
        self._task_id = task_id

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _task_id() != self._task_id and callable(self.before):
            self.before(number, frame)


@contextmanager
def heard(interrupted: Callable[[], None]) -> Generator[None]:
    """Have a function called when this task is interrupted; once the block is over it can't be.

    Args:
        interrupted: Called in the main thread, between any two steps of its code.
    """
    before = signal.getsignal(signal.SIGINT)
    if isinstance(before, _Over):
        before = before.before
    signal.signal(signal.SIGINT, lambda number, frame: interrupted())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _Over(_task_id(), before))


def _task_id() -> str | None:
    return ray.get_runtime_context().get_task_id()
