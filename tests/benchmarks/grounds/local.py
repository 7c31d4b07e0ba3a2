"""This process, its threads, and processes of this machine."""

from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.ports.runner import TaskRunner
from tests.benchmarks.grounds import SLOTS, Function, Ground

_SIZES = frozenset({10, 1_000, 10_000})


@dataclass(frozen=True, slots=True)
class Here:
    """One process, so that by hand is a plain loop."""

    name: str
    runner: TaskRunner | str
    one_each_sizes: frozenset[int]

    def by_hand(self, function: Function, items: Sequence[Any], pieces: int) -> list[Any]:
        return [function(item) for item in items]

    def one_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        with ThreadPoolExecutor(SLOTS) as pool:
            return list(pool.map(function, items))

    def settle(self) -> None:
        """Nothing outlives a flow here."""


@dataclass(frozen=True, slots=True)
class Processes:
    """Processes; on both sides the clock covers their start, since neither outlives a flow."""

    runner: TaskRunner | str
    name: str = "processes"
    one_each_sizes: frozenset[int] = _SIZES

    def by_hand(self, function: Function, items: Sequence[Any], pieces: int) -> list[Any]:
        with ProcessPoolExecutor(SLOTS) as pool:
            return list(pool.map(function, items, chunksize=-(-len(items) // pieces)))

    def one_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        with ProcessPoolExecutor(SLOTS) as pool:
            return list(pool.map(function, items, chunksize=1))

    def settle(self) -> None:
        """Nothing outlives a flow here."""


@contextmanager
def inline() -> Generator[Ground, None, None]:
    """Run everything in this thread."""
    yield Here("inline", "inline", frozenset())


@contextmanager
def threads() -> Generator[Ground, None, None]:
    """Run on two threads."""
    yield Here("threads", ThreadPoolTaskRunner(max_workers=SLOTS), _SIZES)


@contextmanager
def processes() -> Generator[Ground, None, None]:
    """Run in two processes, made anew by each flow."""
    yield Processes(ProcessTaskRunner(max_workers=SLOTS))
