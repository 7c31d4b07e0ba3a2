"""Maps: one call of a task for each element."""

import asyncio
import itertools
import operator
import threading
from collections.abc import Iterable
from typing import Any

import pytest

from fanfold import MapFuture, TaskFuture, flow, task, unmapped
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.engine.context import current
from fanfold.values.errors import (
    MapError,
    MappingLengthMismatch,
    MappingMissingIterable,
    UpstreamFailed,
)

DEADLINE_S = 10.0


@task
def add_one(x: int) -> int:
    return x + 1


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def same(x: Any) -> Any:
    return x


@task
def fails_on_two(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x


def mapped(work: Any, *args: Any, **kwargs: Any) -> list[Any]:
    """Return the results of a map in a flow of its own."""
    return flow(lambda: work.map(*args, **kwargs).result())()


@pytest.mark.parametrize(
    "given", [[1, 2, 3], (1, 2, 3), range(1, 4), {1: "a", 2: "b", 3: "c"}, {1, 2, 3}], ids=repr
)
def test_each_element_is_called_with_its_input(given: Iterable[int]) -> None:
    assert mapped(add_one, given) == [2, 3, 4]


def test_a_finite_generator_is_mapped_over() -> None:
    assert mapped(add_one, (n for n in (1, 2, 3))) == [2, 3, 4]


def test_a_map_runs_outside_a_flow_too() -> None:
    futures = add_one.map(range(1000))

    assert futures.result(timeout=DEADLINE_S) == list(range(1, 1001))


def test_several_iterables_are_mapped_over_in_step() -> None:
    assert mapped(add, [1, 2, 3], [4, 5, 6]) == [5, 7, 9]
    assert mapped(add, [1, 2, 3], y=(4, 5, 6)) == [5, 7, 9]
    assert mapped(add, x=range(3), y=range(3)) == [0, 2, 4]


@pytest.mark.parametrize("static", [5, unmapped(5)])
def test_what_is_no_iterable_is_the_same_for_all(static: Any) -> None:
    assert mapped(add, [1, 2, 3], static) == [6, 7, 8]
    assert mapped(add, [1, 2, 3], y=static) == [6, 7, 8]


@pytest.mark.parametrize("static", ["test", unmapped("test"), unmapped(["te", "st"])])
def test_text_and_what_is_marked_is_the_same_for_all(static: Any) -> None:
    @task
    def pair(x: int, y: Any) -> Any:
        return x, y

    value = "test" if static == "test" else static.value
    assert mapped(pair, [1, 2], static) == [(1, value), (2, value)]


def test_defaults_are_not_mapped_over() -> None:
    @task
    def with_default(x: int, y: list[int] = [1, 4]) -> Any:  # noqa: B006
        return x + sum(y)

    assert mapped(with_default, [1, 2]) == [6, 7]


def test_keywords_that_the_task_gathers_are_mapped_over_or_the_same() -> None:
    @task
    def gathers(x: int, **kwargs: Any) -> Any:
        return x + kwargs["y"]

    assert mapped(gathers, [1, 2, 3], y=[4, 5, 6]) == [5, 7, 9]
    assert mapped(gathers, [1, 2, 3], y=1) == [2, 3, 4]


def test_a_map_over_nothing_that_can_be_walked_is_refused() -> None:
    with pytest.raises(MappingMissingIterable, match=r"add\.map has nothing to map over"):
        mapped(add, 5, 6)


def test_a_map_over_different_lengths_is_refused() -> None:
    with pytest.raises(MappingLengthMismatch, match="x has 3, y has 2"):
        mapped(add, [1, 2, 3], [1, 2])


def test_a_map_over_nothing_is_over_at_once() -> None:
    @flow
    def around() -> Any:
        futures = same.map([])
        assert futures.done() and len(futures) == 0 and list(futures) == []
        return futures.result(), same.map(futures).result()

    assert around() == ([], [])


def test_a_map_over_a_map_loses_only_what_failed() -> None:
    @flow
    def chained() -> Any:
        one = fails_on_two.map([1, 2, 3])
        two = same.map(one)
        three = same.map(two)
        three.wait()
        states.extend([future.state for future in futures] for futures in (one, two, three))

    states: list[list[Any]] = []
    chained()
    one, two, three = states

    assert [state.name for state in one] == ["Completed", "Failed", "Completed"]
    for states in (two, three):
        assert [state.name for state in states] == ["Completed", "UpstreamFailed", "Completed"]
        assert isinstance(states[1].error, UpstreamFailed)
        assert "fails_on_two[1] Failed: ValueError: two" in str(states[1].error)


def test_a_failed_element_is_alone_among_many_and_retried_alone() -> None:
    calls: list[int] = []

    @task(retries=2)
    def one_fails(x: int) -> int:
        if x == 500:
            calls.append(x)
            raise ValueError("five hundred")
        return x

    @flow
    def around() -> Any:
        futures = one_fails.map(range(1000))
        futures.wait()
        with pytest.raises(ValueError, match="five hundred"):
            futures.result()
        return futures.states, futures.result(raise_on_failure=False)

    states, values = around()

    assert states == {"Completed": 999, "Failed": 1}
    assert isinstance(values[500], ValueError)
    assert values[:500] + values[501:] == [x for x in range(1000) if x != 500]
    assert calls == [500] * 3


def test_delayed_retries_of_some_elements_leave_the_others_their_values() -> None:
    tried: set[int] = set()

    @task(retries=1, retry_delay_seconds=0.01)
    def flaky(x: int) -> int:
        if x % 10 == 3 and x not in tried:
            tried.add(x)
            raise ValueError(x)
        return x

    @flow
    def around() -> Any:
        return add_one.map(flaky.map(range(100)))

    assert around() == list(range(1, 101))
    assert len(tried) == 10


def test_the_states_of_a_map_are_counted_without_waiting_for_it() -> None:
    go = threading.Event()

    @task
    def blocked(x: int) -> None:
        assert go.wait(DEADLINE_S)

    futures = blocked.map(range(3))

    assert futures.states == {"Pending": 3}
    assert not futures.done()
    with pytest.raises(TimeoutError, match="3 of 3"):
        futures.result(timeout=0.01)
    go.set()
    futures.wait(timeout=DEADLINE_S)
    assert futures.states == {"Completed": 3}
    assert futures.done()


def test_a_map_is_a_sequence_of_futures() -> None:
    futures = add_one.map(range(10))

    assert len(futures) == 10
    assert isinstance(futures[0], TaskFuture) and isinstance(futures[2:4], MapFuture)
    assert [future.result() for future in futures] == list(range(1, 11))
    assert futures[-1].result() == 10
    assert futures[2:5].result() == [3, 4, 5]
    assert futures[::-3].result() == [10, 7, 4, 1]
    assert futures[2:8][::2][1].result() == 5
    assert futures[5:5].result() == []
    with pytest.raises(IndexError):
        futures[10]


def test_a_slice_waits_for_its_own_elements_alone() -> None:
    go = threading.Event()

    @task
    def odd_ones_wait(x: int) -> int:
        if x % 2:
            assert go.wait(DEADLINE_S)
        return x

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=4))
    def around() -> Any:
        futures = odd_ones_wait.map(range(4))
        try:
            even = futures[::2].result(timeout=DEADLINE_S / 2)
            assert futures[::2].done() and not futures[1::2].done()
            return even
        finally:
            go.set()

    assert around() == [0, 2]


def test_a_map_over_a_slice_of_a_map() -> None:
    @flow
    def around() -> Any:
        futures = add_one.map(range(10))
        return [same.map(futures[at]) for at in (slice(3), slice(None, None, -1), slice(1, 9, 3))]

    assert around() == [[1, 2, 3], list(range(10, 0, -1)), [2, 5, 8]]


def test_futures_of_any_map_may_stand_anywhere_in_the_items() -> None:
    @flow
    def around() -> Any:
        one, two = add_one.map([1, 2]), add_one.map([10, 20])
        single = add_one.submit(100)
        mixed = same.map([one[1], 5, {"deep": [two[0], single]}, [one]])
        return mixed, add.map(one, two), add.map(one, unmapped(single))

    mixed, both, static = around()
    assert mixed == [3, 5, {"deep": [11, 101]}, [[2, 3]]]
    assert both == [13, 24]
    assert static == [103, 104]


def test_a_failed_future_deep_in_an_item_fails_that_element_alone() -> None:
    @flow
    def around() -> Any:
        bad = fails_on_two.submit(2)
        futures = same.map([1, {"deep": [bad]}, 3])
        futures.wait()
        return [future.state.name for future in futures]

    assert around() == ["Completed", "UpstreamFailed", "Completed"]


def test_a_failed_static_argument_fails_all_elements() -> None:
    @flow
    def around() -> Any:
        futures = add.map([1, 2], unmapped([fails_on_two.submit(2)]))
        futures.wait()
        return futures.states

    assert around() == {"UpstreamFailed": 2}


def test_values_are_folded_where_they_are() -> None:
    @flow
    def around() -> Any:
        futures = same.map(list("abc") * 100)
        return [
            futures.reduce(operator.add),
            futures.reduce(operator.add, ">"),
            futures[:1].reduce(operator.add),
            same.map([]).reduce(operator.add, "empty"),
        ]

    assert around() == ["abc" * 100, ">" + "abc" * 100, "a", "empty"]


def test_a_fold_of_what_failed_names_the_root_cause() -> None:
    @flow
    def around() -> Any:
        return fails_on_two.map(range(200)).reduce(operator.add)

    with pytest.raises(UpstreamFailed, match=r"fails_on_two\[2\] Failed: ValueError: two"):
        around()


def test_async_elements_are_mapped_over() -> None:
    @task(retries=1)
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    assert mapped(later, range(200)) == list(range(1, 201))


def test_all_elements_of_a_map_are_one_run() -> None:
    @task
    def who(_: int) -> str:
        context = current()
        assert context is not None
        return context.info.id

    assert len(set(mapped(who, range(100)))) == 1


def test_a_hundred_thousand_elements_travel_in_some_hundred_chunks() -> None:
    @flow
    def around() -> Any:
        futures = same.map(range(100_000))
        futures.wait()
        assert futures.states == {"Completed": 100_000}
        return futures.run.chunks_made

    assert around() <= 300


def test_an_element_that_raises_stop_iteration_does_not_cut_the_others_off() -> None:
    @task
    def stops(x: int) -> int:
        if x == 1:
            raise StopIteration
        return x

    values = flow(lambda: stops.map(range(4)).result(raise_on_failure=False))()

    assert isinstance(values[1], RuntimeError)
    assert [values[0], *values[2:]] == [0, 2, 3]


def test_an_endless_iterator_is_mapped_over_until_its_walk_is_left() -> None:
    @flow
    def around() -> list[int]:
        walk = itertools.islice(add.map(itertools.count(), unmapped(10)), 3_000)
        return [future.result() for future in walk]

    assert around() == list(range(10, 3_010))


def test_a_long_generator_gives_all_its_results() -> None:
    assert mapped(add_one, (n for n in range(5_000))) == list(range(1, 5_001))
    assert mapped(add, iter(range(5_000)), y=list(range(5_000))) == list(range(0, 10_000, 2))


def test_elements_of_a_stream_are_counted_over_its_whole_length() -> None:
    @flow
    def around() -> None:
        futures = fails_on_two.map(itertools.chain(range(3, 2_003), [2], range(3, 100)))
        assert [future.state.name for future in futures.failed] == ["Failed"]
        assert futures[2_000].task_run_id.endswith("-2000")
        assert repr(futures[2_000]) == "<TaskFuture fails_on_two[2000] Failed>"
        assert futures.states == {"Completed": 2_097, "Failed": 1}

    around()


def test_only_max_in_flight_elements_of_a_stream_are_started_before_they_are_walked() -> None:
    started: list[int] = []

    @task
    def noted(x: int) -> int:
        started.append(x)
        return x

    @flow
    def around() -> None:
        for walked, future in enumerate(noted.map(itertools.count(), max_in_flight=5)):
            assert future.result() == walked
            assert len(started) <= walked + 5
            if walked == 100:
                break

    around()


def test_failures_may_be_collected_instead_of_raised() -> None:
    values = mapped(fails_on_two, [1, 2, 3], on_error="collect")

    assert [values[0], values[2]] == [1, 3] and isinstance(values[1], ValueError)


def test_failures_of_several_elements_are_told_together() -> None:
    with pytest.raises(ValueError, match=r"2 of 4 elements of `fails_on_two` failed") as caught:
        mapped(fails_on_two, [2, 1, 2, 3])

    assert isinstance(caught.value, MapError)
    assert [group.count for group in caught.value.groups] == [2]


def test_a_retry_runs_the_failed_elements_alone_and_keeps_the_others() -> None:
    calls: list[int] = []

    @task
    def once(x: int) -> int:
        calls.append(x)
        if x == 5 and calls.count(5) == 1:
            raise ValueError(x)
        return x

    @flow
    def around() -> list[int]:
        futures = once.map(range(100), chunk_size=10)
        futures.wait()
        assert futures.states == {"Completed": 99, "Failed": 1}
        futures.retry_failed()
        return futures.result()

    assert around() == list(range(100))
    assert sorted(calls) == sorted([*range(100), 5])
