"""What runs tell the history, through the public door."""

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fanfold import flow, tags, task
from fanfold.adapters.history.memory import MemoryHistory
from fanfold.engine.flow import ad_hoc_apart
from fanfold.engine.recording import recorder
from fanfold.states import Completed
from fanfold.values.errors import RunCancelled, UnknownHistory, UpstreamFailed
from fanfold.values.ids import new_id
from fanfold.values.records import (
    Chunks,
    Elements,
    FailureGroups,
    FlowRunRecord,
    FlowRuns,
    Lines,
    States,
    TaskRunRecord,
    TaskRuns,
)
from fanfold.values.states import StateName

DEADLINE_S = 20.0


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryHistory]:
    url = f"memory://{new_id()}"
    monkeypatch.setenv("FANFOLD_HISTORY_URL", url)
    yield MemoryHistory(url)
    kept = recorder.current()
    assert kept is not None
    kept.close()


def flush() -> None:
    kept = recorder.current()
    assert kept is not None
    assert kept.flush(DEADLINE_S)


def flow_runs(history: MemoryHistory, **asked: Any) -> list[FlowRunRecord]:
    flush()
    return history.read(FlowRuns(**asked))


def task_runs(history: MemoryHistory, run: FlowRunRecord) -> list[TaskRunRecord]:
    flush()
    return history.read(TaskRuns(flow_run_ids=(run.id,)))


@task
def double(x: int) -> int:
    """Fail at 3."""
    if x == 3:
        raise ValueError("three is too many")
    return 2 * x


def test_a_flow_run_is_recorded_with_what_it_was_called_with_and_came_to(
    history: MemoryHistory,
) -> None:
    @flow(version="7", flow_run_name="load-{day}")
    def load(day: str, limit: int = 5) -> int:
        return limit

    with tags("nightly"):
        load("monday")

    (run,) = flow_runs(history)
    assert (run.flow, run.name, run.version) == ("load", "load-monday", "7")
    assert run.state is StateName.COMPLETED
    assert run.parameters == {"day": "'monday'", "limit": "5"}
    assert run.tags == ("nightly",)
    assert run.tries == 1
    assert run.created_us <= (run.started_us or 0) <= (run.ended_us or 0)


def test_a_map_is_one_row_with_its_chunks_and_a_row_for_what_failed(
    history: MemoryHistory,
) -> None:
    @flow
    def squares() -> None:
        double.map(range(10)).wait()

    squares()

    (run,) = flow_runs(history)
    (mapped,) = task_runs(history, run)
    assert (mapped.task, mapped.count, mapped.single) == ("double", 10, False)
    assert mapped.counts == {StateName.COMPLETED: 9, StateName.FAILED: 1}
    chunks = history.read(Chunks(task_run_id=mapped.id))
    assert sorted(i for c in chunks for span in c.spans for i in range(*span)) == list(range(10))
    (states,) = history.read(States(task_run_id=mapped.id))
    assert states[3] == StateName.FAILED
    (element,) = history.read(Elements(task_run_ids=(mapped.id,)))
    assert element.index == 3
    assert element.problem is not None
    assert (element.problem.kind, element.problem.message) == ("ValueError", "three is too many")
    assert "test_recording.py" in element.problem.where
    assert "raise ValueError" in element.problem.traceback


def test_calls_submits_and_subflows_are_recorded_under_who_called_them(
    history: MemoryHistory,
) -> None:
    @flow
    def inner(x: int) -> int:
        return double(x)

    @flow
    def outer() -> int:
        return inner(double.submit(1))

    outer()

    (run,) = flow_runs(history, parent_id="")
    (sub,) = flow_runs(history, parent_id=run.id)
    assert (run.flow, sub.flow) == ("outer", "inner")
    assert [made.count for made in task_runs(history, run)] == [1]
    (call,) = task_runs(history, sub)
    assert call.single
    assert call.counts == {StateName.COMPLETED: 1}


def test_retries_of_elements_and_of_the_flow_leave_their_traces(history: MemoryHistory) -> None:
    seen: list[int] = []

    @task(retries=2)
    def flaky(x: int) -> int:
        seen.append(x)
        if seen.count(x) < 3:
            raise OSError("not yet")
        return x

    @flow(retries=1)
    def stubborn() -> int:
        value = flaky(1)
        if seen.count(1) < 4:
            raise RuntimeError("again")
        return value

    stubborn()

    (run,) = flow_runs(history)
    assert (run.state, run.tries) == (StateName.COMPLETED, 2)
    first, _ = task_runs(history, run)
    (element,) = history.read(Elements(task_run_ids=(first.id,)))
    assert (element.state, element.attempts) == (StateName.COMPLETED, 3)


def test_a_failed_flow_is_recorded_with_its_reason_and_what_depended_on_it(
    history: MemoryHistory,
) -> None:
    @flow
    def chain() -> list[int]:
        return double.map(double.map([1, 3])).result()

    with pytest.raises(UpstreamFailed, match="three"):
        chain()

    (run,) = flow_runs(history)
    assert run.state is StateName.FAILED
    assert run.problem is not None
    assert run.problem.kind.endswith("UpstreamFailed")
    groups = history.read(FailureGroups(flow_run_ids=(run.id,)))
    assert {group.state: group.count for group in groups} == {
        StateName.FAILED: 1,
        StateName.UPSTREAM_FAILED: 1,
    }


def test_states_that_users_make_are_recorded_with_their_names(history: MemoryHistory) -> None:
    @task
    def skip(x: int) -> Any:
        return Completed(name="Skipped", message="nothing to do")

    @flow
    def main() -> Any:
        skip.map([1]).wait()
        return Completed(name="Partly", message="most of it")

    main(return_state=True)

    (run,) = flow_runs(history)
    assert (run.state, run.label, run.message) == (StateName.COMPLETED, "Partly", "most of it")
    (mapped,) = task_runs(history, run)
    (element,) = history.read(Elements(task_run_ids=(mapped.id,)))
    assert (element.label, element.message) == ("Skipped", "nothing to do")


def test_an_async_flow_is_recorded_and_so_are_generators(history: MemoryHistory) -> None:
    @flow
    async def coroutine() -> int:
        return 1

    @flow
    def items() -> Iterator[int]:
        yield from (1, 2)

    asyncio.run(coroutine())
    assert list(items()) == [1, 2]

    runs = flow_runs(history)
    assert {run.flow: run.state for run in runs} == {
        "coroutine": StateName.COMPLETED,
        "items": StateName.COMPLETED,
    }


def test_what_is_called_outside_of_all_flows_is_recorded_under_one_of_its_own(
    history: MemoryHistory,
) -> None:
    with ad_hoc_apart():
        assert double(1) == 2
        double.map([1, 2]).wait()
        (during,) = flow_runs(history)

    (after,) = flow_runs(history)
    assert (during.flow, during.state) == ("ad-hoc", StateName.RUNNING)
    assert after.state is StateName.COMPLETED
    assert [run.count for run in task_runs(history, after)] == [1, 2]


def test_what_elements_start_in_other_processes_is_recorded_at_home(
    history: MemoryHistory,
) -> None:
    @task
    def inside(x: int) -> int:
        return x

    @flow
    def below(x: int) -> int:
        return inside(x)

    @task
    def calls(x: int) -> int:
        return inside(x) + below(x)

    @flow(task_runner="processes")
    def main() -> list[int]:
        return calls.map([1, 2]).result()

    assert main() == [2, 4]

    (run,) = flow_runs(history, parent_id="")
    (subs) = flow_runs(history, parent_id=run.id)
    assert [(sub.flow, sub.state) for sub in subs] == [("below", StateName.COMPLETED)] * 2
    made = task_runs(history, run)
    assert sorted((one.task, one.count) for one in made) == [
        ("calls", 2),
        ("inside", 1),
        ("inside", 1),
    ]
    (mapped,) = [one for one in made if one.task == "calls"]
    assert {one.parent_id.rpartition("-")[0] for one in made if one.task == "inside"} == {mapped.id}


def test_nothing_is_recorded_where_the_history_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_URL", "off")

    @flow
    def main() -> int:
        return double(1)

    assert main() == 2
    assert recorder.current() is None


def _cancelled_soon(history: MemoryHistory, begun: Callable[[], bool]) -> threading.Thread:
    """Ask for the only run to be cancelled once it has come so far."""

    def ask() -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not begun() and time.monotonic() < deadline:
            time.sleep(0.01)
        flush()
        for run in history.read(FlowRuns(parent_id="")):
            assert history.cancel(run.id)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.parametrize("where", ["main", "thread", "loop", "items", "limited", "delayed"])
def test_a_flow_is_stopped_when_somebody_asks_for_it(history: MemoryHistory, where: str) -> None:
    begun = threading.Event()
    told: list[str] = []
    threads = {"thread", "limited", "delayed"}

    def hook(flow: Any, run: Any, state: Any) -> None:
        told.append(state.name)

    @flow(on_cancellation=[hook])
    def sleeps() -> None:
        begun.set()
        for _ in range(1000):
            time.sleep(0.02 if where in threads else DEADLINE_S)

    @flow(on_cancellation=[hook])
    async def waits() -> None:
        begun.set()
        await asyncio.sleep(DEADLINE_S)

    @flow(on_cancellation=[hook])
    def yields() -> Iterator[int]:
        begun.set()
        time.sleep(DEADLINE_S)
        yield 1

    @flow(on_cancellation=[hook], retries=1, retry_delay_seconds=DEADLINE_S)
    def fails() -> None:
        begun.set()
        raise ValueError

    calls: dict[str, Callable[[], Any]] = {
        "main": sleeps,
        "limited": sleeps.with_options(timeout_seconds=DEADLINE_S),
        "delayed": fails,
        "loop": lambda: asyncio.run(waits()),
        "items": lambda: list(yields()),
        "thread": sleeps,
    }
    raised: list[BaseException] = []

    def call() -> None:
        try:
            calls[where]()
        except RunCancelled as error:
            raised.append(error)

    asks = _cancelled_soon(history, begun.is_set)
    began = time.monotonic()
    if where in threads:
        caller = threading.Thread(target=call)
        caller.start()
        caller.join()
    else:
        call()
    asks.join()

    assert time.monotonic() - began < DEADLINE_S / 2
    assert len(raised) == 1
    assert told == ["Cancelled"]
    (run,) = flow_runs(history)
    assert run.state is StateName.CANCELLED


def test_what_waits_for_a_map_is_stopped_with_it(history: MemoryHistory) -> None:
    begun = threading.Event()
    release = threading.Event()

    @task
    def slow(x: int) -> int:
        begun.set()
        release.wait(DEADLINE_S)
        return x

    @flow
    def main() -> list[int]:
        return slow.map(range(1_000)).result()

    raised: list[RunCancelled] = []

    def call() -> None:
        try:
            main()
        except RunCancelled as error:
            raised.append(error)

    asks = _cancelled_soon(history, begun.is_set)
    caller = threading.Thread(target=call)
    caller.start()
    asks.join()
    deadline = time.monotonic() + DEADLINE_S
    while not history.read(FlowRuns(states=(StateName.CANCELLED,))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    release.set()
    caller.join()

    assert raised
    (run,) = flow_runs(history)
    while (mapped := task_runs(history, run)[0]).ended_us is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert mapped.counts[StateName.CANCELLED] > 900


def test_the_lines_of_a_run_are_recorded_in_order(
    history: MemoryHistory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fanfold")

    @task(log_prints=True)
    def says(x: int) -> None:
        print(f"got {x}")

    @flow(log_prints=True)
    def main() -> None:
        print("before")
        says.map([1, 2], chunk_size=2).wait()

    main()

    (run,) = flow_runs(history)
    lines = history.read(Lines(flow_run_ids=(run.id,)))
    messages = [line.message for line in lines]
    assert [one for one in messages if one in ("before", "got 1", "got 2")] == [
        "before",
        "got 1",
        "got 2",
    ]
    assert messages[-1].startswith("Completed in")
    assert [line.index for line in lines if line.message.startswith("got")] == [0, 1]


def test_what_is_not_kept_is_told_in_the_lines_of_the_run_around_it(
    history: MemoryHistory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fanfold")
    locks = task(lambda x: threading.Lock(), name="locks", persist_result=True)

    @flow(name="around")
    def main() -> None:
        locks(0)
        locks.submit(1)  # waited for by the end of the flow alone
        locks.map([2, 3], chunk_size=2)

    main()

    (run,) = flow_runs(history)
    lines = history.read(Lines(flow_run_ids=(run.id,)))
    assert [line.message.split(":")[0] for line in lines[-4:-1]] == [
        "A result of locks isn't kept"
    ] * 3
    told = [record for record in caplog.records if "isn't kept" in record.getMessage()]
    assert {record.__dict__["flow_name"] for record in told} == {"around"}


@pytest.mark.parametrize("how", ["waits", "sleeps", "elsewhere"])
def test_a_flow_that_waits_for_a_subflow_is_stopped_with_it(
    history: MemoryHistory, how: str
) -> None:
    begun = threading.Event()
    release = threading.Event()

    @task
    def slow() -> None:
        begun.set()
        release.wait(DEADLINE_S)

    @flow(retries=1, retry_delay_seconds=DEADLINE_S)
    def inner() -> None:
        if how == "waits":
            slow.submit().result()
        begun.set()
        if how == "sleeps":
            raise OSError("not yet")
        for _ in range(1000):
            time.sleep(0.02)

    @flow
    def outer() -> None:
        if how != "elsewhere":
            inner()
            return
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(inner, return_state=True))
        thread.start()
        thread.join()

    raised: list[RunCancelled] = []

    def call() -> None:
        try:
            outer()
        except RunCancelled as error:
            raised.append(error)

    asks = _cancelled_soon(history, begun.is_set)
    caller = threading.Thread(target=call)
    began = time.monotonic()
    caller.start()
    caller.join()
    asks.join()
    release.set()

    assert raised
    assert time.monotonic() - began < DEADLINE_S / 2
    assert {run.state for run in flow_runs(history)} == {StateName.CANCELLED}


def test_a_history_of_an_unknown_kind_stops_a_flow_before_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_URL", "mysql://somewhere/runs")

    with pytest.raises(UnknownHistory, match=r"no history 'mysql' here, only memory, postgresql"):
        flow(lambda: None)()
