"""Once a flow run was resumed, nobody else commits for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.context import FLOW_RUN, TASK_RUN, RunInfo
from fanfold.engine.results import fencing, object_names
from fanfold.values.errors import RunTakenOver

RUN, FOLDER = "0" * 23 + "1", "parse-1"


class Clock:
    at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def store(tmp_path: Path) -> FsspecStore:
    return FsspecStore(str(tmp_path))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(fencing, "_now", clock)
    yield clock


def task_of(run: str = RUN, epoch: int = 1) -> RunInfo:
    flow = RunInfo(kind=FLOW_RUN, id=run, name="f", epoch=epoch)
    inner = RunInfo(kind=FLOW_RUN, id="0" * 24, name="inner", flow=flow)
    return RunInfo(kind=TASK_RUN, id="t", name="t", flow=inner)


def index(store: FsspecStore, epoch: int, of_map: str) -> str:
    name = object_names.index_name(FOLDER, RUN, epoch, of_map, 1)
    assert store.create(name, b"index")
    return name


def test_a_driver_that_looked_a_moment_ago_does_not_look_again(
    store: FsspecStore, clock: Clock
) -> None:
    fencing.begin(store, FOLDER, task_of())
    fencing.begin(store, FOLDER, task_of(epoch=2))

    clock.at = 4.9
    fencing.check(store, task_of())
    clock.at = 5.0
    with pytest.raises(RunTakenOver) as refused:
        fencing.check(store, task_of())

    who = json.loads(store.read(object_names.fence_name(RUN, 2)))
    assert (refused.value.flow_run_id, refused.value.process) == (RUN, who["process"])
    assert refused.value.host == who["host"]


def test_a_commit_that_took_long_is_looked_at_once_more(store: FsspecStore, clock: Clock) -> None:
    fencing.begin(store, FOLDER, task_of())
    since = fencing.check(store, task_of())
    fencing.begin(store, FOLDER, task_of(epoch=2))

    clock.at = 1.0
    fencing.check(store, task_of(), since=since)
    clock.at = 7.0

    with pytest.raises(RunTakenOver):
        fencing.check(store, task_of(), since=since)


def test_who_resumed_a_run_is_not_kept_from_committing(store: FsspecStore, clock: Clock) -> None:
    fencing.begin(store, FOLDER, task_of())
    fencing.begin(store, FOLDER, task_of(epoch=3))

    clock.at = 60.0

    assert fencing.check(store, task_of(epoch=3)) == 60.0


def test_indexes_of_an_older_epoch_count_if_they_were_there_in_time(
    store: FsspecStore, clock: Clock
) -> None:
    other = object_names.index_name(FOLDER, "0" * 23 + "7", 1, "m", 1)
    before = index(store, 1, "a")
    fencing.begin(store, FOLDER, task_of(epoch=2))
    late = index(store, 1, "b")
    new = index(store, 2, "c")

    found = fencing.counting(store, FOLDER, [before, late, new, other])

    assert found == [before, new, other]


def test_a_run_that_is_resumed_twice_names_what_counted_before(
    store: FsspecStore, clock: Clock
) -> None:
    names = [index(store, 1, "a")]
    fencing.begin(store, FOLDER, task_of(epoch=2))
    late = index(store, 1, "b")
    names.append(index(store, 2, "c"))
    fencing.begin(store, FOLDER, task_of(epoch=4))
    later = index(store, 2, "d")
    names.append(index(store, 4, "e"))

    found = fencing.counting(store, FOLDER, [*names, late, later])

    assert found == names


def test_what_stands_for_an_index_that_a_seal_names_counts_as_it_did(
    store: FsspecStore, clock: Clock
) -> None:
    before = index(store, 1, "a")
    fencing.begin(store, FOLDER, task_of(epoch=2))
    new = index(store, 2, "b")
    first = object_names.FIRST_REPLACEMENT
    stands = object_names.index_name(FOLDER, RUN, 1, "a", first)
    others = [object_names.index_name(FOLDER, RUN, 1, *of) for of in (("a", 2), ("c", first))]

    assert fencing.counting(store, FOLDER, [before, stands, new, *others]) == [before, stands, new]


@pytest.mark.parametrize("odd", [b"5", b"null", b"[[1]]", b"[" * 100_000, b"\xff"])
def test_a_damaged_seal_names_nothing_and_a_damaged_fence_nobody(
    store: FsspecStore, clock: Clock, odd: bytes
) -> None:
    fencing.begin(store, FOLDER, task_of())
    names = [index(store, 1, "a"), index(store, 2, "b")]
    store.write(object_names.seal_name(FOLDER, RUN, 2), [odd])
    store.write(object_names.fence_name(RUN, 2), [odd])

    assert fencing.counting(store, FOLDER, names) == names[1:]
    clock.at = 60.0
    with pytest.raises(RunTakenOver, match="another machine"):
        fencing.check(store, task_of())


def test_of_many_runs_the_latest_are_remembered_and_all_may_commit(
    store: FsspecStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fencing, "_MOST", 2)

    for number in range(5):
        fencing.begin(store, FOLDER, task_of(f"{number:024x}", epoch=2))

    assert list(map(len, (fencing._checked, fencing._fenced, fencing._sealed))) == [2, 2, 2]
    assert fencing.check(store, task_of(f"{0:024x}", epoch=2)) == clock.at


def test_outside_of_flows_nothing_is_fenced(store: FsspecStore, clock: Clock) -> None:
    alone = RunInfo(kind=TASK_RUN, id="t", name="t")

    fencing.begin(store, FOLDER, alone)
    fencing.check(store, alone)

    assert store.names("") == []
