"""What users know of futures from local runners holds on clusters, with one start of each."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask.distributed import LocalCluster

from fanfold import as_completed, flow, task
from fanfold.ports.runner import TaskRunner
from fanfold.task_runners import ProcessTaskRunner
from fanfold.testing.ledger import Ledger
from fanfold_dask import DaskTaskRunner
from fanfold_ray import RayTaskRunner

ANY = "127.0.0.1:0"
"""For a page that the tests don't need, and others may have theirs at the usual port."""
DEADLINE_S = 60.0


@pytest.fixture(scope="module", params=["processes", "dask", "ray"])
def shared(request: pytest.FixtureRequest) -> Iterator[TaskRunner]:
    """Yield each runner with three slots; clusters serve all tests of this file."""
    if request.param == "dask":
        with LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=ANY) as cluster:
            yield DaskTaskRunner(cluster=cluster)
    elif request.param == "ray":
        import ray

        ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False)
        yield RayTaskRunner()
        ray.shutdown()
    else:
        yield ProcessTaskRunner(3)


@task
def said(ledger: Ledger, word: str, *others: str, after_s: float = 0.0) -> str:
    time.sleep(after_s)
    ledger.note("said", word)
    return word + "".join(others)


def test_futures_are_arguments_of_tasks_plain_and_async(shared: TaskRunner) -> None:
    @task
    def plain(word: str, *others: str) -> str:
        return word + "".join(others)

    @task
    async def waiting(word: str, *others: str) -> str:
        await asyncio.sleep(0)
        return word + "".join(others)

    def body() -> list[list[str]]:
        found = []
        for kind in (plain, waiting):
            a, b = kind.submit("a"), kind.submit("b")
            found.append([future.result() for future in (a, b, kind.submit("c", b))])
        return found

    assert flow(body, task_runner=shared)() == [["a", "b", "cb"]] * 2


def test_who_overruns_fails_with_what_needs_it_alone(shared: TaskRunner) -> None:
    @task(timeout_seconds=0.5)
    def slow() -> int:
        time.sleep(DEADLINE_S)
        return 1

    @task
    def plus(x: int) -> int:
        return x + 1

    def body() -> list[str]:
        late = slow.submit()
        futures: list[Any] = [late, plus.submit(late), plus.submit(1)]
        for future in futures:
            future.wait()
        return [future.state.name for future in futures]

    names = flow(body, task_runner=shared)()

    assert names == ["TimedOut", "UpstreamFailed", "Completed"]


def test_futures_come_as_they_are_done(shared: TaskRunner, tmp_path: Path) -> None:
    """Each but the first waits for a file that is made when the one before it has come."""

    @task
    def waits(number: int) -> int:
        until = time.monotonic() + DEADLINE_S
        while number and not (tmp_path / str(number)).exists() and time.monotonic() < until:
            time.sleep(0.005)
        return number

    def body() -> list[int]:
        futures = [waits.submit(number) for number in (2, 1, 0)]
        came = []
        for future in as_completed(futures, timeout=DEADLINE_S):
            came.append(future.result())
            (tmp_path / str(came[-1] + 1)).touch()
        return came

    assert flow(body, task_runner=shared)() == [0, 1, 2]


def test_wait_for_orders_calls_and_maps(shared: TaskRunner, tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))

    def body() -> None:
        one = said.submit(ledger, "one", after_s=0.2)
        two = said.submit(ledger, "two", after_s=0.1)
        both = said.submit(ledger, "both", wait_for=[one, two])
        many = said.map([ledger] * 3, ["many"] * 3, wait_for=[both])
        said.submit(ledger, "last", wait_for=[many, *many]).wait()

    flow(body, task_runner=shared)()

    order = [words[0] for words in ledger.lines("said")]
    assert sorted(order[:2]) == ["one", "two"]
    assert order[2:] == ["both", "many", "many", "many", "last"]


def test_a_task_starts_others_and_hands_their_values_on(shared: TaskRunner, tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))

    @task
    def parent(name: str) -> list[str]:
        first = said.submit(ledger, f"{name} first")
        second = said.submit(ledger, f"{name} second", wait_for=[first])
        mapped = said.map([ledger] * 2, [f"{name} x", f"{name} y"], wait_for=[second])
        return [first.result(), second.result(), *mapped.result()]

    def body() -> tuple[list[str], list[list[str]]]:
        return parent.submit("a").result(), parent.map(["b", "c"]).result()

    alone, mapped = flow(body, task_runner=shared)()

    expected = [[f"{name} {word}" for word in ("first", "second", "x", "y")] for name in "abc"]
    assert [alone, *mapped] == expected
    assert len(ledger.lines("said")) == 12


def test_many_small_calls_are_gathered(shared: TaskRunner, tmp_path: Path) -> None:
    @task
    def square(x: int) -> int:
        return x * x

    def body() -> list[int]:
        return [future.result() for future in [square.submit(x) for x in range(100)]]

    assert flow(body, task_runner=shared)() == [x * x for x in range(100)]
