"""The driver's story, played by hand: what is handed out when, and what becomes of it."""

import gc
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.engine.chunking import PIECES
from fanfold.engine.results.commits import COMMIT_CHUNKS, COMMIT_S
from fanfold.engine.run import Run
from fanfold.engine.sources import From, Given, Sources
from fanfold.values.errors import (
    ClusterLost,
    Crashed,
    CrashedWithCluster,
    ResourcesUnavailable,
    RunCancelled,
    UpstreamFailed,
    ValuesLost,
)
from fanfold.values.messages import Report
from fanfold.values.states import FINAL, StateName
from tests.peak import peak_bytes
from tests.unit.engine.rehearsal import C, F, R, Rehearsal, Sent, again, failed, labels, told

MILLION = 1_000_000


@pytest.fixture
def play() -> Rehearsal:
    return Rehearsal()


def made(name: str, *rows: Any) -> list[str]:
    return [f"{name}({row})" for row in rows]


def error_of(run: Run, index: int) -> BaseException | None:
    failure = run.error(index)
    return failure.live if failure else None


def test_a_map_is_handed_out_in_order_and_ends_when_all_is_home(play: Rehearsal) -> None:
    run = play.over_items("map", range(100))
    assert [i for sent in play.air for i in sent.indices] == list(range(100))
    assert not run.over

    play.all_home()

    assert run.over and run.finished and run.left == 0
    assert labels(run) == ["Completed"] * 100
    assert play.results(run) == made("map", *range(100))


def test_an_empty_map_is_over_at_once(play: Rehearsal) -> None:
    run = play.over_items("map", [])

    assert run.over and run.finished
    assert play.sent == []


def test_what_a_chunk_did_not_reach_goes_out_again_before_the_rest(play: Rehearsal) -> None:
    run = play.over_items("map", range(100), chunk_size=10)

    play.home(play.air[0], C, C, C)

    assert play.sent[-1].indices[0] == 3
    play.all_home()
    assert play.results(run) == made("map", *range(100))


def test_elements_are_published_as_they_become_final(play: Rehearsal) -> None:
    run = play.over_items("map", range(30), chunk_size=10)

    play.home(play.air[1], C, F, R, C, details={2: again(5.0)})

    assert play.published == [(run, [(10, 12), (13, 14)])]
    assert run.left == 27
    assert run.settled(range(10, 12)) and not run.settled(range(10, 14))


def test_a_delayed_retry_comes_back_at_its_time_and_no_earlier(play: Rehearsal) -> None:
    # Given a chunk of which two elements are to be tried again, the later one sooner
    run = play.over_items("map", range(4), chunk_size=4)
    details = {1: again(5.0), 3: again(2.0, attempts=2)}
    play.home(play.air[0], C, R, C, R, details=details)
    assert labels(run) == ["Completed", "AwaitingRetry", "Completed", "AwaitingRetry"]
    assert play.air == []
    assert play.due[run] == play.now + 2.0

    # When their times come
    play.pass_time(1.9)
    assert play.air == []
    play.pass_time(0.2)

    # Then each goes out alone, with the attempts that it has behind it
    (first,) = play.air
    assert (first.indices, dict(first.work.tries)) == ([3], {0: 2})
    play.pass_time(10.0)
    (_, second) = play.air
    assert (second.indices, dict(second.work.tries)) == ([1], {0: 1})
    play.all_home()
    assert run.over
    assert play.results(run) == made("map", *range(4))


def test_retries_that_are_due_together_travel_together(play: Rehearsal) -> None:
    run = play.over_items("map", range(40), chunk_size=40)
    play.home(play.air[0], *[R] * 40, details={at: again(1.0) for at in range(40)})

    play.pass_time(1.0)

    assert [sent.indices for sent in play.air] == [list(range(40))]
    assert run.left == 40


def test_a_second_report_of_a_chunk_is_dropped(play: Rehearsal) -> None:
    run = play.over_items("map", range(2), chunk_size=1)
    sent = play.air[0]
    play.home(sent)
    before = (labels(run), run.left, list(run.locations.find(0, 2)))

    play.tell(run, report=told(sent, [F], details={0: failed()}))
    play.tell(run, report=replace(told(sent, [C]), chunk="another map's"))

    assert (labels(run), run.left, list(run.locations.find(0, 2))) == before


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 1000])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_an_element_that_kills_is_found_at_the_cost_of_a_few_workers(
    play: Rehearsal, count: int, place: float
) -> None:
    # Given one chunk with an element that takes its worker with it
    poison = int(count * place)
    run = play.over_items("map", range(count), chunk_size=count)
    losses = 0

    # When all work is done as far as it can be
    while play.air:
        sent = play.air[0]
        if poison in sent.indices:
            losses += 1
            play.lose(sent)
        else:
            play.home(sent)

    # Then it alone is Crashed, after 3 losses of its own and those that led to it
    assert losses <= 3 + math.ceil(math.log(count, PIECES))
    expected = ["Completed"] * count
    expected[poison] = "Crashed"
    assert labels(run) == expected
    assert run.over
    error = error_of(run, poison)
    assert isinstance(error, Crashed)
    assert "lost its worker 3 times" in str(error) and "signal 9" in str(error)
    if count > 1:
        assert f"map[{poison}]" in str(error)


def test_chunks_that_never_started_are_not_charged(play: Rehearsal) -> None:
    run = play.over_items("map", range(3), chunk_size=3)

    for _ in range(20):
        play.lose(play.air[0], started=False)
        assert [sent.indices for sent in play.air] == [[0, 1, 2]]

    play.all_home()
    assert labels(run) == ["Completed"] * 3


def test_a_chunk_that_the_cluster_dropped_unasked_goes_out_again(play: Rehearsal) -> None:
    run = play.over_items("map", range(3), chunk_size=3)

    play.cancelled(play.air[0])

    play.all_home()
    assert labels(run) == ["Completed"] * 3


def test_a_cluster_that_cannot_run_a_chunk_crashes_its_elements_alone(play: Rehearsal) -> None:
    run = play.over_items("map", range(4), chunk_size=2)

    play.lose(play.air[0], ResourcesUnavailable("no such GPU"))
    play.all_home()

    assert labels(run) == ["Crashed"] * 2 + ["Completed"] * 2
    assert isinstance(error_of(run, 0), Crashed)
    assert "no such GPU" in str(error_of(run, 1))


def test_a_dependent_goes_on_with_each_piece_that_is_ready(play: Rehearsal) -> None:
    one = play.over_items("one", range(6), chunk_size=2)
    two = play.over_runs("two", one)
    assert {sent.run for sent in play.air} == {one}

    play.home(play.air[1])

    (ready,) = (sent for sent in play.air if sent.run is two)
    assert ready.indices == [2, 3]
    assert ready.work.priority > play.air[0].work.priority
    play.all_home()
    assert play.results(two) == made("two", *made("one", *range(6)))


def test_a_dependent_that_starts_late_finds_what_is_there(play: Rehearsal) -> None:
    one = play.over_items("one", range(4), chunk_size=2)
    play.home(play.air[0], C, F)

    two = play.over_runs("two", one)

    assert labels(two) == ["Pending", "UpstreamFailed", "Pending", "Pending"]
    play.all_home()
    assert labels(two) == ["Completed", "UpstreamFailed", "Completed", "Completed"]


def test_a_failed_element_fails_its_dependents_alone_and_names_itself_over_levels(
    play: Rehearsal,
) -> None:
    one = play.over_items("one", range(3), chunk_size=3)
    two = play.over_runs("two", one)
    three = play.over_runs("three", two)

    play.home(play.air[0], C, F, C)
    play.all_home()

    for run in (two, three):
        assert labels(run) == ["Completed", "UpstreamFailed", "Completed"]
        assert run.over
        error = error_of(run, 1)
        assert isinstance(error, UpstreamFailed)
        assert str(error) == "one[1] Failed: ValueError: no"
    assert play.results(three) == [
        "three(two(one(0)))",
        None,
        "three(two(one(2)))",
    ]


def test_an_element_of_two_upstream_maps_waits_for_both(play: Rehearsal) -> None:
    one = play.over_items("one", range(4), chunk_size=4)
    two = play.over_items("two", "abcd", chunk_size=2)
    both = play.over_runs("both", one, two)
    of_one, *of_two = play.air

    play.home(of_two[1], C, F)
    assert not any(sent.run is both for sent in play.air)
    play.home(of_one, C, R, C, C, details={1: again(9.0)})
    assert [sent.indices for sent in play.air if sent.run is both] == [[2]]
    play.home(of_two[0])
    assert [sent.indices for sent in play.air if sent.run is both] == [[2], [0]]
    play.all_home()

    assert labels(both) == ["Completed"] * 3 + ["UpstreamFailed"]
    assert play.results(both) == [
        "both(one(0) two(a))",
        "both(one(1) two(b))",
        "both(one(2) two(c))",
        None,
    ]


def test_a_shared_argument_is_waited_for_by_all_elements(play: Rehearsal) -> None:
    one = play.over_items("one", range(2), chunk_size=1)
    fill = From(run=one, indices=range(2))
    sources = Sources(columns=(Given(items="xyz"),), fills={0: fill}, common=frozenset({0}))
    run = play.map("run", sources, 3)

    play.home(play.air[0])
    assert not any(sent.run is run for sent in play.air)
    play.all_home()

    assert play.results(run) == made("run", *(f"{x} one(0),one(1)" for x in "xyz"))


def test_a_shared_argument_without_a_value_fails_all_elements(play: Rehearsal) -> None:
    one = play.over_items("one", range(1))
    fill = From(run=one, indices=range(1), whole=False)
    sources = Sources(columns=(Given(items="xyz"),), fills={0: fill}, common=frozenset({0}))
    run = play.map("run", sources, 3)

    play.home(play.air[0], F)

    assert labels(run) == ["UpstreamFailed"] * 3
    assert run.over
    assert not play.air


def test_elements_wait_for_the_futures_deep_inside_their_own_items_alone(play: Rehearsal) -> None:
    # Given items of which the second needs one future, the third another and the fourth both
    one = play.over_items("one", range(2), chunk_size=1)
    fills = {at: From(run=one, indices=range(at, at + 1), whole=False) for at in range(2)}
    of = {1: (0,), 2: (1,), 3: (0, 1)}
    sources = Sources(columns=(Given(items=range(4), holes=True),), fills=fills, of=of)
    run = play.map("run", sources, 4, chunk_size=1)
    going = lambda: [sent.indices for sent in play.air if sent.run is run]  # noqa: E731
    assert going() == [[0]]
    first, second = (sent for sent in play.air if sent.run is one)

    # When they come home, the first with a value
    play.home(first)
    assert going() == [[0], [1]]
    play.home(second, F)

    # Then whoever needs the other one fails, and nobody else
    assert labels(run) == ["Pending", "Pending", "UpstreamFailed", "UpstreamFailed"]
    play.all_home()
    assert run.over
    assert labels(run)[:2] == ["Completed"] * 2


def test_lost_values_are_made_again_and_the_dependents_go_on(play: Rehearsal) -> None:
    # Given a dependent in flight on a value that is gone, upstream still at work on others
    one = play.over_items("one", range(4), chunk_size=2)
    two = play.over_runs("two", one)
    first = play.air[0]
    play.home(first)
    play.forget(first.ref)
    (needy,) = (sent for sent in play.air if sent.run is two)

    # When its chunk reports the loss
    play.find_lost(needy)

    # Then upstream does those elements again, and both maps end as if nothing had been
    assert labels(one)[:2] == ["Pending"] * 2
    assert [sent.indices for sent in play.air if sent.run is one] == [[2, 3], [0, 1]]
    play.all_home()
    assert one.over and two.over
    assert play.results(two) == made("two", *made("one", *range(4)))


def test_a_loss_that_is_told_twice_lets_nobody_wait_for_ever(play: Rehearsal) -> None:
    # Given two chunks in flight that need one ref, which is gone, and nothing else left to do
    one = play.over_items("one", range(2), chunk_size=2)
    two = play.over_runs("two", one, chunk_size=1)
    lost = play.air[0]
    play.home(lost)
    play.forget(lost.ref)
    early, late = play.air

    # When the second tells of it after its values were made again
    play.find_lost(early)
    (remade,) = (sent for sent in play.air if sent.run is one)
    play.home(remade)
    play.find_lost(late)
    play.all_home()

    # Then it finds them in their new place
    assert two.over
    assert play.results(two) == made("two", *made("one", *range(2)))


def test_values_that_a_reader_misses_are_made_again_once(play: Rehearsal) -> None:
    run = play.over_items("map", range(4), chunk_size=2)
    lost, other = play.air
    play.home(lost)
    play.forget(lost.ref)

    play.tell(run, lost=[lost.ref])
    play.tell(run, lost=[lost.ref])

    assert [sent.indices for sent in play.air] == [[2, 3], [0, 1]]
    play.all_home()
    assert other.run.over
    assert play.results(run) == made("map", *range(4))


def test_a_failure_of_what_was_made_again_reaches_those_that_wait_for_it(play: Rehearsal) -> None:
    # Given a dependent that waits until lost values are made again
    one = play.over_items("one", range(2), chunk_size=1)
    two = play.over_runs("two", one)
    play.home(play.air[0])
    play.forget(play.sent[0].ref)
    play.find_lost(next(sent for sent in play.air if sent.run is two))

    # When that fails
    play.home(next(sent for sent in play.air if sent.indices == [0]), F)
    play.all_home()

    # Then it alone has no value either
    assert labels(one) == ["Failed", "Completed"]
    assert two.over
    assert labels(two)[1] == "Completed"
    assert labels(two)[0] in ("UpstreamFailed", "Crashed")


def test_a_lost_value_that_is_made_again_at_a_retry_is_waited_for(play: Rehearsal) -> None:
    # Given a dependent that waits for a lost value, of which making it again fails at first
    one = play.over_items("one", range(2), chunk_size=1)
    two = play.over_runs("two", one)
    play.home(play.air[0])
    play.forget(play.sent[0].ref)
    play.find_lost(next(sent for sent in play.air if sent.run is two))
    play.home(next(s for s in play.air if s.indices == [0]), R, details={0: again(5.0)})

    # When another element is ready meanwhile
    play.home(next(sent for sent in play.air if sent.run is one))

    # Then only that one goes, and the other when its retry has a value
    assert [sent.indices for sent in play.air if sent.run is two] == [[1]]
    play.all_home()
    assert two.over
    assert play.results(two) == made("two", *made("one", *range(2)))


def test_a_failure_of_what_was_made_again_leaves_alone_what_is_at_work_with_it(
    play: Rehearsal,
) -> None:
    # Given two chunks that need a value, one of which has it while the other misses it
    one = play.over_items("one", range(1))
    two = play.over_runs("two", one)
    three = play.over_runs("three", one)
    play.home(play.air[0])
    has_it, misses_it = play.air
    assert has_it.run is two
    play.lose(misses_it, ValuesLost("gone", [0]))

    # When it is made again, and that fails
    play.home(next(sent for sent in play.air if sent.run is one), F)
    play.home(has_it)
    play.all_home()

    # Then each ends in its own way
    assert two.over and three.over
    assert labels(two) == ["Completed"]
    assert labels(three)[0] in ("UpstreamFailed", "Crashed")


def test_a_value_whose_origin_is_gone_too_crashes_its_element(play: Rehearsal) -> None:
    one = play.over_items("one", range(2), chunk_size=1)
    two = play.over_runs("two", one, chunk_size=1)
    play.all_home()
    two.release()

    play.tell(two, lost=[sent.ref for sent in play.sent if sent.run is two][:1])

    assert labels(two) == ["Crashed", "Completed"]
    assert two.over and two.finished
    assert "gone" in str(error_of(two, 0))


def test_a_cancel_ends_what_waits_at_once_and_lets_the_rest_come_home(play: Rehearsal) -> None:
    # Given a map with two chunks in the air, one element in its delay and others in the queue
    run = play.over_items("map", range(10), chunk_size=2, max_in_flight=4)
    play.home(play.air[0], C, R, details={1: again(60.0)})
    flying = [i for sent in play.air for i in sent.indices]
    assert flying == [2, 3, 4, 5]

    # When it is cancelled
    play.cancel(run)

    # Then what waits is Cancelled, and what flies has its own end
    assert labels(run) == ["Completed", "Cancelled", *["Pending"] * 4, *["Cancelled"] * 4]
    assert isinstance(error_of(run, 9), RunCancelled)
    assert run.left == 4
    running, pending = play.air
    play.home(running, C)
    play.cancelled(pending)
    assert labels(run)[2:6] == ["Completed", *["Cancelled"] * 3]
    assert run.over and not play.air


def test_a_cancel_makes_no_object_per_element_and_keeps_what_was_tried(play: Rehearsal) -> None:
    run = play.over_items("map", range(10_000), chunk_size=2, max_in_flight=2)
    play.home(play.air[0], C, R, details={1: again(60.0)})
    flying = play.air[0]

    play.cancel(run)
    play.cancelled(flying)

    assert labels(run) == ["Completed", *["Cancelled"] * 9_999]
    assert run.over
    assert len({id(detail) for detail in run.details.values()}) <= 3
    assert [run.details[index].attempts for index in (1, 2, 9_999)] == [1, 0, 0]


def test_late_reports_of_a_cancelled_map_change_nothing(play: Rehearsal) -> None:
    run = play.over_items("map", range(2), chunk_size=1)
    sent = play.air[0]
    play.cancel(run)
    play.cancelled(sent)
    play.home(play.air[0])
    before = labels(run)

    play.tell(run, report=told(sent, [C]))

    assert before == labels(run) == ["Cancelled", "Completed"]


def test_a_delayed_retry_that_comes_home_after_a_cancel_is_cancelled(play: Rehearsal) -> None:
    run = play.over_items("map", range(1))
    (sent,) = play.air
    play.cancel(run)

    play.home(sent, R, details={0: again(5.0)})

    assert labels(run) == ["Cancelled"]
    assert run.over and not play.air


def test_a_cancelled_dependent_takes_nothing_more_from_upstream(play: Rehearsal) -> None:
    # Given a dependent with a chunk in the air and other elements still waiting for upstream
    one = play.over_items("one", range(2), chunk_size=1)
    two = play.over_runs("two", one)
    first, second = play.air
    play.home(first)
    (running,) = (sent for sent in play.air if sent.run is two)

    # When it is cancelled, and upstream goes on
    play.cancel(two)
    play.home(second)

    # Then nothing of it starts any more
    assert labels(two) == ["Pending", "Cancelled"]
    assert [sent for sent in play.air if sent.run is two] == [running]
    play.home(running)
    assert labels(two) == ["Completed", "Cancelled"]
    assert two.over


def test_what_waits_for_lost_values_does_not_start_after_a_cancel(play: Rehearsal) -> None:
    one = play.over_items("one", range(4), chunk_size=2)
    two = play.over_runs("two", one, chunk_size=1)
    first = play.air[0]
    play.home(first)
    play.forget(first.ref)
    losing, flying = (sent for sent in play.air if sent.run is two)
    play.find_lost(losing)

    play.cancel(two)
    play.all_home(one)

    assert [sent for sent in play.air if sent.run is two] == [flying]
    play.cancelled(flying)
    assert labels(two) == ["Cancelled"] * 4
    assert two.over


def test_staged_segments_are_committed_every_64_chunks_and_once_at_the_end(
    play: Rehearsal,
) -> None:
    # Given chunks that stage a segment each, in no time
    count = 2 * COMMIT_CHUNKS + 10
    run = play.over_items("map", range(count), chunk_size=1)
    for number in range(count):
        play.home(play.air[0], staged={f"segment-{number}": b"records"})

    # Then the indexes name each segment once, in order
    assert [commit.number for _, commit in play.commits] == [1, 2, 3]
    named = [name for _, commit in play.commits for name in commit.records]
    assert named == [f"segment-{number}" for number in range(count)]
    assert [len(commit.records) for _, commit in play.commits] == [COMMIT_CHUNKS] * 2 + [10]

    # And elements count as settled, and the map as over, once their index is written
    assert run.left == 0 and not run.over and not run.settled(range(1))
    play.tell(run, committed=1)
    assert run.settled(range(COMMIT_CHUNKS)) and not run.settled(range(COMMIT_CHUNKS + 1))
    play.tell(run, committed=3)
    play.tell(run, committed=2)
    assert run.over and run.finished


def test_a_staged_segment_is_committed_after_a_second_at_most(play: Rehearsal) -> None:
    run = play.over_items("map", range(3), chunk_size=1)
    play.home(play.air[0], staged={"one": b""})
    play.pass_time(COMMIT_S / 2)
    play.home(play.air[0], staged={"two": b""})
    assert play.commits == []

    play.pass_time(COMMIT_S)

    assert [dict(commit.records) for _, commit in play.commits] == [{"one": b"", "two": b""}]
    # Nothing is to be done until the chunk that is left has been silent for long.
    assert play.due[run] == 100.0 + run.call.patience.word_s


def test_an_index_is_counted_once_though_an_element_fails_at_that_moment(play: Rehearsal) -> None:
    # Given an index on its way, and an element whose retry is due but whose input is gone for good
    zero = play.over_items("zero", range(2), chunk_size=1)
    one = play.over_runs("one", zero, chunk_size=1)
    two = play.over_runs("two", one, chunk_size=1)
    play.all_home(zero)
    lost = play.air[1]
    play.all_home(one)
    keeps, retries = play.air
    play.home(keeps, staged={"segment": b""})
    play.home(retries, R, details={0: again(5.0)})
    play.pass_time(COMMIT_S)
    assert len(play.commits) == 1
    one.release()
    play.tell(one, lost=[lost.ref])
    assert labels(one) == ["Completed", "Crashed"]
    play.now += 10.0

    # When the index is written
    play.tell(two, committed=1)

    # Then both are seen
    assert two.over
    assert labels(two)[0] == "Completed"
    assert labels(two)[1] in ("UpstreamFailed", "Crashed")


def test_max_in_flight_counts_elements_that_are_out(play: Rehearsal) -> None:
    run = play.over_items("map", range(100), max_in_flight=5)
    while not run.over:
        assert 0 < sum(len(sent.indices) for sent in play.air) <= 5
        play.home(play.air[-1], C)

    assert play.results(run) == made("map", *range(100))


def test_a_chunk_size_is_kept_and_such_chunks_have_no_budget(play: Rehearsal) -> None:
    run = play.over_items("map", range(100), chunk_size=7)
    play.all_home()

    assert [len(sent.indices) for sent in play.sent] == [7] * 14 + [2]
    assert {sent.work.budget_s for sent in play.sent} == {None}
    assert run.over


def test_no_more_chunks_are_in_the_air_than_the_planner_wants() -> None:
    for slots, most in ((1, 8), (2, 8), (100, 400)):
        play = Rehearsal(slots)
        play.over_items("map", range(10_000), chunk_size=1)

        assert len(play.air) == most


def test_a_map_that_is_given_up_ends_whatever_it_was_doing(play: Rehearsal) -> None:
    run = play.over_items("map", range(6), chunk_size=2)
    play.home(play.air[0], C, R, details={1: again(5.0)}, staged={"segment": b""})

    run.give_up("Fanfold failed")

    assert run.over
    assert labels(run) == ["Completed", *["Crashed"] * 5]
    assert str(error_of(run, 1)) == "map[1]: Fanfold failed"
    assert str(error_of(run, 5)) == "map: Fanfold failed"


def test_all_crash_at_once_with_their_cluster(play: Rehearsal) -> None:
    run = play.over_items("map", range(100_000), chunk_size=2)
    first, *others = play.air
    sent = len(play.sent)

    play.lose(first, ClusterLost("It is gone."))
    for one in others:
        play.lose(one, ClusterLost("It is gone."))

    assert len(play.sent) == sent
    assert run.over
    assert labels(run) == ["Crashed"] * 100_000
    assert isinstance(error_of(run, 99_999), CrashedWithCluster)
    assert str(error_of(run, 1)) == "map[1]: It is gone."


def play_quickly(play: Rehearsal, runs: list[Run]) -> None:
    """Bring everything home without making any values."""
    while play.air:
        sent = play.air.pop(0)
        count = len(sent.work.batch)
        states = ((int(C), count),)
        report = Report(chunk=sent.work.id, reached=count, states=states, seconds=count * 1e-6)
        play.tell(sent.run, report=report)
    play.sent.clear()
    play.published.clear()
    assert all(run.over for run in runs)


def test_the_driver_holds_no_object_and_few_bytes_for_each_element() -> None:
    def body() -> None:
        # Given that everything that is made once has been made
        play = Rehearsal()
        play_quickly(play, [play.over_items("warm", range(1000))])
        gc.collect()
        objects = len(gc.get_objects())

        # When a million elements and a million that depend on them are carried out
        one = play.over_items("one", range(MILLION))
        two = play.over_runs("two", one)
        play_quickly(play, [one, two])
        gc.collect()

        # Then they cost hardly any objects in all
        assert len(gc.get_objects()) - objects < 5_000
        assert len(one.locations) < 500

    # And some bytes each, even at the peak
    assert peak_bytes(body) < 2 * MILLION * 20


TAKEN = {"C": "{}", "F": "!ValueError", "K": "!Crashed"}
"""What stands for a value where failures are allowed, by an element's fate."""

CALM = ["home"] * 5 + ["lost", "unstarted", "late", "time"]


class Chaos:
    """Lets anything happen to a map, to one over it, one that needs all of it, and a patient one.

    The fourth takes failures of the first as they come, and waits for the second without values.
    """

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.play = Rehearsal(slots=data.draw(st.integers(1, 3)))
        count = data.draw(st.integers(1, 12), label="count")
        sizes = st.none() | st.integers(1, 12)
        room = st.none() | st.integers(1, 6)
        limits = lambda: {"chunk_size": data.draw(sizes), "max_in_flight": data.draw(room)}  # noqa: E731
        self.one = self.play.over_items("one", range(count), **limits())
        self.two = self.play.over_runs("two", self.one, **limits())
        fill = From(run=self.one, indices=range(count))
        columns = (From(run=self.two, indices=range(count)),)
        sources = Sources(columns=columns, fills={0: fill}, common=frozenset({0}))
        self.three = self.play.map("three", sources, count, **limits())
        self.patient = data.draw(st.booleans(), label="patient")
        awaited = From(run=self.two, indices=range(count), failures=self.patient, value=False)
        columns = (From(run=self.one, indices=range(count), failures=True),)
        sources = Sources(columns=columns, fills={0: awaited}, common=frozenset({0}))
        self.four = self.play.map("four", sources, count, **limits())
        self.runs = (self.one, self.two, self.three, self.four)
        chances = st.sampled_from("CCCCCCFK")
        self.fates = {
            run: [data.draw(chances) for _ in range(count)] for run in (self.one, self.two)
        }
        self.retries = {
            run: [data.draw(st.integers(0, 1)) for _ in range(count)] for run in self.fates
        }
        self.done: list[Report] = []

    def fate(self, run: Run, index: int) -> str:
        return self.fates[run][index] if run in self.fates else "C"

    def step(self, kinds: Sequence[str]) -> None:
        kind = self.data.draw(st.sampled_from(kinds))
        if kind == "time":
            self.play.pass_time(self.data.draw(st.sampled_from([0.5, 3.0])))
        elif kind == "gone" and self.play.values:
            self.play.forget(self.data.draw(st.sampled_from(sorted(self.play.values))))
        elif kind == "missed":
            self.miss()
        elif kind == "late" and self.done:
            report = self.data.draw(st.sampled_from(self.done))
            owner = next(sent.run for sent in self.play.sent if sent.work.id == report.chunk)
            self.play.tell(owner, report=report)
        elif self.play.air:
            sent = self.data.draw(st.sampled_from(self.play.air))
            self.happen(sent, kind)

    def miss(self) -> None:
        """Let a reader find that values of a map that isn't over are gone."""
        gone = [
            (run, stretch.ref)
            for run in self.runs
            for stretch in run.locations.find(0, run.count)
            if not run.finished and stretch.ref not in self.play.values
        ]
        if gone:
            run, ref = self.data.draw(st.sampled_from(gone))
            self.play.tell(run, lost=[ref])

    def happen(self, sent: Sent, kind: str) -> None:
        if kind == "unstarted":
            self.play.lose(sent, started=False)
        elif not self.play.usable(sent):
            self.play.find_lost(sent)
        elif (kind == "lost" and len(sent.indices) > 1) or self.kills(sent):
            self.play.lose(sent)
        else:
            most = len(sent.indices)
            self.bring_home(sent, self.data.draw(st.integers(1, most)) if kind == "home" else most)

    def kills(self, sent: Sent) -> bool:
        return "K" in {self.fate(sent.run, index) for index in sent.indices}

    def bring_home(self, sent: Sent, reached: int) -> None:
        states: list[StateName] = []
        details: dict[int, Any] = {}
        for position, index in enumerate(sent.indices[:reached]):
            fate = self.fate(sent.run, index)
            left = self.retries.get(sent.run, [0] * sent.run.count)
            if left[index] and self.data.draw(st.booleans()):
                left[index] -= 1
                states.append(R)
                details[position] = again(1.0)
            else:
                states.append(F if fate == "F" else C)
        self.done.append(told(sent, states, details=details))
        self.play.home(sent, *states, details=details)

    def drain(self) -> None:
        """Let no more trouble come up, and everything go its way."""
        for _ in range(2_000):
            if self.play.air:
                self.happen(self.data.draw(st.sampled_from(self.play.air)), "drain")
            else:
                times = [at for at in self.play.due.values() if at is not None]
                if not times:
                    return
                self.play.pass_time(max(0.0, min(times) - self.play.now))
        raise AssertionError("The maps don't come to an end")

    def check_ends(self) -> None:
        for run in self.runs:
            assert run.left == 0 and run.over and run.finished
            assert all(code in FINAL for code in run.states)
        told_states = {"C": "Completed", "F": "Failed", "K": "Crashed"}
        assert labels(self.one) == [told_states[fate] for fate in self.fates[self.one]]
        for index, label in enumerate(labels(self.two)):
            above = self.fates[self.one][index]
            assert label == (
                told_states[self.fates[self.two][index]] if above == "C" else "UpstreamFailed"
            )
        whole = set(self.fates[self.one]) == {"C"}
        for below, label in zip(labels(self.two), labels(self.three), strict=True):
            fine = whole and below == "Completed"
            assert label == ("Completed" if fine else "UpstreamFailed")
        goes = self.patient or set(labels(self.two)) == {"Completed"}
        assert set(labels(self.four)) == {"Completed" if goes else "UpstreamFailed"}
        self.check_values()

    def check_values(self) -> None:
        """What is still on the cluster lies where the locations say, and is right."""
        everything = ",".join(f"one({index})" for index in range(self.one.count))
        for index in range(self.one.count):
            expected = {
                self.one: f"one({index})",
                self.two: f"two(one({index}))",
                self.three: f"three(two(one({index})) {everything})",
                self.four: f"four({TAKEN[self.fates[self.one][index]].format(f'one({index})')})",
            }
            for run, value in expected.items():
                if run.states[index] == C:
                    (stretch,) = run.locations.find(index, index + 1)
                    if stretch.ref in self.play.values:
                        assert self.play.values[stretch.ref][stretch.slot] == value


@settings(max_examples=200)
@given(st.data())
def test_whatever_happens_every_element_ends_in_its_one_right_state(data: st.DataObject) -> None:
    chaos = Chaos(data)

    for _ in range(data.draw(st.integers(0, 40), label="steps")):
        chaos.step([*CALM, "gone", "missed"])
    chaos.drain()

    chaos.check_ends()


@given(st.data())
def test_whenever_a_map_is_cancelled_all_maps_end_and_nothing_starts_in_it(
    data: st.DataObject,
) -> None:
    chaos = Chaos(data)
    for _ in range(data.draw(st.integers(0, 20), label="before")):
        chaos.step(CALM)
    stopped = data.draw(st.sampled_from(chaos.runs))

    chaos.play.cancel(stopped)
    started = stopped.chunks_made
    for _ in range(data.draw(st.integers(0, 10), label="after")):
        chaos.step(CALM)
    chaos.drain()

    assert stopped.chunks_made == started
    for run in chaos.runs:
        assert run.left == 0 and run.over and run.finished
        assert all(code in FINAL for code in run.states)
