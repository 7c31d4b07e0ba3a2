"""Time limits of flows and tasks, wherever they run."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fanfold import flow, runtime, task
from fanfold.values.errors import TimedOut, UsageError

LIMIT_S = 0.05
LONG_S = 10.0
"""Not to be waited for."""


def sleeps() -> str:
    # In small steps: in another thread an exception strikes only between two of them.
    for _ in range(int(LONG_S / 0.005)):
        time.sleep(0.005)
    return "slept"


async def sleeps_later() -> str:
    await asyncio.sleep(LONG_S)
    return "slept"


def in_thread(call: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def state_of(made: Any, way: str) -> Any:
    """Return the final state of a flow or task without arguments, called one way or another."""
    if way == "in another thread":
        return in_thread(lambda: made(return_state=True))
    if way == "awaited":
        return asyncio.run(made(return_state=True))
    if way == "submitted":
        return flow(lambda: {"state": made.submit(return_state=True)})()["state"]
    return made(return_state=True)


@pytest.mark.parametrize("make", [flow, task])
@pytest.mark.parametrize("way", ["called", "in another thread", "awaited", "submitted"])
@pytest.mark.parametrize("limit", [LIMIT_S, None], ids=["limit", "no limit"])
def test_what_overruns_its_time_is_timed_out_and_nothing_else_is(
    make: Any, way: str, limit: float | None
) -> None:
    def quick() -> str:
        return "quick"

    async def quick_later() -> str:
        return "quick"

    slow_fn, quick_fn = (sleeps_later, quick_later) if way == "awaited" else (sleeps, quick)
    good = make(quick_fn, timeout_seconds=LONG_S if limit else None)
    assert state_of(good, way).result() == "quick"
    if limit is None:
        return

    began = time.monotonic()
    state = state_of(make(slow_fn, name="slow", timeout_seconds=limit), way)

    assert time.monotonic() - began < LONG_S / 2
    assert (state.name, state.type) == ("TimedOut", "FAILED")
    assert "slow overran its time limit of 0.05 s" in state.message
    with pytest.raises(TimedOut):
        state.result()
    with pytest.raises(TimeoutError):
        state.result()


@pytest.mark.parametrize("make", [flow, task])
@pytest.mark.parametrize("way", ["called", "in another thread", "awaited", "submitted"])
def test_a_timeout_error_of_its_own_is_a_failure_like_any_other(make: Any, way: str) -> None:
    def raises() -> None:
        raise TimeoutError("Oh no!")

    async def raises_later() -> None:
        raise TimeoutError("Oh no!")

    fn = raises_later if way == "awaited" else raises
    state = state_of(make(fn, timeout_seconds=30), way)

    assert state.name == "Failed"
    assert "Oh no!" in state.message
    assert "time limit" not in state.message


@pytest.mark.parametrize("make", [flow, task])
@pytest.mark.parametrize("way", ["called", "in another thread", "awaited", "submitted"])
def test_each_try_has_the_whole_time(make: Any, way: str) -> None:
    calls: list[None] = []

    def work() -> str:
        calls.append(None)
        return sleeps() if len(calls) == 1 else "in time"

    async def work_later() -> str:
        calls.append(None)
        return await sleeps_later() if len(calls) == 1 else "in time"

    fn = work_later if way == "awaited" else work
    state = state_of(make(fn, retries=1, timeout_seconds=LIMIT_S * 4), way)

    assert (state.name, state.result(), len(calls)) == ("Completed", "in time", 2)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_elements_of_a_map_have_their_time_each(asynchronous: bool) -> None:
    def work(x: int) -> int:
        if x == 1:
            sleeps()
        return x

    async def work_later(x: int) -> int:
        if x == 1:
            await sleeps_later()
        return x

    made = task(work_later if asynchronous else work, timeout_seconds=LIMIT_S * 4)
    found = flow(lambda: {"states": made.map(range(3), return_state=True)})()["states"]

    assert [state.name for state in found] == ["Completed", "TimedOut", "Completed"]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_flow_that_overruns_its_time_stops_what_it_waits_for(asynchronous: bool) -> None:
    go = threading.Event()
    futures: list[Any] = []

    @task
    def blocked() -> None:
        assert go.wait(LONG_S)

    def starts() -> None:
        futures.append(blocked.submit())
        futures.append(blocked.submit(wait_for=futures[:1]))

    def plain() -> None:
        starts()

    async def later() -> None:
        starts()

    made = flow(later if asynchronous else plain, timeout_seconds=LIMIT_S * 2)
    began = time.monotonic()
    state = state_of(made, "awaited" if asynchronous else "called")

    assert time.monotonic() - began < LONG_S / 2
    assert state.name == "TimedOut"
    assert futures[1].state.name == "Cancelled"
    go.set()


def test_a_retry_of_a_flow_does_not_wait_for_what_the_last_try_was_stopped_in() -> None:
    go = threading.Event()

    @task
    def blocked() -> None:
        assert go.wait(LONG_S)

    @flow(retries=1, timeout_seconds=LIMIT_S * 4)
    def around() -> str:
        if runtime.flow_run.run_count == 1:
            blocked.submit()
        return "done"

    began = time.monotonic()
    assert around() == "done"
    assert time.monotonic() - began < LONG_S / 2
    go.set()


@pytest.mark.parametrize("inner", [task, flow])
def test_the_limit_of_a_flow_holds_for_all_that_it_calls(inner: Any) -> None:
    told: list[str] = []
    calls: list[None] = []

    def work() -> None:
        calls.append(None)
        sleeps()

    made = inner(work, retries=3, timeout_seconds=LONG_S)

    @flow(timeout_seconds=LIMIT_S * 2, on_failure=[lambda *told_of: told.append("failed")])
    def around() -> None:
        try:
            made(return_state=True)
        except Exception:
            told.append("swallowed")

    state = around(return_state=True)

    assert state.name == "TimedOut"
    assert (told, len(calls)) == (["failed"], 1)


def test_a_flow_that_a_task_of_timed_out_has_failed_and_not_timed_out_itself() -> None:
    slow = task(sleeps, name="slow", timeout_seconds=LIMIT_S)

    @flow(timeout_seconds=LONG_S)
    def around() -> None:
        slow()

    state = around(return_state=True)

    assert state.name == "Failed"
    assert "slow overran its time limit" in state.message


@pytest.mark.parametrize("make", [flow, task])
@pytest.mark.parametrize("limit", [0, -1, "1", float("nan"), True])
def test_limits_that_make_no_sense_are_refused_at_once(make: Any, limit: Any) -> None:
    with pytest.raises(UsageError):
        make(lambda: None, timeout_seconds=limit)
