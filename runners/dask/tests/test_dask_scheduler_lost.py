"""Schedulers that vanish: for a while, for good, and with our own keeper."""

import os
import queue
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from distributed import Client, LocalCluster
from runners.dask.tests import chunks
from runners.dask.tests.chunks import Call
from runners.dask.tests.daemons import Daemons, daemons
from runners.dask.tests.desk import DEADLINE_S, LONE, QUIET, opened, runs, until

from fanfold.values.errors import ChunkCancelled, ClusterLost, ValuesLost, WorkerLost
from fanfold.values.resources import PLAIN
from fanfold_dask import DaskTaskRunner, session

AWAY_S = 3.0
LARGE = b"x" * 10_000


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Daemons]:
    with daemons(tmp_path) as started:
        yield started


def patient(cluster: Daemons, timeout_s: float) -> DaskTaskRunner:
    """Return a runner whose client tries so long to connect again."""
    return DaskTaskRunner(address=cluster.address, client_kwargs={"timeout": timeout_s})


def raised(act: Callable[[], object]) -> BaseException | None:
    try:
        act()
    except Exception as error:
        return error
    return None


@pytest.mark.slow
def test_a_scheduler_that_comes_back_empty_costs_what_was_out(
    cluster: Daemons, tmp_path: Path
) -> None:
    scheduler = cluster.scheduler()
    cluster.worker("--no-nanny")
    with opened(patient(cluster, 60.0)) as driver:
        held = driver.run(Call(id="held", act=chunks.give, arguments=(LARGE,)))
        small = driver.run(Call(id="small", act=chunks.give, arguments=(b"small",)))
        shared = driver.session.share("shared", LARGE)
        arguments = (str(tmp_path), "out", 60.0)
        driver.submit(Call(id="out", act=chunks.stay, arguments=arguments))
        driver.pid()

        cluster.end(scheduler)
        until(lambda: driver.session.client.status == "connecting")
        driver.submit(Call(id="away", act=chunks.join), (), [shared])
        with pytest.raises(queue.Empty):
            driver.reports.get(timeout=1.0)
        assert driver.value(small) == [b"small"]
        cluster.scheduler()
        cluster.worker("--no-nanny")

        reports = {report.chunk: report for report in (driver.report() for _ in range(2))}
        assert isinstance(reports["out"].error, ChunkCancelled)
        with pytest.raises(ValuesLost) as caught:
            driver.session.fetch([small, held], DEADLINE_S)
        assert caught.value.lost == (1,)
        driver.submit(Call(id="needy", act=chunks.join), [held])
        needy = driver.report().error
        assert isinstance(needy, ValuesLost)
        assert needy.lost == (0,)
        again = driver.run(Call(id="again", act=chunks.join), (), [shared])
        assert driver.value(again) == [LARGE]
        driver.run(Call(id="talks", act=chunks.say, arguments=(3,)))
        assert driver.said.qsize() == 3
        assert runs(tmp_path, "out") == 1


def test_a_scheduler_that_never_comes_back_ends_all(cluster: Daemons, tmp_path: Path) -> None:
    scheduler = cluster.scheduler()
    cluster.worker("--no-nanny")
    with opened(patient(cluster, AWAY_S)) as driver:
        held = driver.run(Call(id="held", act=chunks.give, arguments=(LARGE,)))
        for name in ("out", "queued"):
            arguments = (str(tmp_path), name, 60.0)
            driver.submit(Call(id=name, act=chunks.stay, arguments=arguments))
        driver.pid()

        cluster.end(scheduler)
        until(lambda: driver.session.client.status == "connecting")
        began = time.monotonic()
        driver.submit(Call(id="away", act=chunks.give))
        lost = raised(lambda: driver.session.fetch([held], 60))

        assert isinstance(lost, ClusterLost)
        assert [type(driver.report().error) for _ in range(3)] == [ClusterLost] * 3
        assert time.monotonic() - began < 3 * AWAY_S
        assert "couldn't be reached again within 3 s" in str(lost)
        assert isinstance(
            raised(lambda: driver.submit(Call(id="late", act=chunks.give))), ClusterLost
        )
        assert isinstance(raised(lambda: driver.session.fetch([held])), ClusterLost)
        assert isinstance(raised(lambda: driver.session.share("late", LARGE)), ClusterLost)
        began = time.monotonic()
    assert time.monotonic() - began < 3


def test_a_scheduler_that_vanishes_while_nothing_is_out_is_noticed(cluster: Daemons) -> None:
    scheduler = cluster.scheduler()
    with opened(patient(cluster, 1.0)) as driver:
        cluster.end(scheduler)
        until(lambda: driver.session.client.status == "closed")

        assert isinstance(
            raised(lambda: driver.submit(Call(id="late", act=chunks.give))), ClusterLost
        )
        assert list(driver.session.stuck([])) == []
        assert driver.session.lacking(PLAIN) != ""


def test_a_stopped_scheduler_is_given_up(
    cluster: Daemons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "UNANSWERED_S", 1.0)
    monkeypatch.setattr(session, "LOOK_TIMEOUT_S", 0.5)
    scheduler = cluster.scheduler()
    cluster.worker("--no-nanny")
    with opened(DaskTaskRunner(address=cluster.address)) as driver:
        busy = Call(id="busy", act=chunks.stay, arguments=(str(tmp_path), "busy", 60.0))
        ref = driver.submit(busy)
        driver.pid()
        os.kill(scheduler.pid, signal.SIGSTOP)

        assert list(driver.session.stuck([ref])) == []
        assert driver.reports.empty()
        until(lambda: list(driver.session.stuck([ref])) == [] and not driver.reports.empty())

        assert isinstance(driver.report().error, ClusterLost)
        assert isinstance(raised(lambda: driver.session.fetch([ref], 1)), ClusterLost)
        began = time.monotonic()
    assert time.monotonic() - began < 10


def test_an_own_cluster_whose_keeper_dies_is_lost_at_once(tmp_path: Path) -> None:
    with opened(LONE) as driver:
        held = driver.run(Call(id="held", act=chunks.give, arguments=(LARGE,)))
        driver.submit(Call(id="busy", act=chunks.stay, arguments=(str(tmp_path), "busy", 60.0)))
        worker = psutil.Process(driver.pid())
        keeper = worker.parent()
        assert keeper is not None
        began = time.monotonic()

        os.kill(keeper.pid, signal.SIGKILL)

        told = driver.report().error
        assert isinstance(told, ClusterLost)
        assert "was killed by signal 9 (SIGKILL)" in str(told)
        assert time.monotonic() - began < 3
        for act in (
            lambda: driver.submit(Call(id="late", act=chunks.give)),
            lambda: driver.session.fetch([held], 60),
        ):
            assert isinstance(raised(act), ClusterLost)
        worker.wait(DEADLINE_S)
        began = time.monotonic()
    assert time.monotonic() - began < 3


def test_a_cluster_that_is_closed_under_a_session_is_lost(tmp_path: Path) -> None:
    with LocalCluster(n_workers=1, **QUIET) as cluster:
        client = Client(cluster, set_as_default=False)
        with opened(DaskTaskRunner(client=client)) as driver:
            driver.submit(Call(id="busy", act=chunks.stay, arguments=(str(tmp_path), "busy", 60.0)))
            driver.pid()

            cluster.close()

            # Its workers may be told to go before it goes itself.
            assert isinstance(driver.report().error, (WorkerLost, ClusterLost))
            late = Call(id="late", act=chunks.give)
            until(lambda: isinstance(raised(lambda: driver.submit(late)), ClusterLost))
        client.close()
