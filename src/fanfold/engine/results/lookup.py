"""Committed results of a task by key: what calls and chunks look their elements up in."""

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fanfold.engine.results import object_names
from fanfold.engine.results.segments import RECORD_BYTES, Index
from fanfold.engine.results.stored import Stored, stored_at
from fanfold.ports.results import ResultStore

_ROW = struct.Struct("<16sQQ16sdBBI")


class Row(NamedTuple):
    """What a table says of a key."""

    key: bytes
    offset: int
    length: int
    digest: bytes
    expiry: float
    codec: int
    state: int
    label: str
    """What an index calls the object that holds the payload."""

    @property
    def segment(self) -> str:
        """The object that holds the payload."""
        return object_names.untimed(self.label)

    @property
    def when(self) -> str:
        """An id that was made when it was written, see `object_names.written`."""
        return object_names.written(self.label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Records of some indexes, sorted by key: three bytes objects in all, cheap to pickle."""

    segments: tuple[str, ...]
    """As the indexes call them."""
    keys: bytes
    """Sorted, 16 bytes each."""
    rows: bytes
    """In the order of the keys: a record each, then the number of its segment."""
    _heads: "array[int]" = field(init=False, repr=False, compare=False)
    """The first halves of the keys as numbers, which are compared ten times as fast as slices."""

    def __post_init__(self) -> None:
        halves = array("Q", self.keys)[::2]
        if sys.byteorder == "little":
            halves.byteswap()
        object.__setattr__(self, "_heads", halves)

    def __reduce__(self) -> tuple[Any, ...]:
        return _table, (self.segments, self.keys, self.rows)

    @classmethod
    def merge(cls, indexes: Iterable[Index]) -> "Table":
        """Build the table of some indexes; of equal keys the one that was written last counts.

        That is the one in the newest segment; of other objects, the last one given.
        """
        rows: dict[bytes, bytes] = {}
        segments: dict[str, int] = {}
        tables = [named for index in indexes for named in index.tables.items()]
        for segment, table in sorted(tables, key=lambda named: object_names.written(named[0])):
            number = segments.setdefault(segment, len(segments)).to_bytes(4, "little")
            for start in range(0, len(table), RECORD_BYTES):
                row = table[start : start + RECORD_BYTES]
                rows[row[:16]] = row + number
        keys = sorted(rows)
        return cls(
            segments=tuple(segments),
            keys=b"".join(keys),
            rows=b"".join(map(rows.__getitem__, keys)),
        )

    def __len__(self) -> int:
        return len(self.keys) // 16

    def row(self, key: bytes) -> Row | None:
        """Return what there is of a key of 16 bytes."""
        at = self._place(key)
        if at is None:
            return None
        row = _ROW.unpack_from(self.rows, at * _ROW.size)
        return Row._make((*row[:-1], self.segments[row[-1]]))

    def only(self, keys: Sequence[bytes]) -> "Table":
        """Return the table of those of some sorted keys that are here."""
        rows: list[bytes] = []
        segments: dict[str, int] = {}
        for key in keys:
            if (at := self._place(key)) is not None:
                row = self.rows[at * _ROW.size : (at + 1) * _ROW.size]
                segment = self.segments[int.from_bytes(row[-4:], "little")]
                number = segments.setdefault(segment, len(segments)).to_bytes(4, "little")
                rows.append(row[:-4] + number)
        found = b"".join(row[:16] for row in rows)
        return Table(segments=tuple(segments), keys=found, rows=b"".join(rows))

    def _place(self, key: bytes) -> int | None:
        at = bisect_left(self._heads, int.from_bytes(key[:8], "big"))
        while (found := self.keys[at * 16 : at * 16 + 16]) < key and found:
            at += 1
        return at if found == key else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Some committed results of a task in one store, in a few tables."""

    store: ResultStore
    tables: Sequence[Table] = ()
    held: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Payloads of small indexes that hold their value themselves, by the index's name."""

    @classmethod
    def merge(cls, store: ResultStore, indexes: Iterable[Index]) -> "Lookup":
        """Build the look-up of some indexes as one table; the newest of equal keys counts."""
        every = list(indexes)
        held = {name: index.payload for index in every if index.payload for name in index.tables}
        return cls(store=store, tables=(Table.merge(every),) if every else (), held=held)

    def and_also(self, newer: "Lookup") -> "Lookup":
        """Return the look-up of both."""
        tables, held = (*self.tables, *newer.tables), {**self.held, **newer.held}
        return Lookup(store=self.store, tables=tables, held=held)

    def only(self, keys: Iterable[bytes]) -> "Lookup":
        """Return what there is of some keys."""
        wanted = sorted(set(keys))
        tables = [found for table in self.tables if len(found := table.only(wanted))]
        named = {name for table in tables for name in table.segments}
        held = {name: payload for name, payload in self.held.items() if name in named}
        return Lookup(store=self.store, tables=tables, held=held)

    def __len__(self) -> int:
        return sum(map(len, self.tables))

    def keys(self) -> set[bytes]:
        """Return all keys, expired or not."""
        every = b"".join(table.keys for table in self.tables)
        return {every[start : start + 16] for start in range(0, len(every), 16)}

    def row(self, key: bytes) -> Row | None:
        """Return what was written last under a key of 16 bytes, expired or not."""
        newest = None
        for table in self.tables:
            row = table.row(key)
            if row is not None and (newest is None or row.when >= newest.when):
                newest = row
        return newest

    def find(self, key: bytes, now: float, since: str = "") -> Stored | None:
        """Return where a key's value is; None if it isn't there or has expired.

        Args:
            key: 16 bytes.
            now: Unix seconds.
            since: An id that was made before whatever counts was written.
        """
        row = self.row(key)
        if row is None or row.expiry <= now or (since and row.when < since):
            return None
        return stored_at(self.store, row.segment, row.offset, row.length, row.digest, row.codec)

    def expired(self, key: bytes, digest: bytes, now: float) -> bool:
        """Return whether a value of this key and content was kept, and only until before now."""
        row = self.row(key)
        return row is not None and row.digest == digest and row.expiry <= now


def _table(segments: tuple[str, ...], keys: bytes, rows: bytes) -> Table:
    return Table(segments=segments, keys=keys, rows=rows)
