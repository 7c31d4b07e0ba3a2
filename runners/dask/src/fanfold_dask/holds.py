"""What running chunks hold of their worker: its CPUs and its memory.

Dask counts nothing but a worker's threads and resources of free names. So chunks count here what
they take of the threads, or of the memory limit, in the worker's own process.
"""

import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

from distributed import Worker

CPU, GPU, MEMORY = "cpu", "gpu", "memory"
"""Names that mean the same on every cluster."""

_LOOK_S = 0.05
"""A chunk that waits for its share asks this often whether it is still wanted."""


class Amount(NamedTuple):
    """What one chunk holds."""

    cpu: float = 1.0
    memory: float = 0.0
    """In bytes."""


class Holds:
    """Counts what the chunks of one worker hold. Thread-safe.

    First come, first served: a chunk that wants much isn't overtaken by those that want little.

    Args:
        cpu: How much there is.
        memory: The same, in bytes; infinite where nobody set a limit.
    """

    def __init__(self, cpu: float, memory: float) -> None:
        self.all = Amount(cpu, memory)
        self._free = self.all
        self._lock = threading.Lock()
        self._queue: list[_Waiter] = []

    def take_now(self, amount: Amount) -> bool:
        """Return whether an amount is held now, for nobody else waits and it is there."""
        with self._lock:
            there = not self._queue and self._fits(amount)
            if there:
                self._add(amount, -1)
            return there

    def take(self, amount: Amount, unwanted: Callable[[], bool]) -> bool:
        """Wait for an amount; return whether it is held now, or isn't wanted any more."""
        waiter = _Waiter(amount, threading.Event())
        with self._lock:
            self._queue.append(waiter)
            self._serve()
        while not waiter.granted.wait(_LOOK_S):
            if unwanted():
                with self._lock:
                    if waiter in self._queue:
                        self._queue.remove(waiter)
                        self._serve()
                        return False
        return True

    def take_back(self, amount: Amount) -> None:
        """Wait for an amount that was held before, ahead of everybody else."""
        with self._lock:
            if self._fits(amount):
                self._add(amount, -1)
                return
            waiter = _Waiter(amount, threading.Event())
            self._queue.insert(0, waiter)
        waiter.granted.wait()

    def give(self, amount: Amount) -> None:
        """Let others have an amount."""
        with self._lock:
            self._add(amount, 1)
            self._serve()

    def _serve(self) -> None:
        while self._queue and self._fits(self._queue[0].amount):
            waiter = self._queue.pop(0)
            self._add(waiter.amount, -1)
            waiter.granted.set()

    def _fits(self, amount: Amount) -> bool:
        # Fractions of CPUs don't add up to what they were.
        free = self._free
        return amount.cpu <= free.cpu + 1e-6 and amount.memory <= free.memory

    def _add(self, amount: Amount, sign: int) -> None:
        free = self._free
        self._free = Amount(free.cpu + sign * amount.cpu, free.memory + sign * amount.memory)


class _Waiter(NamedTuple):
    amount: Amount
    granted: threading.Event


def offered(threads: int, memory_limit: int | None, resources: Mapping[str, float]) -> Amount:
    """Return what a worker has: its threads, or more if it says so, and its memory limit."""
    told = max((n for name, n in resources.items() if name.lower() == CPU), default=0.0)
    return Amount(max(told, float(threads)), float(memory_limit or 0))


def of(worker: Worker) -> Holds:
    """Return what the chunks of a worker share."""
    found = _all.get(worker)
    if found is None:
        with _lock:
            limit = worker.memory_manager.memory_limit
            has = offered(worker.state.nthreads, limit, worker.state.total_resources)
            found = _all.setdefault(worker, Holds(has.cpu, has.memory or float("inf")))
    return found


_lock = threading.Lock()
_all: WeakKeyDictionary[Worker, Holds] = WeakKeyDictionary()
