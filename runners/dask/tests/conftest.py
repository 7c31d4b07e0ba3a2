"""Clusters that the tests of this folder use together, since each takes seconds to start."""

from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster
from runners.dask.tests.desk import OWN, QUIET, Driver, opened

from fanfold_dask import DaskTaskRunner


@pytest.fixture(scope="package")
def own() -> Iterator[Driver]:
    with opened(OWN) as driver:
        yield driver


@pytest.fixture(scope="package")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, **QUIET) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["own", "borrowed"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    if request.param == "own":
        yield request.getfixturevalue("own")
    else:
        with opened(DaskTaskRunner(client=request.getfixturevalue("client"))) as driver:
            yield driver
