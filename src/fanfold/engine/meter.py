"""Measures what a chunk needs: CPU time and memory, for some 5 µs.

CPU time is that of the thread that runs the elements and of helper threads of ours. In a worker
process that runs nothing else meanwhile, other threads count too, such as those of OpenBLAS or of
the user's own pool, once they need more than a runner's own threads ever do.

Memory is the process's. In worker processes on Linux its high-water mark is reset at a chunk's
start; elsewhere what is told is the highest of its whole life, so an upper bound. The driver's own
mark is left alone: it belongs to the program.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

OTHERS = 0.1
"""CPU time of other threads counts from this part of the wall time on. A Dask worker's own threads
take 0.025, a Ray worker's 0.003 (measured while an element sleeps)."""
_ALIKE_BYTES = 1 << 20
"""Two ways to read the same mark may differ by so much."""


class Meter:
    """Measures one chunk, from when it is made in the thread that runs it.

    Args:
        apart: Whether this is a worker process, whose marks are nobody else's.
    """

    def __init__(self, *, apart: bool) -> None:
        self.reached_bytes = 0
        """What the process held at most, so far."""
        self.crowded = not apart
        """Whether another chunk ran in this process meanwhile."""
        self.before_bytes = _MARK.begin(self) if apart else _MARK.read()
        """What the process held at the start; what it ever did at most where that isn't known."""
        self._helpers_s = 0.0
        self._thread = threading.get_ident()
        self._process_s = 0.0 if self.crowded else time.process_time()
        self._thread_s = time.thread_time()

    def share_thread(self) -> None:
        """Don't tell CPU time: code of others runs in this thread, in turns."""
        self._thread = 0

    def count(self, seconds: float) -> None:
        """Add CPU time of a helper thread."""
        self._helpers_s += seconds

    def cpu_s(self, wall_s: float) -> float:
        """Return the CPU time so far, given the wall time; 0 where it can't be told."""
        if threading.get_ident() != self._thread:
            return 0.0
        own_s = time.thread_time() - self._thread_s + self._helpers_s
        if self.crowded:
            return own_s
        return told_apart(own_s, time.process_time() - self._process_s, wall_s)

    def end(self) -> int:
        """Return what the process held at most since the start; the chunk is over."""
        return _MARK.end(self)


def told_apart(own_s: float, process_s: float, wall_s: float) -> float:
    """Return the CPU time of an element's threads, of what its process took."""
    return process_s if process_s - own_s > OTHERS * wall_s else own_s


def _reader() -> Callable[[], int]:
    try:
        import resource
    except ImportError:  # Windows
        return lambda: 0
    usage: Any = resource.getrusage
    own = resource.RUSAGE_SELF
    unit = 1 if sys.platform == "darwin" else 1024
    return lambda: usage(own).ru_maxrss * unit


_highest = _reader()


class _Mark:
    """The high-water mark of this process, shared by the chunks that run in it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew in a forked child, where open files are those of the parent."""
        self._lock = threading.Lock()
        # Weakly: a chunk that is torn apart never ends.
        self._open: WeakSet[Meter] = WeakSet()
        self._clear = -1
        self._chosen = False
        self.read = _highest

    def begin(self, meter: Meter) -> int:
        """Reset the mark for a chunk, and return it; other chunks keep what they have reached."""
        with self._lock:
            if not self._chosen:
                self._choose()
            if others := list(self._open):
                meter.crowded = True
                reached = self.read()
                for other in others:
                    other.crowded = True
                    other.reached_bytes = max(other.reached_bytes, reached)
            self._open.add(meter)
            if self._clear >= 0:
                os.pwrite(self._clear, b"5", 0)
            return self.read()

    def end(self, meter: Meter) -> int:
        """Return what was reached since a chunk began; others are beside it no more."""
        with self._lock:
            self._open.discard(meter)
        return max(meter.reached_bytes, self.read())

    def _choose(self) -> None:
        """Find out what this system allows."""
        self._chosen = True
        with suppress(OSError):
            self._clear = clear = os.open("/proc/self/clear_refs", os.O_WRONLY)
            try:
                os.pwrite(clear, b"5", 0)
            except OSError:
                self._clear = -1
                os.close(clear)
                raise
            status = os.open("/proc/self/status", os.O_RDONLY)

            def from_status() -> int:
                text = os.pread(status, 4096, 0)
                at = text.index(b"VmHWM:") + 6
                return int(text[at : text.index(b"kB", at)]) << 10

            # The quicker way also tells what was there before `exec`, which may be a lot.
            if abs(self.read() - from_status()) > _ALIKE_BYTES:
                self.read = from_status
            else:
                os.close(status)


_MARK = _Mark()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_MARK.forget)
