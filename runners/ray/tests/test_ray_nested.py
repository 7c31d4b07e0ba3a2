"""Chunks that chunks start: on a single CPU, and beside each other on two."""

import _thread
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from runners.ray.tests import chunks
from runners.ray.tests.desk import Desk
from runners.ray.tests.ground import running_ray

from fanfold import flow, task
from fanfold.values.resources import Resources
from fanfold_ray import RayTaskRunner, words
from fanfold_ray.sigint import heard

LONG_S = 0.5


@pytest.fixture(scope="module", params=[1, 2], ids=["one CPU", "two CPUs"])
def cpus(request: pytest.FixtureRequest) -> Iterator[int]:
    with running_ray(num_cpus=request.param):
        yield request.param


@pytest.fixture
def desk(cpus: int) -> Iterator[Desk]:
    opened = Desk()
    yield opened
    opened.session.close()
    assert not list(words.take(""))


def test_a_chain_that_was_sent_before_it_waits_does_not_starve(desk: Desk, tmp_path: Path) -> None:
    ref, report = desk.run(chunks.nesting, (3, 2, 0.0, str(tmp_path), 1))

    assert report.error is None
    (views,) = desk.session.fetch([ref])
    assert len(pickle.loads(views[0])) == 8


def test_siblings_use_all_slots_and_no_more(desk: Desk, cpus: int, tmp_path: Path) -> None:
    ref, report = desk.run(chunks.nesting, (1, 4, LONG_S, str(tmp_path), cpus))

    assert report.error is None
    (views,) = desk.session.fetch([ref])
    spans = pickle.loads(views[0])
    most = max(sum(a <= at < b for a, b, _ in spans) for at, _, _ in spans)
    assert most == cpus


def test_what_a_parent_holds_is_enough_for_one_child(desk: Desk, cpus: int) -> None:
    """All memory is the parent's, and a child wants as much."""
    memory = int(0.7 * ray.cluster_resources()["memory"])
    want = Resources(memory=memory)

    ref = desk.submit(chunks.greedy, memory, want=want)

    assert desk.report().error is None
    (views,) = desk.session.fetch([ref])
    assert bytes(views[0]) == b"fed"


def test_an_interrupt_that_comes_late_leaves_the_next_chunk_alone(desk: Desk) -> None:
    ref, report = desk.run(chunks.following, LONG_S)

    assert report.error is None
    (views,) = desk.session.fetch([ref])
    assert pickle.loads(views[0]) == [("same", b"ran")] * 3


def test_what_strikes_behind_a_chunk_harms_neither_it_nor_others(cpus: int) -> None:
    @ray.remote
    def chunk() -> list[str]:
        told: list[str] = []
        with heard(lambda: told.append("inside")):
            _thread.interrupt_main()
        _thread.interrupt_main()
        return told

    @ray.remote
    def another() -> bool:
        try:
            _thread.interrupt_main()
        except KeyboardInterrupt:
            return True
        return False

    def both() -> tuple[list[str], bool]:
        return ray.get(chunk.remote()), ray.get(another.remote())

    assert [both() for _ in range(4)] == [(["inside"], True)] * 4


def test_a_chunk_that_was_recalled_can_be_cancelled(desk: Desk, tmp_path: Path) -> None:
    ref, report = desk.run(chunks.called_off, str(tmp_path / "started"))

    assert report.error is None
    (views,) = desk.session.fetch([ref])
    assert bytes(views[0]) == b"stopped"


@task
def leaf(number: int) -> int:
    return number * 10


@task
def branch(number: int) -> list[int]:
    one = leaf.submit(number)
    return [one.result(), *leaf.map([number, number + 1]).result()]


@task
def handed_over(number: int) -> object:
    return leaf.submit(number)


def test_tasks_start_tasks(cpus: int) -> None:
    @flow(task_runner=RayTaskRunner())
    def body() -> tuple[list[list[int]], int]:
        return branch.map([1, 2]).result(), handed_over.submit(3).result()

    # The future that came back is worth its value, whose maker is gone.
    assert body() == ([[10, 10, 20], [20, 20, 30]], 30)
