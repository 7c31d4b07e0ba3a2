"""Ray's own references and datasets inside arguments and results."""

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from runners.ray.tests.ground import running_ray

from fanfold import flow, task, unmapped
from fanfold_ray import RayTaskRunner
from fanfold_ray.references import marked_in

BIG = 300_000


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    with running_ray(num_cpus=2):
        yield


def alive() -> set[bytes]:
    """Return the ids of the objects that this process keeps alive."""
    return set(ray._private.worker.global_worker.core_worker.get_all_reference_counts())


def kind(value: Any) -> str:
    return type(value).__name__


@task
def told(value: Any) -> tuple[str, Any]:
    return kind(value), value if isinstance(value, int) else len(value)


@task
def told_inside(values: list[Any]) -> list[tuple[str, int]]:
    return [(kind(value), len(ray.get(value))) for value in values]


@task
def put(size: int) -> Any:
    return ray.put(bytes(size))


@task
def put_inside(size: int) -> dict[str, Any]:
    return {"size": size, "values": [ray.put(bytes(size))]}


@task
def dataset(rows: int) -> Any:
    return ray.data.range(rows).map(lambda row: {"id": row["id"] * 2}).materialize()


def run(body: Any) -> Any:
    return flow(task_runner=RayTaskRunner())(body)()


def test_a_reference_is_worth_its_value() -> None:
    def body() -> list[Any]:
        # Nobody but the call has them.
        single = told.submit(ray.put(bytes(BIG)))
        mapped = told.map([ray.put(bytes(size)) for size in (1, BIG)])
        repeated = told.map([ray.put(7), 8])
        return [single.result(), mapped.result(), repeated.result()]

    assert run(body) == [("bytes", BIG), [("bytes", 1), ("bytes", BIG)], [("int", 7), ("int", 8)]]


def test_a_reference_inside_an_argument_stays_one() -> None:
    def body() -> Any:
        inside = [ray.put(bytes(BIG)), ray.put(bytes(10))]
        return told_inside.submit(inside).result()

    assert run(body) == [("ObjectRef", BIG), ("ObjectRef", 10)]


def test_what_all_calls_share_may_hold_references() -> None:
    @task
    def measure(extra: int, values: list[Any]) -> int:
        return extra + sum(len(ray.get(value)) for value in values)

    def body() -> Any:
        inside = [ray.put(bytes(BIG))]
        few = measure.map(range(4), unmapped(inside)).result()
        # Big enough to be shared rather than sent with each chunk.
        many = measure.map(range(4), unmapped([*inside, *(ray.put(b"x") for _ in range(600))]))
        return few, many.result()

    few, many = run(body)
    assert few == [BIG + x for x in range(4)]
    assert many == [BIG + 600 + x for x in range(4)]


def test_references_in_results_are_alive_when_they_are_read() -> None:
    def body() -> Any:
        returned = put.submit(BIG)
        inside = put_inside.map([10, BIG])
        returned.wait()
        inside.wait()
        gc.collect()
        found = ray.get(returned.result())
        nested = [ray.get(each["values"][0]) for each in inside.result()]
        # As an argument it is worth its value again.
        return len(found), [len(each) for each in nested], told.submit(returned).result()

    assert run(body) == (BIG, [10, BIG], ("bytes", BIG))


def test_a_reference_that_was_lost_fails_its_element_alone() -> None:
    @ray.remote(max_retries=0)
    def broken() -> None:
        raise ValueError("made elsewhere")

    def body() -> Any:
        future = told.map([broken.remote(), ray.put(b"fine")])
        return future.result(raise_on_failure=False)

    failed, fine = run(body)
    assert isinstance(failed, ValueError)
    assert fine == ("bytes", 4)


# Ray's own, of options that are still to be read.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_dataset_stays_on_the_cluster() -> None:
    def body() -> Any:
        return sorted(row["id"] for row in dataset.submit(10).result().take_all())

    assert run(body) == [2 * x for x in range(10)]


def test_nothing_is_kept_that_nobody_holds() -> None:
    before = alive()

    def body() -> Any:
        mapped = told.map([[ray.put(bytes(BIG))] for _ in range(4)])
        made = [put.submit(BIG) for _ in range(4)]
        return mapped.result(), [kind(one.result()) for one in made]

    run(body)

    gc.collect()
    deadline = time.monotonic() + 5
    while alive() - before:
        assert time.monotonic() < deadline, f"{len(alive() - before)} objects are left"
        threading.Event().wait(0.01)
    assert marked_in([b"nothing of it"]) == []
