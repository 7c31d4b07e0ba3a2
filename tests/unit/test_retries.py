"""Retries: how often, after which delays, and who is asked before."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fanfold import exponential_backoff, flow, runtime, task
from fanfold.engine import settings
from fanfold.engine.attempt import retry_delay_s
from fanfold.engine.flow import AnnounceFlow, CallFlow, Prepare, Sleep, flow_story
from fanfold.options import checked_jitter, delays_in_seconds
from fanfold.states import Cancelled, Completed, Crashed, Failed
from fanfold.values.states import State, StateName


class Flaky:
    """Fails so many times, then returns the number of calls."""

    def __init__(self, failures: int = 99, fail: Callable[[], Any] | None = None) -> None:
        self.failures = failures
        self.calls = 0
        self.fail = fail

    def __call__(self) -> Any:
        self.calls += 1
        if self.calls > self.failures:
            return self.calls
        if self.fail is not None:
            return self.fail()
        raise ValueError(f"try {self.calls}")


def performed(work: Callable[[], Any], way: str, **options: Any) -> Any:
    """Perform a task of a function in one of the ways, and return the final state."""
    if way == "called":
        return task(work, **options)(return_state=True)
    if way == "awaited":

        async def later() -> Any:
            return work()

        return asyncio.run(task(later, **options)(return_state=True))  # type: ignore[arg-type]
    if way == "submitted":
        return flow(lambda: {"state": task(work, **options).submit(return_state=True)})()["state"]
    mapped = task(lambda _: work(), **options)
    (state,) = flow(lambda: {"states": mapped.map([0], return_state=True)})()["states"]
    return state


WAYS = pytest.mark.parametrize("way", ["called", "awaited", "submitted", "mapped"])


@pytest.mark.parametrize(
    ("delays", "expected"),
    [
        (1, [1, 1, 1]),
        (timedelta(seconds=1.5), [1.5, 1.5, 1.5]),
        ([1, 2, 3], [1, 2, 3]),
        ([1, 2], [1, 2, 2]),
        (exponential_backoff(10), [10, 20, 40]),
        (lambda retries: [retries] * retries, [3, 3, 3]),
        (lambda retries: 7, [7, 7, 7]),
        (0, [0, 0, 0]),
        ([], [0, 0, 0]),
        (None, [0, 0, 0]),
    ],
)
def test_delays_are_taken_in_turn_and_the_last_serves_the_rest(delays: Any, expected: Any) -> None:
    delays_s = delays_in_seconds(delays, 3)

    assert [retry_delay_s(3, delays_s, tries) for tries in (1, 2, 3)] == expected
    assert retry_delay_s(3, delays_s, 4) is None


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"retries": 51, "retry_delay_seconds": exponential_backoff(1)}, ValueError),
        ({"retry_delay_seconds": list(range(51))}, ValueError),
        ({"retry_delay_seconds": [float("nan")]}, ValueError),
        ({"retry_delay_seconds": -1}, ValueError),
        ({"retry_delay_seconds": ["1"]}, TypeError),
        ({"retry_delay_seconds": [True]}, TypeError),
        ({"retry_delay_seconds": lambda retries: "1"}, TypeError),
    ],
    ids=lambda option: str(option)[:40],
)
@pytest.mark.parametrize("make", [task, flow])
def test_delays_that_make_no_sense_are_refused_at_once(make: Any, options: Any, error: Any) -> None:
    with pytest.raises(error):
        make(lambda: None, **options)


@pytest.mark.parametrize("factor", [-0.1, float("inf"), float("nan")])
def test_a_jitter_that_makes_no_sense_is_refused_at_once(factor: float) -> None:
    with pytest.raises(ValueError, match="retry_jitter_factor of work"):
        task(lambda: None, name="work", retry_jitter_factor=factor)


def test_jitter_adds_up_to_its_share_and_differs_from_time_to_time() -> None:
    delays = {retry_delay_s(1, (10.0,), 1, 0.5) for _ in range(200)}

    assert len(delays) > 100
    assert 10 <= min(map(float, filter(None, delays))) < 11
    assert 14 < max(map(float, filter(None, delays))) <= 15
    assert checked_jitter("work", None) == 0


@WAYS
def test_a_task_is_called_until_it_gives_a_value_or_nothing_is_left(way: str) -> None:
    good, bad = Flaky(2), Flaky()

    state = performed(good, way, retries=2)
    failed = performed(bad, way, retries=3)

    assert (state.name, state.result(), good.calls) == ("Completed", 3, 3)
    assert (failed.name, bad.calls) == ("Failed", 4)
    assert str(failed.result(raise_on_failure=False)) == "try 4"


@WAYS
@pytest.mark.parametrize(
    ("made", "calls", "name"),
    [
        (lambda: Failed(message="by hand"), 3, "Failed"),
        (lambda: Failed("Rejected"), 3, "Rejected"),
        (lambda: Cancelled(), 1, "Cancelled"),
        (lambda: Crashed(), 1, "Crashed"),
        (lambda: Completed(data=1), 1, "Completed"),
    ],
    ids=["failed", "named", "cancelled", "crashed", "completed"],
)
def test_a_state_made_by_hand_is_retried_if_it_is_failed(
    way: str, made: Any, calls: int, name: str
) -> None:
    work = Flaky(fail=made)

    state = performed(work, way, retries=2)

    assert (state.name, work.calls) == (name, calls)


@WAYS
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_condition_decides_with_all_facts_at_hand(way: str, asynchronous: bool) -> None:
    asked: list[Any] = []

    def wants(owner: Any, run: Any, state: State) -> bool:
        asked.append((type(owner).__name__, run.task_name, run.run_count, state.name))
        assert isinstance(state.result(raise_on_failure=False), ValueError)
        assert run.state is state
        return len(asked) < 2

    async def wants_later(owner: Any, run: Any, state: State) -> bool:
        await asyncio.sleep(0)
        return wants(owner, run, state)

    work = Flaky()
    condition = wants_later if asynchronous else wants
    state = performed(work, way, name="work", retries=5, retry_condition_fn=condition)

    assert (state.name, work.calls) == ("Failed", 2)
    assert asked == [("Task", "work", 1, "Failed"), ("Task", "work", 2, "Failed")]


@WAYS
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_condition_that_raises_is_logged_and_means_no(
    way: str, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> bool:
        raise RuntimeError("broken condition")

    async def broken_later(*_: Any) -> bool:
        raise RuntimeError("broken condition")

    work = Flaky()
    condition = broken_later if asynchronous else broken
    state = performed(work, way, retries=5, retry_condition_fn=condition)

    assert (str(state.result(raise_on_failure=False)), work.calls) == ("try 1", 1)
    assert [
        str(r.exc_info[1]) for r in caplog.records if r.levelno == logging.ERROR and r.exc_info
    ] == ["broken condition"]


def test_a_condition_that_is_no_function_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="retry_condition_fn of work takes a function"):
        task(lambda: None, name="work", retry_condition_fn=True)  # type: ignore[arg-type]


def test_only_the_elements_that_failed_are_tried_again_and_each_knows_its_count() -> None:
    seen: list[tuple[Any, Any]] = []

    @task(retries=2, retry_delay_seconds=[0, 0.001])
    def work(x: int) -> int:
        seen.append((x, runtime.task_run.run_count))
        if x % 2 and runtime.task_run.run_count < 3:
            raise ValueError(x)
        return x

    assert flow(lambda: work.map(range(5)))() == [0, 1, 2, 3, 4]
    assert sorted(seen) == [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (3, 2), (3, 3), (4, 1)]


@WAYS
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_not_tried_again(way: str, error: type[BaseException]) -> None:
    def interrupts() -> None:
        raise error

    work = Flaky(fail=interrupts)
    try:
        state = performed(work, way, retries=3)
    except error:
        assert way in ("called", "awaited")
    else:
        assert state.name == "Crashed"
        assert isinstance(state.result(raise_on_failure=False), error)

    assert work.calls == 1


@pytest.mark.parametrize("make", [task, flow])
def test_retries_and_delays_come_from_the_settings_where_nothing_is_said(make: Any) -> None:
    kind = "tasks" if make is task else "flows"
    defaults = {f"{kind}.default_retries": 2, f"{kind}.default_retry_delay_seconds": 0.001}

    with settings.temporary(defaults):
        work, never, once = Flaky(2), Flaky(2), Flaky(1)
        assert make(work)() == 3
        with pytest.raises(ValueError, match="try 1"):
            make(never, retries=0)()
        assert make(once, retries=1)() == 2

    with pytest.raises(ValueError, match="try 1"):
        make(Flaky(2))()


def test_a_submitted_subflow_is_retried_as_flows_are_not_as_tasks_are() -> None:
    work = Flaky()

    with settings.temporary({"tasks.default_retries": 3}):
        inner = flow(work, name="inner")
        state = flow(lambda: {"state": inner.submit(return_state=True)})()["state"]

    assert (state.name, work.calls) == ("Failed", 1)


def flow_effects(retries: int, delays: Any, calls: list[State]) -> list[str]:
    """Tell a flow's story with these outcomes of its calls; return what it asked for."""
    story, outcomes = flow_story(retries, delays_in_seconds(delays, retries)), iter(calls)
    asked: list[str] = []
    answer: Any = None
    try:
        while True:
            effect = story.send(answer)
            answer = None
            if isinstance(effect, Sleep):
                asked.append(f"sleep {effect.seconds:g}")
            elif isinstance(effect, CallFlow):
                asked.append(f"call {effect.tries}")
                answer = next(outcomes)
            elif isinstance(effect, AnnounceFlow):
                asked.append(f"{effect.state.name} {effect.tries}")
            else:
                assert isinstance(effect, Prepare)
    except StopIteration as end:
        return [*asked, end.value.name]


def test_a_flow_waits_as_long_as_it_is_told_to() -> None:
    failed, done = State(code=StateName.FAILED), State(code=StateName.COMPLETED)
    late = State(code=StateName.TIMED_OUT)

    assert flow_effects(3, exponential_backoff(10), [failed, failed, late, done]) == [
        *("Running 1", "call 0", "sleep 10", "call 1", "sleep 20", "call 2", "sleep 40"),
        *("call 3", "Completed 4", "Completed"),
    ]
    assert flow_effects(2, [0, 5], [failed, failed, failed]) == [
        *("Running 1", "call 0", "call 1", "sleep 5", "call 2", "Failed 3", "Failed"),
    ]
    for code in (StateName.CRASHED, StateName.CANCELLED):
        end = State(code=code)
        expected = ["Running 1", "call 0", f"{end.name} 1", end.name]
        assert flow_effects(3, 1, [end]) == expected


def test_what_interrupts_a_flow_that_waits_for_its_retry_makes_it_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    def interrupted(stop: Any, seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fanfold.engine.stopping.Stop.wait", interrupted)
    made = flow(
        Flaky(),
        retries=1,
        retry_delay_seconds=60,
        on_crashed=[lambda owner, run, state: told.append(state.name)],
    )

    with pytest.raises(KeyboardInterrupt):
        made()
    assert told == ["Crashed"]


def test_an_async_flow_that_is_cancelled_while_it_waits_for_its_retry_crashes() -> None:
    failed, told = asyncio.Event(), list[str]()

    @flow(retries=1, retry_delay_seconds=60)
    async def fails() -> None:
        failed.set()
        raise ValueError("no")

    fails.on_crashed(lambda owner, run, state: told.append(state.name))

    async def around() -> None:
        running = asyncio.ensure_future(fails())
        await failed.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(around())
    assert told == ["Crashed"]


@pytest.mark.parametrize("ends", [ValueError, None], ids=["failed", "completed"])
def test_a_retried_flow_takes_kept_subflows_that_completed_and_runs_the_others_again(
    ends: Any,
) -> None:
    ids: list[Any] = []
    tries: list[None] = []

    @flow(persist_result=True)
    def inner(x: int) -> int:
        ids.append(runtime.flow_run.id)
        if ends is not None:
            raise ends
        return x + 1

    @flow(retries=1)
    def outer() -> Any:
        tries.append(None)
        inner(1, return_state=True)
        if len(tries) == 1:
            raise RuntimeError("after the subflow")
        return inner(1, return_state=True).name

    assert outer() == ("Failed" if ends else "Completed")
    # Two calls of each try, of which those are remembered that completed.
    assert len(set(ids)) == len(ids) == (3 if ends else 2)


def test_a_retried_flow_may_take_another_way() -> None:
    @task
    def identity(x: Any) -> Any:
        return x

    @flow(retries=1)
    def branches() -> Any:
        if runtime.flow_run.run_count == 1:
            identity("foo")
            raise ValueError("no")
        return identity("bar")

    assert branches() == "bar"


def test_a_generator_task_that_is_retried_after_a_delay_ends_when_none_is_left() -> None:
    counts: list[Any] = []

    @task(retries=2, retry_delay_seconds=0.001)
    def work() -> Any:
        counts.append(runtime.task_run.run_count)
        yield 1
        raise ValueError("no")

    items: list[int] = []
    with pytest.raises(ValueError, match="no"):
        items.extend(work())

    assert counts == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["Pending", "Running", "Failed"]),
        (
            {"retries": 2},
            ["Pending", "Running", "Retrying", "Retrying", "Completed"],
        ),
        (
            {"retries": 2, "retry_delay_seconds": [0, 0.001]},
            ["Pending", "Running", "Retrying", "AwaitingRetry", "Retrying", "Completed"],
        ),
    ],
    ids=["none", "at once", "delayed"],
)
def test_a_future_tells_through_which_states_its_call_went(options: Any, names: list[str]) -> None:
    @flow
    def around() -> Any:
        future = task(Flaky(2)).with_options(**options).submit()
        future.wait()
        return future.history

    assert around() == names


def test_the_time_that_attempts_took_leaves_out_the_delays_between_them() -> None:
    told: list[Any] = []

    @task(retries=1, retry_delay_seconds=0.2, on_completion=[lambda _, run, __: told.append(run)])
    def second_time_lucky() -> None:
        time.sleep(0.01)
        if runtime.task_run.run_count == 1:
            raise ValueError("no")

    @flow
    def around() -> None:
        second_time_lucky.submit()

    around()

    (run,) = told
    assert timedelta(seconds=0.02) <= run.total_run_time < timedelta(seconds=0.2)
