"""Time limits and lost processes: who ends how, and what it costs the others."""

import hashlib
import itertools
import os
import signal
import threading
import time
from typing import Any

import pytest

from fanfold import allow_failure, flow, task, wait
from fanfold.ports.runner import TaskRunner
from fanfold.task_runners import ProcessTaskRunner, ThreadPoolTaskRunner
from fanfold.testing.ledger import Ledger
from fanfold.values.errors import Crashed, MapError, TimedOut
from fanfold.values.states import State

DEADLINE_S = 20.0
LIMIT_S = 0.3


def sleeps() -> None:
    time.sleep(60)


def loops() -> None:
    while True:
        pass


def computes_beside_others() -> None:
    """C code that releases the GIL."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)


def holds_the_lock() -> None:
    """C code that keeps the GIL, so that no other thread of the process runs, nor any handler."""
    sum(itertools.repeat(0))


ENDLESS = {
    "sleeps": sleeps,
    "loops": loops,
    "beside": computes_beside_others,
    "holds": holds_the_lock,
}


def test_a_call_that_overruns_its_time_fails_with_what_depends_on_it(inside: Any) -> None:
    @task(timeout_seconds=LIMIT_S)
    def slow(x: Any) -> None:
        threading.Event().wait(0.8)

    @task
    def same(x: Any) -> Any:
        return x

    def body() -> list[Any]:
        late = slow.submit(1)
        futures = [late, same.submit(late), same.submit(2), same.submit(allow_failure(late))]
        wait(futures)
        return [(future.state.type.value, future.state.name) for future in futures] + [
            repr(futures[3].result()),
            str(futures[0].state.error),
        ]

    states = inside(body)

    assert states[:4] == [
        ("FAILED", "TimedOut"),
        ("FAILED", "UpstreamFailed"),
        *[("COMPLETED", "Completed")] * 2,
    ]
    assert "TimedOut" in states[4]
    assert states[5].startswith("slow overran its time limit of 0.3 s")


def test_on_processes_every_element_ends_in_time_whatever_it_is_at(ledger: Ledger) -> None:
    """Python is stopped by an exception, C code by the end of its process; the others complete."""

    @task(timeout_seconds=LIMIT_S, infrastructure_retries=0)
    def works(x: Any) -> Any:
        if x in ENDLESS:
            ledger.claim(x)
            ENDLESS[x]()
        return x

    elements = [0, "sleeps", 1, "loops", 2, "beside", 3, "holds", 4]

    def body() -> Any:
        futures = works.map(elements)
        futures.wait(timeout=DEADLINE_S)
        return [future.state for future in futures], futures.result(raise_on_failure=False)

    found: list[Any] = []
    flow(lambda: found.extend(body()) or "over", task_runner=ProcessTaskRunner(2))()
    states, values = found

    assert values[::2] == [0, 1, 2, 3, 4]
    assert [state.name for state in states] == ["Completed", "TimedOut"] * 4 + ["Completed"]
    errors = values[1::2]
    assert all(type(error) is TimedOut for error in errors)
    assert [error.how for error in errors] == ["soft", "soft", "hard", "hard"]
    assert [error.name for error in errors] == [f"works[{at}]" for at in (1, 3, 5, 7)]
    # Each was tried once.
    assert ledger.claim("holds") == ledger.claim("beside") == 1


def test_a_call_whose_process_was_ended_for_its_time_limit_is_retried(
    ledger: Ledger,
) -> None:
    @task(timeout_seconds=0.1, retries=1, infrastructure_retries=0)
    def holds() -> int:
        tries = ledger.claim("try")
        if not tries:
            holds_the_lock()
        return tries

    state: list[Any] = []

    def body() -> str:
        future = holds.submit()
        future.wait(timeout=DEADLINE_S)
        state.append((future.state.name, future.result(raise_on_failure=False)))
        return "over"

    flow(body, task_runner=ProcessTaskRunner(1))()
    assert state == [("Completed", 1)]


@pytest.mark.parametrize("again", [False, True])
def test_a_condition_is_asked_where_a_limit_ended_the_process_too(
    ledger: Ledger, again: bool
) -> None:
    def condition(_: Any, run: Any, state: State) -> bool:
        ledger.note("asked", run.run_count, state.name)
        return again

    @task(
        timeout_seconds=0.1,
        retries=1,
        retry_condition_fn=condition,
        on_failure=[lambda _, run, state: ledger.note("failed", run.run_count, state.name)],
    )
    def holds(x: int) -> int:
        if x == 1 and not ledger.claim("held"):
            holds_the_lock()
        return x

    def body() -> str:
        futures = holds.map([0, 1, 2])
        futures.wait(timeout=DEADLINE_S)
        found.extend(future.state.name for future in futures)
        return "over"

    found: list[str] = []
    flow(body, task_runner=ProcessTaskRunner(1))()

    assert found == ["Completed", "Completed" if again else "TimedOut", "Completed"]
    assert ledger.lines("asked") == [["1", "TimedOut"]]
    assert ledger.lines("failed") == ([] if again else [["1", "TimedOut"]])


def test_on_threads_what_cannot_be_stopped_is_left_alone() -> None:
    """C code that holds the GIL ends by itself; one that doesn't is abandoned."""
    release = threading.Event()

    @task(timeout_seconds=0.1)
    def works(kind: str) -> str:
        if kind == "beside":
            hashlib.pbkdf2_hmac("sha256", b"", b"", 12_000_000)
        elif kind == "python":
            while not release.is_set():
                time.sleep(0.001)
        elif kind == "holds":
            sum(itertools.repeat(0, 150_000_000))
        return kind

    def body() -> Any:
        futures = works.map(["a", "beside", "python", "holds", "b"], chunk_size=5)
        return [future.result(raise_on_failure=False) for future in futures]

    values = flow(body, task_runner=ThreadPoolTaskRunner(1))()
    release.set()

    assert values[0] == "a" and values[4] == "b"
    assert [error.how for error in values[1:3]] == ["abandoned", "soft"]
    assert values[3].how in ("late", "soft")


def test_a_worker_that_dies_is_charged_to_the_element_that_kills_it(ledger: Ledger) -> None:
    @task(retries=5)
    def works(x: int) -> int:
        if x == 7:
            ledger.note("try", x)
            os._exit(3)
        return x

    found: list[Any] = []

    def body() -> str:
        futures = works.map(range(40))
        futures.wait(timeout=DEADLINE_S)
        found.append([future.state for future in futures])
        with pytest.raises(Crashed, match=r"works\[7\].*3 times, running alone.*exit"):
            futures.result()
        found.append(futures.result(raise_on_failure=False))
        return "over"

    flow(body, task_runner=ProcessTaskRunner(2))()

    states, values = found
    assert [state.name for state in states] == ["Completed"] * 7 + ["Crashed"] + ["Completed"] * 32
    assert states[7].is_crashed()
    assert values[:7] + values[8:] == [x for x in range(40) if x != 7]
    # Twice for company, then alone: once, and as often again as the infrastructure may.
    assert 3 <= len(ledger.lines("try")) <= 6


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_call_that_always_kills_its_worker_is_run_again_as_often_as_it_may(
    ledger: Ledger, allowed: int
) -> None:
    @task(infrastructure_retries=allowed, retries=3)
    def kills() -> None:
        ledger.note("try")
        os.kill(os.getpid(), signal.SIGKILL)

    @task
    def depends(x: Any) -> Any:
        return x

    def body() -> None:
        future, after = kills.submit(), depends.submit(kills.submit())
        wait([future, after])
        names.extend([future.state.name, after.state.name])
        assert future.state.is_crashed() and "SIGKILL" in str(future.state.error)
        assert "kills Crashed" in str(after.state.error)
        raise future.state.error

    names: list[str] = []
    with pytest.raises(Crashed, match="SIGKILL"):
        flow(body, task_runner=ProcessTaskRunner(1))()

    assert names == ["Crashed", "UpstreamFailed"]
    assert len(ledger.lines("try")) == 2 * (1 + allowed)


def test_a_flow_fails_by_an_element_that_crashed(ledger: Ledger) -> None:
    @task(infrastructure_retries=0)
    def works(x: int) -> int:
        if x in (1, 2):
            os._exit(1)
        return x

    @flow(task_runner=ProcessTaskRunner(2))
    def around() -> Any:
        return works.map(range(4)).result()

    state = around(return_state=True)

    assert state.name == "Failed"
    error = state.result(raise_on_failure=False)
    assert isinstance(error, MapError) and isinstance(error, Crashed) and error.count == 2


def test_a_limit_of_time_and_a_death_in_one_map_are_told_apart(
    wide: TaskRunner, ledger: Ledger
) -> None:
    """Two elements that die once or overrun once complete at the next try of their own kind."""
    dies = isinstance(wide, ProcessTaskRunner)

    @task(timeout_seconds=0.5, retries=1)
    def works(x: int) -> int:
        if x == 3 and dies and not ledger.claim("died"):
            os._exit(1)
        if x == 6 and not ledger.claim("overran"):
            while True:
                pass
        return x

    assert flow(lambda: works.map(range(10)), task_runner=wide)() == list(range(10))
