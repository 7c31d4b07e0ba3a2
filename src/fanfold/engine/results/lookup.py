"""All committed results of a task by key: what a map's chunks look their elements up in."""

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fanfold.engine.results import object_names
from fanfold.engine.results.segments import RECORD_BYTES, Index
from fanfold.engine.results.stored import Stored, stored_at
from fanfold.ports.results import ResultStore

_ROW = struct.Struct("<16sQQ16sdBBI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """All committed results of a task by key: three bytes objects in all, cheap to pickle."""

    store: ResultStore
    segments: tuple[str, ...]
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
        return _lookup, (self.store, self.segments, self.keys, self.rows)

    @classmethod
    def merge(cls, store: ResultStore, indexes: Iterable[Index]) -> "Lookup":
        """Build the table of some indexes of one store; of equal keys the newest one counts.

        That is the one in the segment that was written last; of other objects, the last one given.
        """
        rows: dict[bytes, bytes] = {}
        segments: dict[str, int] = {}
        tables = [named for index in indexes for named in index.tables.items()]
        for segment, table in sorted(tables, key=_written):
            number = segments.setdefault(segment, len(segments)).to_bytes(4, "little")
            for start in range(0, len(table), RECORD_BYTES):
                row = table[start : start + RECORD_BYTES]
                rows[row[:16]] = row + number
        keys = sorted(rows)
        return cls(
            store=store,
            segments=tuple(segments),
            keys=b"".join(keys),
            rows=b"".join(map(rows.__getitem__, keys)),
        )

    def __len__(self) -> int:
        return len(self.keys) // 16

    def find(self, key: bytes, now: float) -> Stored | None:
        """Return where a key's value is; None if it isn't there or has expired.

        Args:
            key: 16 bytes.
            now: Unix seconds.
        """
        at = self._place(key)
        if at is None:
            return None
        _, offset, length, digest, expiry, codec, _, number = _ROW.unpack_from(
            self.rows, at * _ROW.size
        )
        if expiry <= now:
            return None
        return stored_at(self.store, self.segments[number], offset, length, digest, codec)

    def expired(self, key: bytes, digest: bytes, now: float) -> bool:
        """Return whether a value of this key and content was kept, and only until before now."""
        at = self._place(key)
        if at is None:
            return False
        row = _ROW.unpack_from(self.rows, at * _ROW.size)
        return row[3] == digest and row[4] <= now

    def _place(self, key: bytes) -> int | None:
        at = bisect_left(self._heads, int.from_bytes(key[:8], "big"))
        while (found := self.keys[at * 16 : at * 16 + 16]) < key and found:
            at += 1
        return at if found == key else None


def _lookup(store: ResultStore, segments: tuple[str, ...], keys: bytes, rows: bytes) -> Lookup:
    return Lookup(store=store, segments=segments, keys=keys, rows=rows)


def _written(named: tuple[str, bytes]) -> str:
    """Return when a segment was written, as its attempt's name has it; of others nothing."""
    return named[0].rpartition(".")[2] if object_names.is_segment(named[0]) else ""
