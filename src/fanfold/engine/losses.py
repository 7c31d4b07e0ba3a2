"""What becomes of a chunk whose worker was lost: out again, in pieces, or given up. Pure."""

from collections import Counter
from dataclasses import replace

from fanfold.engine import chunking
from fanfold.engine.chunking import Batch
from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    InputsUnreadable,
    WorkerLost,
)

MOST_IN_VAIN = 100
"""Chunks of a run that are lost one after another, none of them started, before it counts."""
MOST_UNREADABLE = 64
"""Chunks whose arguments can't be read, before all are given up if none could be: a module is
missing on the workers, and to look for the one bad element would take a chunk for each."""


class Losses:
    """Counts losses against the elements of one run.

    Args:
        allowed: Losses of an element that ran alone before it is given up.
    """

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._charged: Counter[int] = Counter()
        self._in_vain = 0
        self._readable = False
        self._unreadable = 0

    def forgive(self) -> None:
        """Take in that a chunk came home: the cluster works."""
        self._in_vain = 0

    def read(self) -> None:
        """Take in that arguments of some chunk could be read."""
        self._readable = True

    def again(self, batch: Batch, error: InfrastructureError, *, started: bool) -> list[Batch]:
        """Return how a chunk's elements go out again; an empty list: they are given up.

        One that certainly never ran goes as it was. One whose worker died is cut, so that whichever
        element killed it is alone at last; only alone is it charged.
        """
        if isinstance(error, ChunkCancelled) or (isinstance(error, WorkerLost) and not started):
            self._in_vain += 1
            if self._in_vain <= MOST_IN_VAIN:
                return [batch]
        if isinstance(error, InputsUnreadable):
            self._unreadable += 1
            hopeless = self._unreadable > MOST_UNREADABLE and not self._readable
            return [] if hopeless else chunking.cut(batch)
        if not isinstance(error, WorkerLost):
            return []
        if len(batch) > 1:
            return chunking.cut(batch)
        self._charged[_only(batch)] += 1
        alone = replace(batch, suspect=True)
        return [alone] if self._charged[_only(batch)] <= self._allowed else []

    def reason(self, batch: Batch, error: InfrastructureError) -> str:
        """Return why the elements are given up."""
        times = self._charged[_only(batch)] if len(batch) == 1 else 0
        if not times:
            return str(error)
        return f"lost its worker {times} times, running alone; the last time: {error}"


def _only(batch: Batch) -> int:
    return batch.spans[0][0]
