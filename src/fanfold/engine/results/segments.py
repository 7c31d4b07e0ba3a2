"""What the objects in a result store hold.

A *segment* is what one chunk staged: its payloads one after another, then a footer that names them.
An *index* commits: it holds the records of some segments, and an element is committed when an index
names it. A result in an object that the user has named is a segment of its own, without a footer.

Every object carries a digest of itself and its name, which is checked before anything else in it is
looked at; that of a segment is made with a secret of its map. Where others may write, an index is
signed as well. What isn't as it was written is a `Damaged` that names the object. All numbers are
little-endian:

    segment   payloads, records, trailer
    trailer   "FFSG", version, number of records, bytes of payloads, digest of records and trailer
    index     "FFIX", version, key and signature, digest of it all but the signature, number of
              segments, name and records of each
              (a segment without a name is the index itself: one record, then its payload; a line
              end and an id after the name say when that was written of which the name doesn't tell)
    record    key, offset, length, digest of the payload, expiry, codec, state

Pure but for `staged`, which reads through a `ResultStore`.
"""

import hmac
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blake3 import blake3

from fanfold.engine.results.keyring import ID_BYTES, SIGNATURE_BYTES, UNSIGNED, Keyring
from fanfold.engine.results.payloads import PICKLE
from fanfold.engine.results.pickles import size_bytes
from fanfold.ports.results import Buffer, ResultStore
from fanfold.values.errors import StoreError

INLINED = ""
"""Stands for the name of the index itself, which holds a small value beside its record."""
NEVER = math.inf
"""The expiry of what is kept until somebody removes it."""
DIGEST_BYTES = 16
TAIL_BYTES = 64 << 10
"""How much of a segment's end is read at first: the footer of a thousand elements."""

_RECORD = struct.Struct("<16sQQ16sdBB")
RECORD_BYTES = _RECORD.size
_TRAILER = struct.Struct("<4sHIQ32s")
_INDEX = struct.Struct(f"<4sH{ID_BYTES}s{SIGNATURE_BYTES}s32s")
_HEAD = struct.Struct(f"<4sH{ID_BYTES}sI")
_ENTRY = struct.Struct("<II")
_SEGMENT_MAGIC, _INDEX_MAGIC, _VERSION = b"FFSG", b"FFIX", 2
SECRET_BYTES = 32
"""Of what authenticates the segments of a map."""


class Damaged(StoreError):
    """An object isn't what was written under its name, or not by somebody who is believed."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{self.shown} {reason}")

    @property
    def shown(self) -> str:
        """The name as a text of one line: whoever put the object there has chosen it."""
        return self.name if self.name.isprintable() else repr(self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return Damaged, (self.name, self.reason)


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
    def size(self) -> int:
        """Bytes of all payloads."""
        return self._size

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

    def alone(self) -> bytes:
        """Return the only element as `pack_index` takes what an index is to hold itself."""
        return b"".join([self.packed, *self._payloads])

    def parts(self, name: str, secret: bytes) -> Sequence[Buffer]:
        """Return what to write as the segment of this name, footer included.

        Args:
            name: The object's.
            secret: What tries of the same chunk know, and nobody who only has the storage.
        """
        head = _TRAILER.pack(_SEGMENT_MAGIC, _VERSION, len(self), self._size, b"")
        records = self.packed
        digest = _footer_digest(records, head, name, secret)
        trailer = _TRAILER.pack(_SEGMENT_MAGIC, _VERSION, len(self), self._size, digest)
        return [*self._payloads, records, trailer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What one index object commits."""

    tables: Mapping[str, bytes]
    """Packed records by what the index calls their segment, see `object_names.timed`."""
    payload: bytes = b""
    """Of the only value, where the index holds it itself."""

    def __len__(self) -> int:
        return sum(map(len, self.tables.values())) // _RECORD.size

    def records(self) -> dict[str, list[Record]]:
        """Return the records by what the index calls their segment, an object for each."""
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


def footer_bytes(tail: Buffer, name: str) -> int:
    """Return how much of a segment's end `read_footer` needs, as its last bytes say.

    Raises:
        Damaged: They aren't the end of a segment.
    """
    if len(tail) < _TRAILER.size:
        raise Damaged(name, "is damaged: it is too short for a segment")
    magic, _, count, _, _ = _TRAILER.unpack_from(tail, len(tail) - _TRAILER.size)
    if magic != _SEGMENT_MAGIC:
        raise Damaged(name, "is damaged or no segment: it has no trailer")
    return count * _RECORD.size + _TRAILER.size


def read_footer(tail: Buffer, name: str, secret: bytes) -> bytes:
    """Return the verified packed records of a segment.

    Args:
        tail: The segment's end, at least `footer_bytes` of it; may be all of it.
        name: The object's.
        secret: What it was made with.

    Raises:
        Damaged: The footer was changed, cut off, of another segment, map or version.
    """
    needed = footer_bytes(tail, name)
    if needed > len(tail):
        raise Damaged(name, "is damaged: its footer is cut off")
    magic, version, count, size, digest = _TRAILER.unpack_from(tail, len(tail) - _TRAILER.size)
    records = bytes(tail[len(tail) - needed : len(tail) - _TRAILER.size])
    head = _TRAILER.pack(magic, version, count, size, b"")
    if not hmac.compare_digest(_footer_digest(records, head, name, secret), digest):
        raise Damaged(name, "is damaged, or no chunk of this map has written it")
    if version != _VERSION:
        raise Damaged(name, f"has version {version} of the segment format, not {_VERSION}")
    return records


def _footer_digest(records: bytes, head: bytes, name: str, secret: bytes) -> bytes:
    return blake3(records, key=secret).update(head).update(name.encode()).digest()


def pack_index(
    segments: Mapping[str, Sequence[Record] | bytes], name: str, keyring: Keyring | None
) -> bytes:
    """Return the index object that commits these records of these segments.

    Args:
        segments: Records by segment name, as objects or packed; under `INLINED` one packed record,
            then its payload.
        name: The object's; under another one nobody believes it.
        keyring: Signs it; None where nobody else can write.
    """
    body = [struct.pack("<I", len(segments))]
    for segment, records in segments.items():
        table = records if isinstance(records, bytes) else pack_records(records)
        letters = segment.encode()
        count = len(table) // _RECORD.size if letters else 1
        body += [_ENTRY.pack(len(letters), count), letters, table]
    content = b"".join(body)
    key_id, signature = UNSIGNED
    if keyring is not None:
        key_id = keyring.first_id
    digest = _index_digest(content, _VERSION, key_id, name)
    if keyring is not None:
        signature = keyring.sign(digest)
    return _INDEX.pack(_INDEX_MAGIC, _VERSION, key_id, signature, digest) + content


def unpack_index(payload: Buffer, name: str, keyring: Keyring | None) -> Index:
    """Return what an index object holds, once it was found to be what was written under its name.

    Args:
        payload: All of the object.
        name: The object's.
        keyring: Whose signatures are believed; None where nobody else can write, so that the digest
            alone will do, signed or not.

    Raises:
        Damaged: The object was changed, cut off, written under another name or by somebody who
            isn't believed, or is of another version.
    """
    if len(payload) < _INDEX.size or bytes(payload[:4]) != _INDEX_MAGIC:
        raise Damaged(name, "is damaged or no index: it doesn't begin like one")
    _, version, key_id, signature, digest = _INDEX.unpack_from(payload)
    content = memoryview(payload)[_INDEX.size :]
    if version != _VERSION:
        raise Damaged(name, f"has version {version} of the index format, not {_VERSION}")
    if not hmac.compare_digest(_index_digest(content, version, key_id, name), digest):
        raise Damaged(name, "is damaged, or was written under another name: its digest is wrong")
    if keyring is not None:
        problem = keyring.problem(key_id, signature, digest)
    else:
        half = key_id == UNSIGNED[0] and signature != UNSIGNED[1]
        problem = "is damaged: it has a signature of no key" if half else ""
    if problem:
        raise Damaged(name, problem)
    (count,) = struct.unpack_from("<I", content)
    tables: dict[str, bytes] = {}
    inlined = b""
    at = 4
    for _ in range(count):
        letters, records = _ENTRY.unpack_from(content, at)
        start = at + _ENTRY.size + letters
        at = start + records * _RECORD.size
        table = bytes(content[start:at])
        if letters:
            tables[str(content[start - letters : start], "utf-8")] = table
            continue
        (record,) = unpack_records(table)
        inlined = bytes(content[at : at + record.length])
        tables[name] = pack_records((replace(record, offset=_INDEX.size + at),))
        at += record.length
    return Index(tables=tables, payload=inlined)


def _index_digest(content: Buffer, version: int, key_id: bytes, name: str) -> bytes:
    """Return what is signed: it says what it is of, and under which name."""
    letters = name.encode()
    head = _HEAD.pack(_INDEX_MAGIC, version, key_id, len(letters))
    return blake3(head).update(letters).update(content).digest()


def staged(store: ResultStore, name: str, secret: bytes) -> bytes:
    """Return the packed records of a segment, as its footer has them.

    Raises:
        Damaged: No chunk of the map with this secret has written it, or it was changed since.
        StoreError: It can't be read.
    """
    tail = bytes(store.read(name, -TAIL_BYTES))
    needed = footer_bytes(tail, name)
    if needed > len(tail) == TAIL_BYTES:
        tail = bytes(store.read(name, -needed))
    return read_footer(tail, name, secret)


def digest(payload: Iterable[Buffer]) -> bytes:
    """Return the digest of a payload in parts."""
    hasher = blake3()
    for part in payload:
        hasher.update(part)
    return hasher.digest(DIGEST_BYTES)
