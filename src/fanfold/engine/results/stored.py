"""References to values in a result store, and how they become values again."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from fanfold.engine.results.payloads import CODECS, PICKLE, from_raw
from fanfold.engine.results.segments import DIGEST_BYTES
from fanfold.ports.results import Buffer, ResultStore
from fanfold.values.errors import StoreError

GAP_BYTES = 64 << 10
"""Unwanted bytes between two payloads that are read along: less than a request costs."""
SPAN_BYTES = 64 << 20
"""Payloads that are read together, at most, unless a single one is longer."""


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
        return stored_at, (*place, self.serializer) if self.serializer is not None else place

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
        if len(span) == 1:  # what was read for one value alone, that may live in
            values[span[0]] = decode(first, read)
            continue
        content = memoryview(read).toreadonly()
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


def stored_at(
    store: ResultStore,
    segment: str,
    offset: int,
    length: int,
    digest: bytes,
    codec: int,
    serializer: Any = None,
) -> Stored:
    """Return a reference, made without keywords as pickles and tables want it."""
    return Stored(
        store=store,
        segment=segment,
        offset=offset,
        length=length,
        digest=digest,
        codec=codec,
        serializer=serializer,
    )


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
