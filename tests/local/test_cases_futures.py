"""Submitted calls, their futures and what depends on them, on every runner of this machine."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fanfold import allow_failure, as_completed, flow, opaque, quote, runtime, task, wait
from fanfold.engine.futures import TaskFuture
from fanfold.ports.runner import TaskRunner
from fanfold.states import Failed
from fanfold.testing.ledger import Gate, Latch, Ledger
from fanfold.values.errors import NotPicklable, UpstreamFailed
from fanfold.values.states import State

DEADLINE_S = 20.0

MakeGate = Callable[..., tuple[Gate, Latch]]


@task
def same(*given: Any) -> Any:
    return given[0] if len(given) == 1 else given


@task
def noted(ledger: Ledger, word: str, *_: Any) -> str:
    ledger.note(word)
    return word


@task
def fails(message: str = "no") -> None:
    raise ValueError(message)


@task
def behind(gate: Gate, value: Any) -> Any:
    assert gate.wait(DEADLINE_S)
    return value


def test_values_go_from_call_to_call(inside: Any) -> None:
    """Also through async tasks, and deep inside containers."""

    @task
    async def later(x: Any) -> Any:
        await asyncio.sleep(0)
        return x

    def body() -> Any:
        first = same.submit(1)
        second = same.submit(first)
        third = later.submit({"deep": [second, (first,)]})
        return same.submit(third, second)

    assert inside(body) == ({"deep": [1, (1,)]}, 1)


def test_letters_come_together_whether_their_tasks_are_async_or_not(inside: Any) -> None:
    def joined(x: str, y: str = "") -> str:
        return x + y

    async def joined_later(x: str, y: str = "") -> str:
        await asyncio.sleep(0)
        return x + y

    def body(work: Any) -> Any:
        a, b = work.submit("a"), work.submit("b")
        c = work.submit(b, "c")
        return [future.result() for future in (a, b, c)]

    for function in (joined, joined_later):
        assert inside(lambda function=function: body(task(function))) == ["a", "b", "bc"]


def test_what_depends_on_a_failure_never_runs_and_names_it(inside: Any, ledger: Ledger) -> None:
    def body() -> tuple[str, list[State]]:
        failed = fails.submit("first")
        second = noted.submit(ledger, "second", failed)
        third = noted.submit(ledger, "third", second)
        fourth = noted.map([ledger] * 2, ["fourth"] * 2, third)
        wait([third, fourth])
        return "over", [second.state, third.state, fourth[1].state]

    _, states = inside(body)
    for state in states:
        assert state.name == "UpstreamFailed" and state.is_failed()
        with pytest.raises(UpstreamFailed, match=r"^fails Failed: ValueError: first$"):
            state.result()
    assert [ledger.lines(word) for word in ("second", "third", "fourth")] == [[], [], []]


def test_marks_let_failures_through_and_leave_alone_what_they_should(inside: Any) -> None:
    state = Failed(message="kept as it is")

    def body() -> list[Any]:
        failed = fails.submit()
        two = same.submit(2)
        return [
            same.submit(allow_failure([failed, 1, two])).result(),
            same.submit(quote([1, state])).result(),
            same.submit(opaque(same.submit([1, 2]))).result(),
            same.submit(opaque([1, state])).result(),
        ]

    allowed, quoted, values, untouched = inside(body)
    assert repr(allowed) == "[ValueError('no'), 1, 2]"
    assert values == [1, 2]
    for kept in (quoted, untouched):
        assert kept[0] == 1 and isinstance(kept[1], State)
        assert (kept[1].name, kept[1].message) == ("Failed", "kept as it is")


def test_a_future_is_refused_where_it_cannot_go() -> None:
    """As a quoted argument, or caught by a closure."""

    def quoted() -> bool:
        return isinstance(same.submit(quote([same.submit(1)])).result()[0], TaskFuture)

    def closed_over() -> Any:
        future = same.submit(1)
        return task(lambda: isinstance(future, TaskFuture)).submit().result()

    for body in (quoted, closed_over):
        assert flow(body, task_runner="threads")()
        with pytest.raises(NotPicklable, match=r"TaskFuture same .* take, or return, its result"):
            flow(body, task_runner="processes")()


def test_a_call_goes_once_what_it_waits_for_is_over(wide: TaskRunner, ledger: Ledger) -> None:
    """A list, a map and single futures alike; a failure stops it unless that is allowed."""

    @task
    def upstream(x: int) -> None:
        ledger.note("upstream", x)
        if x == 3:
            raise ValueError(x)

    def body() -> list[str]:
        good, bad = upstream.map([1, 2]), upstream.submit(3)
        after = noted.submit(ledger, "after", wait_for=[good, allow_failure(bad), [good[1]]])
        never = noted.submit(ledger, "never", wait_for=[good, bad])
        both = noted.map([ledger] * 2, "mapped", wait_for=[after])
        wait([after, never, both])
        return [after.state.name, never.state.name, both[0].state.name]

    states = flow(body, task_runner=wide)()

    assert states == ["Completed", "UpstreamFailed", "Completed"]
    assert not ledger.lines("never")
    with open(f"{ledger.folder}/ledger") as lines:
        order = [line.split()[0] for line in lines]
    assert order == ["upstream"] * 3 + ["after"] + ["mapped"] * 2


def test_a_wait_that_is_too_short_leaves_the_call_alone(inside: Any, gates: MakeGate) -> None:
    gate, latch = gates()

    def body() -> None:
        future = behind.submit(gate, "value")
        with pytest.raises(TimeoutError):
            future.result(timeout=0.05)
        assert future.wait(timeout=0.0) is None
        assert not future.state.is_final() and not future.done()
        assert wait([future, future], timeout=0.01) == (set(), {future})
        with pytest.raises(ValueError, match="negative"):
            wait([future], timeout=-1)
        with pytest.raises(TimeoutError, match=r"1 \(of 1\) futures unfinished"):
            list(as_completed([future], timeout=0.01))
        latch.open()
        assert future.result(timeout=DEADLINE_S) == "value"
        assert future.state.is_completed()
        assert wait([future, future]).done == {future}

    inside(body)


def test_calls_come_in_the_order_in_which_they_end(wide: TaskRunner, gates: MakeGate) -> None:
    named = {name: gates(name) for name in ("slow", "middle", "fast")}

    def body() -> list[str]:
        futures = [behind.submit(gate, name) for name, (gate, _) in named.items()]
        order: list[str] = []
        coming = ["fast", "middle", "slow"]
        named["fast"][1].open()
        for future in as_completed(futures, timeout=DEADLINE_S):
            order.append(future.result())
            coming.remove(order[-1])
            if coming:
                named[coming[0]][1].open()
        return order

    assert flow(body, task_runner=wide)() == ["fast", "middle", "slow"]


def test_a_callback_is_called_once_whenever_it_is_added(inside: Any, gates: MakeGate) -> None:
    gate, latch = gates()
    called: list[tuple[str, Any]] = []
    heard = threading.Event()

    def body() -> None:
        future = behind.submit(gate, "value")
        future.add_done_callback(lambda done: called.append(("early", done.result())))
        future.add_done_callback(lambda _: heard.set())
        latch.open()
        future.wait()
        assert heard.wait(DEADLINE_S)
        future.add_done_callback(lambda done: called.append(("late", done.result())))

    inside(body)

    assert called == [("early", "value"), ("late", "value")]


def test_a_flow_ends_when_all_that_it_submitted_has(inside: Any, ledger: Ledger) -> None:
    futures: list[TaskFuture[Any]] = []

    def body() -> str:
        first = noted.submit(ledger, "one")
        futures.extend(noted.submit(ledger, "rest", first) for _ in range(5))
        futures.extend(noted.map([ledger] * 5, "mapped", first))
        return "over"

    assert inside(body) == "over"
    assert {future.state.name for future in futures} == {"Completed"}
    assert len(ledger.lines("rest")) == len(ledger.lines("mapped")) == 5


def test_tasks_inside_tasks_end_with_a_single_slot(narrow: TaskRunner) -> None:
    """Submitted, mapped and waited for; from sync and async ones."""

    @task
    def child(x: int) -> int:
        return x + 1

    @task
    def parent(x: int) -> Any:
        one = child.submit(x)
        many = child.map([x, one])
        last = child.submit(10, wait_for=[many])
        return one.result(), many.result(), last.result(), child(0)

    @task
    async def parent_later(x: int) -> Any:
        await asyncio.sleep(0)
        return await child.submit(x), child.map([x]).result()

    @task
    def grandparent(x: int) -> Any:
        return parent.map([x, x + 1]).result()

    def body() -> Any:
        return [
            parent.submit(1).result(),
            parent_later.submit(1).result(),
            grandparent.map([1, 2]).result(),
        ]

    single, later, nested = flow(body, task_runner=narrow)()
    assert single == (2, [2, 3], 11, 1)
    assert later == (2, [2])
    assert nested[1] == [(3, [3, 4], 11, 1), (4, [4, 5], 11, 1)]


def test_a_failure_in_a_nested_map_is_the_parents_to_raise(narrow: TaskRunner) -> None:
    @task
    def odd(x: int) -> int:
        if x % 2 == 0:
            raise ValueError(f"{x} is even")
        return x

    @task
    def parent() -> list[int]:
        return odd.map([1, 2, 3]).result()

    with pytest.raises(ValueError, match="2 is even"):
        flow(lambda: parent.submit().result(), task_runner=narrow)()


@pytest.mark.parametrize("mapped", [False, True], ids=["submitted", "mapped"])
def test_a_task_that_returns_futures_has_their_values(inside: Any, mapped: bool) -> None:
    @task
    def outer(x: int) -> Any:
        return {"deep": [same.submit(x), x]} if mapped else same.submit(x)

    def body() -> Any:
        return outer.map([1, 2]).result() if mapped else outer.submit(1).result()

    assert inside(body) == ([{"deep": [1, 1]}, {"deep": [2, 2]}] if mapped else 1)


def test_a_task_that_returns_the_state_of_another_run_has_that_state(inside: Any) -> None:
    @task
    def outer(failing: bool) -> Any:
        return (fails if failing else same).submit("x", return_state=True)

    def body() -> Any:
        futures = outer.map([False, True])
        return {"states": [future.state for future in futures if futures.wait() is None]}

    good, bad = inside(body)["states"]

    assert (good.name, good.result(), bad.name) == ("Completed", "x", "Failed")


def test_a_task_that_returns_a_failed_future_fails_by_it(inside: Any) -> None:
    @task
    def outer() -> Any:
        return fails.submit("from below")

    def body() -> Any:
        return {"state": outer.submit(return_state=True)}

    state = inside(body)["state"]
    assert state.name == "Failed"
    with pytest.raises(ValueError, match="from below"):
        state.result()


def test_a_task_run_knows_the_one_that_started_it(inside: Any) -> None:
    @task
    def below() -> Any:
        return runtime.task_run.parent_task_run_id

    @task
    def above() -> Any:
        return runtime.task_run.id, below(), below.submit().result()

    own, called, submitted = inside(lambda: above.submit().result())

    assert own is not None and own == called == submitted
    assert inside(lambda: below()) is None
