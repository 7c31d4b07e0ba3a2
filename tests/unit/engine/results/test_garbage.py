"""What goes of a store, and that nothing else does."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.context import FLOW_RUN, TASK_RUN, RunInfo
from fanfold.engine.results import caring, fencing, garbage, inventory, object_names, segments
from fanfold.engine.results.garbage import Verdict, Why, Wishes
from fanfold.engine.results.inventory import Entry, Folder, Inventory
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.segments import NEVER, Index, Record
from fanfold.engine.results.shelf import Shelf
from fanfold.ports.results import Listed
from fanfold.values.ids import new_id

NOW = 1_000_000.0
DAY = 86_400.0
OLD = NOW - 30 * DAY


def key(number: int) -> bytes:
    return bytes([number]) * 16


def record(number: int, length: int = 10, expiry: float = NEVER, codec: int = 1) -> Record:
    return Record(
        key=key(number), offset=0, length=length, digest=bytes(16), expiry=expiry, codec=codec
    )


def segment(number: int, run: str = "r1") -> str:
    return object_names.segment_name("t", run, "c", f"{number:04d}")


def index(number: int, run: str = "r1") -> str:
    return object_names.index_name("t", run, 1, "m", number)


def folder(
    indexes: dict[str, dict[str, Sequence[Record]]],
    unnamed: Sequence[str] = (),
    ages: dict[str, float] | None = None,
    unread: dict[str, str] | None = None,
) -> Folder:
    """Return a task's folder, whose objects are 100 bytes and as old as said, else 30 days."""
    named = [name for tables in indexes.values() for name in tables]
    ours = [name for name in (*indexes, *named, *unnamed, *(unread or {})) if "tasks/" in name]
    return Folder(
        name="t",
        objects={
            name: Listed(
                name=name, size_bytes=100, modified_s=NOW - (ages or {}).get(name, NOW - OLD)
            )
            for name in ours
        },
        indexes={
            name: Index(tables={s: segments.pack_records(rows) for s, rows in tables.items()})
            for name, tables in indexes.items()
        },
        unread=unread or {},
    )


def judged(there: Folder, wishes: Wishes | None = None) -> Verdict:
    """Return what goes of a folder; an empty verdict where nothing does."""
    verdicts = garbage.judged(Inventory(folders=[there], others={}), wishes or Wishes(now=NOW))
    return verdicts[0] if verdicts else Verdict(folder=there)


def gone(verdict: Verdict) -> set[str]:
    return {*verdict.objects, *verdict.users, *verdict.indexes}


def left(verdict: Verdict, name: str) -> list[bytes]:
    """Return the keys that the index which stands for one names."""
    tables = verdict.replacements[name].values()
    return [each.key for table in tables for each in segments.unpack_records(table)]


def test_nothing_goes_of_what_is_whole_and_lasts() -> None:
    there = folder(
        {index(1): {segment(1): [record(1), record(2)]}, index(2): {segment(2): [record(3)]}}
    )

    assert not judged(there)


def test_what_has_expired_goes_and_the_rest_of_its_index_is_named_by_another() -> None:
    there = folder(
        {index(1): {segment(1): [record(1, expiry=NOW)], segment(2): [record(2), record(3)]}}
    )

    verdict = judged(there)

    assert verdict.results[Why.EXPIRED] == 1
    assert verdict.indexes == [index(1)]
    assert left(verdict, index(1)) == [key(2), key(3)]
    assert verdict.objects == [segment(1)]
    assert verdict.freed_bytes == 100


def test_an_index_of_which_nothing_is_left_goes_without_another() -> None:
    verdict = judged(folder({index(1): {segment(1): [record(1, expiry=NOW - 1)]}}))

    assert (verdict.indexes, verdict.replacements) == ([index(1)], {})
    assert verdict.freed_bytes == 200


def test_what_was_replaced_goes_however_long_it_would_last() -> None:
    there = folder({index(1): {segment(1): [record(1)]}, index(2): {segment(2): [record(1)]}})

    verdict = judged(there)

    assert gone(verdict) == {index(1), segment(1)}
    assert verdict.results[Why.REPLACED] == 1


def test_what_was_replaced_never_comes_back_when_the_newer_one_goes() -> None:
    there = folder(
        {index(1): {segment(1): [record(1)]}, index(2): {segment(2): [record(1, expiry=NOW)]}}
    )
    named = Wishes(now=NOW, expired=False, named=lambda _, entry: entry.place == segment(2))

    assert gone(judged(there)) == {index(1), segment(1), index(2), segment(2)}
    assert gone(judged(there, named)) == {index(1), segment(1), index(2), segment(2)}


def test_a_result_that_two_indexes_name_goes_from_both() -> None:
    rows = {segment(1): [record(1, expiry=NOW)]}

    assert gone(judged(folder({index(1): rows, index(2): rows}))) == {
        index(1),
        index(2),
        segment(1),
    }


def test_what_is_old_goes_when_that_is_asked_for() -> None:
    there = folder(
        {index(1): {segment(1): [record(1)], segment(2): [record(2)]}}, ages={segment(2): DAY}
    )

    verdict = judged(there, Wishes(now=NOW, before_s=NOW - 7 * DAY))

    assert verdict.objects == [segment(1)]
    assert left(verdict, index(1)) == [key(2)]


def test_the_oldest_go_until_the_rest_has_the_size() -> None:
    ages = {segment(n): n * DAY for n in (1, 2, 3)}
    there = folder({index(n): {segment(n): [record(n)]} for n in (1, 2, 3)}, ages=ages)

    kept = judged(there, Wishes(now=NOW, most_bytes=600))
    verdict = judged(there, Wishes(now=NOW, most_bytes=500))

    assert not kept
    assert gone(verdict) == {index(3), segment(3)}
    assert verdict.results[Why.SIZE] == 1


def test_what_no_run_knows_goes_once_it_is_older_than_the_grace() -> None:
    there = folder(
        {index(n): {segment(n): [record(n)]} for n in (1, 2, 3)}, ages={segment(2): 60.0}
    )
    wishes = Wishes(now=NOW, unknown=lambda _, entry: entry.place != segment(3))

    assert gone(judged(there, wishes)) == {index(1), segment(1)}


def test_what_was_never_committed_goes_once_it_is_older_than_the_grace() -> None:
    staged = ["tasks/t/objects/a/x", "tasks/t/objects/b/x", segment(8), segment(9)]
    ages = {staged[0]: DAY - 1, segment(8): DAY - 1}
    there = folder({index(1): {segment(1): [record(1)]}}, unnamed=staged, ages=ages)

    verdict = judged(there)

    assert gone(verdict) == {staged[1], segment(9)}
    assert verdict.results == {Why.UNNAMED: 2}


def test_nothing_unnamed_goes_where_an_index_is_not_believed_until_it_goes_itself() -> None:
    there = folder({}, unnamed=[segment(9)], unread={index(7): "isn't signed"})

    assert not judged(there)
    assert gone(judged(there, Wishes(now=NOW, unreadable=True))) == {index(7), segment(9)}


def test_a_result_whose_object_is_gone_goes_when_that_is_certain() -> None:
    there = folder({index(n): {segment(n): [record(n)]} for n in (1, 2)}, ages={index(2): 60.0})
    there = replace(
        there, objects={name: each for name, each in there.objects.items() if "index" in name}
    )

    assert gone(judged(there)) == {index(1)}


def test_what_users_named_stays_and_goes_first_when_it_is_named() -> None:
    there = folder({index(1): {"models/a.pkl": [record(1, expiry=NOW, codec=6)]}})
    named = Wishes(now=NOW, expired=False, named=lambda _, entry: True)

    assert not judged(there)
    assert not judged(there, Wishes(now=NOW, before_s=NOW, most_bytes=0))
    verdict = judged(there, named)
    assert (verdict.users, verdict.indexes) == (["models/a.pkl"], [index(1)])


def test_results_of_flows_and_what_signs_them_go_together() -> None:
    names = ["flows/f/r1", "flows/f/r2", "signatures/flows/f/r1", "signatures/models/x", "claims/k"]
    others = {n: Listed(name=n, size_bytes=1, modified_s=OLD) for n in names}
    others["claims/young"] = Listed(name="claims/young", size_bytes=1, modified_s=NOW)
    there = Inventory(folders=[], others=others)

    assert garbage.loose(there, Wishes(now=NOW), None) == ["claims/k"]
    assert garbage.loose(there, Wishes(now=NOW), lambda run: run == "r2") == [
        "claims/k",
        "flows/f/r1",
        "signatures/flows/f/r1",
    ]
    assert "flows/f/r2" in garbage.loose(there, Wishes(now=NOW, before_s=NOW), None)


def test_what_a_user_has_named_like_ours_stays() -> None:
    name = "claims/mine.pkl"
    there = Inventory(
        folders=[folder({index(1): {name: [record(1, codec=6)]}})],
        others={name: Listed(name=name, size_bytes=1, modified_s=OLD)},
    )

    assert garbage.loose(there, Wishes(now=NOW), None) == []


def test_what_lies_among_tasks_objects_and_is_none_of_them_stays() -> None:
    store = FsspecStore(f"memory://{new_id()}")
    for name in ("tasks/t/1.json", "tasks/t/results/index", "tasks/readme", segment(1)):
        store.write(name, [b"x"])

    there = inventory.taken(store, None)
    verdicts = garbage.judged(there, Wishes(now=time.time() + 2 * DAY))

    assert [sorted(each.objects) for each in there.folders] == [[segment(1)]]
    assert [gone(verdict) for verdict in verdicts] == [{segment(1)}]


def test_of_a_resumed_run_goes_what_came_too_late_and_nothing_that_counts() -> None:
    # Given an index that a seal names, one that came later, and one of who has resumed the run
    store = FsspecStore(f"memory://{new_id()}")
    run, names = "a" * 24, [segment(n) for n in range(4)]
    resumed = RunInfo(kind=FLOW_RUN, id=run, name="f", epoch=2)

    def committed(epoch: int, number: int, tables: dict[str, list[Record]]) -> str:
        name = object_names.index_name("t", run, epoch, "m", number)
        assert store.create(name, segments.pack_index(tables, name, None))
        return name

    for name in names:
        store.write(name, [b"x"])
    committed(1, 1, {names[0]: [record(0)], names[1]: [record(1, expiry=1.0)]})
    fencing.begin(store, "t", RunInfo(kind=TASK_RUN, id="t", name="t", flow=resumed))
    new = committed(2, 1, {names[2]: [record(2)]})
    late = committed(1, 2, {names[3]: [record(2), record(3)]})
    now = time.time()

    # When what has expired goes, so does what came too late with the runs' index; a day later all
    (verdict,) = garbage.judged(inventory.taken(store, None), Wishes(now=now))
    caring.carry_out(store, None, [verdict], [])
    assert late in verdict.indexes
    late = committed(1, 3, {names[3]: [record(2), record(3)]})
    (aged,) = garbage.judged(inventory.taken(store, None), Wishes(now=now + 2 * DAY))
    by_name = Wishes(now=now, expired=False, named=lambda _, entry: entry.key == key(2))
    (named,) = garbage.judged(inventory.taken(store, None), by_name)

    # Then what counts is found as before, and nothing that doesn't
    assert {*aged.indexes, *aged.objects} == {late, names[3]}
    assert named.indexes == [late, new]
    lookup = Shelf(store, "t", None).look_up()
    found = [lookup.find(key(n), now) for n in range(4)]
    assert [each and each.segment for each in found] == [names[0], None, names[2], None]


@dataclass(frozen=True)
class Kept:
    number: int
    expiry: float
    segment: int


results = st.builds(
    Kept,
    number=st.integers(0, 5),
    expiry=st.sampled_from([NEVER, NOW - 1, NOW, NOW + 1]),
    segment=st.integers(1, 6),
)
committed = st.lists(st.lists(results, min_size=1, max_size=6), max_size=5)


def stocked(store: FsspecStore, lists: list[list[Kept]]) -> Folder:
    """Write indexes and their segments, and return what is there, all of it old."""
    expiries: dict[tuple[int, int], float] = {}
    for number, rows in enumerate(lists, 1):
        tables: dict[str, list[Record]] = {}
        for row in rows:
            # What a segment holds under a key never changes.
            expiry = expiries.setdefault((row.number, row.segment), row.expiry)
            tables.setdefault(segment(row.segment), []).append(record(row.number, 1, expiry))
        name = index(number)
        for each in tables:
            store.write(each, [b"payloads"])
        store.create(name, segments.pack_index(tables, name, None))
    store.write(segment(9), [b"staged"])
    found = inventory.taken(store, None).folders[0]
    old = {name: replace(each, modified_s=OLD) for name, each in found.objects.items()}
    return replace(found, objects=old)


def found(there: Folder) -> dict[bytes, str]:
    """Return in which segments a look-up finds results."""
    lookup = Lookup.merge(FsspecStore("memory://"), there.indexes.values())
    at = {key(n): lookup.find(key(n), NOW) for n in range(6)}
    return {each: stored.segment for each, stored in at.items() if stored is not None}


@given(lists=committed, before=st.sampled_from([None, OLD]))
def test_what_can_be_found_is_found_afterwards_in_the_same_place(
    lists: list[list[Kept]], before: float | None
) -> None:
    store = FsspecStore(f"memory://{new_id()}")
    there = stocked(store, lists)
    expected = found(there)

    verdicts = garbage.judged(
        Inventory(folders=[there], others={}), Wishes(now=NOW, before_s=before)
    )
    caring.carry_out(store, None, verdicts, [])

    names = store.names("tasks/")
    after = inventory.taken(store, None).folders
    assert (found(after[0]) if after else {}) == expected
    assert {entry.place for each in after for entry in each.entries()} == {
        name for name in names if object_names.is_segment(name)
    }
    assert not garbage.judged(inventory.taken(store, None), Wishes(now=NOW))


@given(lists=committed, chosen=st.integers(0, 5))
def test_what_is_named_is_gone_afterwards_and_nothing_else(
    lists: list[list[Kept]], chosen: int
) -> None:
    store = FsspecStore(f"memory://{new_id()}")
    there = stocked(store, lists)
    expected = {each: place for each, place in found(there).items() if each != key(chosen)}

    def named(_: Folder, entry: Entry) -> bool:
        return entry.key == key(chosen)

    wishes = Wishes(now=NOW, expired=False, named=named)
    verdicts = garbage.judged(Inventory(folders=[there], others={}), wishes)
    caring.carry_out(store, None, verdicts, [])

    after = inventory.taken(store, None).folders
    assert found(after[0]) == expected
    assert store.read(segment(9)) == b"staged"
    assert not [e for each in after for e in each.entries() if e.key == key(chosen)]


def test_an_index_stands_for_another_under_a_number_that_no_driver_gives() -> None:
    store = FsspecStore(f"memory://{new_id()}")
    there = stocked(store, [[Kept(1, NOW, 1), Kept(2, NEVER, 2)]])

    caring.carry_out(
        store, None, garbage.judged(Inventory(folders=[there], others={}), Wishes(now=NOW)), []
    )

    assert store.names("tasks/t/index/") == [index(90_000_000)]


def test_the_storage_tells_its_time_and_keeps_nothing_of_that(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = FsspecStore(str(tmp_path_factory.mktemp("results")))
    store.write("x", [b""])
    (before,) = store.listing("x")

    now = caring.storage_now(store)

    assert before.modified_s <= now < before.modified_s + 60
    assert store.names("") == ["x"]
