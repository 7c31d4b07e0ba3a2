"""What tests of behaviours on clusters stand on: every runner with workers, each with its own."""

from pathlib import Path

import pytest

from fanfold.ports.runner import TaskRunner
from fanfold.task_runners import ProcessTaskRunner
from fanfold.testing.ledger import Ledger
from fanfold_dask import DaskTaskRunner
from fanfold_ray import RayTaskRunner

WORKERS = 2


def made(kind: str) -> TaskRunner:
    """Return a runner that starts two workers of one slot each."""
    if kind == "dask":
        return DaskTaskRunner(cluster_kwargs={"n_workers": WORKERS, "threads_per_worker": 1})
    if kind == "ray":
        return RayTaskRunner(address="local", init_kwargs={"num_cpus": WORKERS})
    return ProcessTaskRunner(WORKERS)


@pytest.fixture(params=["dask", "ray"])
def cluster(request: pytest.FixtureRequest) -> TaskRunner:
    """Return each runner on a cluster."""
    return made(request.param)


@pytest.fixture(params=["processes", "dask", "ray"])
def mortal(request: pytest.FixtureRequest) -> TaskRunner:
    """Return each runner whose workers can die without the driver."""
    return made(request.param)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    folder = tmp_path / "ledger"
    folder.mkdir()
    return Ledger(str(folder))
