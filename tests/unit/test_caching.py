"""Cached tasks: when a call shares the result of another."""

import functools
import logging
import re
import threading
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from fanfold import INPUTS, flow, task, task_input_hash
from fanfold.caching import NO_CACHE, TASK_SOURCE, CachePolicy
from fanfold.values.errors import KeyNotStable, UsageError

POLICIES: list[dict[str, Any]] = [{"cache_policy": INPUTS}, {"cache_key_fn": task_input_hash}]
by_any_policy = pytest.mark.parametrize("options", POLICIES, ids=["INPUTS", "task_input_hash"])


class Scale:
    """Has a state that its method's result depends on."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def times(self, x: int) -> int:
        return self.factor * x

    @task(cache_policy=INPUTS)
    def cached(self, x: int) -> int:
        return self.factor * x

    def __call__(self, x: int) -> int:
        return self.factor * x


class Shift(Scale):
    @task(cache_policy=INPUTS)
    def cached(self, x: int) -> int:
        return self.factor + x


def made(calls: list[Any], **options: Any) -> Any:
    """Return a cached task that notes its calls."""

    @task(**options)
    def noted(a: Any, b: Any = 2, c: Any = 3) -> Any:
        calls.append((a, b, c))
        return [a, b, c]

    return noted


def states(work: Any, *rows: Any) -> list[str]:
    """Return the states that calls come to, one after the other, each in a flow run of its own."""

    @flow
    def once(row: Any) -> str:
        future = work.submit(row)
        future.wait()
        return future.state.name

    return [once(row) for row in rows]


@by_any_policy
def test_a_call_with_equal_inputs_is_cached_whatever_flow_it_is_in(options: dict[str, Any]) -> None:
    calls: list[Any] = []
    work = made(calls, **options)

    assert states(work, 1, 1, 2, 1) == ["Completed", "Cached", "Completed", "Cached"]
    assert work(1) == [1, 2, 3]
    assert len(calls) == 2


@by_any_policy
def test_however_the_arguments_are_given_the_key_is_the_same(options: dict[str, Any]) -> None:
    calls: list[Any] = []
    work = made(calls, **options)

    values = [work(1, 2, 3), work(1, b=2), work(c=3, a=1, b=2), work(a=1)]
    mapped = flow(lambda: work.map([1, 1], c=[3, 3]).result())()

    assert values == [[1, 2, 3]] * 4
    assert mapped == [[1, 2, 3]] * 2
    assert len(calls) == 1


@by_any_policy
def test_the_key_is_made_of_the_values_of_futures(options: dict[str, Any]) -> None:
    calls: list[Any] = []
    work = made(calls, **options)
    plain = task(lambda x: x)

    @flow
    def around() -> list[Any]:
        return [work.submit(plain.submit(1)), *work.map(plain.map([1, 2])), work(plain.submit(2))]

    assert around() == [[1, 2, 3], [1, 2, 3], [2, 2, 3], [2, 2, 3]]
    made_first = len(calls)
    assert around() == [[1, 2, 3], [1, 2, 3], [2, 2, 3], [2, 2, 3]]
    assert len(calls) == made_first
    assert {call[0] for call in calls} == {1, 2}


def test_a_key_function_is_given_the_arguments_by_name_in_order_with_defaults() -> None:
    seen: list[Any] = []

    def key(context: Any, arguments: dict[str, Any]) -> str | None:
        seen.append((context.task.name, list(arguments.items())))
        return None if arguments["a"] == 0 else str(arguments["a"] % 10)

    calls: list[Any] = []
    work = made(calls, cache_key_fn=key)

    values = [work(c=4, a=1), work(11), work(0), work(0)]

    assert seen[0] == ("noted", [("a", 1), ("b", 2), ("c", 4)])
    assert values == [[1, 2, 4], [1, 2, 4], [0, 2, 3], [0, 2, 3]]
    assert len(calls) == 3


def test_a_result_of_none_is_cached_too() -> None:
    calls: list[int] = []

    @task(cache_policy=INPUTS)
    def nothing(x: int) -> None:
        calls.append(x)

    assert [nothing(1), nothing(1)] == [None, None]
    assert calls == [1]


@by_any_policy
def test_exceptions_are_not_served_from_the_cache(options: dict[str, Any]) -> None:
    calls: list[int] = []

    @task(**options)
    def fails_at_first(x: int) -> int:
        calls.append(x)
        if len(calls) == 1:
            raise ValueError("no")
        return x

    with pytest.raises(ValueError, match="no"):
        fails_at_first(1)
    assert [fails_at_first(1), fails_at_first(1)] == [1, 1]
    assert calls == [1, 1]


def test_a_result_is_used_until_it_expires() -> None:
    calls: list[Any] = []
    short = made(calls, cache_policy=INPUTS, cache_expiration=timedelta(seconds=0))
    long = made(calls, cache_policy=INPUTS, cache_expiration=timedelta(days=1))

    assert states(short, 1, 1) == ["Completed", "Completed"]
    assert states(long, 1, 1) == ["Completed", "Cached"]


def test_elements_of_a_map_share_results_with_calls_and_other_maps() -> None:
    calls: list[Any] = []
    work = made(calls, cache_policy=INPUTS)
    work(5)

    @flow
    def around() -> Any:
        futures = work.map(range(10))
        values = futures.result()
        return values, dict(futures.states)

    assert around() == ([[n, 2, 3] for n in range(10)], {"Completed": 9, "Cached": 1})
    assert around() == ([[n, 2, 3] for n in range(10)], {"Cached": 10})
    assert len(calls) == 10


def test_a_big_map_is_kept_in_a_few_objects(fanfold_home: Path) -> None:
    @task(cache_policy=INPUTS)
    def square(n: int) -> int:
        return n * n

    @flow
    def around() -> dict[str, int]:
        futures = square.map(range(5_000))
        futures.wait()
        return dict(futures.states)

    assert around() == {"Completed": 5_000}
    kept = [path for path in (fanfold_home / "results").rglob("*") if path.is_file()]
    assert 0 < len(kept) <= 200
    assert around() == {"Cached": 5_000}
    again = [path for path in (fanfold_home / "results").rglob("*") if path.is_file()]
    assert len(again) == len(kept)


def test_a_hash_of_the_inputs_holds_the_code_and_what_it_closes_over() -> None:
    def tasks(step: int) -> list[Any]:
        def bump(x: int) -> int:
            return x + step

        def other(x: int) -> int:
            return x + step

        def jump(x: int) -> int:
            return x - step

        jump.__name__, jump.__qualname__ = bump.__name__, bump.__qualname__
        return [task(cache_key_fn=task_input_hash)(fn) for fn in (bump, other, jump)]

    bump, other, jump = tasks(1)
    bump_by_two, *_ = tasks(2)
    again, *_ = tasks(1)

    assert states(bump, 1) == ["Completed"]
    assert states(again, 1) == ["Cached"]
    assert states(other, 1) == ["Completed"]
    assert states(jump, 1) == ["Completed"]
    assert states(bump_by_two, 1) == ["Completed"]
    assert [work(1) for work in (bump, other, jump, bump_by_two)] == [2, 2, 0, 3]


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (lambda: {"b": {1, 2}, "a": (Path("x"), None)}, {"b": {1, 2}, "a": (Path("y"), None)}),
        (lambda: np.arange(5), np.arange(5) + 1),
    ],
    ids=["nested data", "array"],
)
def test_inputs_count_by_their_content(make: Callable[[], Any], other: Any) -> None:
    work = task(cache_key_fn=task_input_hash)(lambda value: type(value).__name__)

    assert states(work, make(), make(), other) == ["Completed", "Cached", "Completed"]


def test_instances_with_another_state_share_no_results() -> None:
    two, three = Scale(2), Scale(3)

    assert [two.cached(5), three.cached(5), Shift(2).cached(5)] == [10, 15, 7]
    assert [Scale(2).cached(5), Scale(3).cached(5)] == [10, 15]


STATEFUL: dict[str, Callable[[int], Callable[[int], int]]] = {
    "callable object": lambda factor: Scale(factor),
    "bound method": lambda factor: Scale(factor).times,
    "partial": lambda factor: functools.partial(pow, factor),
    "closure": lambda factor: lambda x: factor * x,
}


@pytest.mark.parametrize(
    ("kind", "policy"),
    # INPUTS says that it doesn't look at the code, and so not at what it closes over.
    [(kind, 0) for kind in STATEFUL if kind != "closure"] + [(kind, 1) for kind in STATEFUL],
)
def test_what_is_called_with_the_inputs_counts_as_much_as_they_do(kind: str, policy: int) -> None:
    one, other = (task(**POLICIES[policy])(STATEFUL[kind](factor)) for factor in (2, 3))

    assert [one(2), other(2)] == [STATEFUL[kind](2)(2), STATEFUL[kind](3)(2)]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "fanfold.engine"]


@by_any_policy
def test_an_input_that_cannot_be_encoded_is_named_and_the_call_runs_uncached(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Any] = []
    work = made(calls, **options)

    with caplog.at_level(logging.WARNING, "fanfold.engine"):
        work(1, {"deep": [threading.Lock()]})
        work(1, {"deep": [threading.Lock()]})

    assert len(calls) == 2
    (first, _) = warnings_of(caplog)
    assert "noted runs uncached" in first
    assert re.search(r"\bb\b.*\['deep'\]\[0\] is a _thread.lock", first)


def test_a_result_that_cannot_be_stored_is_only_not_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @task(cache_policy=INPUTS)
    def locks(x: int) -> Any:
        return threading.Lock() if x == 1 else x

    @flow
    def around() -> dict[str, int]:
        futures = locks.map([0, 1, 2])
        futures.wait()
        return dict(futures.states)

    with caplog.at_level(logging.WARNING, "fanfold.engine"):
        assert around() == {"Completed": 3}
        assert around() == {"Completed": 1, "Cached": 2}
    assert all("A result of locks isn't kept" in line for line in warnings_of(caplog))


class Stays:
    def __reduce__(self) -> Any:
        raise TypeError("It stays here.")


def test_a_warning_ends_with_one_full_stop_whatever_its_error_ends_with(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task(lambda: Stays(), name="stays", cache_policy=INPUTS)()

    assert warnings_of(caplog) == ["A result of stays isn't kept: It stays here."]


@pytest.mark.parametrize("way", ["called", "submitted", "mapped", "needed"])
def test_a_stored_result_that_is_gone_is_made_again(fanfold_home: Path, way: str) -> None:
    calls: list[Any] = []
    work = made(calls, cache_policy=INPUTS)
    plain = task(lambda value: value)
    flow(lambda: work.map([1]).result())()
    for path in fanfold_home.rglob("*"):
        if path.is_file() and "segments" in path.parts:
            path.unlink()

    ways: dict[str, Callable[[], Any]] = {
        "called": lambda: work(1),
        "submitted": lambda: work.submit(1).result(),
        "mapped": lambda: work.map([1]).result()[0],
        "needed": lambda: plain.submit(work.submit(1)).result(),
    }

    assert flow(ways[way])() == [1, 2, 3]
    assert len(calls) == 2


def test_a_store_that_breaks_meanwhile_costs_nobody_a_value(
    fanfold_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @task(cache_policy=INPUTS)
    def breaks_the_store(x: int) -> int:
        for folder in list(fanfold_home.rglob("index")):
            folder.rename(folder.with_name("aside"))
            folder.write_text("in the way")
        return x

    with caplog.at_level(logging.WARNING, "fanfold.engine"):
        assert [breaks_the_store(1), breaks_the_store(2)] == [1, 2]

    (warning,) = warnings_of(caplog)
    assert "The result of breaks_the_store isn't kept" in warning


def test_a_policy_that_tasks_cannot_follow_is_refused() -> None:
    with pytest.raises(UsageError, match="cache_policy='INPUTS'"):
        task(cache_policy="INPUTS")(lambda value: value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"refresh_cache": "yes"}, TypeError),
        ({"refresh_cache": 3}, TypeError),
        ({"cache_expiration": "1h"}, TypeError),
        ({"cache_expiration": True}, TypeError),
        ({"cache_expiration": float("inf")}, ValueError),
    ],
    ids=str,
)
def test_options_of_caching_that_make_no_sense_are_refused_by_name(
    options: dict[str, Any], error: type[Exception]
) -> None:
    (name,) = options

    with pytest.raises(error, match=name):
        task(**options)(lambda: None)


def test_results_expire_after_seconds_as_after_a_timedelta() -> None:
    calls: list[Any] = []
    short = made(calls, cache_policy=INPUTS, cache_expiration=0)
    long = made(calls, cache_policy=INPUTS, cache_expiration=3600.0)

    assert states(short, 1, 1) == ["Completed", "Completed"]
    assert states(long, 2, 2) == ["Completed", "Cached"]


@pytest.mark.parametrize("wish", [{"cache_policy": INPUTS}, {"cache_expiration": 60}], ids=str)
def test_caching_of_what_is_not_kept_is_warned_of_where_it_is_written(wish: Any) -> None:
    with pytest.warns(UserWarning, match="nothing is cached") as warned:

        @task(persist_result=False, **wish)
        def work(x: int) -> int:
            return x

        work.with_options(persist_result=False)

    assert [each.filename for each in warned] == [__file__] * 2


def test_an_expiration_of_what_nobody_keeps_is_warned_of_and_not_where_the_flow_keeps_it() -> None:
    @task(cache_expiration=60)
    def work(x: int) -> int:
        return x

    with pytest.warns(UserWarning, match=r"work has a cache_expiration.*cache_policy") as warned:
        work(1)
    flow(persist_result=True)(lambda: work(1))()

    assert [each.filename for each in warned] == [__file__]


def test_a_policy_that_leaves_out_what_no_parameter_is_called_is_warned_of() -> None:
    policy = TASK_SOURCE + INPUTS - "debgu"

    with pytest.warns(UserWarning, match=r"'debgu'.*x, debug\. Did you mean 'debug'") as warned:

        @task(cache_policy=policy)
        def work(x: int, debug: bool = False) -> int:
            return x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task(cache_policy=policy)(lambda **options: options)
        work.with_options(retries=1)
    assert [each.filename for each in warned] == [__file__]


def test_a_method_whose_policy_leaves_out_self_is_bound_without_a_warning() -> None:
    class Shop:
        @task(cache_policy=INPUTS - "self")
        def work(self, x: int) -> int:
            return x

    assert states(Shop().work, 1, 1) == ["Completed", "Cached"]


def test_a_task_that_was_pickled_still_follows_its_policy() -> None:
    work = cloudpickle.loads(cloudpickle.dumps(task(cache_policy=INPUTS)(lambda value: value)))

    assert states(work, 1, 1) == ["Completed", "Cached"]


def test_a_strict_policy_fails_the_call_that_has_no_key() -> None:
    calls: list[Any] = []
    work = made(calls, cache_policy=(INPUTS - "c").configure(strict=True))

    with pytest.raises(KeyNotStable, match=r"b\[0\] is a _thread.lock"):
        work(1, [threading.Lock()])

    assert calls == []
    assert work(1, 2, 3) == work(1, 2, threading.Lock()) == [1, 2, 3]
    assert len(calls) == 1


def test_a_policy_that_a_user_wrote_is_followed_in_maps() -> None:
    class ByParity(CachePolicy):
        def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **_: Any) -> Any:
            return None if inputs["a"] == 0 else f"{task_ctx.task.name} {inputs['a'] % 2}"

    work = made([], cache_policy=ByParity())

    @flow
    def around() -> tuple[list[Any], dict[str, int]]:
        futures = work.map([3, 1, 2, 0])
        futures.wait()
        return futures.result(), dict(futures.states)

    work(1)
    work(2)

    assert around() == ([[1, 2, 3]] * 2 + [[2, 2, 3], [0, 2, 3]], {"Completed": 1, "Cached": 3})


def test_code_counts_where_the_policy_says_so() -> None:
    def bump(step: int) -> Any:
        def helper(x: int) -> int:
            return x + step

        return task(cache_policy=INPUTS + TASK_SOURCE)(lambda x: helper(x))

    assert states(bump(1), 1, 1) == ["Completed", "Cached"]
    assert states(bump(2), 1, 1) == ["Completed", "Cached"]
    assert states(bump(1), 1) == ["Cached"]
    assert states(bump(2).with_options(cache_policy=NO_CACHE), 1, 1) == ["Completed", "Completed"]
