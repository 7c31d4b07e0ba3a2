"""A cluster whose nodes are lost, or frozen, with what runs and what lies there."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster
from runners.ray.tests import chunks
from runners.ray.tests.chunks import wait_for
from runners.ray.tests.desk import Desk

from fanfold import flow, task
from fanfold.values.errors import ChunkCancelled, ValuesLost, WorkerLost
from fanfold_ray import RayTaskRunner
from fanfold_ray.start import loopback_only

pytestmark = pytest.mark.slow

# A dead node is found by missed health checks: within seconds here, after a minute by default.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 1_000,
    "health_check_failure_threshold": 3,
}
# Without a dashboard: all of them would want the same port.
HEAD = {"num_cpus": 0, "_system_config": HEALTH, "include_dashboard": False}
BIG = 300_000
COUNT = 12

AddNode = Callable[..., Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch, loopback_only():
        root = str(Path(__file__).parents[3])
        patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
        started = Cluster(initialize_head=True, head_node_args=HEAD)
        yield started
        started.shutdown()


@pytest.fixture
def add_node(cluster: Cluster) -> Iterator[AddNode]:
    """Add nodes that are gone after the test."""
    nodes: list[Any] = []

    def add(**options: Any) -> Any:
        nodes.append(cluster.add_node(**{"num_cpus": 1, **options}))
        return nodes[-1]

    yield add
    for node in nodes:
        if node in cluster.worker_nodes:
            os.kill(raylet(node), signal.SIGCONT)
            cluster.remove_node(node, allow_graceful=False)


@pytest.fixture
def apart() -> Iterator[str]:
    """A folder for a node whose files can't be seen from here; sockets want a short name."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield name


@pytest.fixture
def desk(cluster: Cluster) -> Iterator[Desk]:
    opened = Desk(cluster.address)
    yield opened
    opened.session.close()


def raylet(node: Any) -> int:
    return node.all_processes["raylet"][0].process.pid


def lose(cluster: Cluster, *nodes: Any) -> None:
    for node in nodes:
        os.kill(raylet(node), signal.SIGKILL)
    for node in nodes:
        cluster.remove_node(node, allow_graceful=False)


def test_a_lost_node_is_told_for_what_ran_and_what_lay_there(
    cluster: Cluster, add_node: AddNode, desk: Desk, tmp_path: Path
) -> None:
    node = add_node()
    small, _ = desk.run(chunks.zeros, 10)
    big, _ = desk.run(chunks.zeros, 5_000_000)
    desk.submit(chunks.until_stopped, str(tmp_path / "started"))
    wait_for(tmp_path / "started")

    lose(cluster, node)

    assert isinstance(desk.report().error, WorkerLost)
    add_node()
    error = desk.run(chunks.echo, needs=[small, big])[1].error
    assert isinstance(error, ValuesLost)
    assert error.lost == (1,)
    with pytest.raises(ValuesLost) as raised:
        desk.session.fetch([big, small])
    assert raised.value.lost == (0,)


def test_a_frozen_node_is_given_up(add_node: AddNode, desk: Desk, tmp_path: Path) -> None:
    """Ray finds out that a node is dead, but its worker lives, and Ray waits for that."""
    node = add_node()
    big, _ = desk.run(chunks.zeros, 5_000_000)
    desk.submit(chunks.until_released, (str(tmp_path / "started"), str(tmp_path / "release")))
    wait_for(tmp_path / "started")

    os.kill(raylet(node), signal.SIGSTOP)

    with pytest.raises(ValuesLost):
        desk.session.fetch([big])
    error = desk.report().error
    assert isinstance(error, WorkerLost)
    assert "was lost with its node (health check failed" in str(error)


def test_a_loss_on_another_node_is_told_with_its_cause_and_last_words(
    apart: str, add_node: AddNode, desk: Desk
) -> None:
    """Somebody there has to look."""
    add_node(num_cpus=2, temp_dir=apart)
    for number in range(2):
        desk.run(chunks.echo, number)

    desk.submit(chunks.last_words, (20, 100))
    news = [desk.next() for _ in range(21)]
    _, report = desk.run(chunks.ended, "SIGSEGV")

    assert [int(message) for kind, message in news if kind == "heard"] == list(range(20))
    assert isinstance(news[-1][1].error, WorkerLost)
    assert "was killed by signal 11 (SIGSEGV)" in str(report.error)


def test_what_goes_on_on_another_node_is_killed(
    apart: str, add_node: AddNode, desk: Desk, tmp_path: Path
) -> None:
    add_node(num_cpus=2, temp_dir=apart)
    desk.run(chunks.echo)
    ref = desk.submit(chunks.holding, str(tmp_path / "began"))
    wait_for(tmp_path / "began")

    desk.session.cancel([ref], interrupt=True)

    assert isinstance(desk.report().error, ChunkCancelled)


@task
def made(number: int, folder: str) -> bytes:
    Path(folder, f"made-{number}-{os.getpid()}").touch()
    return number.to_bytes(4, "big") * (BIG // 4)


@task(chunk_size=1)
def consumed(value: bytes, folder: str) -> int:
    """Wait, if it is the first, until the nodes are lost."""
    number = int.from_bytes(value[:4], "big")
    if number < 2 and not Path(folder, "lost").exists():
        Path(folder, f"consuming-{number}").touch()
        wait_for(Path(folder, "lost"))
    return number


def test_a_map_completes_that_lost_two_nodes_and_its_inputs(
    cluster: Cluster, add_node: AddNode, tmp_path: Path
) -> None:
    nodes = [add_node(), add_node()]
    folder = str(tmp_path)

    @flow(task_runner=RayTaskRunner(address=cluster.address))
    def body() -> list[int]:
        values = made.map(range(COUNT), folder)
        values.wait()
        numbers = consumed.map(values, folder)
        for number in range(2):
            wait_for(tmp_path / f"consuming-{number}")
        lose(cluster, *nodes)
        (tmp_path / "lost").touch()
        add_node(num_cpus=2)
        return numbers.result()

    assert body() == list(range(COUNT))
    again = [path.name for path in tmp_path.glob("made-*")]
    assert COUNT < len(again) <= 2 * COUNT, f"values were made {len(again)} times"
