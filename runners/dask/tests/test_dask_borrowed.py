"""Clusters of somebody else: found, used, and left as they were."""

import os
import queue
import signal
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster
from runners.dask.tests import chunks
from runners.dask.tests.chunks import Call
from runners.dask.tests.desk import (
    DEADLINE_S,
    QUIET,
    Driver,
    group_names,
    opened,
    runs,
    task_names,
    topic_names,
    until,
)

from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    SessionClosed,
    WorkerLost,
)
from fanfold_dask import DaskTaskRunner


def test_dropping_the_last_ref_frees_the_values(client: Client) -> None:
    with opened(DaskTaskRunner(client=client)) as driver:
        ref = driver.run(Call(id="dropped", act=chunks.give, arguments=(b"value",)))
        assert len(client.run_on_scheduler(task_names)) == 1

        del ref

        until(lambda: client.run_on_scheduler(task_names) == [])


def test_a_dead_worker_of_a_borrowed_cluster_is_told_and_its_chunk_stopped(
    client: Client, tmp_path: Path
) -> None:
    with opened(DaskTaskRunner(client=client)) as driver:
        arguments = (str(tmp_path), "killer", DEADLINE_S)
        driver.submit(Call(id="killer", act=chunks.stay, arguments=arguments))

        os.kill(driver.pid(), signal.SIGKILL)

        report = driver.report()
        assert isinstance(report.error, WorkerLost)
        assert report.started
        until(lambda: driver.session.slots().now == 2)
        # If the scheduler was faster and runs it again, it hears of the cancel.
        until(lambda: client.run_on_scheduler(task_names) == [])
        assert runs(tmp_path, "killer") <= 2
        assert driver.reports.empty()


def test_a_borrowed_client_is_clean_after_close(client: Client, tmp_path: Path) -> None:
    heard: queue.Queue[Any] = queue.Queue()
    client.subscribe_topic("all", heard.put)
    before = set(client.run_on_scheduler(topic_names))
    driver, other = Driver(DaskTaskRunner(client=client)), Driver(DaskTaskRunner(client=client))
    kept = driver.run(Call(id="kept", act=chunks.give, arguments=(1,), label="my_task"))
    driver.session.share("key", b"shared")
    arguments = (str(tmp_path), "running", DEADLINE_S)
    driver.submit(Call(id="running", act=chunks.stay, arguments=arguments))
    driver.pid()
    assert set(client.run_on_scheduler(topic_names)) - before
    assert "my_task" in client.run_on_scheduler(group_names)

    driver.session.close()
    driver.session.close()

    assert isinstance(driver.report().error, ChunkCancelled)
    with pytest.raises(SessionClosed):
        driver.submit(Call(id="late", act=chunks.give))
    until(lambda: (tmp_path / "running-stopped").exists())
    del kept
    until(lambda: client.run_on_scheduler(task_names) == [])
    other.run(Call(id="other", act=chunks.give, arguments=(1,)))
    other.session.close()
    until(lambda: set(client.run_on_scheduler(topic_names)) <= before)
    client.log_event("all", {"action": "mine"})
    until(lambda: not heard.empty() and heard.get()[1] == {"action": "mine"})
    client.unsubscribe_topic("all")
    assert client.submit(abs, -1).result(DEADLINE_S) == 1


def test_a_session_that_is_closed_at_once_leaves_no_topic(client: Client) -> None:
    before = set(client.run_on_scheduler(topic_names))

    Driver(DaskTaskRunner(client=client)).session.close()

    until(lambda: set(client.run_on_scheduler(topic_names)) <= before)


def test_a_chunk_may_come_again_over_another_session(client: Client) -> None:
    with (
        opened(DaskTaskRunner(client=client)) as first,
        opened(DaskTaskRunner(client=client)) as second,
    ):
        kept = first.run(Call(id="same", act=chunks.give, arguments=(b"first",)))
        again = second.run(Call(id="same", act=chunks.give, arguments=(b"second",)))

        assert first.value(kept) == [b"first"]
        assert second.value(again) == [b"second"]


def test_a_session_at_an_address_leaves_the_cluster_alive(client: Client) -> None:
    runner = DaskTaskRunner(address=client.scheduler.address)

    with opened(runner) as driver:
        driver.run(Call(id="there", act=chunks.give, arguments=(1,)))

    assert client.submit(abs, -2).result(DEADLINE_S) == 2


def test_nothing_at_an_address_is_told() -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "300ms"}),
        pytest.raises(InfrastructureError, match="Connecting to Dask"),
    ):
        DaskTaskRunner(address="tcp://127.0.0.1:1").open(lambda chunk, message: None)


def test_a_session_outlives_a_broken_connection(client: Client, tmp_path: Path) -> None:
    with opened(DaskTaskRunner(client=client)) as driver:
        arguments = (str(tmp_path), "cut off", DEADLINE_S)
        driver.submit(Call(id="cut off", act=chunks.stay, arguments=arguments))
        driver.pid()

        client.loop.add_callback(client.scheduler_comm.comm.abort)

        assert isinstance(driver.report().error, ChunkCancelled)
        for number in range(3):
            driver.run(Call(id=f"after {number}", act=chunks.give, arguments=(number,)))
        driver.run(Call(id="talker", act=chunks.say, arguments=(1,)))
        assert driver.said.get(timeout=DEADLINE_S) == ("talker", b"0")


def test_an_adaptive_cluster_grows_from_no_workers() -> None:
    with (
        LocalCluster(n_workers=0, **QUIET) as cluster,
        Client(cluster, set_as_default=False) as client,
        opened(DaskTaskRunner(client=client)) as driver,
    ):
        cluster.adapt(minimum=0, maximum=2, interval="50ms")
        slots = driver.session.slots()
        assert (slots.now, slots.most) == (0, 2)

        shared = driver.session.share("code", b"code")
        ref = driver.run(Call(id="first", act=chunks.join), (), [shared])

        assert driver.value(ref) == [b"code"]


def test_a_client_closed_under_a_session_ends_what_is_pending(
    client: Client, tmp_path: Path
) -> None:
    brief = Client(client.scheduler.address, set_as_default=False)
    with opened(DaskTaskRunner(client=brief)) as driver:
        arguments = (str(tmp_path), "orphan", DEADLINE_S)
        ref = driver.submit(Call(id="orphan", act=chunks.stay, arguments=arguments))
        driver.pid()

        brief.close()

        assert isinstance(driver.report().error, ChunkCancelled)
        with pytest.raises(SessionClosed):
            driver.submit(Call(id="late", act=chunks.give))
        with pytest.raises(InfrastructureError):
            driver.session.fetch([ref], DEADLINE_S)


def test_a_closed_client_is_refused(client: Client) -> None:
    closed = Client(client.scheduler.address, set_as_default=False)
    closed.close()

    with pytest.raises(InfrastructureError):
        DaskTaskRunner(client=closed).open(lambda chunk, message: None)
