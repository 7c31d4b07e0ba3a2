"""A Dask cluster of two workers with one thread each, through a client that a user would have."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import distributed

from fanfold_dask import DaskTaskRunner
from tests.benchmarks import slices
from tests.benchmarks.grounds import SLOTS, Cluster, Function

SETTLE_TIMEOUT_S = 60.0
"""A killed worker is replaced in 2 s; a scheduler drops 50,000 keys in some seconds."""

_local_cluster: Any = distributed.LocalCluster
"""Its annotations leave out None."""


@dataclass(frozen=True, slots=True)
class OnDask:
    """A live client; by Dask's own types each of its methods may be a coroutine, hence Any."""

    client: Any
    runner: DaskTaskRunner
    name: str = "dask"
    one_each_sizes: frozenset[int] = frozenset({10, 1_000, 50_000})

    def by_hand(self, function: Function, items: Sequence[Any], pieces: int) -> list[Any]:
        return slices.join(self.client.gather(self._sent(function, items, pieces)))

    def held(self, function: Function, items: Sequence[Any], pieces: int) -> Sequence[Any]:
        futures = self._sent(function, items, pieces)
        distributed.wait(futures)
        return futures

    def one_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self.client.gather(self.client.map(function, items, pure=False))

    def chained(self, functions: Sequence[Function], items: Sequence[Any]) -> list[Any]:
        futures: Any = items
        for function in functions:
            futures = self.client.map(function, futures, pure=False)
        return self.client.gather(futures)

    def tree(
        self, make: Function, combine: Callable[..., Any], items: Sequence[Any], width: int
    ) -> Any:
        futures = self.client.map(make, items, pure=False)
        while len(futures) > 1:
            groups = [futures[at : at + width] for at in range(0, len(futures), width)]
            futures = [self.client.submit(combine, *group, pure=False) for group in groups]
        return futures[0].result()

    def spread(
        self, function: Callable[[Any, Any], Any], items: Sequence[Any], big: Any
    ) -> list[Any]:
        scattered = self.client.scatter(big, hash=False, broadcast=True)
        return self.client.gather(self.client.map(function, items, big=scattered, pure=False))

    def settle(self) -> None:
        self.client.wait_for_workers(SLOTS, timeout=SETTLE_TIMEOUT_S)
        self.client.run_on_scheduler(_emptied)

    @property
    def address(self) -> str:
        return self.client.scheduler.address

    def _sent(self, function: Function, items: Sequence[Any], pieces: int) -> Sequence[Any]:
        # As one `map`, which sends all futures in one message; a loop over `submit` is slower.
        return self.client.map(
            slices.run_slice, slices.cut(items, pieces), function=function, pure=False
        )


@contextmanager
def started() -> Generator[Cluster, None, None]:
    """Start a cluster and warm it up."""
    with (
        _local_cluster(
            n_workers=SLOTS,
            threads_per_worker=1,
            dashboard_address=None,
            # Without a dashboard the scheduler still serves its health, by default at 8787.
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(SLOTS)
        yield OnDask(client, DaskTaskRunner(client=client))


@contextmanager
def reached(address: str) -> Generator[Cluster, None, None]:
    """Connect to a cluster that another process has started."""
    with distributed.Client(address) as client:
        yield OnDask(client, DaskTaskRunner(client=client))


async def _emptied(dask_scheduler: distributed.Scheduler) -> None:
    """Wait, on the scheduler, until it knows of no task any more."""
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while dask_scheduler.tasks:
            await asyncio.sleep(0.005)
