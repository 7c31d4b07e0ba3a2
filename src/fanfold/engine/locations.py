"""Where the values of a map live: a table of runs, not of elements."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from fanfold.ports.runner import Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Neighbouring elements whose values lie side by side in one chunk's results."""

    first: int
    """Index of the first element."""
    count: int
    ref: Ref
    """Whose results they are."""
    slot: int
    """Position of the first element's value among those results."""


class Locations:
    """Stretches, sorted by element and free of overlaps; not thread-safe."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._stretches: list[Stretch] = []

    def __len__(self) -> int:
        return len(self._stretches)

    def put(self, first: int, count: int, ref: Ref, slot: int) -> None:
        """Say where elements live now; what was said of them before is forgotten."""
        if count:
            self.drop(first, first + count)
            at = bisect_right(self._firsts, first)
            self._insert(at, Stretch(first=first, count=count, ref=ref, slot=slot))

    def drop(self, start: int, stop: int) -> None:
        """Forget where the elements from `start` to `stop` live."""
        low, high = self._bounds(start, stop)
        kept: list[Stretch] = []
        for old in self._stretches[low:high]:
            if old.first < start:
                kept.append(_part(old, old.first, start))
            if old.first + old.count > stop:
                kept.append(_part(old, stop, old.first + old.count))
        self._stretches[low:high] = kept
        self._firsts[low:high] = [stretch.first for stretch in kept]

    def find(self, start: int, stop: int) -> Iterator[Stretch]:
        """Yield the stretches that cover the elements, in order; gaps are left out."""
        low, high = self._bounds(start, stop)
        for stretch in self._stretches[low:high]:
            yield _part(
                stretch, max(start, stretch.first), min(stop, stretch.first + stretch.count)
            )

    def holds(self, ref: Ref) -> bool:
        """Return whether any element lives in `ref`."""
        return any(stretch.ref == ref for stretch in self._stretches)

    def forget(self, ref: Ref) -> list[tuple[int, int]]:
        """Drop everything that lives in `ref` and return the (start, stop) of the elements."""
        lost = [(s.first, s.first + s.count) for s in self._stretches if s.ref == ref]
        for start, stop in lost:
            self.drop(start, stop)
        return lost

    def _bounds(self, start: int, stop: int) -> tuple[int, int]:
        low = bisect_right(self._firsts, start) - 1
        if low < 0 or self._stretches[low].first + self._stretches[low].count <= start:
            low += 1
        high = low
        while high < len(self._firsts) and self._firsts[high] < stop:
            high += 1
        return low, high

    def _insert(self, at: int, stretch: Stretch) -> None:
        self._firsts.insert(at, stretch.first)
        self._stretches.insert(at, stretch)


def _part(old: Stretch, start: int, stop: int) -> Stretch:
    if start == old.first and stop == old.first + old.count:
        return old
    return Stretch(first=start, count=stop - start, ref=old.ref, slot=old.slot + start - old.first)
