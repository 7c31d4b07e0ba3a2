"""Ctrl-C and SIGTERM while a flow runs: the run ends in order, then the process."""

import signal
import threading
from collections.abc import Generator
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
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


EXIT_CODE = 128 + signal.SIGTERM
"""What shells expect of a process that SIGTERM ended."""


def _raise(number: int, frame: Any) -> None:
    # Once: what the run does to end in order isn't interrupted again.
    signal.signal(number, signal.SIG_IGN)
    raise Terminated("terminated by SIGTERM")
