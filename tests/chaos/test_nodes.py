"""Nodes of a Ray cluster that die in the midst of a map, with all that runs and lies there."""

import os
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from fanfold.testing.ledger import Ledger
from fanfold_ray import RayTaskRunner
from fanfold_ray.start import loopback_only
from tests.chaos.striking import Striker, schedule
from tests.chaos.works import Works

pytestmark = pytest.mark.slow

NODES, LOST, CPUS = 3, 2, 2
COUNT, ELEMENT_S = 1_500, 0.02
# A dead node is found by missed health checks: within seconds here, after a minute by default.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2_000,
    "health_check_failure_threshold": 3,
}
# Without a dashboard: all of them would want the same port.
HEAD = {"num_cpus": 0, "_system_config": HEALTH, "include_dashboard": False}


@pytest.fixture
def cluster() -> Generator[Cluster]:
    with pytest.MonkeyPatch.context() as patch, loopback_only():
        root = str(Path(__file__).parents[2])
        patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
        started = Cluster(initialize_head=True, head_node_args=HEAD)
        try:
            yield started
        finally:
            started.shutdown()


@pytest.mark.parametrize("kept", [False, True], ids=["not kept", "kept"])
def test_a_map_survives_the_loss_of_whole_nodes(
    cluster: Cluster, kept: bool, ledger: Ledger, tell: Callable[[str], None]
) -> None:
    works = Works(count=COUNT, seconds=ELEMENT_S, kept=kept, ledger=ledger)
    nodes = [cluster.add_node(num_cpus=CPUS) for _ in range(NODES)]
    doomed = iter(nodes)

    def lose_one(_: int) -> None:
        raylet = psutil.Process(next(doomed).all_processes["raylet"][0].process.pid)
        # The workers first, for they could still report what they have done without their raylet.
        for process in (*raylet.children(recursive=True), raylet):
            process.kill()

    with Striker(ledger, schedule(LOST, LOST, COUNT), lose_one).striking() as striker:
        found = works.run(RayTaskRunner(address=cluster.address))

    assert len(striker.struck) == LOST
    tell(f"Whole nodes of Ray, {CPUS} workers each: {works.check(found, LOST * CPUS)}")
