"""Workers that end in every way: how it is told, on our own clusters and on borrowed ones."""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster, Status
from runners.dask.tests import chunks
from runners.dask.tests.chunks import Call
from runners.dask.tests.daemons import daemons
from runners.dask.tests.desk import DEADLINE_S, QUIET, Driver, opened, runs, task_names, until
from runners.dask.tests.pairs import PAIRS

from fanfold.values.errors import ChunkCancelled, WorkerLost
from fanfold.values.resources import PLAIN
from fanfold_dask import DaskTaskRunner
from fanfold_dask.ends import predicate
from fanfold_dask.workers import Gone

SMALL = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": 300 * 1024**2}
ENDS = {
    "exit": "ended with exit code 3",
    "segfault": "was killed by signal 11 (SIGSEGV)",
    "kill": "was killed by signal 9 (SIGKILL)",
    "hoard": "was ended by Dask's nanny for its memory (95 % of 300MiB)",
}


@pytest.fixture(scope="module", params=["own", "borrowed"])
def small(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Workers with little memory, which are replaced when they end."""
    if request.param == "own":
        with opened(DaskTaskRunner(cluster_kwargs=SMALL)) as driver:
            yield driver
        return
    with (
        LocalCluster(**{**QUIET, **SMALL}) as cluster,
        Client(cluster, set_as_default=False) as client,
        opened(DaskTaskRunner(client=client)) as driver,
    ):
        yield driver


def whole(driver: Driver) -> None:
    """Wait until both workers are there and have reported something."""
    until(lambda: len(driver.session.client.scheduler_info()["workers"]) == 2)
    seen: set[str] = set()
    while len(seen) < 2:
        arguments = (0.05,)
        for number in range(2):
            driver.submit(Call(id=f"warm {number}", act=chunks.span, arguments=arguments))
        seen |= {driver.report().worker for _ in range(2)}


@pytest.mark.parametrize("way", ENDS)
def test_what_ended_a_worker_is_told(small: Driver, way: str, tmp_path: Path) -> None:
    small.submit(Call(id="fatal", act=chunks.end, arguments=(str(tmp_path), way)))

    report = small.report()

    assert isinstance(report.error, WorkerLost)
    assert report.started
    assert re.match(r"(Worker process \d+|The worker process) ", str(report.error))
    assert str(report.error).endswith(f" {ENDS[way]}; it had chunk fatal.")
    small.run(Call(id="after", act=chunks.give, arguments=(1,)))


def test_an_end_for_memory_is_told_also_before_the_nanny_knows_its_worker_s_address() -> None:
    lines = [
        (2.0, "Worker process 7 was killed by signal 15"),
        (1.9, "Worker None (pid=7) exceeded 95% memory budget. Restarting..."),
    ]
    gone = Gone(
        address="tcp://127.0.0.1:1",
        keys=set(),
        expected=False,
        cause="",
        nanny="tcp://127.0.0.1:2",
        limit=300 * 1024**2,
        pid=7,
        when=2.0,
    )

    assert predicate(lines, gone, 7, set()) == ENDS["hoard"]


def test_workers_that_end_at_once_are_told_apart(small: Driver, tmp_path: Path) -> None:
    whole(small)
    ways = ("exit", "segfault")
    for way in ways:
        (tmp_path / way).mkdir()
        arguments = (str(tmp_path / way), way, str(tmp_path))
        small.submit(Call(id=way, act=chunks.end_together, arguments=arguments))

    told = {report.chunk: str(report.error) for report in (small.report() for _ in ways)}

    assert all(f" {ENDS[way]}; " in told[way] for way in ways), told


def test_a_loss_is_told_at_once(small: Driver, tmp_path: Path) -> None:
    whole(small)
    arguments = (str(tmp_path), "victim", DEADLINE_S)
    small.submit(Call(id="victim", act=chunks.stay, arguments=arguments))
    pid = small.pid()
    began = time.monotonic()

    os.kill(pid, signal.SIGKILL)

    assert str(small.report().error).startswith(f"Worker process {pid} was killed by signal 9 ")
    assert time.monotonic() - began < 1


def test_without_a_nanny_nobody_knows(tmp_path: Path) -> None:
    with daemons(tmp_path) as started:
        started.scheduler()
        started.worker("--no-nanny")
        with opened(DaskTaskRunner(address=started.address)) as driver:
            driver.submit(Call(id="fatal", act=chunks.end, arguments=(str(tmp_path), "exit")))

            error = driver.report().error

            assert isinstance(error, WorkerLost)
            assert "what ended it isn't known" in str(error)
            assert driver.session.lacking(PLAIN) == f"there are no workers at {started.address}"


def test_a_nanny_that_is_a_daemon_tells_too(tmp_path: Path) -> None:
    with daemons(tmp_path) as started:
        started.scheduler()
        started.worker("--memory-limit", "1GiB")
        with opened(DaskTaskRunner(address=started.address)) as driver:
            until(lambda: has_nanny(driver.session.client))
            driver.submit(Call(id="fatal", act=chunks.end, arguments=(str(tmp_path), "segfault")))

            assert f" {ENDS['segfault']}; " in str(driver.report().error)


def test_what_ended_a_worker_is_told_that_died_before_the_driver_heard_of_it(
    tmp_path: Path,
) -> None:
    with daemons(tmp_path) as started:
        started.scheduler()
        with (
            Client(started.address, set_as_default=False) as other,
            opened(DaskTaskRunner(address=started.address)) as driver,
        ):
            arguments = (str(tmp_path), "kill", str(tmp_path))
            driver.submit(Call(id="fatal", act=chunks.end_together, arguments=arguments))
            until(lambda: other.run_on_scheduler(task_names) != [])
            with held_up(driver.session.client):
                started.worker("--memory-limit", "1GiB")
                until(lambda: has_nanny(other))
                (tmp_path / "nanny.here").touch()
                until(lambda: other.run_on_scheduler(removals) == 1)

            error = str(driver.report().error)

            assert re.match(r"Worker process \d+ was killed by signal 9 \(SIGKILL\); ", error), (
                error
            )


def has_nanny(client: Client) -> bool:
    """Return whether there is one worker, whose nanny is up: until then it ends with its worker."""
    return [*client.run(is_up, nanny=True).values()] == [True]


def is_up(dask_worker: Any) -> bool:
    return bool(dask_worker.status == Status.running)


def removals(dask_scheduler: Any) -> int:
    """Return how many workers are gone."""
    events = [message for _, message in dask_scheduler.get_events("all")]
    return sum(message["action"] == "remove-worker" for message in events)


@contextmanager
def held_up(client: Client) -> Iterator[None]:
    """Keep a client's event loop from doing anything meanwhile."""
    stands, goes_on = threading.Event(), threading.Event()
    client.loop.add_callback(lambda: (stands.set(), goes_on.wait(60)))
    assert stands.wait(DEADLINE_S)
    try:
        yield
    finally:
        goes_on.set()


@pytest.mark.parametrize("kind", ["own", "borrowed"])
def test_a_retired_worker_costs_nothing(kind: str, tmp_path: Path) -> None:
    with PAIRS[kind](tmp_path) as driver:
        whole(driver)
        held = driver.run(Call(id="held", act=chunks.give, arguments=(b"x" * 10_000,)))
        client = driver.session.client
        driver.submit(Call(id="moved", act=chunks.stay, arguments=(str(tmp_path), "moved", 1.0)))
        pid = driver.pid()
        (address,) = (at for at, one in client.run(os.getpid).items() if one == pid)

        client.retire_workers([address], close_workers=True)

        report = driver.report()
        if driver.session.traits.reruns:
            assert report.error is None
            assert runs(tmp_path, "moved") == 2
        else:
            assert isinstance(report.error, ChunkCancelled)
        assert driver.value(held) == [b"x" * 10_000]
        driver.run(Call(id="after", act=chunks.give, arguments=(1,)))
        assert driver.reports.empty()
