"""Twenty thousand mutated objects of every kind: each is found, and none leads to another value."""

import random
from collections import Counter
from collections.abc import Callable

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results import object_names, segments
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.payloads import pack
from fanfold.engine.results.segments import INLINED, Damaged, Index, Segment
from fanfold.engine.results.stored import Stored, decode
from fanfold.values.errors import StoreError
from tests.tampering import mutated

MUTATIONS = 20_000
RECORDS = 50
SECRET = bytes(range(32))
RING = Keyring([("main", SECRET)])
STORE = FsspecStore("memory://mutations")
SEGMENT = object_names.segment_name("t", "run", "chunk", "attempt")
INDEX, OTHER = (object_names.index_name("t", "run", 1, "map", number) for number in (1, 2))


def value(number: int) -> object:
    return {"number": number, "text": "x" * (number % 40)}


def alone() -> bytes:
    """Return an index that holds its value itself."""
    segment = Segment()
    segment.append(bytes(16), pack(value(0)))
    return segments.pack_index({INLINED: segment.alone()}, INDEX, RING)


def test_every_one_of_many_mutated_objects_is_found() -> None:
    # Given what a map has staged and committed
    segment = Segment()
    for number in range(RECORDS):
        segment.append(number.to_bytes(16, "big"), pack(value(number)))
    whole = b"".join(segment.parts(SEGMENT, SECRET))
    footer = whole[-segments.footer_bytes(whole, SEGMENT) :]
    index = segments.pack_index({SEGMENT: segment.packed}, INDEX, RING)
    private = segments.pack_index({SEGMENT: segment.packed}, INDEX, None)
    found = Lookup.merge(STORE, [Index(tables={SEGMENT: segment.packed})])
    chance = random.Random(6)

    def changed_footer() -> bytes:
        # It is what a segment ends with, whatever is in front of it.
        while (changed := mutated(footer, chance)[-len(footer) :]) == footer:
            pass
        return changed

    def changed_payload() -> object:
        stored = found.find(chance.randrange(RECORDS).to_bytes(16, "big"), 0.0)
        assert stored is not None
        return decode(stored, mutated(payload_of(stored), chance))

    def anothers_payload() -> object:
        one, other = (
            found.find(number.to_bytes(16, "big"), 0.0)
            for number in chance.sample(range(RECORDS), 2)
        )
        assert one is not None and other is not None
        return decode(one, payload_of(other))

    def payload_of(stored: Stored) -> bytes:
        return whole[stored.offset : stored.offset + stored.length]

    tampered: dict[str, Callable[[], object]] = {
        "index": lambda: segments.unpack_index(mutated(index, chance), INDEX, RING),
        "small index": lambda: segments.unpack_index(mutated(alone(), chance), INDEX, RING),
        "unsigned index": lambda: segments.unpack_index(mutated(private, chance), INDEX, None),
        "renamed index": lambda: segments.unpack_index(index, OTHER, RING),
        "footer": lambda: segments.read_footer(changed_footer(), SEGMENT, SECRET),
        "payload": changed_payload,
        "swapped payload": anothers_payload,
    }

    # When each is changed in thousands of ways, and read
    refused: Counter[str] = Counter()
    for number in range(MUTATIONS):
        kind = list(tampered)[number % len(tampered)]
        try:
            tampered[kind]()
        except (Damaged, StoreError):
            refused[kind] += 1

    # Then nothing of it was taken for what it isn't
    assert refused.total() == MUTATIONS, refused
    assert segments.unpack_index(index, INDEX, RING).tables == {SEGMENT: segment.packed}
    assert segments.unpack_index(alone(), INDEX, RING).payload == b"".join(pack(value(0)))
