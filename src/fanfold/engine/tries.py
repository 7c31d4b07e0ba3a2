"""How often the elements of a run were tried, and when which are to be tried again."""

import heapq

from fanfold.engine import chunking
from fanfold.engine.chunking import Batch


class Tries:
    """User attempts of one run; holds something only of elements that failed at least once."""

    def __init__(self) -> None:
        self._behind: dict[int, int] = {}
        self._waiting: list[tuple[float, int]] = []
        self._unasked: set[int] = set()
        self._spent: dict[int, float] = {}

    def behind(self, index: int) -> int:
        """Return how many attempts an element has behind it, as far as a worker told."""
        return self._behind.get(index, 0)

    def tried(self) -> list[tuple[int, int]]:
        """Return the elements that have attempts behind them, and how many."""
        return list(self._behind.items())

    def note(
        self,
        index: int,
        attempts: int,
        again_at: float | None,
        *,
        asked: bool = True,
        seconds: float = 0.0,
    ) -> None:
        """Remember an element's attempts, and when the next is due if there is one.

        Args:
            index: The element.
            attempts: Behind it.
            again_at: When the next is due.
            asked: Whether the task's condition for a retry was asked, if it has one.
            seconds: That its calls took so far.
        """
        if seconds:
            self._spent[index] = seconds
        self._behind[index] = attempts
        if not asked:
            self._unasked.add(index)
        elif self._unasked:
            self._unasked.discard(index)
        if again_at is not None:
            heapq.heappush(self._waiting, (again_at, index))

    def of(self, batch: Batch) -> dict[int, int]:
        """Return the attempts behind a batch's elements, by position; none where missing."""
        if not self._behind:
            return {}
        return {
            position: self._behind[index]
            for position, index in enumerate(batch.indices())
            if index in self._behind
        }

    def spent(self, batch: Batch) -> dict[int, float]:
        """Return the seconds that calls of a batch's elements took, by position."""
        if not self._spent:
            return {}
        return {
            position: self._spent[index]
            for position, index in enumerate(batch.indices())
            if index in self._spent
        }

    def unasked(self, batch: Batch) -> frozenset[int]:
        """Return the positions of a batch's elements whose next try nobody was asked about."""
        if not self._unasked:
            return frozenset()
        return frozenset(at for at, index in enumerate(batch.indices()) if index in self._unasked)

    def next(self) -> float | None:
        """Return when the next attempt is due."""
        return self._waiting[0][0] if self._waiting else None

    def due(self, now: float) -> Batch | None:
        """Take the elements whose delay is over, None if there are none."""
        found: list[int] = []
        while self._waiting and self._waiting[0][0] <= now:
            found.append(heapq.heappop(self._waiting)[1])
        return chunking.merge(Batch(spans=((i, i + 1),)) for i in found) if found else None

    def drop(self) -> None:
        """Let nothing wait any more."""
        self._waiting.clear()
