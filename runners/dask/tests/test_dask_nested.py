"""Chunks that start chunks of their own, and wait for them."""

import pickle
import statistics
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from runners.dask.tests import chunks, late
from runners.dask.tests.chunks import Call
from runners.dask.tests.desk import (
    LONE,
    QUIET,
    Driver,
    opened,
    runs,
    task_names,
    topic_names,
    until,
)

from fanfold_dask import DaskTaskRunner


def test_chunks_in_chunks_don_t_block_each_other_on_two_threads(driver: Driver) -> None:
    ref = driver.run(Call(id="nest", act=chunks.nest, arguments=(3, 2)))

    assert driver.value(ref) == [b"15"]


def test_one_worker_with_one_thread_is_enough() -> None:
    with opened(LONE) as driver:
        refs = [
            driver.submit(Call(id=f"nest {n}", act=chunks.nest, arguments=(3, 2))) for n in range(3)
        ]

        assert [driver.report().error for _ in refs] == [None] * 3
        assert [driver.value(ref) for ref in refs] == [[b"15"]] * 3
        # And the thread is there again.
        for number in range(3):
            driver.run(Call(id=f"after {number}", act=chunks.give, arguments=(number,)))


def test_what_secedes_by_itself_comes_back_though_another_chunk_waits_for_its_share() -> None:
    with opened(LONE) as driver:
        driver.submit(Call(id="first", act=chunks.let_another_in))
        driver.submit(Call(id="second", act=chunks.give))

        assert [driver.report().error for _ in range(2)] == [None, None]
        # And the thread is there again.
        driver.run(Call(id="after", act=chunks.give))


def test_threads_of_one_worker_wait_at_once() -> None:
    with opened(DaskTaskRunner(cluster_kwargs={"n_workers": 1, "threads_per_worker": 3})) as driver:
        refs = [
            driver.submit(Call(id=f"nest {n}", act=chunks.nest, arguments=(2, 3))) for n in range(6)
        ]

        assert [driver.report().error for _ in refs] == [None] * 6
        assert [driver.value(ref) for ref in refs] == [[b"13"]] * 6


@pytest.mark.parametrize("way", late.OPENERS)
def test_a_session_opens_while_another_thread_connects_a_client(way: str) -> None:
    with opened(LONE) as driver:
        ref = driver.run(Call(id="beside", act=late.open_beside, arguments=(way,)))

        assert driver.value(ref) == [b"inner", b"here"]


def test_sessions_outlive_clients_that_tasks_open_for_themselves() -> None:
    with opened(LONE) as driver:
        ref = driver.run(Call(id="own", act=late.close_own))

        assert driver.value(ref) == [b"inner"]


def test_sessions_of_a_chunk_are_cheap_and_leave_nothing(client: Client) -> None:
    before = set(client.run_on_scheduler(topic_names))
    with opened(DaskTaskRunner(client=client)) as driver:
        driver.run(Call(id="warm", act=chunks.open_often, arguments=(1,)))
        ref = driver.run(Call(id="often", act=chunks.open_often, arguments=(50,)))

        assert statistics.median(pickle.loads(driver.value(ref)[0])) < 0.1
        driver.run(Call(id="nest", act=chunks.nest, arguments=(2, 2)))
    until(lambda: set(client.run_on_scheduler(topic_names)) <= before)
    until(lambda: client.run_on_scheduler(task_names) == [])


@pytest.mark.parametrize("way", ["left", "abandoned"])
def test_any_thread_of_a_chunk_may_wait(way: str, tmp_path: Path) -> None:
    with (
        LocalCluster(n_workers=1, **QUIET) as cluster,
        Client(cluster, set_as_default=False) as client,
        opened(DaskTaskRunner(client=client)) as driver,
    ):
        driver.submit(Call(id="aside", act=chunks.wait_aside, arguments=(str(tmp_path), way)))
        until(lambda: runs(tmp_path, "waits") == 1)

        driver.run(Call(id="meanwhile", act=chunks.give, arguments=(1,)))

        (tmp_path / "go on").touch()
        assert driver.report().chunk == "aside"
        arguments = (str(tmp_path), "busy", 20.0)
        busy = driver.submit(Call(id="busy", act=chunks.stay, arguments=arguments))
        driver.pid()
        driver.submit(Call(id="behind", act=chunks.note, arguments=(str(tmp_path), "behind")))
        until(lambda: pool_size(client) == 1)
        assert runs(tmp_path, "behind") == 0
        driver.session.cancel([busy])
        assert {driver.report().chunk for _ in range(2)} == {"busy", "behind"}


def pool_size(client: Client) -> int:
    (size,) = client.run(threads_in_pool).values()
    return size


def threads_in_pool(dask_worker: object) -> int:
    return len(dask_worker.executors["default"]._threads)  # type: ignore[attr-defined]
