"""What the objects in a result store hold.

A *segment* is what one chunk staged: its payloads one after another, then a footer that names them.
An *index* commits: it holds the records of some segments, and an element is committed when an index
names it. A result in an object that the user has named is a segment of its own, without a footer.

Every object carries its own digest, which is checked before anything else in it is looked at. What
is damaged is a `StoreError` that names the object. All numbers are little-endian:

    segment   payloads, records, trailer
    trailer   "FFSG", version, number of records, bytes of payloads, digest of records and trailer
    index     "FFIX", version, digest of it all, number of segments, name and records of each
    record    key, offset, length, digest of the payload, expiry, codec, state

Pure but for `staged`, which reads through a `ResultStore`.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3

from fanfold.engine.results.payloads import PICKLE, size_bytes
from fanfold.ports.results import Buffer, ResultStore
from fanfold.values.errors import StoreError

NEVER = math.inf
"""The expiry of what is kept until somebody removes it."""
DIGEST_BYTES = 16
TAIL_BYTES = 64 << 10
"""How much of a segment's end is read at first: the footer of a thousand elements."""

_RECORD = struct.Struct("<16sQQ16sdBB")
RECORD_BYTES = _RECORD.size
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


def staged(store: ResultStore, name: str) -> bytes:
    """Return the packed records of a segment, as its footer has them.

    Raises:
        StoreError: There is no such segment, or its footer is damaged.
    """
    tail = bytes(store.read(name, -TAIL_BYTES))
    needed = footer_bytes(tail, name)
    if needed > len(tail) == TAIL_BYTES:
        tail = bytes(store.read(name, -needed))
    return read_footer(tail, name)


def digest(payload: Iterable[Buffer]) -> bytes:
    """Return the digest of a payload in parts."""
    hasher = blake3()
    for part in payload:
        hasher.update(part)
    return hasher.digest(DIGEST_BYTES)
