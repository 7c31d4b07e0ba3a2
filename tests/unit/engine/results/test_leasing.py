"""Which element of a run has the lease of a key, and which wait for it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results.claims import Lease
from fanfold.engine.results.leasing import Granted, Leasing
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.segments import Index, Record, pack_records
from fanfold.engine.run import Run
from fanfold.engine.sources import Given, Sources
from fanfold.engine.spec import CacheSpec
from fanfold.values.errors import StoreError
from fanfold.values.states import StateName
from tests.unit.engine.rehearsal import C, F, R, Rehearsal, Sent, again, labels

KEY, OTHER = b"k" * 16, b"o" * 16
STORE = FsspecStore("memory://leasing")
WAITS, CACHED = StateName.AWAITING_CONCURRENCY_SLOT, StateName.CACHED


def lease(name: str = "1") -> Lease:
    return Lease(store=STORE, prefix="p", name=name, who=b"me")


def index(key: bytes) -> Index:
    record = Record(key=key, offset=0, length=1, digest=b"d" * 16)
    return Index(tables={"s": pack_records((record,))})


# By itself.


def test_one_of_a_key_goes_at_a_time_until_one_has_kept_something() -> None:
    leasing, mine = Leasing(), lease()
    assert not any(leasing.want(element, KEY) for element in (0, 1, 2, 3))
    assert leasing.ask(10) == [KEY] and leasing.ask(10) == []

    assert leasing.got(Granted(key=KEY, lease=mine)) == [0]
    assert leasing.held([0, 1]) == {KEY} and leasing.held([1]) == frozenset()
    assert leasing.ended(0, F, kept=True) == [1]
    assert leasing.ended(1, C, kept=True) == [2, 3]

    assert (leasing.taken_kept(), leasing.taken_unneeded()) == ([mine], [])


def test_what_others_have_committed_is_found_by_the_first_and_then_by_all() -> None:
    leasing, mine = Leasing(), lease()
    for element in (0, 1, 2):
        leasing.want(element, KEY)
    leasing.ask(10)

    assert leasing.got(Granted(key=KEY, lease=mine, found=index(KEY))) == [0]
    assert len(leasing.found([0, 1, 2])) == 1
    assert leasing.ended(0, CACHED, kept=False) == [1, 2]

    assert (leasing.taken_kept(), leasing.taken_unneeded()) == ([], [mine])


def test_who_has_it_and_comes_again_goes_at_once() -> None:
    leasing = Leasing()
    leasing.want(0, KEY)
    leasing.ask(1)
    leasing.got(Granted(key=KEY, lease=lease()))

    assert leasing.want(0, KEY)
    assert not leasing.want(1, KEY) and leasing.ask(10) == []


def test_a_lease_that_nobody_waits_for_any_more_is_given_back() -> None:
    leasing, mine = Leasing(), lease()
    leasing.want(0, KEY)
    leasing.ask(1)
    leasing.drop()

    assert leasing.got(Granted(key=KEY, lease=mine)) == []
    assert leasing.taken_unneeded() == [mine]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=20),
    st.lists(st.sampled_from([C, F, CACHED]), min_size=60, max_size=60),
    st.integers(1, 3),
)
def test_all_go_once_and_all_leases_are_given_back(
    keys: list[int], ends: list[StateName], most: int
) -> None:
    leasing, given_out, out, gone = Leasing(), 0, list[int](), list[int]()
    for element, key in enumerate(keys):
        leasing.want(element, bytes([key]) * 16)

    back: list[Lease] = []
    for state in ends:
        for key in leasing.ask(most):
            given_out += 1
            out += leasing.got(Granted(key=key, lease=lease(str(given_out))))
        if out:
            element = out.pop(0)
            gone.append(element)
            out += leasing.ended(element, state, kept=True)
        back += [*leasing.taken_kept(), *leasing.taken_unneeded()]

    assert sorted(gone) == list(range(len(keys)))
    assert sorted(int(one.name) for one in back) == list(range(1, given_out + 1))


# In the story of a run.


@pytest.fixture
def rehearsal() -> Rehearsal:
    return Rehearsal()


def mapped(rehearsal: Rehearsal, count: int) -> Run:
    """Start a map whose elements need leases."""

    def key(spec: Any, arguments: dict[str, Any]) -> bytes:
        return KEY

    cache = CacheSpec(key=key, store=STORE, folder="f", lookup=Lookup.merge(STORE, []), serial=True)
    sources = Sources(columns=(Given(items=range(count)),))
    return rehearsal.map("f", sources, count, cache=cache, chunk_size=count)


def waiting(rehearsal: Rehearsal, keys: list[bytes]) -> Run:
    """Start a map of which each element has said its key."""
    run = mapped(rehearsal, len(keys))
    (first,) = rehearsal.air
    rehearsal.home(first, *[WAITS] * len(keys), wanted=dict(enumerate(keys)))
    return run


def only(rehearsal: Rehearsal) -> Sent:
    (sent,) = rehearsal.air
    return sent


def test_elements_that_wait_hold_no_slot_and_then_go_with_leave(rehearsal: Rehearsal) -> None:
    run, mine = waiting(rehearsal, [KEY, OTHER, KEY]), lease()
    assert rehearsal.air == [] and rehearsal.claimed == [KEY, OTHER]
    assert labels(run) == ["AwaitingConcurrencySlot"] * 3

    rehearsal.tell(run, granted=Granted(key=KEY, lease=mine))
    sent = only(rehearsal)
    assert (sent.indices, sent.work.held) == ([0], {KEY})
    rehearsal.home(sent, C, staged={"s": index(KEY).tables["s"]})

    after = only(rehearsal)
    assert after.indices == [2] and after.work.made is not None
    assert after.work.made.find(KEY, 0.0) is not None
    rehearsal.home(after, CACHED)
    rehearsal.tell(run, granted=Granted(key=OTHER, lease=None))
    rehearsal.home(only(rehearsal))
    assert labels(run) == ["Completed", "Completed", "Cached"]
    assert [commit.leases for _, commit in rehearsal.commits] == [(mine,)]
    assert rehearsal.released == []


def test_a_lease_is_held_through_retries_and_lost_workers(rehearsal: Rehearsal) -> None:
    run, mine = waiting(rehearsal, [KEY]), lease()
    rehearsal.tell(run, granted=Granted(key=KEY, lease=mine))

    rehearsal.lose(only(rehearsal))
    rehearsal.home(only(rehearsal), R, details={0: again(5.0)})
    rehearsal.pass_time(5.0)
    assert only(rehearsal).work.held == {KEY} and rehearsal.released == []
    rehearsal.home(only(rehearsal), F)

    assert labels(run) == ["Failed"] and rehearsal.released == [mine]


def test_where_no_lease_can_be_had_all_that_wait_for_it_fail(rehearsal: Rehearsal) -> None:
    run = waiting(rehearsal, [KEY, KEY])

    rehearsal.tell(run, granted=Granted(key=KEY, error=StoreError("no bucket")))

    assert labels(run) == ["Failed", "Failed"]
    failure = run.error(1)
    assert failure is not None
    assert failure.message == "f[1] can't have the lease of its key: no bucket"


def test_a_cancelled_run_waits_for_no_lease(rehearsal: Rehearsal) -> None:
    run, mine = waiting(rehearsal, [KEY, KEY, OTHER]), lease()
    rehearsal.tell(run, granted=Granted(key=KEY, lease=mine))
    sent = only(rehearsal)

    rehearsal.cancel(run)
    assert rehearsal.released == []
    rehearsal.home(sent, F)

    assert labels(run) == ["Failed", "Cancelled", "Cancelled"]
    assert rehearsal.released == [mine] and run.finished
