"""What a run has staged and not yet committed, and when the next index is due. Pure."""

from collections.abc import Mapping, Sequence

from fanfold.engine.chunking import Batch
from fanfold.engine.effects import Commit
from fanfold.engine.results.claims import Lease
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.segments import Index
from fanfold.ports.results import ResultStore

COMMIT_S = 1.0
COMMIT_CHUNKS = 64
"""One index object per second or per so many chunks, whichever comes first."""


class Commits:
    """The segments of one run on their way into indexes."""

    def __init__(self) -> None:
        self._tables: dict[str, bytes] = {}
        """All that was ever staged: 58 bytes per element."""
        self._open: dict[str, Batch] = {}
        self._staged: dict[str, bytes] = {}
        self._leases: list[Lease] = []
        self._since = 0.0
        self._written: dict[int, list[str]] = {}
        self._merged: tuple[int, Lookup] | None = None

    def __bool__(self) -> bool:
        """Whether anything isn't committed yet."""
        return bool(self._open)

    def stage(
        self,
        records: Mapping[str, bytes],
        batch: Batch,
        now: float,
        leases: Sequence[Lease] = (),
    ) -> None:
        """Take in what a chunk has staged for these elements.

        Args:
            records: By segment name.
            batch: The elements.
            now: Seconds of the monotonic clock.
            leases: Of keys, to be released when they are committed.
        """
        self._leases += leases
        if records and not self._staged:
            self._since = now
        for name, table in records.items():
            self._staged[name] = self._tables[name] = table
            self._open[name] = batch

    def touches(self, low: int, high: int) -> bool:
        """Return whether any of these elements waits for its commit."""
        return any(
            start < high and stop > low
            for batch in self._open.values()
            for start, stop in batch.spans
        )

    def next(self, now: float, *, last: bool) -> Commit | None:
        """Return the next index to write if it is time, or if nothing more will come."""
        if not self._staged:
            return None
        if not last and now - self._since < COMMIT_S and len(self._staged) < COMMIT_CHUNKS:
            return None
        records, self._staged = self._staged, {}
        leases, self._leases = tuple(self._leases), []
        number = len(self._written) + 1
        self._written[number] = list(records)
        return Commit(number=number, records=records, leases=leases)

    def due(self) -> float | None:
        """Return when the next index is to be written at the latest."""
        return self._since + COMMIT_S if self._staged else None

    def done(self, number: int) -> None:
        """Take in that an index is written, or that it could not be."""
        for name in self._written[number]:
            self._open.pop(name, None)

    def give_up(self) -> None:
        """Wait for nothing more."""
        self._open.clear()
        self._staged.clear()

    def lookup(self, store: ResultStore) -> Lookup | None:
        """Return all that was staged as a table, for elements whose values were lost."""
        if not self._tables:
            return None
        if self._merged is None or self._merged[0] != len(self._tables):
            table = Lookup.merge(store, [Index(tables=self._tables)])
            self._merged = (len(self._tables), table)
        return self._merged[1]
