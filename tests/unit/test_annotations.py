"""Marks around arguments, and what calls that wait for others are given."""

import pickle
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pydantic
import pytest

from fanfold import flow, task
from fanfold.annotations import BaseAnnotation, allow_failure, opaque, quote, unmapped
from fanfold.values.errors import UpstreamFailed

MARKS = (unmapped, allow_failure, quote, opaque)
NO_TWO = "fails_on_two[1] Failed: ValueError: two"


@task
def same(*given: Any) -> Any:
    return given[0] if len(given) == 1 else given


@task
def fails_on_two(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x


@task
def fails() -> None:
    raise ValueError("no")


@task
def slowly(seconds: float) -> float:
    time.sleep(seconds)
    return time.time()


@task
def now(*_: Any) -> float:
    return time.time()


class Model(pydantic.BaseModel):
    count: int
    inner: list[Any] = []


@pytest.fixture(params=["threads", "processes", "inline"])
def inside(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    """Runs a function as a flow, on each of the runners that are always there."""
    return lambda body: flow(body, task_runner=request.param)()


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_holds_its_value_compares_and_pickles(mark: Any) -> None:
    marked = mark([1, 2])

    assert isinstance(marked, BaseAnnotation)
    assert marked.unwrap() is marked.value
    assert marked == mark([1, 2]) == pickle.loads(pickle.dumps(marked))
    assert all(marked != other([1, 2]) for other in MARKS if other is not mark)
    assert marked.rewrap("x") == mark("x")
    assert repr(marked) == f"{mark.__name__}([1, 2])"
    assert hash(mark("x")) == hash(mark("x"))


def test_a_failed_call_stands_as_its_exception_where_that_is_allowed(inside: Any) -> None:
    def body() -> list[str]:
        failed = fails.submit()
        given = [
            same.submit(allow_failure([failed, 1, 2])),
            same.submit({"deep": allow_failure(failed)}),
            same.submit(allow_failure(same.submit(failed))),
        ]
        return [repr(future.result()) for future in given]

    assert inside(body) == [
        "[ValueError('no'), 1, 2]",
        "{'deep': ValueError('no')}",
        "UpstreamFailed('fails Failed: ValueError: no')",
    ]


def test_an_exception_that_was_allowed_is_the_one_that_was_raised(inside: Any) -> None:
    def body() -> Any:
        return same.submit(allow_failure(fails.submit())).result()

    error = inside(body)

    assert type(error) is ValueError
    assert error.args == ("no",)


def test_a_map_over_a_map_loses_what_failed_unless_that_is_allowed(inside: Any) -> None:
    def body() -> list[list[str]]:
        numbers = fails_on_two.map([1, 2, 3])
        maps = [
            same.map(numbers),
            same.map(allow_failure(numbers)),
            same.map(allow_failure(list(numbers))),
            same.map(allow_failure([numbers[2], numbers[1]])),
        ]
        return [[repr(v) for v in each.result(raise_on_failure=False)] for each in maps]

    assert inside(body) == [
        ["1", repr(UpstreamFailed(NO_TWO)), "3"],
        ["1", "ValueError('two')", "3"],
        ["1", "ValueError('two')", "3"],
        ["3", "ValueError('two')"],
    ]


def test_a_failed_call_may_be_given_to_each_element_of_a_map(inside: Any) -> None:
    def body() -> list[list[str]]:
        failed, numbers = fails.submit(), fails_on_two.map([1, 2])
        maps = [
            same.map([1, 2], allow_failure(failed)),
            same.map([1, 2], unmapped(allow_failure(numbers))),
            same.map([1, 2], allow_failure(unmapped(numbers))),
        ]
        return [[repr(v) for v in each.result()] for each in maps]

    whole = ["(1, [1, ValueError('two')])", "(2, [1, ValueError('two')])"]
    assert inside(body) == [["(1, ValueError('no'))", "(2, ValueError('no'))"], whole, whole]


def test_a_quoted_list_is_mapped_over_and_a_quoted_value_is_the_same_for_all(inside: Any) -> None:
    def body() -> Any:
        return same.map(quote([1, 2, 3])).result(), same.map(quote(1), [1, 2]).result()

    assert inside(body) == ([1, 2, 3], [(1, 1), (1, 2)])


def test_a_quoted_future_stays_one_and_an_opaque_one_does_not() -> None:
    @flow
    def body() -> Any:
        future = same.submit(1)
        quoted = same.submit(quote([future])).result()
        return quoted[0] is future, same.submit(opaque(future)).result()

    assert body() == (True, 1)


def test_futures_are_found_in_models_partials_and_keys(inside: Any) -> None:
    def body() -> Any:
        one, two = same.submit(1), same.submit(2)
        model = same.submit(Model.model_construct(count=one, inner=[{two: two}])).result()
        called = same.submit(partial(max, one, two)).result()
        return model, called()

    assert inside(body) == (Model(count=1, inner=[{2: 2}]), 2)


def test_a_direct_call_is_given_values_or_fails_by_what_failed(inside: Any) -> None:
    def body() -> Any:
        numbers = fails_on_two.map([1, 2, 3])
        with pytest.raises(UpstreamFailed, match="fails_on_two\\[1\\] Failed: ValueError: two"):
            same([numbers[1]])
        return same([numbers[0], numbers[2]]), repr(same(allow_failure(numbers)))

    assert inside(body) == ([1, 3], "[1, ValueError('two'), 3]")


def test_a_call_waits_for_others_without_their_values(inside: Any) -> None:
    def body() -> Any:
        slow, slow_map = slowly.submit(0.1), slowly.map([0.1, 0.2])
        later = now.submit(wait_for=[slow, [slow_map]])
        last = now.map([1, 2], wait_for=[later])
        return [slow.result(), *slow_map.result()], later.result(), last.result()

    before, later, last = inside(body)

    assert max(before) <= later <= min(last)


def test_a_call_that_waits_for_what_failed_fails_unless_that_is_allowed(inside: Any) -> None:
    def body() -> Any:
        failed = fails.submit()
        with pytest.raises(UpstreamFailed, match="fails Failed: ValueError: no"):
            now(wait_for=[failed])
        stopped = now.map([1, 2], wait_for=[failed]).states
        gone = now.submit(wait_for=[failed]).result(raise_on_failure=False)
        fine = now.submit(wait_for=[allow_failure(failed)]).result()
        return repr(gone), stopped, fine > 0, now(wait_for=[allow_failure([failed])]) > 0

    gone, stopped, *fine = inside(body)

    assert gone == "UpstreamFailed('fails Failed: ValueError: no')"
    assert set(stopped) <= {"UpstreamFailed", "Pending"}
    assert fine == [True, True]


def test_a_task_that_waits_for_itself_is_refused_and_does_not_hang() -> None:
    @task
    def asks(futures: list[Any]) -> Any:
        while not futures:
            time.sleep(0.001)
        return same(futures[0])

    @flow(task_runner="threads")
    def body() -> None:
        futures: list[Any] = []
        futures.append(asks.submit(quote(futures)))
        futures[0].result()

    with pytest.raises(ValueError, match="deadlock"):
        body()


def test_a_list_that_grows_by_each_call_is_waited_for_as_it_was_at_the_call() -> None:
    @flow
    def body() -> list[int]:
        futures: list[Any] = []
        for number in range(4):
            futures.append(same.submit(number, wait_for=futures))
        return [future.result() for future in futures]

    assert body() == [0, 1, 2, 3]
