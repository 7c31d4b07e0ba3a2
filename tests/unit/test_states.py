"""States: those made by hand, those that calls return, and what becomes of runs by them."""

import asyncio
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from fanfold import State, flow, states, task
from fanfold.states import (
    AwaitingRetry,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Running,
    Scheduled,
    StateType,
)
from fanfold.values.errors import Crashed as CrashedError
from fanfold.values.errors import (
    FailedRun,
    RunCancelled,
    UnfinishedRun,
    UpstreamFailed,
    UsageError,
)

MADE: dict[Any, Any] = {
    Completed: (StateType.COMPLETED, "is_completed"),
    Failed: (StateType.FAILED, "is_failed"),
    Crashed: (StateType.CRASHED, "is_crashed"),
    Cancelled: (StateType.CANCELLED, "is_cancelled"),
    Pending: (StateType.PENDING, "is_pending"),
    Running: (StateType.RUNNING, "is_running"),
    Scheduled: (StateType.SCHEDULED, "is_scheduled"),
    AwaitingRetry: (StateType.SCHEDULED, "is_scheduled"),
    Paused: (StateType.PAUSED, "is_paused"),
    states.Cancelling: (StateType.CANCELLING, "is_cancelling"),
}


def awaited(value: Any) -> Any:
    return asyncio.run(value) if asyncio.iscoroutine(value) else value


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
def test_a_state_made_by_hand_is_named_as_told_and_knows_its_kind(make: Any) -> None:
    kind, ask = MADE[make]
    state = make(message="why")
    named = make(name="Mine")

    assert (state.name, state.type, state.message) == (make.__name__, kind, "why")
    assert getattr(state, ask)()
    assert (named.name, named.type) == ("Mine", kind)
    assert state.is_final() == (make in (Completed, Failed, Crashed, Cancelled))
    assert repr(named) == "Mine()"


def test_a_state_scheduled_for_a_time_needs_a_time_zone() -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)

    assert Scheduled(at).data == at
    assert Scheduled().data.tzinfo is not None
    with pytest.raises(UsageError, match="no time zone"):
        AwaitingRetry(datetime(2030, 1, 1))


def test_a_result_is_the_data_or_the_error_that_stands_for_it() -> None:
    error = ValueError("no")

    assert Completed(data=5).result() == 5
    assert Failed(data=error).result(raise_on_failure=False) is error
    with pytest.raises(ValueError, match="no"):
        Failed(data=error).result()
    for state, kind in ((Failed, FailedRun), (Crashed, CrashedError), (Cancelled, RunCancelled)):
        with pytest.raises(kind, match="why"):
            state(message="why").result()
        assert isinstance(state(message="why").result(raise_on_failure=False), kind)
    with pytest.raises(UnfinishedRun):
        Running().result(raise_on_failure=False)


def test_a_state_survives_pickling_with_its_time() -> None:
    state = Failed("Rejected", message="why", data=[1])
    again = pickle.loads(pickle.dumps(state))

    assert again == state
    assert (again.name, again.timestamp, again.data) == ("Rejected", state.timestamp, [1])


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("make", [flow, task])
@pytest.mark.parametrize(
    "state",
    [
        Completed(data=5),
        Completed("Skipped", message="nothing to do"),
        Failed("Rejected", message="why", data=[1]),
        Failed(data=ValueError("no"), message="because"),
        Cancelled(message="enough"),
        Crashed(message="gone"),
    ],
    ids=repr,
)
def test_a_final_state_that_is_returned_is_the_state_of_the_run(
    state: State, make: Any, asynchronous: bool
) -> None:
    def plain() -> State:
        return state

    async def later() -> State:
        return state

    made = make(later if asynchronous else plain)
    came = awaited(made(return_state=True))

    assert (came.code, came.name, came.message) == (state.code, state.name, state.message)
    if state.is_completed():
        assert awaited(made()) == state.data == came.result()
        return
    with pytest.raises(type(state.failure())) as caught:
        awaited(made())
    assert str(caught.value) == str(state.failure())


@pytest.mark.parametrize("make", [flow, task])
@pytest.mark.parametrize("state", [Pending(), Running(), Scheduled(), Paused()], ids=repr)
def test_a_state_that_is_not_final_fails_the_run_that_returns_it(make: Any, state: State) -> None:
    told: list[str] = []
    hooks = {
        option: [lambda owner, run, state, option=option: told.append(option)]
        for option in ("on_failure", "on_running")
    }

    came = make(lambda: state, **hooks)(return_state=True)

    assert came.name == "Failed"
    assert f"It returned a state that isn't final: {state.name}." in came.message
    assert told == ["on_running", "on_failure"]


def test_a_state_that_was_made_before_the_map_counts_as_one_made_in_it() -> None:
    once = Failed("Rejected", message="as agreed")

    @task
    def rejects(x: int) -> Any:
        return once

    found = flow(lambda: {"states": rejects.map(range(100), return_state=True)})()["states"]

    assert {(state.name, state.message) for state in found} == {("Rejected", "as agreed")}


def test_states_made_in_some_elements_of_a_map_are_theirs_alone() -> None:
    @task
    def picky(x: int) -> Any:
        return Failed(message=f"not {x}") if x % 10 == 3 else x

    found = flow(lambda: {"states": picky.map(range(100), return_state=True)})()["states"]

    for x, state in enumerate(found):
        if x % 10 == 3:
            assert (state.name, state.message) == ("Failed", f"not {x}")
        else:
            assert state.result() == x


@pytest.mark.parametrize("way", ["called", "submitted", "mapped"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_the_state_of_a_call_is_returned_instead_of_raising(way: str, asynchronous: bool) -> None:
    def work(x: int) -> int:
        if x:
            raise ValueError("no")
        return 5

    async def work_later(x: int) -> int:
        return work(x)

    made = task(work_later if asynchronous else work)

    def performed(x: int) -> Any:
        if way == "called":
            return awaited(made(x, return_state=True))
        if way == "submitted":
            return made.submit(x, return_state=True)
        return made.map([x], return_state=True)[0]

    @flow
    def around() -> dict[str, Any]:
        return {"states": [performed(0), performed(1)]}

    good, bad = around()["states"]

    assert (good.name, good.result()) == ("Completed", 5)
    assert (bad.name, bad.message) == ("Failed", "ValueError: no")
    assert isinstance(bad.result(raise_on_failure=False), ValueError)
    with pytest.raises(ValueError, match="no"):
        bad.result()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_the_state_of_a_flow_is_returned_instead_of_raising(asynchronous: bool) -> None:
    def work(x: int) -> int:
        if x:
            raise ValueError("no")
        return 5

    async def work_later(x: int) -> int:
        return work(x)

    made = flow(work_later if asynchronous else work)
    good = awaited(made(0, return_state=True))
    bad = awaited(made(1, return_state=True))

    assert (good.name, good.result()) == ("Completed", 5)
    assert bad.is_failed()
    assert isinstance(bad.result(raise_on_failure=False), ValueError)
    with pytest.raises(ValueError, match="no"):
        awaited(made(1))


@pytest.mark.parametrize("make", [flow, task])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_interrupts_is_raised_even_if_the_state_was_asked_for(make: Any, error: Any) -> None:
    def work() -> None:
        raise error

    with pytest.raises(error):
        make(work)(return_state=True)


def test_a_call_that_needs_what_failed_has_a_state_too() -> None:
    ran: list[Any] = []
    downstream = task(lambda x: ran.append(x), name="downstream")
    subflow = flow(lambda x: ran.append(x), name="subflow")

    @task
    def fails() -> None:
        raise ValueError("no")

    @flow
    def around() -> dict[str, Any]:
        root = fails.submit()
        found = [downstream(root, return_state=True), subflow(root, return_state=True)]
        found += [downstream(1, wait_for=[root], return_state=True)]
        found += [subflow(1, wait_for=[root], return_state=True)]
        for call in (downstream, subflow):
            with pytest.raises(UpstreamFailed, match="fails Failed: ValueError: no"):
                call(root)
        return {"states": found}

    found = around()["states"]

    assert ran == []
    assert [state.name for state in found] == ["UpstreamFailed"] * 4
    assert all("fails Failed: ValueError: no" in state.message for state in found)
