"""Runs that ended without a value, or whose process died, go on: `Flow.resume`."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import fanfold
from fanfold import flow, task
from fanfold.caching import INPUTS, NO_CACHE
from fanfold.engine import registry, settings
from fanfold.values.errors import MissingContextError, RunHeld, UsageError
from fanfold.values.records import FlowRunRecord, FlowRuns, TaskTotals
from fanfold.values.states import StateName

calls: list[Any] = []
broken: set[Any] = set()


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path) -> Any:
    """Have a history, a result storage, and nothing noted."""
    calls.clear()
    broken.clear()
    told = {
        "history.url": f"sqlite:///{tmp_path}/history.db",
        "results.default_storage": str(tmp_path / "results"),
    }
    with settings.temporary(told):
        yield


def called(what: Any) -> None:
    calls.append(what)
    if what in broken:
        raise ValueError(what)


@task(persist_result=True)
def square(x: int) -> int:
    called(x)
    return x * x


@task(persist_result=True, cache_policy=NO_CACHE)
def drawn(of: str = "") -> int:
    calls.append(of)
    return len(calls)


@flow(task_runner="threads")
def squares(count: int) -> int:
    return sum(square.map(range(count)).result())


def latest() -> FlowRunRecord:
    return asked(lambda history: history.read(FlowRuns(parent_id="", limit=1))[0])


def counts(run: FlowRunRecord) -> dict[str, dict[StateName, int]]:
    totals = asked(lambda history: history.read(TaskTotals(flow_run_ids=(run.id,))))
    return {total.task: dict(total.counts) for total in totals}


def asked(question: Callable[[Any], Any]) -> Any:
    history = registry.history(settings.current().history_url)
    try:
        return question(history)
    finally:
        history.close()


def fails(call: Callable[..., Any], *args: Any) -> FlowRunRecord:
    """Return the run of a flow's call that has no value."""
    assert not call(*args, return_state=True).is_completed()
    return latest()


def test_a_resumed_run_has_its_id_and_runs_only_what_is_not_committed() -> None:
    broken.add(3)
    run = fails(squares, 5)
    broken.clear()
    calls.clear()

    value = squares.resume(run.id)

    assert (value, calls) == (30, [3])
    found = latest()
    assert (found.id, found.name, found.state) == (run.id, run.name, StateName.COMPLETED)
    assert (found.resumed, found.tries, found.parameters) == (1, 2, {"count": "5"})
    assert counts(found)["square"] == {
        StateName.COMPLETED: 5, StateName.CACHED: 4, StateName.FAILED: 1
    }  # fmt: skip


def test_a_run_may_be_resumed_until_it_is_completed() -> None:
    broken.update({1, 3})
    run = fails(squares, 5)

    broken.discard(1)
    again = squares.resume(run.id, return_state=True)
    broken.clear()
    calls.clear()
    value = squares.resume(run.id)

    assert (again.is_failed(), value, calls) == (True, 30, [3])
    assert latest().resumed == 2


def test_what_a_resumed_flow_raises_is_raised() -> None:
    broken.add(3)
    run = fails(squares, 5)

    with pytest.raises(ValueError, match="3"):
        squares.resume(run.id)

    assert latest().state is StateName.FAILED


def test_an_async_flow_is_resumed_by_awaiting() -> None:
    @flow
    async def squared(x: int) -> int:
        return square(x) + square(x + 1)

    broken.add(3)
    state = asyncio.run(squared(2, return_state=True))  # type: ignore[call-arg]
    broken.clear()
    calls.clear()

    value = asyncio.run(squared.resume(latest().id))

    assert state.is_failed()
    assert (value, calls) == (13, [3])


def test_a_method_is_resumed_with_its_own_instance() -> None:
    class Scaled:
        def __init__(self, scale: int) -> None:
            self.scale = scale

        @flow
        def squares(self, count: int) -> int:
            return self.scale * sum(square.map(range(count)).result())

    broken.add(3)
    run = fails(Scaled(2).squares, 5)
    broken.clear()

    value = Scaled(3).squares.resume(run.id)

    assert value == 90


def test_calls_that_share_nothing_are_replayed_each_as_itself() -> None:
    @flow(task_runner="threads")
    def draws() -> list[int]:
        values = [drawn(), drawn("x"), drawn(), drawn("x")]
        values += drawn.map(["a", "a"]).result()
        called("end")
        return values

    broken.add("end")
    run = fails(draws)
    broken.clear()

    first = list(range(1, 7))
    assert sorted(draws.resume(run.id)[4:]) == first[4:]
    assert calls == ["", "x", "", "x", "a", "a", "end", "end"]


def test_a_call_that_is_new_in_the_code_moves_no_other() -> None:
    inserted: list[str] = []

    @flow
    def draws() -> list[int]:
        values = [drawn(each) for each in (*inserted, "x", "y")]
        called("end")
        return values

    broken.add("end")
    run = fails(draws)
    broken.clear()
    inserted.append("new")
    calls.clear()

    draws.resume(run.id)

    assert calls == ["new", "end"]


@dataclass(frozen=True)
class Row:
    id: int
    day: date


def pair(first: Any, second: Any) -> Any:
    return pytest.param([first, second], id=type(first).__name__)


@pytest.mark.parametrize(
    "order",
    [
        pair({"id": 1}, {"id": 2}),
        pair(Row(1, date(2024, 1, 1)), Row(2, date(2024, 1, 1))),
        pair([1, ["x"]], [1, ["y"]]),
    ],
)
@pytest.mark.parametrize("mapped", [False, True])
def test_calls_in_another_order_are_replayed_by_what_they_are_called_with(
    order: list[Any], mapped: bool
) -> None:
    @flow
    def draws() -> list[Any]:
        values = [drawn.map([each]).result() if mapped else drawn(each) for each in order]
        called("end")
        return values

    broken.add("end")
    run = fails(draws)
    broken.clear()
    order.reverse()
    calls.clear()

    draws.resume(run.id)

    assert calls == ["end"]


def test_maps_that_begin_otherwise_are_each_replayed_and_one_that_has_grown_runs_its_end() -> None:
    days, more = ["a", "b"], ["b", "b"]

    @flow(task_runner="inline")
    def draws() -> list[Any]:
        values = [drawn.map(days).result(), drawn.map(more).result()]
        called("end")
        return values

    broken.add("end")
    run = fails(draws)
    broken.clear()
    days.append("c")
    calls.clear()

    values = draws.resume(run.id)

    assert sorted(calls) == ["c", "end"]
    assert len({*values[0][:2], *values[1]}) == 4


def test_calls_that_share_nothing_run_anew_in_a_run_of_its_own() -> None:
    @flow
    def draws() -> int:
        return drawn()

    assert (draws(), draws()) == (1, 2)


@pytest.mark.parametrize("extra", [{}, {"result_storage_key": "mine-{parameters[x]}"}])
def test_a_resumed_run_takes_what_it_has_refreshed_itself_and_nothing_older(
    extra: dict[str, Any],
) -> None:
    refreshing = square.with_options(refresh_cache=True, cache_policy=INPUTS, **extra)

    @flow
    def refreshed() -> int:
        value = refreshing(1)
        called("end")
        return value + refreshing(2)

    broken.add("end")
    refreshing(1), refreshing(2)
    run = fails(refreshed)
    broken.clear()
    calls.clear()

    value = refreshed.resume(run.id)

    assert (value, calls) == (5, ["end", 2])


def test_tasks_of_subflows_are_replayed_too() -> None:
    inner = flow(lambda x: square(x) + drawn("inner"), name="inner", validate_parameters=False)

    @flow
    def outer() -> int:
        value = inner(2)
        called("end")
        return value

    broken.add("end")
    run = fails(outer)
    broken.clear()
    calls.clear()

    outer.resume(run.id)

    assert calls == ["end"]


def test_a_task_that_keeps_nothing_runs_again() -> None:
    unkept = square.with_options(persist_result=False)

    @flow
    def twice() -> int:
        return unkept(1) + square(2)

    broken.add(2)
    run = fails(twice)
    broken.clear()
    calls.clear()

    twice.resume(run.id)

    assert calls == [1, 2]


def test_a_completed_run_is_not_resumed() -> None:
    squares(2)

    with pytest.raises(UsageError, match="is Completed, so there is nothing to resume"):
        squares.resume(latest().id)


def test_an_unknown_run_and_one_of_another_flow_are_refused() -> None:
    broken.add(0)
    run = fails(squares, 1)
    other = squares.with_options(name="other")

    with pytest.raises(UsageError, match="There is no flow run nobody in the history"):
        squares.resume("nobody")
    with pytest.raises(UsageError, match="is one of squares, not of other"):
        other.resume(run.id)


def test_a_run_is_resumed_by_the_beginning_of_its_id() -> None:
    broken.add(0)
    run = fails(squares, 1)
    broken.clear()

    assert squares.resume(run.id[:12]) == 0
    assert latest().id == run.id
    fails(lambda **asked: squares("no number", **asked))
    with pytest.raises(UsageError, match="Several flow runs have an id that begins with"):
        squares.resume(run.id[:4])


def test_a_run_that_does_not_fit_its_flow_any_more_is_left_as_it_was() -> None:
    broken.add(0)
    run = fails(squares, 1)

    @flow(name="squares")
    def changed(count: list[int]) -> None: ...

    with pytest.raises(
        UsageError, match=r"doesn't fit the flow as it is now, squares\(count: list"
    ):
        changed.resume(run.id)
    assert latest() == run


def test_a_run_that_another_called_is_resumed_with_that() -> None:
    @flow
    def outer() -> int:
        return squares(1)

    broken.add(0)
    run = fails(outer)
    inner = asked(lambda history: history.read(FlowRuns(parent_id=run.id))[0])

    with pytest.raises(UsageError, match=f"was called by flow run {run.id}: resume that one"):
        squares.resume(inner.id)


def test_nothing_is_resumed_inside_of_a_run() -> None:
    broken.add(0)
    run = fails(squares, 1)

    @flow
    def outer() -> int:
        return squares.resume(run.id)

    with pytest.raises(MissingContextError, match="outside of flows and tasks"):
        outer()


def test_without_a_history_nothing_is_resumed() -> None:
    with settings.temporary({"history.url": "off"}), pytest.raises(UsageError, match="No history"):
        squares.resume("any")


def test_a_run_that_lives_is_not_resumed() -> None:
    began, goes_on = threading.Event(), threading.Event()

    @flow
    def waits() -> int:
        began.set()
        goes_on.wait(30)
        return 1

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(copy_context().run, waits)
        assert began.wait(30)
        fanfold.engine.recording.recorder.current().flush(10)  # type: ignore[union-attr]
        with pytest.raises(RunHeld, match=r"is driven by process \d+ on .* since 20") as held:
            waits.resume(latest().id)
        goes_on.set()

    assert running.result() == 1
    assert held.value.flow_run_id == latest().id
    assert latest().state is StateName.COMPLETED


def test_of_two_who_resume_one_goes_on_and_the_other_is_told_who() -> None:
    broken.add(3)
    run = fails(squares, 5)
    broken.clear()
    start = threading.Barrier(2)
    met = threading.Event()

    @flow(name="squares")
    def slow(count: int) -> int:
        met.wait(30)
        return sum(square.map(range(count)).result())

    def resume() -> Any:
        start.wait(30)
        try:
            return slow.resume(run.id)
        except RunHeld as error:
            met.set()
            return error

    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(copy_context().run, resume) for _ in range(2)]
        found = [answer.result() for answer in answers]

    (told,) = [answer for answer in found if isinstance(answer, RunHeld)]
    assert [answer for answer in found if answer is not told] == [30]
    assert told.host == latest().host
    assert latest().resumed == 1
