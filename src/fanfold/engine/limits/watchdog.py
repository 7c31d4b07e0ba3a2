"""Ends this process when a call in it goes on although its time is long over.

A thread of Python's can't do that while C code holds the GIL, so the operating system does it: on
Linux a timer of the kernel whose signal nobody handles, elsewhere a thread of `faulthandler`, which
is written in C. Both print the traceback of all threads on standard error first.

The timer of the kernel costs 1 microsecond per call, the thread 80, so it is used only where there
is no such timer.
"""

import faulthandler
import math
import signal
import struct
import sys
import time
from functools import cache
from typing import Any, ClassVar, Protocol

STDERR = 2
"""The file descriptor: `sys.stderr` may be something that isn't a file."""
SIGNAL = signal.SIGVTALRM if sys.platform != "win32" else None
"""What ends the process where the kernel does it: its exit status says so, and hardly anything else
uses this signal."""

_EVENT = struct.Struct("P i i 48x")
_TIMER = struct.Struct("4l")
_NEVER = _TIMER.pack(0, 0, 0, 0)


class Watchdog(Protocol):
    """Ends the process unless it is called off in time. Not thread-safe."""

    def set(self, seconds: float) -> None:
        """End the process that many seconds from now."""
        ...

    def call_off(self) -> None:
        """Let the process live; harmless if nothing was set."""
        ...

    def close(self) -> None:
        """Call it off and give back what it holds. Idempotent."""
        ...


def watchdog() -> Watchdog:
    """Return the best one that this system has."""
    return KernelWatchdog() if KernelWatchdog.available() else ThreadWatchdog()


class KernelWatchdog:
    """A timer of the kernel: ends the process by `SIGNAL`, also while C code holds the GIL.

    Forked children have none of it.
    """

    def __init__(self) -> None:
        assert SIGNAL is not None
        _report_on_signal()
        library, pointer = _library()
        self._settime = library.timer_settime
        self._delete = library.timer_delete
        made = (pointer * 1)()
        if library.timer_create(time.CLOCK_MONOTONIC, _EVENT.pack(0, SIGNAL, 0), made) != 0:
            raise OSError("The kernel has no timer left for this process.")
        self._timer: Any = pointer(made[0])

    @staticmethod
    def available() -> bool:
        """Return whether this system's C library has such timers, laid out as we know them."""
        if sys.platform != "linux" or sys.maxsize < 2**32:
            return False
        return hasattr(_library()[0], "timer_create")

    def set(self, seconds: float) -> None:
        """End the process that many seconds from now."""
        fraction, whole = math.modf(seconds)
        # One nanosecond at least: zero would call it off.
        value = _TIMER.pack(0, 0, int(whole), max(1, int(fraction * 1e9)))
        self._settime(self._timer, 0, value, None)

    def call_off(self) -> None:
        """Let the process live."""
        self._settime(self._timer, 0, _NEVER, None)

    def close(self) -> None:
        """Delete the timer."""
        if self._timer is not None:
            self._delete(self._timer)
            self._timer = None


class ThreadWatchdog:
    """A thread of `faulthandler`: ends the process with exit code 1, also while C holds the GIL.

    There is one such thread per process, so it always waits for the earliest of all that were set;
    a timer that the user gave to `faulthandler` is lost.
    """

    _due: ClassVar[dict["ThreadWatchdog", float]] = {}

    def set(self, seconds: float) -> None:
        """End the process that many seconds from now."""
        self._due[self] = time.monotonic() + seconds
        self._wait_for_the_earliest()

    def call_off(self) -> None:
        """Let the process live."""
        if self._due.pop(self, None) is not None:
            self._wait_for_the_earliest()

    def close(self) -> None:
        """Call it off."""
        self.call_off()

    def _wait_for_the_earliest(self) -> None:
        if not self._due:
            faulthandler.cancel_dump_traceback_later()
            return
        left = max(0.001, min(self._due.values()) - time.monotonic())
        faulthandler.dump_traceback_later(left, exit=True, file=STDERR)


@cache
def _library() -> tuple[Any, Any]:
    """Return the C library, and its type of pointers, which is that of timers too.

    `PyDLL` keeps the GIL during a call: giving it away would take longer than the call.
    """
    import ctypes  # 2 ms, which only limits that may end the process need

    return ctypes.PyDLL(None), ctypes.c_void_p


@cache
def _report_on_signal() -> None:
    """Print where all threads are when the signal comes, then let it end the process."""
    assert SIGNAL is not None
    faulthandler.register(SIGNAL, file=STDERR, all_threads=True, chain=True)
