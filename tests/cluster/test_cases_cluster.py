"""What users see of clusters: workers that die, maps that are cancelled, what is sent and waits."""

import os
import signal
import threading
import time
from collections import Counter
from typing import Any

import psutil
import pytest

from fanfold import flow, task, unmapped
from fanfold.adapters.history.memory import MemoryHistory
from fanfold.engine import settings
from fanfold.engine.recording import recorder
from fanfold.ports.runner import TaskRunner
from fanfold.runtime import flow_run, task_run
from fanfold.task_runners import InlineTaskRunner, ThreadPoolTaskRunner
from fanfold.testing.faults import Traced
from fanfold.testing.ledger import Ledger, pause
from fanfold.values.errors import Crashed
from fanfold.values.ids import new_id
from fanfold.values.records import FlowRunRecord, FlowRuns, TaskTotals
from fanfold.values.states import State, StateName
from tests.chaos.striking import Strike, Striker, kill
from tests.chaos.works import Works
from tests.cluster.conftest import WORKERS, made

DEADLINE_S = 60.0
SECONDS = 10.0
"""For a cancelled flow to be over, and for its cluster to be gone; a busy machine needs some."""


def recorded(url: str) -> tuple[FlowRunRecord, dict[StateName, int]]:
    """Return the only run of a history, and the states of all that it ran."""
    kept = recorder.current()
    assert kept is not None and kept.flush(DEADLINE_S)
    (run,) = MemoryHistory(url).read(FlowRuns())
    totals = MemoryHistory(url).read(TaskTotals(flow_run_ids=(run.id,)))
    states = Counter[StateName]()
    for total in totals:
        states.update({state: count for state, count in total.counts.items() if count})
    return run, dict(states)


def test_a_killed_worker_costs_a_map_one_chunk_at_most(mortal: TaskRunner, ledger: Ledger) -> None:
    works = Works(count=1_000, seconds=0.005, kept=True, ledger=ledger)

    with Striker(ledger, [Strike(400, 0.5)], kill).striking() as striker:
        found = works.run(mortal)

    assert len(striker.struck) == 1
    works.check(found, strikes=1)


def test_losses_are_counted_apart_from_the_tasks_own_retries(
    mortal: TaskRunner, ledger: Ledger
) -> None:
    """A call loses its worker twice, which is allowed; its one retry is left for an exception."""

    @task(retries=1, infrastructure_retries=2)
    def works() -> int:
        ledger.note("try", task_run.run_count)
        times = ledger.claim("tried")
        if times < 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if times == 2:
            raise ValueError("once")
        return task_run.run_count

    assert flow(lambda: works.submit().result(), task_runner=mortal)() == 2
    assert ledger.counts("try") == {1: 3, 2: 1}


def test_an_element_that_always_kills_its_worker_crashes_alone(
    mortal: TaskRunner, ledger: Ledger
) -> None:
    count, at = 100, 61

    @task(infrastructure_retries=1)
    def works(x: int) -> int:
        if x == at:
            ledger.note("killed", x)
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    def around() -> Any:
        return works.map(range(count)).result()

    url = f"memory://{new_id()}"
    with settings.temporary({"history.url": url}):
        state: State = flow(around, task_runner=mortal)(return_state=True)
        run, states = recorded(url)

    assert state.name == "Failed"
    error = state.result(raise_on_failure=False)
    assert isinstance(error, Crashed)
    assert f"works[{at}]" in str(error) and "2 times, running alone" in str(error)
    assert "SIGKILL" in str(error)
    assert states == {StateName.COMPLETED: count - 1, StateName.CRASHED: 1}
    assert run.state is StateName.FAILED
    # In company twice at most, of 100 and of a thirty-second part of it; then alone.
    assert len(ledger.lines("killed")) <= 2 + 2


@pytest.mark.parametrize("kind", ["inline", "threads", "processes", "dask", "ray"])
def test_a_map_that_is_cancelled_ends_with_its_cluster(kind: str, ledger: Ledger) -> None:
    """What waits never runs; what runs is interrupted, where it can be, or is the last to end."""
    here = {"inline": InlineTaskRunner(), "threads": ThreadPoolTaskRunner(WORKERS)}
    runner: TaskRunner = here[kind] if kind in here else made(kind)
    # Where an element can't be interrupted, its slot is free again when it is through.
    seconds = 2 * DEADLINE_S if kind in ("processes", "ray") else 0.5
    before = set(psutil.Process().children(recursive=True))
    url = f"memory://{new_id()}"
    struck: list[float] = []

    @task
    def works(x: int) -> int:
        ledger.note("began", x)
        time.sleep(seconds)
        ledger.note("through", x)
        return x

    def around() -> Any:
        cancelling.start()
        ledger.note("run", flow_run.id)
        return works.map(range(1_000)).result()

    def cancel() -> None:
        until = time.monotonic() + DEADLINE_S
        while not ledger.lines("began") and time.monotonic() < until:
            pause()
        ((run_id,),) = ledger.lines("run")
        # It isn't recorded before some moments have passed.
        while not MemoryHistory(url).cancel(run_id) and time.monotonic() < until:
            pause()
        struck.append(time.monotonic())

    cancelling = threading.Thread(target=cancel)
    with settings.temporary({"history.url": url}):
        state: State = flow(around, task_runner=runner)(return_state=True)
        took = time.monotonic() - struck[0]
        begun = len(ledger.lines("began"))
        _, left = psutil.wait_procs(
            set(psutil.Process().children(recursive=True)) - before, timeout=SECONDS
        )
        run, states = recorded(url)
    cancelling.join()

    assert state.name == "Cancelled" and run.state is StateName.CANCELLED
    assert took < SECONDS, f"it took {took:.1f} s to end"
    assert not left, f"still there: {[process.cmdline() for process in left]}"
    assert len(ledger.lines("began")) == begun < 30, "elements began after the end"
    assert set(states) <= {StateName.COMPLETED, StateName.CANCELLED}
    assert states[StateName.CANCELLED] > 900
    if seconds > DEADLINE_S:
        assert not ledger.lines("through")


def test_a_large_argument_is_shipped_once_per_worker(cluster: TaskRunner, ledger: Ledger) -> None:
    """100 MB to 200 elements in 20 chunks."""
    size = 100 << 20

    @task
    def measure(x: int, held: Traced) -> tuple[int, int]:
        return x, len(held.ballast)

    def body() -> tuple[list[Any], int]:
        futures = measure.map(range(200), unmapped(Traced(ledger, 0, bytes(size))), chunk_size=10)
        return futures.result(), futures.run.chunks_made

    values, chunks = flow(body, task_runner=cluster)()

    assert values == [(x, size) for x in range(200)]
    assert chunks == 20
    assert len(ledger.lines("pickled")) == 1
    shipped = Counter(process for _, process in ledger.lines("unpickled"))
    assert set(shipped.values()) == {1} and len(shipped) <= WORKERS


class Seen(Exception):
    """Leaves a flow without waiting for what it started."""


def test_a_retry_delay_of_a_minute_holds_no_slot(cluster: TaskRunner, ledger: Ledger) -> None:
    @task(retries=1, retry_delay_seconds=60)
    def fails(x: int) -> None:
        ledger.note("tried", x)
        raise ValueError(x)

    @task
    def other(x: int) -> int:
        return x

    def body() -> None:
        waiting = fails.map(range(2 * WORKERS), chunk_size=1)
        until = time.monotonic() + DEADLINE_S / 2
        while waiting.states != {"AwaitingRetry": 2 * WORKERS} and time.monotonic() < until:
            pause()
        meanwhile = other.map(range(10)).result(timeout=DEADLINE_S / 2)
        raise Seen(meanwhile, [future.state.name for future in waiting])

    with pytest.raises(Seen) as seen:
        flow(body, task_runner=cluster)()

    assert seen.value.args == (list(range(10)), ["AwaitingRetry"] * 2 * WORKERS)
    assert len(ledger.lines("tried")) == 2 * WORKERS
