"""Tasks, called and submitted one by one."""

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fanfold import flow, runtime, task, unmapped
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.cache_policies import INPUTS
from fanfold.values.errors import UpstreamFailed, UsageError

DEADLINE_S = 10.0
ONE_THREAD = ThreadPoolTaskRunner(max_workers=1)


@task
def add(x: int, y: int = 10) -> int:
    return x + y


def fails(message: str = "no") -> None:
    raise ValueError(message)


class Counting:
    """Fails as often as it is told to."""

    def __init__(self, failures: int, error: type[BaseException] = ValueError) -> None:
        self.failures = failures
        self.error = error
        self.times: list[float] = []

    def __call__(self) -> int:
        self.times.append(time.monotonic())
        if len(self.times) <= self.failures:
            raise self.error(f"try {len(self.times)}")
        return len(self.times)

    @property
    def pauses(self) -> list[float]:
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]


@pytest.fixture(params=["called", "submitted", "submitted outside a flow", "mapped", "awaited"])
def perform(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Return what carries out a task of a function without arguments, in every way there is."""

    def performed(fn: Callable[[], Any], **options: Any) -> Any:
        plain = task(fn, **options) if not options else task(**options)(fn)
        if request.param == "called":
            return plain()
        if request.param == "submitted":
            return flow(lambda: plain.submit().result())()
        if request.param == "submitted outside a flow":
            return plain.submit().result(timeout=DEADLINE_S)
        if request.param == "mapped":
            return flow(lambda: task(**options)(lambda _: fn()).map([0])[0].result())()

        async def later() -> Any:
            return fn()

        return asyncio.run(task(**options)(later)())

    yield performed


def test_a_task_gives_its_value_however_it_is_performed(perform: Callable[..., Any]) -> None:
    assert perform(lambda: 5) == 5
    assert perform(lambda: None) is None


def test_a_task_that_fails_twice_with_two_retries_gives_its_value(
    perform: Callable[..., Any],
) -> None:
    work = Counting(failures=2)

    assert perform(work, retries=2) == 3


def test_the_last_exception_comes_out_when_retries_are_used_up(
    perform: Callable[..., Any],
) -> None:
    work = Counting(failures=99)

    with pytest.raises(ValueError, match="try 4"):
        perform(work, retries=3)
    assert len(work.times) == 4


@pytest.mark.parametrize(
    ("delays", "expected"),
    [
        (0.02, [0.02, 0.02, 0.02]),
        (timedelta(milliseconds=20), [0.02, 0.02, 0.02]),
        ([0.0, 0.03], [0.0, 0.03, 0.03]),
        ([0.01, 0.02, 0.03], [0.01, 0.02, 0.03]),
    ],
)
def test_retries_wait_as_long_as_they_are_told_to(
    perform: Callable[..., Any], delays: Any, expected: list[float]
) -> None:
    work = Counting(failures=3)

    assert perform(work, retries=3, retry_delay_seconds=delays) == 4
    assert all(
        pause >= least - 0.001 for pause, least in zip(work.pauses, expected, strict=True)
    ), work.pauses


def test_a_retry_delay_holds_no_thread() -> None:
    waits, other = Counting(failures=1), Counting(failures=0)

    @flow(task_runner=ONE_THREAD)
    def both() -> None:
        task(retries=1, retry_delay_seconds=0.2)(waits).submit()
        task(other).submit()

    both()

    assert waits.times[0] <= other.times[0] < waits.times[1]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"retry_delay_seconds": [1] * 51}, ValueError),
        ({"retry_delay_seconds": [-1]}, ValueError),
        ({"retry_delay_seconds": "1"}, TypeError),
        ({"retry_delay_seconds": ...}, TypeError),
        ({"retries": -1}, UsageError),
        ({"retries": 1.5}, UsageError),
        ({"retries": True}, UsageError),
        ({"nonsense": 1}, TypeError),
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [task, flow])
def test_options_that_make_no_sense_are_refused_at_once(
    make: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make(**options)(lambda: None)


class Shop:
    factor = 3

    @task
    def own(self, x: int, *more: int) -> Any:
        return self.factor * x, more

    @task
    @staticmethod
    def plain(x: int, *more: int) -> Any:
        return x, more

    @task
    @classmethod
    def of_class(cls, x: int, *more: int) -> Any:
        return cls.factor * x, more

    def __call__(self, x: int, *more: int) -> Any:
        return self.factor * x, more


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (Shop().own, (6, (7, 8))),
        (Shop().plain, (2, (7, 8))),
        (Shop.plain, (2, (7, 8))),
        (Shop.of_class, (6, (7, 8))),
        (Shop().of_class, (6, (7, 8))),
        (task(Shop()), (6, (7, 8))),
        (task(functools.partial(Shop(), 2)), (6, (2, 7, 8))),
        (task(lambda x, *more, **named: (x, more)), (2, (7, 8))),
    ],
)
def test_whatever_can_be_called_can_be_a_task(work: Any, expected: Any) -> None:
    @flow
    def around() -> list[Any]:
        return [work(2, 7, 8), work.submit(2, 7, 8), *work.map([2], 7, 8)]

    assert around() == [expected] * 3


def test_a_bound_task_and_its_runs_are_called_as_its_method_is() -> None:
    class Mill:
        @task
        def grind(self) -> str | None:
            """Make flour."""
            return runtime.task_run.task_name

        @task
        @classmethod
        def turn(cls) -> str | None:
            return runtime.task_run.task_name

    for bound, name in ((Mill().grind, "grind"), (Mill.turn, "turn"), (Mill().turn, "turn")):
        assert (bound.name, bound()) == (name, name)
    assert (Mill().grind.__doc__, Mill().grind.description) == ("Make flour.", "Make flour.")


def test_attributes_of_what_is_called_are_not_taken_for_the_tasks_own() -> None:
    class Named:
        name, retries, tags, fn = "its own", 99, [1, 2], None

        def __init__(self) -> None:
            vars(self).update(name="its own", retries=99, tags=[1, 2], fn=None)

        def __call__(self, x: int) -> int:
            return x

    for made in (task(name="known")(Named()), flow(name="known")(Named())):
        assert made(5) == 5
        assert (made.name, made.retries) == ("known", 0)


def test_arguments_are_neither_copied_nor_changed() -> None:
    given = {"list": [1, 2], "model": object()}

    @task
    def same(value: Any, *args: Any, **kwargs: Any) -> Any:
        return value, args, kwargs

    @flow
    def around() -> list[Any]:
        return [same(given, given, z=given), same.submit(given, given, z=given).result()]

    for value, args, kwargs in around():
        assert value is args[0] is kwargs["z"] is given


@pytest.mark.parametrize("way", ["__call__", "submit", "map"])
def test_arguments_that_do_not_fit_are_refused_at_the_call(way: str) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        getattr(add, way)([1], z=[2])


def test_a_future_as_an_argument_is_its_value() -> None:
    @flow
    def chained() -> list[Any]:
        one = add.submit(1)
        return [add.submit(one, y=one), add(one), add.submit(add.submit(one))]

    assert chained() == [22, 21, 31]


def test_futures_are_found_deep_inside_arguments_and_the_originals_stay() -> None:
    @task
    def same(value: Any) -> Any:
        return value

    @flow
    def around() -> Any:
        future = add.submit(1)
        deep = {"a": [(future, {"b": future})]}
        result = same.submit(deep).result()
        assert deep["a"][0][0] is future
        return result

    assert around() == {"a": [(11, {"b": 11})]}


def test_a_future_of_another_flow_run_or_of_none_is_its_value_too() -> None:
    outside = add.submit(1)
    kept: list[Any] = []

    @flow
    def first() -> int:
        kept.append(add.submit(2))
        return kept[0].result()

    @flow
    def second() -> list[Any]:
        return [add.submit(outside), add.submit(outside, y=outside), *add.map([1], outside)]

    first()
    assert second() == [21, 22, 12]


def test_what_needs_a_failed_task_never_runs_and_names_the_root_cause() -> None:
    ran: list[Any] = []

    @task
    def downstream(value: Any) -> None:
        ran.append(value)

    @flow
    def chained() -> dict[str, Any]:
        root = task(fails).submit()
        below = downstream.submit([root])
        last = downstream.submit(below)
        for future in (root, below, last):
            future.wait()
        return {"states": [future.state for future in (root, below, last)]}

    states = chained()["states"]

    assert ran == []
    assert [state.name for state in states] == ["Failed", "UpstreamFailed", "UpstreamFailed"]
    for state in states[1:]:
        assert isinstance(state.error, UpstreamFailed)
        assert "fails Failed: ValueError: no" in str(state.error)


def test_a_state_and_a_result_say_what_became_of_a_call() -> None:
    @flow
    def asked() -> list[Any]:
        good, bad = add.submit(1), task(fails).submit()
        good.wait()
        assert good.done() and good.state.is_completed() and good.state.name == "Completed"
        error = bad.result(raise_on_failure=False)
        assert bad.state.is_failed() and bad.state.error is error
        assert bad.state.message == "ValueError: no"
        return [error]

    (error,) = asked()
    assert isinstance(error, ValueError)


def test_a_wait_that_times_out_changes_nothing() -> None:
    go = threading.Event()

    @task
    def blocked() -> str:
        assert go.wait(DEADLINE_S)
        return "done"

    future = blocked.submit()

    with pytest.raises(TimeoutError, match=r"1 of 1 calls of blocked aren't over after 0\.01 s"):
        future.result(timeout=0.01)
    assert future.wait(timeout=0.01) is None
    assert not future.done()
    assert not future.state.is_final()
    with pytest.raises(ValueError, match="negative"):
        future.wait(timeout=-1)
    go.set()
    assert future.result(timeout=DEADLINE_S) == "done"
    assert future.result(timeout=0) == "done"


def test_tasks_inside_tasks_need_no_thread_of_their_own() -> None:
    @task
    async def leaf(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    @task
    def middle(x: int) -> int:
        return sum(leaf.map([x, x]).result()) + leaf.submit(x).result()

    @task
    def top(x: int) -> list[int]:
        return middle.map([x, add.submit(x, 1)]).result()

    @flow(task_runner=ONE_THREAD)
    def around() -> Any:
        return [top.submit(1), *top.map([1, 2])]

    assert around() == [[6, 9], [6, 9], [9, 12]]


def test_calls_inside_a_task_depend_on_each_other_as_anywhere() -> None:
    @task
    def top() -> list[Any]:
        one = add.submit(1)
        many = add.map([one, 2], y=unmapped(one))
        broken = add.submit(task(fails).submit())
        return [add.submit(one).result(), add.map(many).result(), broken.state.name]

    @flow(task_runner=ONE_THREAD)
    def around() -> Any:
        return top.submit()

    assert around() == [21, [32, 23], "UpstreamFailed"]


def test_async_tasks_inside_async_tasks_run_too() -> None:
    @task
    async def leaf(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    @task
    async def top(x: int) -> list[int]:
        awaited = await leaf(x)
        return [awaited, leaf.submit(x).result(), *leaf.map([x]).result(), add(x)]

    @flow(task_runner=ONE_THREAD)
    def around() -> Any:
        return top.submit(1)

    assert around() == [2, 2, 2, 11]
    assert asyncio.run(top(1)) == [2, 2, 2, 11]


def test_a_failure_inside_a_task_is_its_own_to_handle() -> None:
    @task
    def top() -> str:
        futures = task(fails).map(["a"])
        try:
            futures.result()
        except ValueError as error:
            return f"caught {error}"
        return "nothing"

    @flow(task_runner=ONE_THREAD)
    def around() -> Any:
        return top.submit()

    assert around() == "caught a"


def test_an_exception_keeps_its_own_context(perform: Callable[..., Any]) -> None:
    def work() -> None:
        try:
            raise KeyError("below")
        except KeyError:
            raise ValueError("above")  # noqa: B904

    with pytest.raises(ValueError, match="above") as caught:
        perform(work)

    assert isinstance(caught.value.__context__, KeyError)
    assert not caught.value.__suppress_context__


def test_options_can_be_changed_for_one_use() -> None:
    work = Counting(failures=1)
    once = task(work)
    again = once.with_options(retries=1, name="again")

    assert again() == 2
    assert (once.retries, once.name, again.name) == (0, "Counting", "again")
    with pytest.raises(TypeError):
        once.with_options(retires=1)


def test_a_task_looks_like_its_function() -> None:
    def documented() -> None:
        """Do it."""

    made = task(documented)

    assert (made.__name__, made.__doc__, made.fn) == ("documented", "Do it.", documented)
    assert repr(made) == "<Task documented>"


def test_a_task_that_is_given_a_list_to_wait_for_does_not_see_itself_in_it_later() -> None:
    @flow
    def around() -> Any:
        futures: list[Any] = []
        futures.append(add.submit(1, wait_for=futures))
        return futures[0]

    assert around() == 11


def test_a_task_that_asks_for_its_own_future_is_told_of_a_deadlock() -> None:
    own: list[Any] = []
    known = threading.Event()

    @task
    def asks() -> int:
        assert known.wait(DEADLINE_S)
        return add(own[0])

    @flow
    def around() -> Any:
        own.append(asks.submit())
        known.set()
        return own[0]

    with pytest.raises(ValueError, match="deadlock"):
        around()


def test_none_is_a_result_that_is_kept_like_any_other(tmp_path: Path) -> None:
    calls: list[None] = []

    @task(cache_policy=INPUTS, result_storage=tmp_path)
    def nothing(x: int) -> None:
        calls.append(None)

    states = [nothing(1, return_state=True) for _ in range(2)]

    assert [(state.name, state.result()) for state in states] == [
        *(("Completed", None), ("Cached", None)),
    ]
    assert len(calls) == 1
