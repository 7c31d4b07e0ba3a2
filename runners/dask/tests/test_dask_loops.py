"""Inside of a running event loop, as in a notebook's cell."""

import asyncio
from typing import Any

from distributed import Client, LocalCluster
from runners.dask.tests import customs

from fanfold import flow, task
from fanfold_dask import DaskTaskRunner


@task
def double(x: int) -> int:
    return 2 * x


def sync_flow(runner: DaskTaskRunner) -> Any:
    @flow(task_runner=runner)
    def doubled() -> list[int]:
        return double.map(range(3)).result()

    return doubled


def async_flow(runner: DaskTaskRunner) -> Any:
    @flow(task_runner=runner)
    async def doubled() -> list[int]:
        return [await future for future in double.map(range(3))]

    return doubled


def test_flows_run_in_a_cell_and_are_awaited_in_one() -> None:
    runner = DaskTaskRunner(cluster_kwargs={"n_workers": 1})

    async def cells() -> None:
        for _ in range(2):
            assert sync_flow(runner)() == [0, 2, 4]
            assert await async_flow(runner)() == [0, 2, 4]
        both = await asyncio.gather(async_flow(runner)(), async_flow(runner)())
        assert both == [[0, 2, 4]] * 2

    asyncio.run(cells())


def test_so_they_do_on_a_cluster_of_the_cells_own() -> None:
    async def cells() -> None:
        with LocalCluster(**customs.THREADS) as cluster, Client(cluster) as client:
            for runner in (
                DaskTaskRunner(cluster=cluster),
                DaskTaskRunner(client=client),
                DaskTaskRunner(),
                DaskTaskRunner(
                    cluster_class=customs.NotedAsync, adapt_kwargs={"minimum": 1, "maximum": 1}
                ),
            ):
                assert sync_flow(runner)() == [0, 2, 4]
                assert await async_flow(runner)() == [0, 2, 4]
            assert client.status == "running"

    asyncio.run(cells())
