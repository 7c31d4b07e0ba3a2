"""Times things side by side: in turns, the first turn dropped, medians of the rest."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

LONG_S = 10.0
"""What takes longer in its first turn has no second one: by then its warm-up doesn't show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """Something to be timed."""

    name: str
    run: Callable[[], Any]
    before: Callable[[], None] = lambda: None
    """Called before each turn, outside the clock."""
    least: bool = False
    """Slow and far behind: one turn after the dropped one is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What a contestant took."""

    name: str
    seconds: float
    turns: int


def race(contestants: Sequence[Contestant], turns: int, expected: Any) -> dict[str, Timed]:
    """Time all contestants in turns and return medians by name.

    They run A B C, C B A, A B C and so on, so that none always follows the same other one; garbage
    is collected before each, so that none pays for another's.

    Args:
        contestants: With names of their own.
        turns: How often each is timed after the first, dropped turn.
        expected: What each must return, every time.

    Raises:
        ValueError: One returned something else, so its time means nothing.
    """
    taken: dict[str, list[float]] = {one.name: [] for one in contestants}
    for turn in range(turns + 1):
        for one in contestants if turn % 2 == 0 else reversed(contestants):
            if not _over(one, taken[one.name]):
                taken[one.name].append(_timed(one, expected))
    return {name: _summary(name, seconds) for name, seconds in taken.items()}


def _over(one: Contestant, taken: list[float]) -> bool:
    return bool(taken) and (taken[0] > LONG_S or (one.least and len(taken) > 1))


def _timed(one: Contestant, expected: Any) -> float:
    one.before()
    gc.collect()
    began = time.perf_counter()
    found = one.run()
    seconds = time.perf_counter() - began
    if found != expected:
        raise ValueError(f"{one.name} returned something wrong: {str(found)[:200]}")
    return seconds


def _summary(name: str, seconds: list[float]) -> Timed:
    kept = seconds[1:] or seconds
    return Timed(name=name, seconds=median(kept), turns=len(kept))


def best(timed: Sequence[Timed]) -> Timed:
    """Return the fastest."""
    return min(timed, key=lambda one: one.seconds)
