"""Segments, indexes and lookups: what was put in comes out, and damage never does."""

import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results import object_names, segments
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.payloads import RAW
from fanfold.engine.results.pickles import pack, unpack
from fanfold.engine.results.segments import TAIL_BYTES, Index, Record, Segment
from fanfold.engine.results.stored import GAP_BYTES, Stored, load, load_all
from fanfold.values.errors import StoreError, UsageError

SECRET = bytes(range(32))

keys = st.binary(min_size=16, max_size=16)
few_keys = st.integers(0, 9).map(lambda number: bytes([number]) * 16)
records = st.builds(
    Record,
    key=keys,
    offset=st.integers(0, 2**64 - 1),
    length=st.integers(0, 2**64 - 1),
    digest=keys,
    expiry=st.floats(allow_nan=False),
    codec=st.integers(0, 255),
    state=st.integers(0, 255),
)
ids = st.text(alphabet="0123456789abcdef", min_size=1)
tables = st.dictionaries(st.text(min_size=1), st.lists(records, max_size=5), max_size=4)


class Counting:
    """A store that counts the reads of another."""

    def __init__(self, store: FsspecStore) -> None:
        self.store = store
        self.reads: list[tuple[str, int, int | None]] = []

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.reads.append((name, offset, length))
        return self.store.read(name, offset, length)

    def write(self, name: str, parts: Sequence[Any]) -> None:
        self.store.write(name, parts)

    def create(self, name: str, payload: bytes) -> bool:
        return self.store.create(name, payload)

    def names(self, prefix: str) -> list[str]:
        return self.store.names(prefix)


@pytest.fixture
def store(tmp_path: Any) -> Counting:
    return Counting(FsspecStore(str(tmp_path)))


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def written(store: Counting, values: Sequence[object], name: str = "s") -> list[Stored]:
    segment = Segment()
    for number, value in enumerate(values):
        segment.append(key(number), pack(value))
    store.write(name, segment.parts(name, SECRET))
    lookup = Lookup.merge(store, [Index(tables={name: segment.packed})])
    found = [lookup.find(key(number), 0.0) for number in range(len(values))]
    assert None not in found
    return found  # type: ignore[return-value]


@given(st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=9))
def test_a_value_is_packed_and_unpacked(value: Any) -> None:
    assert unpack(b"".join(pack(value))) == value


@pytest.mark.parametrize("writeable", [True, False])
def test_arrays_come_back_as_they_were(writeable: bool) -> None:
    big, small = np.arange(100_000.0), np.asfortranarray(np.ones((3, 4), "i2"))
    big.flags.writeable = writeable

    parts = pack({"big": big, "small": small, "none": np.zeros(0)})
    assert any(np.shares_memory(np.frombuffer(part, "u1"), big) for part in parts)
    value: Any = unpack(b"".join(parts))

    assert np.array_equal(value["big"], big) and np.array_equal(value["small"], small)
    assert value["big"].flags.writeable == writeable
    assert value["small"].flags.f_contiguous


@given(st.lists(records, max_size=9))
def test_records_are_packed_and_unpacked(given_records: list[Record]) -> None:
    assert segments.unpack_records(segments.pack_records(given_records)) == given_records


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Segment().append(b"short", [b""])


@given(tables)
def test_an_index_is_packed_and_unpacked(table: dict[str, list[Record]]) -> None:
    packed = {name: segments.pack_records(rows) for name, rows in table.items()}

    index = segments.unpack_index(segments.pack_index(table, "i", None), "i", None)

    assert index.records() == table
    assert len(index) == sum(map(len, table.values()))
    assert segments.pack_index(packed, "i", None) == segments.pack_index(table, "i", None)


@settings(max_examples=20)
@given(tables, st.integers(1, 255))
def test_every_damage_of_an_index_is_found(table: dict[str, list[Record]], flip: int) -> None:
    payload = segments.pack_index(table, "the-index", None)

    for damaged in damages(payload, flip):
        with pytest.raises(StoreError, match="the-index"):
            segments.unpack_index(damaged, "the-index", None)


def damages(payload: bytes, flip: int) -> list[bytes]:
    flipped = [
        payload[:place] + bytes([payload[place] ^ flip]) + payload[place + 1 :]
        for place in range(len(payload))
    ]
    return [*flipped, *(payload[:size] for size in range(len(payload))), payload + b"\0"]


@settings(max_examples=20)
@given(st.lists(st.binary(max_size=9), max_size=4), st.integers(1, 255))
def test_every_damage_of_a_footer_is_found(payloads: list[bytes], flip: int) -> None:
    segment = Segment()
    for payload in payloads:
        segment.append(bytes(16), [payload])
    whole = b"".join(segment.parts("the-segment", SECRET))
    start = len(whole) - segments.footer_bytes(whole, "s")

    assert segments.read_footer(whole, "the-segment", SECRET) == segment.packed
    for damaged in damages(whole[start:], flip):
        with pytest.raises(StoreError, match="the-segment"):
            segments.read_footer(damaged, "the-segment", SECRET)


@pytest.mark.parametrize("value", [17, "text", [1, {"a": (2, 3)}], np.arange(9)])
def test_every_damage_of_a_payload_is_found(store: Counting, value: Any) -> None:
    (stored,) = written(store, [value])
    whole = store.read("s")
    payload = whole[: stored.length]

    for damaged in damages(payload, 1)[:-1]:
        store.write("s", [damaged] if len(damaged) < len(payload) else [damaged, whole])
        with pytest.raises(StoreError, match=r"\bs\b"):
            load(stored)
        with pytest.raises(StoreError, match=r"\bs\b"):
            load_all([stored])


def test_nothing_is_unpickled_before_it_is_verified(store: Counting) -> None:
    segment = Segment()
    bomb = pickle.dumps(pytest.fail, 5)[:-1] + b"\x8c\x04boom\x85R."
    segment.append(key(0), pack(0))
    store.write("s", [b"".join([pack(0)[0], bomb])])
    (record,) = segment.records
    stored = Stored(store=store, segment="s", offset=0, length=record.length, digest=record.digest)

    with pytest.raises(StoreError, match="damaged"):
        load(stored)


def test_an_unknown_codec_is_refused(store: Counting) -> None:
    segment = Segment()
    segment.append(key(0), pack(0), codec=200)
    store.write("s", segment.parts("s", SECRET))
    lookup = Lookup.merge(store, [Index(tables={"s": segment.packed})])

    stored = lookup.find(key(0), 0.0)
    assert stored is not None
    with pytest.raises(StoreError, match="codec 200"):
        load(stored)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abc"),
            st.lists(
                st.tuples(few_keys | keys, st.integers(0, 99), st.sampled_from([1, 2, math.inf]))
            ),
        ),
        max_size=4,
    ),
    st.sampled_from([0.0, 1.0, 1.5, 3.0]),
)
def test_a_lookup_is_a_dict_with_expiry(
    indexes: list[dict[str, list[tuple[bytes, int, float]]]], now: float
) -> None:
    store = FsspecStore("memory://lookup")
    model: dict[bytes, tuple[str, int, float]] = {}
    made: list[Index] = []
    for index in indexes:
        packed = {}
        for name, rows in index.items():
            packed[name] = segments.pack_records(
                Record(key=key, offset=offset, length=7, digest=key, expiry=expiry)
                for key, offset, expiry in rows
            )
            model |= {key: (name, offset, expiry) for key, offset, expiry in rows}
        made.append(Index(tables=packed))

    lookup = pickle.loads(pickle.dumps(Lookup.merge(store, made)))

    assert len(lookup) == len(model)
    for searched in [*model, bytes(16), b"\xff" * 16, *(bytes([i]) * 16 for i in range(10))]:
        name, offset, expiry = model.get(searched, ("", 0, -math.inf))
        expected = Stored(store=store, segment=name, offset=offset, length=7, digest=searched)
        assert lookup.find(searched, now) == (expected if expiry > now else None)
        cut = pickle.loads(pickle.dumps(lookup.only([searched, b"\x80" * 16])))
        assert len(cut) == len({searched, b"\x80" * 16} & model.keys())
        assert cut.find(searched, now) == lookup.find(searched, now)


def test_keys_that_differ_only_in_their_second_half_are_told_apart() -> None:
    store = FsspecStore("memory://lookup")
    rows = [Record(key=key(n), offset=n, length=0, digest=bytes(16)) for n in range(0, 100, 2)]
    lookup = Lookup.merge(store, [Index(tables={"s": segments.pack_records(rows)})])

    found = [lookup.find(key(n), 0.0) for n in range(102)]

    assert [one and one.offset for one in found[:100:2]] == list(range(0, 100, 2))
    assert not any(found[1::2]) and found[100] is None


def test_values_come_back_in_the_order_asked_for_with_one_read(store: Counting) -> None:
    values = [[number, str(number) * 9] for number in range(500)]
    stored = written(store, values)
    order = [*range(499, -1, -3), 7, 7, *range(0, 500, 2)]
    store.reads.clear()

    assert load_all([stored[i] for i in order]) == [values[i] for i in order]
    assert len(store.reads) == 1


def test_values_far_apart_are_read_without_what_is_between(store: Counting) -> None:
    stored = written(store, [1, b"x" * (GAP_BYTES + 1), 2])
    store.reads.clear()

    assert load_all([stored[2], stored[0]]) == [2, 1]
    assert sorted(store.reads) == [("s", one.offset, one.length) for one in (stored[0], stored[2])]


def test_values_of_several_segments_are_read_once_each(store: Counting) -> None:
    one, other = written(store, [1, 2], "one"), written(store, [3, 4], "other")
    store.reads.clear()

    assert load_all([one[0], other[1], one[1], other[0]]) == [1, 4, 2, 3]
    assert len(store.reads) == 2
    assert load_all([]) == []


def test_a_loaded_array_is_writable_and_its_own(store: Counting) -> None:
    stored = written(store, [np.arange(9), np.arange(9)])

    one, other = load_all(stored)
    one[0] = 99  # type: ignore[index]

    assert other[0] == 0  # type: ignore[index]


def test_a_list_of_references_pickles_small() -> None:
    store = FsspecStore("s3://bucket/a/long/path", {"anon": True})
    stored = [
        Stored(store=store, segment="tasks/t/segments/r/c.a", offset=i, length=9, digest=key(i))
        for i in range(5000)
    ]

    pickled = pickle.dumps(stored, 5)

    assert pickle.loads(pickled) == stored
    assert len(pickled) < 60 * len(stored)
    assert pickled.count(b"bucket") == pickled.count(b"segments/r/c.a") == 1


@pytest.mark.parametrize("count", [0, 1, 10, TAIL_BYTES // 50])
def test_a_chunk_finds_what_its_segment_holds(store: Counting, count: int) -> None:
    segment = Segment()
    for number in range(count):
        segment.append(key(number), [b"ab", memoryview(b"c")], expiry=number, state=number % 7)
    store.write("s", segment.parts("s", SECRET))

    packed = segments.staged(store, "s", SECRET)

    assert packed == segment.packed
    assert segments.unpack_records(packed) == segment.records
    assert len(segment) == count
    assert len(store.reads) == (1 if count < 1000 else 2)


def test_what_is_no_segment_is_refused(store: Counting) -> None:
    for content in (b"", b"short", bytes(100)):
        store.write("s", [content])
        with pytest.raises(StoreError, match=r"\bs\b"):
            segments.staged(store, "s", SECRET)
    with pytest.raises(StoreError, match="absent"):
        segments.staged(store, "absent", SECRET)


@given(st.text(), st.text(min_size=1), ids, st.integers(0, 10**6), st.integers(0, 10**8))
def test_names_are_made_of_any_text_and_read_back(
    task: str, run: str, map_id: str, epoch: int, number: int
) -> None:
    name = object_names.index_name(task, run, epoch, map_id, number)

    assert name.startswith(object_names.index_prefix(task))
    assert object_names.split_index_name(name) == (run, epoch, map_id, number)
    assert name.count("/") == 3 and "" not in name.split("/") and "/." not in name


def test_names_are_as_documented_and_sort_by_epoch_and_number() -> None:
    assert object_names.index_name("t", "r", 1, "m", 2) == "tasks/t/index/r.000001.m.00000002"
    assert object_names.segment_name("t", "r", "c", "a") == "tasks/t/segments/r/c.a"
    assert object_names.segment_name("t", "r", "c", "a").startswith(
        object_names.segment_prefix("t", "r", "c")
    )
    names = [object_names.index_name("t", "r", e, "m", n) for e, n in [(9, 99), (10, 9), (10, 10)]]
    assert names == sorted(names)


def test_of_equal_keys_the_one_in_the_segment_that_was_written_last_counts(store: Counting) -> None:
    segment = Segment()
    segment.append(key(1), pack("value"))
    early = object_names.segment_name("t", "later-run", "c", "0001")
    late = object_names.segment_name("t", "earlier-run", "c", "0002")

    for order in ([early, late], [late, early]):
        indexes = [Index(tables={name: segment.packed}) for name in order]
        found = Lookup.merge(store, indexes).find(key(1), 0.0)
        assert found is not None and found.segment == late


def test_a_lookup_says_whether_a_content_has_expired(store: Counting) -> None:
    segment = Segment()
    record = segment.append(key(1), pack("value"), expiry=10.0)
    lookup = Lookup.merge(store, [Index(tables={"s": segment.packed})])

    assert not lookup.expired(key(1), record.digest, 9.9)
    assert lookup.expired(key(1), record.digest, 10.0)
    assert not lookup.expired(key(1), b"0" * 16, 10.0)
    assert not lookup.expired(key(2), record.digest, 10.0)


def test_a_value_that_stands_alone_is_read_by_its_serializer(store: Counting) -> None:
    payload = b'{"a": 1}'
    store.write("alone", [payload])
    stored = Stored(
        store=store.store,
        segment="alone",
        offset=0,
        length=len(payload),
        digest=segments.digest([payload]),
        codec=RAW,
        serializer="json",
    )

    again = pickle.loads(pickle.dumps(stored))

    assert again == stored
    assert load(again) == {"a": 1}


@pytest.mark.parametrize(
    "name",
    [
        *("../a", "/etc", "a/../b", "a//b", "", ".", "tasks/x/segments/y", "tasks/x/1.json"),
        *("claims", "flows/f", "runs/x", "signatures/a", "transactions/a"),
        *("a\0b", "a\nb", "a/\ud800", "a/" + "ü" * 128),
    ],
)
def test_names_of_users_stay_inside_and_leave_ours_alone(name: str) -> None:
    with pytest.raises(UsageError, match="of the-task"):
        object_names.filled_in("{name}", "the-task", {"name": name})


@pytest.mark.parametrize("name", ["tasks.json", "my/tasks/a", "flowsheets/a", "a/" + "ü" * 127])
def test_other_names_are_for_users_to_choose(name: str) -> None:
    assert object_names.filled_in("{name}", "the-task", {"name": name}) == name


def test_a_name_that_cannot_be_filled_in_says_what_it_may_hold() -> None:
    with pytest.raises(UsageError, match=r"\{flow_run\.name\}.*\{task_run\.id\}.*call are: day"):
        object_names.filled_in("{nope}", "the-task", {"parameters": {"day": 1}})


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_staged_object_knows_the_name_that_it_is_to_have(attempt: str, name: str) -> None:
    staged = object_names.staged_object_name("t", attempt, name)

    assert staged.startswith(object_names.objects_prefix("t"))
    assert staged.count("/") == 4
    assert object_names.split_staged_object_name(staged) == name
