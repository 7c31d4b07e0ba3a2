"""Dask's clients in users' own code: in flows, in tasks, and outside of both."""

import asyncio
import time
from typing import Any

import dask
import pytest
from distributed import Client, get_client
from runners.dask.tests.customs import THREADS

from fanfold import flow, task
from fanfold_dask import DaskTaskRunner, get_async_dask_client, get_dask_client

ONE_SLOT = DaskTaskRunner(cluster_kwargs={"n_workers": 1})


def double(x: int) -> int:
    return 2 * x


@dask.delayed
def squared(x: int) -> int:
    return x * x


@task
def in_task(x: int) -> int:
    with get_dask_client(timeout="10s") as client:
        assert get_client() is client
        parts = dask.delayed(sum)([squared(n) for n in range(x)])
        first = client.compute(parts).result(20)
        assert parts.compute() == first
        return client.submit(double, first).result(20)


@task(timeout_seconds=60)
def in_task_with_a_limit(x: int) -> int:
    with get_dask_client() as client:
        return client.submit(double, x).result(20)


@task
async def in_async_task(x: int) -> int:
    async with get_async_dask_client() as client:
        return await client.submit(double, x)


@task
def of_its_own(x: int) -> str:
    with get_dask_client(name="mine") as client:
        assert client.submit(double, x).result(20) == 2 * x
        return client.id


@task
def nested(x: int) -> int:
    with get_dask_client() as client:
        return in_task.submit(x).result() + client.submit(double, x).result(20)


def test_in_flows_and_tasks_of_a_cluster_with_one_slot() -> None:
    @flow(task_runner=ONE_SLOT)
    def everywhere() -> Any:
        with get_dask_client() as client:
            before = client.submit(double, 3).result(20)
            address = client.scheduler.address
        elements = in_task.map([2, 3])
        with get_dask_client() as client:
            assert client.scheduler.address == address
        direct = in_task.fn(3)
        called = in_task(3)
        limited = in_task_with_a_limit.map([4]).result()
        late = in_async_task.map(range(5)).result()
        mine = of_its_own.submit(1).result()
        return (
            before,
            elements.result(),
            direct,
            called,
            limited,
            late,
            mine,
            nested.submit(2).result(),
        )

    before, elements, direct, called, limited, late, mine, nests = everywhere()

    assert (before, elements, direct, called) == (6, [2, 10], 10, 10)
    assert (limited, late) == ([8], [0, 2, 4, 6, 8])
    assert "mine" in mine
    assert nests == 2 + 4


def test_in_async_flows() -> None:
    @flow(task_runner=ONE_SLOT)
    async def everywhere() -> Any:
        async with get_async_dask_client() as client:
            assert client.asynchronous
            here = await client.submit(double, 4)
            many = await client.gather(client.map(double, range(3)))
        return here, many, in_async_task.submit(5).result()

    assert asyncio.run(everywhere()) == (8, [0, 2, 4], 10)


def test_in_a_task_that_was_given_to_dask_itself(client: Client) -> None:
    futures = client.map(_in_dask, range(4), pure=False)

    assert client.gather(futures) == [0, 2, 4, 6]


def _in_dask(x: int) -> int:
    with get_dask_client() as client:
        return client.submit(double, x, pure=False).result(20)


def test_outside_of_flows_it_is_the_current_one_or_a_new_one(client: Client) -> None:
    with client.as_current(), get_dask_client() as found:
        assert found is client
    with client.as_current(), get_dask_client(name="other") as other:
        assert other is not client
        assert other.scheduler.address == client.scheduler.address
    assert other.status == "closed"
    with get_dask_client() as new:
        assert new.submit(double, 2).result(20) == 4
        assert new.scheduler.address != client.scheduler.address
    assert new.status == "closed"
    assert client.status == "running"


def test_in_a_flow_on_another_runner_it_is_the_current_one(client: Client) -> None:
    @flow(task_runner="threads")
    def elsewhere() -> bool:
        with get_dask_client() as found:
            return found is client

    with client.as_current():
        assert elsewhere()


def test_errors_inside_come_out_and_free_the_slot() -> None:
    @task
    def fails() -> None:
        with get_dask_client() as client:
            client.submit(double, None).result(20)

    @flow(task_runner=DaskTaskRunner(cluster_kwargs={**THREADS, "threads_per_worker": 1}))
    def failing() -> Any:
        with get_dask_client(name="second") as second:
            assert second.scheduler.address.startswith("inproc://")
        with pytest.raises(TypeError):
            fails.submit().result()
        return in_task.submit(2).result()

    start = time.monotonic()
    assert failing() == 2
    assert time.monotonic() - start < 20
