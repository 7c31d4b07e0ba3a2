"""Strikes at workers while they work: a seeded schedule as data, and what carries it out."""

import os
import random
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from fanfold.testing.ledger import Ledger, pause

RECENT = 24
"""Executions back from now, by which a worker is known to hold work."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One strike of a schedule."""

    after: int
    """Executions in all before it."""
    pick: float
    """Which of the workers that hold work, sorted, from 0 to 1."""


def schedule(seed: int, strikes: int, count: int) -> list[Strike]:
    """Return strikes at moments spread over the first nine tenths of so many executions."""
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(count // 50, count * 9 // 10), strikes))
    return [Strike(after, chance.random()) for after in moments]


class Striker:
    """Carries out a schedule.

    Args:
        ledger: Where executions are noted as "ran", element, process.
        strikes: What to do.
        how: Is called with the process id of each worker that is struck.
    """

    def __init__(
        self, ledger: Ledger, strikes: Sequence[Strike], how: Callable[[int], None]
    ) -> None:
        self.struck: list[int] = []
        """Process ids, in the order of the strikes."""
        self.failed: list[Exception] = []
        self._strikes = strikes
        self._how = how
        self._over = threading.Event()
        self._file = Path(ledger.folder) / "ledger"
        self._read = 0
        self._executions: list[int] = []
        self._since = 0

    @contextmanager
    def striking(self) -> Generator["Striker"]:
        """Strike while the code inside runs."""
        thread = threading.Thread(target=self._run, name="striker")
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()
        assert not self.failed, f"the striker failed: {self.failed[0]!r}"

    def _run(self) -> None:
        try:
            for strike in self._strikes:
                self._strike(strike)
        except Exception as error:  # told at the end of the block
            self.failed.append(error)

    def _strike(self, strike: Strike) -> None:
        while not self._over.is_set():
            self._look()
            working = self._working()
            if len(self._executions) >= strike.after and working:
                pid = working[int(strike.pick * len(working))]
                self._how(pid)
                self.struck.append(pid)
                self._since = len(self._executions)
                return
            pause()

    def _look(self) -> None:
        """Read what was noted since."""
        if not self._file.exists():
            return
        with self._file.open("rb") as file:
            file.seek(self._read)
            lines = file.read()
        # A line is there as a whole, for it was written at once.
        self._read += len(lines)
        words = [line.split() for line in lines.splitlines()]
        self._executions += [int(line[2]) for line in words if line[0] == b"ran"]

    def _working(self) -> list[int]:
        """Return the processes that have just begun an element, and can be struck."""
        first = max(self._since, len(self._executions) - RECENT)
        recent = sorted(set(self._executions[first:]))
        return [pid for pid in recent if _works(pid)]


def kill(pid: int) -> None:
    """Kill a process as the kernel does."""
    os.kill(pid, signal.SIGKILL)


class Stopper:
    """Stops processes for a while each; at the end all go on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timers: list[tuple[threading.Timer, int]] = []

    def stop(self, pid: int) -> None:
        """Stop a process, and let it go on after a while."""
        os.kill(pid, signal.SIGSTOP)
        timer = threading.Timer(self._seconds, _resume, [pid])
        timer.start()
        self._timers.append((timer, pid))

    @contextmanager
    def stopping(self) -> Generator["Stopper"]:
        """Let go on at the end what is still stopped."""
        try:
            yield self
        finally:
            for timer, pid in self._timers:
                timer.cancel()
                timer.join()
                _resume(pid)


def _resume(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _works(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED)
    return False
