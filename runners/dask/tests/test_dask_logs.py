"""Lines of logs from Dask's workers: live, counted in a flood, and small on the scheduler."""

import pickle
from typing import Any

import pytest
from distributed import Client, LocalCluster, SchedulerPlugin
from runners.dask.tests.desk import QUIET

from fanfold.flows import Flow
from fanfold.tasks import Task
from fanfold.testing.checks_logs import Ears, LogChecks, flooding
from fanfold_dask import DaskTaskRunner

FLOOD = 1_000_000
LONGEST_MESSAGE_BYTES = 16 << 10
MOST_SAID_BYTES = 16 << 20
"""Of a flood, which would be 80 MB if all of it were said."""


class TestDask(LogChecks):
    errors_survive = False
    """A worker sends its events every few milliseconds."""

    @pytest.fixture
    def runner(self) -> DaskTaskRunner:
        return DaskTaskRunner(cluster_kwargs={"n_workers": 2})


class Sizes(SchedulerPlugin):
    """Weighs what is said, on the scheduler."""

    def __init__(self) -> None:
        self.messages: list[int] = []

    def log_event(self, topic: str, msg: Any) -> None:
        if topic.startswith("fanfold"):
            self.messages.append(len(pickle.dumps(msg)))


def test_a_flood_neither_fills_the_scheduler_nor_loses_the_count() -> None:
    sizes = Sizes()
    with (
        LocalCluster(n_workers=1, **QUIET) as cluster,
        Client(cluster, set_as_default=False) as client,
        Ears("").listening() as ears,
    ):
        cluster.scheduler.add_plugin(sizes, name="sizes")
        flood = Task(flooding, log_prints=True)
        runner = DaskTaskRunner(client=client)
        Flow(lambda: flood.submit(FLOOD).result(), name="loud", task_runner=runner)()

    lines = sum(text.startswith("flood") for text in ears.messages)
    dropped = sum(getattr(record, "dropped", 0) for record in ears.records)
    assert lines + dropped == FLOOD
    assert max(sizes.messages) < LONGEST_MESSAGE_BYTES
    assert sum(sizes.messages) < MOST_SAID_BYTES
