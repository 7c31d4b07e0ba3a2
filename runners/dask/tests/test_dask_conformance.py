"""The runner suite on Dask: most checks on a borrowed cluster, deaths and ends on our own ones."""

from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster, Scheduler

from fanfold.testing.ground import Stock
from fanfold.testing.runners import RunnerSuite
from fanfold.values.resources import Resources
from fanfold_dask import DaskTaskRunner


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=50,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def found_on(dask_scheduler: Scheduler) -> list[str]:
    """Return what a session can leave on a scheduler: keys, and its topic of events."""
    topics = [topic for topic in dask_scheduler._broker._topics if topic.startswith("fanfold")]
    return [*map(str, dask_scheduler.tasks), *topics]


class TestDask(RunnerSuite):
    borrows = True

    @pytest.fixture
    def runner(self, client: Client) -> DaskTaskRunner:
        self.client = client
        return DaskTaskRunner(client=client)

    @pytest.fixture
    def own_runner(self) -> DaskTaskRunner:
        return DaskTaskRunner(cluster_kwargs={"n_workers": 2})

    @pytest.fixture
    def stock(self) -> Stock:
        kwargs = {"n_workers": 1, "threads_per_worker": 2, "resources": {"licence": 1}}
        runner = DaskTaskRunner(cluster_kwargs=kwargs)
        return Stock(runner=runner, want=Resources.of({"licence": 1}), most=1)

    @pytest.fixture
    def growing_runner(self) -> DaskTaskRunner:
        return DaskTaskRunner(adapt_kwargs={"minimum": 0, "maximum": 2})

    def leftovers(self) -> list[str]:
        found: list[str] = self.client.run_on_scheduler(found_on)
        return found
