"""What is committed of one task in one store, as far as this process has read it.

Indexes never change, so each is read and verified once. One listing tells which there are; what
this process commits itself isn't read back. A writer that finds more than `MOST_LOOSE` small
indexes merges them: a new index names all that counts of them, then they are removed. Whoever
listed before that finds them missing, and lists again.

Indexes of runs that were resumed stay as they are, for their names tell which older ones count.
What isn't believed here, or is damaged, counts for nothing and is left alone: others may know its
key.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

from fanfold.engine.results import fencing, object_names, segments
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.lookup import Lookup, Table
from fanfold.engine.results.segments import SECRET_BYTES, Damaged, Index, Segment
from fanfold.ports.results import ResultStore
from fanfold.values.errors import StoreError
from fanfold.values.ids import id_at, new_id

T = TypeVar("T")
logger = logging.getLogger("fanfold.results")

MOST_LOOSE = 32
"""Unmerged indexes that are left alone; DESIGN's number, some 50 ms of requests to S3."""
MOST_TOLD = 5
"""Objects that one warning names."""
SETTLED_S = 120.0
"""So long ago written, an index is there: a store is tried for a minute, and clocks differ less."""
READERS = 8
"""Indexes that are read at a time: a request to S3 takes tens of milliseconds, mostly waiting."""
_TRIES = 3
"""Listings until nothing is missing any more of what they named."""


class Shelf:
    """The committed results of a task; thread-safe.

    Args:
        store: Where they are.
        folder: The task's part of all names.
        keyring: Signs indexes, and says whose are believed; None where nobody else can write.
    """

    def __init__(self, store: ResultStore, folder: str, keyring: Keyring | None) -> None:
        self._store = store
        self._keyring = keyring
        self._folder = folder
        self._lock = threading.RLock()
        self._indexes: dict[str, Index] = {}
        self._refused: set[str] = set()
        """Objects in the indexes' place that aren't believed; each is told once."""
        self._tables: dict[str, Table] = {}
        """Of single indexes, for calls: merging all of them anew for each would take long."""
        self._merged: tuple[tuple[str, ...], frozenset[str], Lookup] | None = None
        self._listings = 0
        """How many were begun."""
        self._listed: list[str] = []
        """What the last one said."""
        self._names: tuple[str, ...] | None = None
        """What of it is believed; None where it failed, or what it found was merged since."""
        self._layers: tuple[tuple[str, ...], Lookup] | None = None

    def look_up(self, *, single: bool = False) -> Lookup:
        """Return all that is committed by now.

        Args:
            single: Whether one call looks for its result, which it reads at once; otherwise results
                that somebody has removed are left out here, so that references to others do.

        Raises:
            StoreError: The store can't be read.
        """
        begun = self._listings
        with self._lock:
            names = self._names
            # Who waited for the lock shares the listing of one who came later: calls at the same
            # time cost two, not one each.
            if names is None or self._listings == begun:
                names = self._read_new()
            if single or not names:
                if self._layers is None or self._layers[0] is not names:
                    self._layers = (names, self._layered(names))
                return self._layers[1]
            there = frozenset(self._store.names(object_names.segments_prefix(self._folder)))
            if self._merged is None or self._merged[:2] != (names, there):
                indexes = [_without_missing(self._indexes[name], there) for name in names]
                self._merged = (names, there, Lookup.merge(self._store, indexes))
            return self._merged[2]

    def commit(self, name: str, tables: Mapping[str, bytes]) -> None:
        """Create an index: from now on what it names is committed.

        Raises:
            StoreError: It can't be written, or another writer has taken the name.
        """
        payload = segments.pack_index(tables, name, self._keyring)
        if not self._store.create(name, payload) and self._store.read(name) != payload:
            raise StoreError(f"{name} in {self._store} was written by somebody else")
        with self._lock:
            self._indexes[name] = segments.unpack_index(payload, name, self._keyring)
            self._names = None

    def runs(self) -> frozenset[str]:
        """Return the ids of maps and calls of which results are kept.

        Not of small calls whose indexes were merged: their results are found by their keys alone.

        Raises:
            StoreError: The store can't be read.
        """
        with self._lock:
            names = self._read_new()
            named = [segment for name in names for segment in self._indexes[name].tables]
        found = {object_names.split_index_name(name)[2] for name in names}
        staged = filter(object_names.is_segment, named)
        return frozenset(found.union(map(object_names.run_of_segment, staged)))

    def tidy(self) -> None:
        """Merge small indexes if there are many.

        Raises:
            StoreError: The store failed; whatever was done until then, nothing is lost.
        """
        with self._lock:
            if self._loose() is not None:
                # What somebody has removed meanwhile must not come back.
                self._read_new()
            if (loose := self._loose()) is not None:
                self._merge(*loose)

    def _loose(self) -> tuple[int, list[str]] | None:
        """Return the tier of what may be merged now, and the indexes; None if they are few."""
        for tier, names in sorted(_tiers(self._indexes).items()):
            if len(names) > MOST_LOOSE:
                return tier + 1, sorted(names)
        return None

    def _read_new(self) -> tuple[str, ...]:
        """Read the indexes that aren't known, forget what is gone, and return the names of all."""
        every: list[str] = []
        names: list[str] = []
        before, self._names = self._names, None
        for left in reversed(range(_TRIES)):
            self._listings += 1
            every = self._store.names(object_names.index_prefix(self._folder))
            if before is not None and every == self._listed:
                self._names = before
                return before
            names = fencing.counting(self._store, self._folder, every)
            self._refused.intersection_update(names)
            known = self._indexes.keys() | self._refused
            new = [name for name in names if name not in known]
            found = dict(zip(new, _each(self._read, new), strict=True))
            self._indexes.update((n, i) for n, i in found.items() if isinstance(i, Index))
            self._refuse([one for one in found.values() if isinstance(one, Damaged)])
            if None not in found.values() or not left:
                break
        kept = dict.fromkeys(filter(self._indexes.__contains__, object_names.by_age(names)))
        if len(kept) < len(self._indexes):
            self._indexes = {name: self._indexes[name] for name in kept}
            self._tables = {n: table for n, table in self._tables.items() if n in kept}
        self._listed, self._names = every, tuple(kept)
        return self._names

    def _read(self, name: str) -> Index | Damaged | None:
        """Return an index, or why it isn't believed; None if it is gone."""
        try:
            payload = bytes(self._store.read(name))
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        try:
            return segments.unpack_index(payload, name, self._keyring)
        except Damaged as error:
            return error

    def _refuse(self, found: Sequence[Damaged]) -> None:
        """Tell of what isn't believed, by reasons: a key that was changed makes one line."""
        reasons: dict[str, list[str]] = {}
        for each in found:
            self._refused.add(each.name)
            reasons.setdefault(each.reason, []).append(each.shown)
        for reason, names in reasons.items():
            told = ", ".join(names[:MOST_TOLD])
            more = f" and {len(names) - MOST_TOLD} more" if len(names) > MOST_TOLD else ""
            text = "%s: %s%s %s. What would be found there is made again."
            logger.warning(text, self._store, told, more, reason)

    def _layered(self, names: Iterable[str]) -> Lookup:
        tables: list[Table] = []
        held: dict[str, bytes] = {}
        for name in names:
            index = self._indexes[name]
            table = self._tables.get(name)
            if table is None:
                table = self._tables[name] = Table.merge([index])
            tables.append(table)
            if index.payload:
                held[name] = index.payload
        return Lookup(store=self._store, tables=tables, held=held)

    def _merge(self, tier: int, names: Sequence[str]) -> None:
        """Write what counts of some indexes as one of a higher tier, and remove them."""
        self._names = None
        every = self._layered(self._indexes)
        tables: dict[str, bytes] = {}
        alone, times = Segment(), list[str]()
        for name in names:
            index = self._indexes[name]
            for label, table in index.tables.items():
                counting = _counting(label, table, every)
                if index.payload and counting:
                    (record,) = segments.unpack_records(counting)
                    payload = [index.payload]
                    alone.append(record.key, payload, record.codec, record.expiry, record.state)
                    times.append(object_names.written(name))
                elif counting:
                    place = _settled(label)
                    tables[place] = tables.get(place, b"") + counting
        if times:
            tables.update(self._as_segment(alone, times))
        merged = object_names.merged_index_name(self._folder, tier, new_id())
        self.commit(merged, tables)
        gone = [merged]
        # What somebody has removed since they were read must not come back.
        if set(names) <= set(self._store.names(object_names.index_prefix(self._folder))):
            gone = list(names)
        self._store.remove(gone)
        for name in gone:
            del self._indexes[name]
            self._tables.pop(name, None)

    def _as_segment(self, alone: Segment, times: Sequence[str]) -> dict[str, bytes]:
        """Write small values as a segment, and return their records by what an index calls it.

        Each stays as old as it is: one that was written between them may still be on its way.
        """
        name = object_names.segment_name(self._folder, object_names.MERGED, new_id(), max(times))
        self._store.write(name, alone.parts(name, os.urandom(SECRET_BYTES)))
        tables: dict[str, bytes] = {}
        for when, record in zip(times, alone.records, strict=True):
            place = object_names.timed(name, when)
            tables[place] = tables.get(place, b"") + segments.pack_records((record,))
        return tables


def shelf(store: ResultStore, folder: str, keyring: Keyring | None) -> Shelf:
    """Return the process's own for a task in a store; see `Shelf`."""
    return shelf_of(store, folder, keyring, os.getpid())


@lru_cache(maxsize=256)
def shelf_of(store: ResultStore, folder: str, keyring: Keyring | None, process: int) -> Shelf:
    """Return a shelf; a forked process has its own, as locks may be held at the fork."""
    return Shelf(store, folder, keyring)


def _each(read: Callable[[str], T], names: Sequence[str]) -> list[T]:
    if len(names) < 2:
        return [read(name) for name in names]
    with ThreadPoolExecutor(min(READERS, len(names))) as readers:
        return list(readers.map(read, names))


def _tiers(names: Iterable[str]) -> dict[int, list[str]]:
    """Return the indexes that may be merged, by how often that was done to what they name."""
    tiers: dict[int, list[str]] = {}
    for name in names:
        tier = object_names.tier(name)
        if tier is not None:
            tiers.setdefault(tier, []).append(name)
    return tiers


def _settled(label: str) -> str:
    """Return what a merged index calls a segment: as others do, once all older ones are there.

    What was merged may then be as old as the newest of it, whose time the segment's name has.
    """
    name = object_names.untimed(label)
    whole = object_names.is_segment(name) and object_names.written(name) < id_at(
        time.time() - SETTLED_S
    )
    return name if whole else label


def _counting(label: str, table: bytes, every: Lookup) -> bytes:
    """Return the records of a segment that nothing newer has replaced."""
    size = segments.RECORD_BYTES
    records = [table[start : start + size] for start in range(0, len(table), size)]
    found = [(record, every.row(record[:16])) for record in records]
    return b"".join(record for record, row in found if row is None or row.label == label)


def _without_missing(index: Index, there: frozenset[str]) -> Index:
    """Return the index without segments that somebody has removed: their elements run again."""
    kept = {
        name: rows
        for name, rows in index.tables.items()
        if object_names.untimed(name) in there or not object_names.is_segment(name)
    }
    return index if len(kept) == len(index.tables) else Index(tables=kept)
