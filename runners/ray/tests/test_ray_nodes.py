"""A cluster that loses the node on which values lie."""

import os
import queue
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from runners.ray.tests import chunks
from runners.ray.tests.chunks import Work, wait_for

from fanfold.values.errors import ValuesLost, WorkerLost
from fanfold.values.messages import Report
from fanfold_ray import RayTaskRunner
from fanfold_ray.start import loopback_only

DEADLINE_S = 60.0

# A dead node is found by missed health checks: 0.6 s here, 15 s by default.
HEALTH = {"health_check_period_ms": 200, "health_check_failure_threshold": 3}
HEAD = {"num_cpus": 0, "_system_config": {**HEALTH, "health_check_initial_delay_ms": 0}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch, loopback_only():
        root = str(Path(__file__).parents[3])
        patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
        started = Cluster(initialize_head=True, head_node_args=HEAD)
        yield started
        started.shutdown()


def test_a_lost_node_is_told_for_what_ran_and_what_lay_there(
    cluster: Cluster, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1)
    session = RayTaskRunner(address=cluster.address).open(lambda *_: None)
    news: queue.Queue[Report] = queue.Queue()

    def run(work: Work, *needs: object) -> object:
        return session.submit(work, needs, done=news.put)

    small = run(Work(call=chunks.zeros, given=10))
    big = run(Work(call=chunks.zeros, given=5_000_000))
    for _ in range(2):
        assert news.get(timeout=DEADLINE_S).error is None
    run(Work(call=chunks.until_stopped, given=str(tmp_path / "started")))
    wait_for(tmp_path / "started")

    cluster.remove_node(node, allow_graceful=False)

    assert isinstance(news.get(timeout=DEADLINE_S).error, WorkerLost)
    cluster.add_node(num_cpus=1)
    run(Work(call=chunks.echo), small, big)
    error = news.get(timeout=DEADLINE_S).error
    assert isinstance(error, ValuesLost)
    assert error.lost == (1,)
    with pytest.raises(ValuesLost) as raised:
        session.fetch([big, small])
    assert raised.value.lost == (0,)
    session.close()
