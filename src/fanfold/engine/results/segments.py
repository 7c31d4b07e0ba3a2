"""What the objects in a result store hold, and how to find a value among them.

A *segment* is what one chunk staged: its payloads one after another, then a footer that names them.
An *index* commits: it holds the records of some segments, and an element is committed when an index
names it. A result in an object that the user has named is a segment of its own, without a footer. A
*lookup* is the merged table of a task's indexes, sorted by key. A *stored* value is a reference to
one payload, and stays one until somebody asks for the value.

Every object carries its own digest, which is checked before anything else in it is looked at. What
is damaged is a `StoreError` that names the object. All numbers are little-endian:

    segment   payloads, records, trailer
    trailer   "FFSG", version, number of records, bytes of payloads, digest of records and trailer
    index     "FFIX", version, digest of it all, number of segments, name and records of each
    record    key, offset, length, digest of the payload, expiry, codec, state

Pure but for `load`, `load_all` and `staged`, which read through a `ResultStore`.
"""

import math
import struct
import sys
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

from fanfold.engine.results import object_names
from fanfold.engine.results.payloads import CODECS, PICKLE, from_raw, size_bytes
from fanfold.engine.results.payloads import pack as pack
from fanfold.engine.results.payloads import unpack as unpack
from fanfold.ports.results import Buffer, ResultStore
from fanfold.values.errors import StoreError

NEVER = math.inf
"""The expiry of what is kept until somebody removes it."""
DIGEST_BYTES = 16
TAIL_BYTES = 64 << 10
"""How much of a segment's end is read at first: the footer of a thousand elements."""
GAP_BYTES = 64 << 10
"""Unwanted bytes between two payloads that are read along: less than a request costs."""
SPAN_BYTES = 64 << 20
"""Payloads that are read together, at most, unless a single one is longer."""

_RECORD = struct.Struct("<16sQQ16sdBB")
_ROW_BYTES = _RECORD.size + 4
_ROW = struct.Struct("<16sQQ16sdBBI")
_TRAILER = struct.Struct("<4sHIQ32s")
_INDEX = struct.Struct("<4sH32s")
_ENTRY = struct.Struct("<II")
_SEGMENT_MAGIC, _INDEX_MAGIC, _VERSION = b"FFSG", b"FFIX", 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a footer or an index says of one element."""

    key: bytes
    """16 bytes."""
    offset: int
    """Where the payload begins in its segment, in bytes."""
    length: int
    digest: bytes
    """Of the payload: blake3, 16 bytes."""
    expiry: float = NEVER
    """Unix seconds; from then on it isn't found any more."""
    codec: int = PICKLE
    state: int = 0
    """Code of the element's final state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A reference to a value in a result store, some 60 bytes in a pickled list of many."""

    store: ResultStore
    segment: str
    offset: int
    length: int
    digest: bytes
    codec: int = PICKLE
    serializer: Any = None
    """What reads a value that stands alone in an object (codec RAW)."""

    def __reduce__(self) -> tuple[Any, ...]:
        place = (self.store, self.segment, self.offset, self.length, self.digest, self.codec)
        return _stored, (*place, self.serializer) if self.serializer is not None else place

    def __str__(self) -> str:
        end = self.offset + self.length
        return f"{self.segment} in {self.store}, bytes {self.offset} to {end}"


@dataclass(frozen=True, slots=True)
class StoredResult:
    """The source of a state whose value is in a result store and nowhere else."""

    stored: Stored

    def result(self, raise_on_failure: bool = True) -> object:
        """Return the value, read anew each time.

        Raises:
            StoreError: It can't be read or isn't what was kept.
        """
        return load(self.stored)


class Segment:
    """Collects what a chunk stages. Not thread-safe."""

    def __init__(self) -> None:
        self._payloads: list[Buffer] = []
        self._records = bytearray()
        self._size = 0

    def __len__(self) -> int:
        return len(self._records) // _RECORD.size

    @property
    def records(self) -> list[Record]:
        """What was appended, in that order."""
        return unpack_records(self.packed)

    @property
    def packed(self) -> bytes:
        """The records as `pack_index` takes them; 58 bytes each."""
        return bytes(self._records)

    def append(
        self,
        key: bytes,
        payload: Sequence[Buffer],
        codec: int = PICKLE,
        expiry: float = NEVER,
        state: int = 0,
    ) -> Record:
        """Add one element's payload, which must not change before it is written."""
        hasher, length = blake3(), 0
        for part in payload:
            hasher.update(part)
            length += size_bytes(part)
        record = Record(
            key=key,
            offset=self._size,
            length=length,
            digest=hasher.digest(DIGEST_BYTES),
            expiry=expiry,
            codec=codec,
            state=state,
        )
        self._records += pack_records((record,))
        self._payloads += payload
        self._size += length
        return record

    def parts(self) -> Sequence[Buffer]:
        """Return what to write as the segment, footer included."""
        head = _TRAILER.pack(_SEGMENT_MAGIC, _VERSION, len(self), self._size, b"")
        records = self.packed
        digest = blake3(records).update(head).digest()
        trailer = _TRAILER.pack(_SEGMENT_MAGIC, _VERSION, len(self), self._size, digest)
        return [*self._payloads, records, trailer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What one index object commits."""

    tables: Mapping[str, bytes]
    """Packed records by segment name."""

    def __len__(self) -> int:
        return sum(map(len, self.tables.values())) // _RECORD.size

    def records(self) -> dict[str, list[Record]]:
        """Return the records by segment name, an object for each."""
        return {segment: unpack_records(table) for segment, table in self.tables.items()}


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
            for start in range(0, len(table), _RECORD.size):
                row = table[start : start + _RECORD.size]
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
            self.rows, at * _ROW_BYTES
        )
        if expiry <= now:
            return None
        return _stored(self.store, self.segments[number], offset, length, digest, codec)

    def expired(self, key: bytes, digest: bytes, now: float) -> bool:
        """Return whether a value of this key and content was kept, and only until before now."""
        at = self._place(key)
        if at is None:
            return False
        row = _ROW.unpack_from(self.rows, at * _ROW_BYTES)
        return row[3] == digest and row[4] <= now

    def _place(self, key: bytes) -> int | None:
        at = bisect_left(self._heads, int.from_bytes(key[:8], "big"))
        while (found := self.keys[at * 16 : at * 16 + 16]) < key and found:
            at += 1
        return at if found == key else None


def pack_records(records: Iterable[Record]) -> bytes:
    """Return records as footers and indexes hold them.

    Raises:
        ValueError: A key or digest doesn't have 16 bytes.
    """
    packed: list[bytes] = []
    for record in records:
        if len(record.key) != 16 or len(record.digest) != DIGEST_BYTES:
            raise ValueError("A key and a digest must have 16 bytes")
        packed.append(
            _RECORD.pack(
                record.key,
                record.offset,
                record.length,
                record.digest,
                record.expiry,
                record.codec,
                record.state,
            )
        )
    return b"".join(packed)


def unpack_records(packed: bytes) -> list[Record]:
    """Return packed records as objects; the bytes must have been verified."""
    return [
        Record(
            key=key,
            offset=offset,
            length=length,
            digest=digest,
            expiry=expiry,
            codec=codec,
            state=state,
        )
        for key, offset, length, digest, expiry, codec, state in _RECORD.iter_unpack(packed)
    ]


def footer_bytes(tail: bytes, name: str) -> int:
    """Return how much of a segment's end `read_footer` needs, as its last bytes say.

    Raises:
        StoreError: They aren't the end of a segment.
    """
    if len(tail) < _TRAILER.size:
        raise StoreError(f"{name} is damaged: it is too short for a segment")
    magic, _, count, _, _ = _TRAILER.unpack_from(tail, len(tail) - _TRAILER.size)
    if magic != _SEGMENT_MAGIC:
        raise StoreError(f"{name} is damaged or no segment: it has no trailer")
    return count * _RECORD.size + _TRAILER.size


def read_footer(tail: bytes, name: str) -> bytes:
    """Return the verified packed records of a segment.

    Args:
        tail: The segment's end, at least `footer_bytes` of it; may be all of it.
        name: What errors call the segment.

    Raises:
        StoreError: The footer is damaged, cut off or of another version.
    """
    needed = footer_bytes(tail, name)
    if needed > len(tail):
        raise StoreError(f"{name} is damaged: its footer is cut off")
    magic, version, count, size, digest = _TRAILER.unpack_from(tail, len(tail) - _TRAILER.size)
    records = tail[len(tail) - needed : len(tail) - _TRAILER.size]
    head = _TRAILER.pack(magic, version, count, size, b"")
    if blake3(records).update(head).digest() != digest:
        raise StoreError(f"{name} is damaged: its footer doesn't have the digest that it names")
    if version != _VERSION:
        raise StoreError(f"{name} has version {version} of the segment format, not {_VERSION}")
    return records


def pack_index(segments: Mapping[str, Sequence[Record] | bytes]) -> bytes:
    """Return the index object that commits these records of these segments.

    Args:
        segments: Records by segment name, as objects or packed.
    """
    body = [struct.pack("<I", len(segments))]
    for segment, records in segments.items():
        table = records if isinstance(records, bytes) else pack_records(records)
        name = segment.encode()
        body += [_ENTRY.pack(len(name), len(table) // _RECORD.size), name, table]
    content = b"".join(body)
    head = _INDEX.pack(_INDEX_MAGIC, _VERSION, b"")
    return _INDEX.pack(_INDEX_MAGIC, _VERSION, blake3(content).update(head).digest()) + content


def unpack_index(payload: bytes, name: str) -> Index:
    """Return what an index object holds, once its digest was found right.

    Raises:
        StoreError: The object, called `name`, is damaged, cut off or of another version.
    """
    if len(payload) < _INDEX.size or not payload.startswith(_INDEX_MAGIC):
        raise StoreError(f"{name} is damaged or no index: it doesn't begin like one")
    magic, version, digest = _INDEX.unpack_from(payload)
    content = memoryview(payload)[_INDEX.size :]
    if blake3(content).update(_INDEX.pack(magic, version, b"")).digest() != digest:
        raise StoreError(f"{name} is damaged: it doesn't have the digest that it names")
    if version != _VERSION:
        raise StoreError(f"{name} has version {version} of the index format, not {_VERSION}")
    (count,) = struct.unpack_from("<I", content)
    tables: dict[str, bytes] = {}
    at = 4
    for _ in range(count):
        letters, records = _ENTRY.unpack_from(content, at)
        start = at + _ENTRY.size + letters
        at = start + records * _RECORD.size
        tables[str(content[start - letters : start], "utf-8")] = bytes(content[start:at])
    return Index(tables=tables)


def load(stored: Stored, store: ResultStore | None = None) -> object:
    """Return a stored value, read with one request.

    Args:
        stored: Where it is.
        store: Where to read instead of the store that it names.

    Raises:
        StoreError: It can't be read or isn't what was committed.
    """
    store = store or stored.store
    return decode(stored, store.read(stored.segment, stored.offset, stored.length))


def load_all(stored: Sequence[Stored], store: ResultStore | None = None) -> list[object]:
    """Return stored values in the order asked for; neighbours are read with one request.

    Raises:
        StoreError: One of them can't be read or isn't what was committed.
    """
    values: list[object] = [None] * len(stored)
    for span in _spans(stored):
        first = stored[span[0]]
        end = max(stored[place].offset + stored[place].length for place in span)
        read = (store or first.store).read(first.segment, first.offset, end - first.offset)
        content = memoryview(read)
        for place in span:
            one = stored[place]
            start = one.offset - first.offset
            values[place] = decode(one, content[start : start + one.length])
    return values


def decode(stored: Stored, payload: Buffer) -> object:
    """Return the value of a payload that was read from where it is stored.

    Raises:
        StoreError: It isn't what was committed.
        Exception: Whatever its serializer raises.
    """
    if blake3(payload).digest(DIGEST_BYTES) != stored.digest:
        raise StoreError(f"{stored} is damaged: it doesn't have the digest that was committed")
    if stored.serializer is not None:
        return from_raw(stored.serializer, payload)
    decode = CODECS.get(stored.codec)
    if decode is None:
        raise StoreError(f"{stored} has codec {stored.codec}, which isn't known here")
    return decode(payload)


def staged(store: ResultStore, name: str) -> bytes:
    """Return the packed records of a segment, as its footer has them.

    Raises:
        StoreError: There is no such segment, or its footer is damaged.
    """
    tail = store.read(name, -TAIL_BYTES)
    needed = footer_bytes(tail, name)
    if needed > len(tail) == TAIL_BYTES:
        tail = store.read(name, -needed)
    return read_footer(tail, name)


def digest(payload: Iterable[Buffer]) -> bytes:
    """Return the digest of a payload in parts."""
    hasher = blake3()
    for part in payload:
        hasher.update(part)
    return hasher.digest(DIGEST_BYTES)


def _lookup(store: ResultStore, segments: tuple[str, ...], keys: bytes, rows: bytes) -> Lookup:
    return Lookup(store=store, segments=segments, keys=keys, rows=rows)


def _stored(
    store: ResultStore,
    segment: str,
    offset: int,
    length: int,
    digest: bytes,
    codec: int,
    serializer: Any = None,
) -> Stored:
    return Stored(
        store=store,
        segment=segment,
        offset=offset,
        length=length,
        digest=digest,
        codec=codec,
        serializer=serializer,
    )


def _written(named: tuple[str, bytes]) -> str:
    """Return when a segment was written, as its attempt's name has it; of others nothing."""
    return named[0].rpartition(".")[2] if object_names.is_segment(named[0]) else ""


def _spans(stored: Sequence[Stored]) -> Iterator[list[int]]:
    """Group the places of references that lie near each other in one segment."""
    segments: defaultdict[tuple[ResultStore, str], list[int]] = defaultdict(list)
    for place, one in enumerate(stored):
        segments[one.store, one.segment].append(place)
    for places in segments.values():
        places.sort(key=lambda place: stored[place].offset)
        span, end = [places[0]], stored[places[0]].offset + stored[places[0]].length
        for place in places[1:]:
            one = stored[place]
            far = one.offset > end + GAP_BYTES
            if far or one.offset + one.length > stored[span[0]].offset + SPAN_BYTES:
                yield span
                span, end = [], one.offset
            span.append(place)
            end = one.offset + one.length
        yield span
