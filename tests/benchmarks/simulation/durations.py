"""How long elements take. Drawn anew, block by block, whenever somebody asks: never all at once."""

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fanfold.engine.chunking import Span

BLOCK = 1 << 16
"""Elements that are drawn together: half a mebibyte."""
BLOCKS_KEPT = 64

Seconds = npt.NDArray[np.float64]


class Durations(Protocol):
    """What the elements of a map take, in seconds."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def sleeps(self) -> bool:
        """Whether elements wait instead of computing: then they share no core."""
        ...

    def total(self, count: int) -> float:
        """Return what the first elements take together."""
        ...

    def longest(self, count: int) -> float:
        """Return what the longest of the first elements takes."""
        ...

    def reached(
        self, spans: Sequence[Span], budget_s: float | None, more_s: float
    ) -> tuple[int, float]:
        """Return how many elements a chunk does until its budget is spent, and what they take.

        Args:
            spans: The chunk's elements, at least one.
            budget_s: After which no other element begins; None for all of them.
            more_s: What each takes besides.
        """
        ...


@dataclass(frozen=True, slots=True)
class Even:
    """All take the same."""

    seconds: float
    sleeps: bool = False

    @property
    def name(self) -> str:
        return f"even {_told(self.seconds)}"

    def total(self, count: int) -> float:
        return self.seconds * count

    def longest(self, count: int) -> float:
        return self.seconds if count else 0.0

    def reached(
        self, spans: Sequence[Span], budget_s: float | None, more_s: float
    ) -> tuple[int, float]:
        count, each = sum(stop - start for start, stop in spans), self.seconds + more_s
        if budget_s is not None and each:
            count = min(count, int(budget_s / each) + 1)
        return count, count * each


@dataclass(frozen=True)
class Listed:
    """Elements whose seconds are known one by one."""

    seconds: tuple[float, ...]
    sleeps: bool = False
    name: str = "as listed"

    def total(self, count: int) -> float:
        return sum(self.seconds[:count])

    def longest(self, count: int) -> float:
        return max(self.seconds[:count], default=0.0)

    def reached(
        self, spans: Sequence[Span], budget_s: float | None, more_s: float
    ) -> tuple[int, float]:
        return _reached((self._array[start:stop] for start, stop in spans), budget_s, more_s)

    @cached_property
    def _array(self) -> Seconds:
        return np.array(self.seconds)


@dataclass(frozen=True)
class Drawn:
    """Elements that take very different times; the same for the same seed."""

    mean_s: float
    sigma: float = 0.0
    """Of a lognormal distribution; 0 for a Pareto one."""
    shape: float = 0.0
    """Of a Pareto distribution, above 1: the smaller, the longer the tail."""
    seed: int = 0
    sleeps: bool = False
    _kept: OrderedDict[int, Seconds] = field(
        default_factory=OrderedDict[int, Seconds], repr=False, compare=False
    )
    _summaries: dict[int, tuple[float, float]] = field(
        default_factory=dict[int, tuple[float, float]], repr=False, compare=False
    )

    @property
    def name(self) -> str:
        kind = f"lognormal {self.sigma:g}" if self.sigma else f"Pareto {self.shape:g}"
        return f"{kind}, {_told(self.mean_s)}"

    def total(self, count: int) -> float:
        return self._summary(count)[0]

    def longest(self, count: int) -> float:
        return self._summary(count)[1]

    def reached(
        self, spans: Sequence[Span], budget_s: float | None, more_s: float
    ) -> tuple[int, float]:
        parts = (part for start, stop in spans for part in self._parts(start, stop))
        return _reached(parts, budget_s, more_s)

    def _summary(self, count: int) -> tuple[float, float]:
        if count not in self._summaries:
            parts = [(float(part.sum()), float(part.max())) for part in self._parts(0, count)]
            total, longest = sum(one for one, _ in parts), max((one for _, one in parts), default=0)
            self._summaries[count] = total, longest
        return self._summaries[count]

    def _parts(self, start: int, stop: int) -> Iterator[Seconds]:
        for number in range(start // BLOCK, -(-stop // BLOCK)):
            first = number * BLOCK
            yield self._block(number)[max(start - first, 0) : stop - first]

    def _block(self, number: int) -> Seconds:
        block = self._kept.get(number)
        if block is not None:
            self._kept.move_to_end(number)
            return block
        source = np.random.Generator(np.random.Philox(key=[self.seed, number]))
        if self.sigma:
            drawn = source.standard_normal(BLOCK)
            drawn = self.mean_s * np.exp(self.sigma * drawn - self.sigma**2 / 2)
        else:
            drawn = (source.pareto(self.shape, BLOCK) + 1) * self.mean_s * (1 - 1 / self.shape)
        self._kept[number] = drawn
        if len(self._kept) > BLOCKS_KEPT:
            self._kept.popitem(last=False)
        return drawn


def _reached(parts: Iterable[Seconds], budget_s: float | None, more_s: float) -> tuple[int, float]:
    """Return how many elements are done until the budget is spent, and what they take."""
    reached, spent = 0, 0.0
    for part in parts:
        at, window = 0, len(part) if budget_s is None else 64
        while at < len(part):
            # In windows: most chunks are far longer than what their budget lets them reach.
            ends = spent + np.cumsum(part[at : at + window] + more_s)
            if budget_s is not None and ends[-1] > budget_s:
                over = int(np.searchsorted(ends, budget_s, side="right"))
                return reached + over + 1, float(ends[over])
            reached, spent, at, window = (
                reached + len(ends),
                float(ends[-1]),
                at + window,
                window * 4,
            )
    return reached, spent


def _told(seconds: float) -> str:
    power = min(3, max(0, -math.floor(math.log10(seconds)) + 2) // 3) if seconds < 1 else 0
    return f"{seconds * 1000**power:g} {('s', 'ms', 'µs', 'ns')[power]}"
