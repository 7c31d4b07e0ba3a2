"""Ctrl-C and SIGTERM while a flow runs: the run ends in order, then the process."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


class Terminated(BaseException):
    """The process was told to end; raised where the main thread is, as KeyboardInterrupt is."""


@contextmanager
def terminable() -> Generator[None]:
    """Let SIGTERM raise `Terminated` in the main thread while the code inside runs.

    Only where nobody else handles it, and only for the outermost of nested uses; in other threads
    it changes nothing. Whoever catches `Terminated` tidies up, and exits with `EXIT_CODE`.
    """
    if _not_ours():
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def cancellable() -> Generator[Callable[[BaseException], BaseException]]:
    """Let SIGTERM cancel the calling asyncio task, as Ctrl-C does in `asyncio.run`.

    A second one raises `Terminated` wherever the main thread is by then, should the loop hang.
    Where `terminable` changes nothing, this changes nothing.

    Yields:
        What turns the cancellation into `Terminated`, if it was ours, and leaves other errors.
    """
    if _not_ours():
        yield lambda error: error
        return
    import asyncio  # 10 ms, which only async flows need

    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    asked: list[int] = []

    def cancel(number: int, frame: Any) -> None:
        if asked or task is None:
            _raise(number, frame)
        else:
            asked.append(number)
            task.cancel()
            loop.call_soon_threadsafe(lambda: None)  # wakes a loop that waits for something

    def meant(error: BaseException) -> BaseException:
        if asked and isinstance(error, asyncio.CancelledError):
            return Terminated("terminated by SIGTERM")
        return error

    signal.signal(signal.SIGTERM, cancel)
    try:
        yield meant
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _not_ours() -> bool:
    """Return whether this is no place to handle SIGTERM, or somebody does already."""
    return (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    )


EXIT_CODE = 128 + signal.SIGTERM
"""What shells expect of a process that SIGTERM ended."""


def _raise(number: int, frame: Any) -> None:
    # Once: what the run does to end in order isn't interrupted again.
    signal.signal(number, signal.SIG_IGN)
    raise Terminated("terminated by SIGTERM")
