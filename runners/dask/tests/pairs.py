"""Clusters of two workers with one thread each, for tests that end or stop some of them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from distributed import Client, LocalCluster
from runners.dask.tests.daemons import daemons
from runners.dask.tests.desk import QUIET, Driver, opened, until

from fanfold_dask import DaskTaskRunner


@contextmanager
def pair_owned(folder: Path) -> Iterator[Driver]:
    with opened(DaskTaskRunner(cluster_kwargs={"n_workers": 2})) as driver:
        yield driver


@contextmanager
def pair_borrowed(folder: Path) -> Iterator[Driver]:
    with (
        LocalCluster(n_workers=2, **QUIET) as cluster,
        Client(cluster, set_as_default=False) as client,
        opened(DaskTaskRunner(client=client)) as driver,
    ):
        yield driver


@contextmanager
def pair_of_daemons(folder: Path) -> Iterator[Driver]:
    with daemons(folder) as started:
        started.scheduler()
        for _ in range(2):
            started.worker("--no-nanny")
        with opened(DaskTaskRunner(address=started.address)) as driver:
            until(lambda: driver.session.slots().now == 2)
            yield driver


PAIRS: Mapping[str, Callable[[Path], AbstractContextManager[Driver]]] = {
    "own": pair_owned,
    "borrowed": pair_borrowed,
    "without nannies": pair_of_daemons,
}
