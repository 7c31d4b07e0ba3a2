"""What is committed of a task: read once, merged when it is scattered, the newest first."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results import caring, garbage, inventory, object_names, segments
from fanfold.engine.results import shelf as shelves
from fanfold.engine.results.garbage import Wishes
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.payloads import RAW, pack
from fanfold.engine.results.segments import INLINED, Record, Segment
from fanfold.engine.results.shelf import MOST_LOOSE, Shelf
from fanfold.engine.results.stored import decode, load
from fanfold.testing.ledger import pause
from fanfold.values.ids import new_id


@pytest.fixture
def store(tmp_path: Path) -> FsspecStore:
    return FsspecStore(str(tmp_path / "store"))


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def commit_call(shelf: Shelf, number: int, value: object, epoch: int = 1, when: str = "") -> str:
    """Commit one value as a call does, and return the index's name."""
    alone = Segment()
    alone.append(key(number), pack(value))
    name = object_names.index_name("t", f"run-{number}", epoch, new_id(), 1, when or new_id())
    shelf.commit(name, {INLINED: alone.alone()})
    return name


def commit_map(store: FsspecStore, shelf: Shelf, numbers: range, value: object) -> str:
    """Commit values as a map does, and return the segment's name."""
    segment, run = Segment(), new_id()
    for number in numbers:
        segment.append(key(number), pack(value))
    name = object_names.segment_name("t", run, f"{run}-1", new_id())
    store.write(name, segment.parts(name, bytes(32)))
    shelf.commit(object_names.index_name("t", "flow", 1, run, 1), {name: segment.packed})
    return name


def found(shelf: Shelf, number: int, *, single: bool = True) -> object:
    lookup = shelf.look_up(single=single)
    stored = lookup.find(key(number), 0.0)
    assert stored is not None
    payload = lookup.held.get(stored.segment)
    return load(stored) if payload is None else decode(stored, payload)


def indexes(store: FsspecStore) -> list[str]:
    return store.names(object_names.index_prefix("t"))


@pytest.mark.parametrize("single", [True, False])
def test_many_small_indexes_become_one_and_nothing_is_lost(
    single: bool, store: FsspecStore
) -> None:
    writer = Shelf(store, "t", None)
    commit_map(store, writer, range(100, 110), "of a map")
    for number in range(MOST_LOOSE):
        commit_call(writer, number, f"value {number}")

    writer.tidy()

    assert len(indexes(store)) == 1
    for reader in (writer, Shelf(store, "t", None)):
        values = [found(reader, number, single=single) for number in range(MOST_LOOSE)]
        assert values == [f"value {number}" for number in range(MOST_LOOSE)]
        assert found(reader, 105, single=single) == "of a map"


class Watched:
    """A lock that says who has come to it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.came = threading.Semaphore(0)

    def __enter__(self) -> None:
        self.came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_calls_at_the_same_time_share_a_listing_that_began_after_they_came(
    store: FsspecStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, go, listing = list[str](), threading.Event(), FsspecStore.names

    def names(self: FsspecStore, prefix: str) -> list[str]:
        listed.append(prefix)
        assert go.wait(60)
        return listing(self, prefix)

    monkeypatch.setattr(FsspecStore, "names", names)
    shelf, lock = Shelf(store, "t", None), Watched()
    monkeypatch.setattr(shelf, "_lock", lock)

    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(shelf.look_up, single=True)
        assert lock.came.acquire(timeout=60)
        while not listed:
            pause()
        commit_call(Shelf(store, "t", None), 1, "after the first listing, for all that it knew")
        others = [pool.submit(shelf.look_up, single=True) for _ in range(9)]
        for _ in others:
            assert lock.came.acquire(timeout=60)
        go.set()
        first.result(60)
        seen = [len(other.result(60)) for other in others]

    assert (len(listed), seen) == (2, [1] * 9)
    assert len(shelf.look_up(single=True)) == 1 and len(listed) == 3


def test_few_indexes_are_left_alone_and_so_are_those_of_resumed_runs(store: FsspecStore) -> None:
    shelf = Shelf(store, "t", None)
    for number in range(MOST_LOOSE):
        commit_call(shelf, number, number)
    shelf.tidy()
    assert len(indexes(store)) == MOST_LOOSE

    resumed = commit_call(shelf, 1000, "resumed", epoch=2)
    commit_call(shelf, 1001, "one more")
    shelf.tidy()

    assert len(indexes(store)) == 2 and resumed in indexes(store)


def test_what_was_replaced_stays_so_when_it_is_merged(store: FsspecStore) -> None:
    shelf = Shelf(store, "t", None)
    commit_call(shelf, 1, "old")
    for number in range(100, 100 + MOST_LOOSE):
        commit_call(shelf, number, number)
    # The newest is in an index that isn't among the merged ones
    newer = commit_call(shelf, 1, "new", epoch=2)

    shelf.tidy()

    assert newer in indexes(store) and len(indexes(store)) == 2
    for reader in (shelf, Shelf(store, "t", None)):
        assert found(reader, 1) == found(reader, 1, single=False) == "new"
        assert found(reader, 110) == 110


def before_merging(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have something happen after what is merged was read, before that is written."""
    create = FsspecStore.create

    def late(self: FsspecStore, name: str, payload: bytes) -> bool:
        if object_names.MERGED in name:
            happens()
        return create(self, name, payload)

    monkeypatch.setattr(FsspecStore, "create", late)


def test_what_was_written_before_a_merge_and_arrives_after_it_stays_the_newer_one(
    store: FsspecStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "MOST_LOOSE", 2)
    merger, others = Shelf(store, "t", None), Shelf(store, "t", None)
    commit_call(merger, 1, "old")
    when = new_id()
    for number in range(2, 10):
        commit_call(merger, number, number)
        merger.tidy()
    assert [object_names.tier(name) for name in indexes(store)] == [1, 1, 1]
    before_merging(monkeypatch, lambda: commit_call(others, 1, "refreshed", when=when))

    merger.tidy()

    assert [object_names.tier(name) for name in indexes(store)] == [2, 0]
    assert [found(shelf, 1) for shelf in (merger, Shelf(store, "t", None))] == ["refreshed"] * 2


@pytest.mark.parametrize(("settled_s", "tables"), [(120.0, 9), (-120.0, 3)])
def test_merged_values_say_when_they_were_written_until_all_older_ones_are_there(
    settled_s: float, tables: int, store: FsspecStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "MOST_LOOSE", 2)
    monkeypatch.setattr(shelves, "SETTLED_S", settled_s)
    shelf = Shelf(store, "t", None)
    for number in range(9):
        commit_call(shelf, number, number)
        shelf.tidy()

    shelf.tidy()

    (name,) = indexes(store)
    assert len(segments.unpack_index(store.read(name), name, None).tables) == tables
    for reader in (shelf, Shelf(store, "t", None)):
        assert [found(reader, number) for number in range(9)] == list(range(9))
        assert [found(reader, number, single=False) for number in range(9)] == list(range(9))


def test_what_is_removed_while_it_is_merged_does_not_come_back(
    store: FsspecStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    merger = Shelf(store, "t", None)
    names = [commit_call(merger, number, number) for number in range(MOST_LOOSE + 1)]
    before_merging(monkeypatch, lambda: store.remove(names[:1]))

    merger.tidy()

    assert indexes(store) == sorted(names[1:])
    for reader in (merger, Shelf(store, "t", None)):
        assert reader.look_up(single=True).find(key(0), 0.0) is None
        assert found(reader, 1) == 1


def test_what_is_removed_goes_also_where_it_was_merged_before_that(store: FsspecStore) -> None:
    merger = Shelf(store, "t", None)
    for number in range(MOST_LOOSE + 1):
        commit_call(merger, number, number)
    wishes = Wishes(now=0.0, expired=False, named=lambda _, entry: entry.key == key(0))
    verdicts = garbage.judged(inventory.taken(store, None), wishes)
    merger.tidy()

    caring.carry_out(store, None, verdicts, [])

    assert len(indexes(store)) == 1
    for reader in (merger, Shelf(store, "t", None)):
        assert reader.look_up(single=True).find(key(0), 0.0) is None
        assert [found(reader, number) for number in range(1, 33)] == list(range(1, 33))


def test_merged_indexes_are_merged_too(store: FsspecStore) -> None:
    shelf = Shelf(store, "t", None)

    for number in range((MOST_LOOSE + 1) * 3):
        commit_call(shelf, number, number)
        shelf.tidy()

    assert [object_names.tier(name) for name in indexes(store)] == [1, 1, 1]
    assert [found(shelf, number) for number in range(99)] == list(range(99))


def test_whoever_listed_before_a_merge_lists_again(store: FsspecStore) -> None:
    writer = Shelf(store, "t", None)
    for number in range(MOST_LOOSE + 1):
        commit_call(writer, number, number)

    class Merging(FsspecStore):
        """Merges between the first listing and the first read."""

        listed = 0

        def names(self, prefix: str) -> list[str]:
            names = super().names(prefix)
            Merging.listed += 1
            if Merging.listed == 1:
                writer.tidy()
            return names

    reader = Shelf(Merging(store.url), "t", None)

    assert found(reader, 7) == 7
    assert Merging.listed == 2


def test_an_index_is_read_once_and_ones_own_never(store: FsspecStore) -> None:
    reads: list[str] = []

    class Reading(FsspecStore):
        def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            reads.append(name)
            return bytes(super().read(name, offset, length))

    mine, others = Shelf(Reading(store.url), "t", None), Shelf(store, "t", None)
    commit_call(mine, 1, 1)
    name = commit_call(others, 2, 2)

    assert [found(mine, 1), found(mine, 2), found(mine, 2)] == [1, 2, 2]
    assert reads == [name]


def test_a_damaged_index_is_left_out_with_a_warning_that_names_it(
    store: FsspecStore, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Shelf(store, "t", None)
    damaged, whole = commit_call(writer, 1, 1), commit_call(writer, 2, 2)
    store.write(damaged, [bytes(store.read(damaged))[:-1]])
    reader = Shelf(store, "t", None)

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert found(reader, 2) == 2
            assert reader.look_up().find(key(1), 0.0) is None

    assert caplog.text.count(damaged) == 1 and whole not in caplog.text


def test_runs_that_have_kept_something_are_known_by_their_names(store: FsspecStore) -> None:
    shelf = Shelf(store, "t", None)
    segment = commit_map(store, shelf, range(3), 1)
    call = commit_call(shelf, 9, 9)

    assert Shelf(store, "t", None).runs() == {
        object_names.run_of_segment(segment),
        object_names.split_index_name(call)[2],
    }


def test_what_is_not_believed_is_told_in_one_line_and_never_merged_away(
    store: FsspecStore, caplog: pytest.LogCaptureFixture
) -> None:
    # Given indexes of drivers with two keys, and objects that are no indexes
    ours, theirs = Keyring([("ours", bytes(32))]), Keyring([("theirs", bytes(range(32)))])
    foreign = [commit_call(Shelf(store, "t", theirs), number, number) for number in range(40)]
    odd = [object_names.index_prefix("t") + name for name in ("odd", "merged.x.y.z", "a.b.c.d")]
    for name in odd:
        store.write(name, [b"something else"])
    shelf = Shelf(store, "t", ours)

    # When a driver looks up, commits and merges
    for number in range(100, 101 + MOST_LOOSE):
        commit_call(shelf, number, number)
        assert found(shelf, number) == number
    shelf.tidy()

    # Then its own indexes are merged, the others stay, and each reason was told once
    left = set(indexes(store))
    assert left > {*foreign, *odd} and len(left) == len(foreign) + len(odd) + 1
    assert shelf.look_up().find(key(7), 0.0) is None
    about_key, about_odd = sorted(caplog.messages, key=lambda told: "damaged" in told)
    assert foreign[0] in about_key and "and 35 more is signed" in about_key
    assert all(name in about_odd for name in odd)
    assert found(Shelf(store, "t", theirs), 7) == 7


def test_of_objects_with_one_name_the_last_is_the_one_that_counts(store: FsspecStore) -> None:
    # Given an object of the user's naming that was written again and again, with merges between
    shelf = Shelf(store, "t", None)
    for number in range((MOST_LOOSE + 1) * 2 + 3):
        record = Record(key=key(0), offset=0, length=1, digest=key(number), codec=RAW)
        name = object_names.index_name("t", new_id(), 1, new_id(), 1)
        shelf.commit(name, {"models/latest": segments.pack_records([record])})
        shelf.tidy()

        # Then the newest one is found, by whoever looks
        for reader in (shelf, Shelf(store, "t", None)):
            stored = reader.look_up().find(key(0), 0.0)
            assert stored is not None and stored.digest == key(number)
