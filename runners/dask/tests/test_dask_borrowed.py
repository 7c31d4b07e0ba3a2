"""Clusters of somebody else: found, used, and left as they were."""

import asyncio
import os
import queue
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster, Security
from distributed.core import Status
from runners.dask.tests import certificates, chunks
from runners.dask.tests.chunks import Call
from runners.dask.tests.customs import THREADS
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

from fanfold import flow, task
from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    SessionClosed,
    UsageError,
    WorkerLost,
)
from fanfold_dask import DaskTaskRunner, get_dask_client


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
        pytest.raises(InfrastructureError, match=r"Connecting to Dask at tcp://127.0.0.1:1 failed"),
    ):
        DaskTaskRunner(address="tcp://127.0.0.1:1").open(unheard)


def unheard(chunk: str, message: bytes) -> None:
    """Nothing is said."""


def test_a_borrowed_cluster_is_used_adapted_and_left_alive() -> None:
    go = Call(id="there", act=chunks.give, arguments=(b"value",))
    with LocalCluster(**THREADS) as cluster:
        with opened(DaskTaskRunner(cluster=cluster)) as driver:
            assert driver.value(driver.run(go)) == [b"value"]
            assert not driver.session.slots().grows
        adapt = {"minimum": 0, "maximum": 3, "interval": "50ms"}
        with opened(DaskTaskRunner(cluster=cluster, adapt_kwargs=adapt)) as driver:
            slots = driver.session.slots()
            assert (slots.most, slots.grows) == (6, True)
            assert driver.value(driver.run(go)) == [b"value"]
        assert cluster.status is Status.running

    with pytest.raises(InfrastructureError, match="closed"):
        DaskTaskRunner(cluster=cluster).open(unheard)


def test_a_cluster_or_client_that_nobody_can_wait_for_is_refused() -> None:
    async def main() -> None:
        async with (
            LocalCluster(asynchronous=True, **THREADS) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            for runner in (DaskTaskRunner(cluster=cluster), DaskTaskRunner(client=client)):
                with pytest.raises(UsageError, match="without asynchronous=True"):
                    runner.open(unheard)
            # The current client neither, so there is a cluster of its own.
            own = DaskTaskRunner().open(unheard)
            assert own.client.scheduler.address != client.scheduler.address
            own.close()

    asyncio.run(main())


def test_without_arguments_the_current_client_is_borrowed(client: Client) -> None:
    with Client(client.scheduler.address) as default:
        with opened(DaskTaskRunner()) as driver:
            assert driver.session.client is default
            driver.run(Call(id="there", act=chunks.give, arguments=(1,)))
        with client.as_current(), opened(DaskTaskRunner()) as driver:
            assert driver.session.client is client
        for arguments in (
            {"cluster_kwargs": {"n_workers": 1}},
            {"cluster_class": LocalCluster, "cluster_kwargs": THREADS},
            {"adapt_kwargs": {"minimum": 0}},
            {"client_kwargs": {"name": "mine"}},
        ):
            with opened(DaskTaskRunner(**arguments)) as driver:
                address = driver.session.client.scheduler.address
                assert address != client.scheduler.address
        assert default.status == "running"
    assert client.status == "running"


def test_without_arguments_a_task_on_a_worker_borrows_its_cluster(client: Client) -> None:
    here = client.scheduler.address

    assert client.submit(runs_a_flow, here, pure=False).result(DEADLINE_S) == [0, 2, 4]


def test_without_arguments_a_flow_inside_a_task_borrows_its_cluster_and_its_slot() -> None:
    @task
    def outer(here: str) -> list[int]:
        return runs_a_flow(here)

    @flow(task_runner=DaskTaskRunner(cluster_kwargs={"n_workers": 1}))
    def outermost() -> list[list[int]]:
        with get_dask_client() as client:
            here = client.scheduler.address
        return outer.map([here, here]).result()

    assert outermost() == [[0, 2, 4]] * 2


def runs_a_flow(here: str) -> list[int]:
    @task
    def double(x: int) -> int:
        return 2 * x

    @flow(task_runner="dask")
    def doubled() -> list[int]:
        with get_dask_client() as client:
            assert client.scheduler.address == here
        return double.map(range(3)).result()

    return doubled()


def test_certificates_open_a_door_that_is_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    security = Security(**certificates.make(tmp_path))
    stranger = Security(**certificates.make(tmp_path / "other"))
    with LocalCluster(n_workers=1, security=security, host="127.0.0.1", **QUIET) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://")

        for runner in (
            DaskTaskRunner(address=address, client_kwargs={"security": security}),
            DaskTaskRunner(cluster=cluster),
        ):
            with opened(runner) as driver:
                ref = driver.run(Call(id="there", act=chunks.give, arguments=(b"value",)))
                assert driver.value(ref) == [b"value"]
        for kwargs in ({"security": stranger, "timeout": 1}, {"timeout": 1}):
            with pytest.raises(InfrastructureError, match="name the certificates"):
                DaskTaskRunner(address=address, client_kwargs=kwargs).open(unheard)


def test_the_dashboard_of_a_borrowed_cluster_is_known_if_it_has_one() -> None:
    arguments = {**THREADS, "host": "127.0.0.1", "protocol": "tcp://"}
    shown = {**arguments, "dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {}}
    for where in (shown, arguments):
        with LocalCluster(**where) as cluster:
            port = cluster.scheduler_info["services"]["dashboard"]
            there = where is shown and find_spec("bokeh") is not None
            told = f"http://127.0.0.1:{port}/status" if there else ""

            for runner in (
                DaskTaskRunner(cluster=cluster),
                DaskTaskRunner(address=cluster.scheduler_address),
            ):
                with opened(runner) as driver:
                    assert driver.session.dashboard == told


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
