"""Users' own Dask futures and collections as arguments and results of tasks."""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dask
import dask.bag
import numpy as np
import pytest
from distributed import Client, Future, LocalCluster, get_client, get_worker
from runners.dask.tests.desk import DEADLINE_S, QUIET, task_names, topic_names, until

from fanfold import flow, task, unmapped
from fanfold_dask import DaskTaskRunner


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, **QUIET) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["client", "address"])
def run(request: pytest.FixtureRequest, client: Client) -> Iterator[Callable[..., Any]]:
    """Return what runs a function as a flow on the cluster, by the client or by its address."""
    runner = (
        DaskTaskRunner(client=client)
        if request.param == "client"
        else DaskTaskRunner(address=client.scheduler.address)
    )

    def running(function: Callable[..., Any]) -> Any:
        return flow(function, task_runner=runner, name="natives")()

    before = set(client.run_on_scheduler(topic_names))
    yield running
    until(lambda: set(client.run_on_scheduler(topic_names)) <= before)
    until(lambda: left_on(client) == [])


def left_on(client: Client) -> list[str]:
    """Return the keys on a cluster that somebody wants, once what is only garbage is collected."""
    gc.collect()
    names: list[str] = client.run_on_scheduler(task_names)
    return names


def add(left: int, right: int) -> int:
    return left + right


def slow_add(left: int, right: int, seconds: float) -> int:
    time.sleep(seconds)
    return left + right


def fail(word: str) -> None:
    raise ValueError(word)


def ones(count: int) -> Any:
    return np.ones(count)


@task
def kind(value: Any) -> str:
    return type(value).__name__


@task
def double(x: int) -> int:
    return 2 * x


@task
def told(values: Any) -> Any:
    return values


def test_a_future_is_worth_its_value(client: Client, run: Callable[..., Any]) -> None:
    future = client.submit(add, 1, 2)

    def body() -> Any:
        deep = {"list": [future, 1], "tuple": (future, [future]), "other": {"x": future}}
        return (
            double.submit(future).result(),
            double.map([future, 5, future]).result(),
            told.submit(deep).result(),
        )

    assert run(body) == (
        6,
        [6, 10, 6],
        {"list": [3, 1], "tuple": (3, [3]), "other": {"x": 3}},
    )


@task
def both(x: int, whole: Any) -> tuple[int, Any]:
    return x, whole


def test_one_for_all_elements_is_worth_its_value_too(
    client: Client, run: Callable[..., Any]
) -> None:
    future = client.submit(add, 1, 2)
    large = bytes(200_000)

    def body() -> Any:
        small = both.map(range(3), unmapped([future])).result()
        shared = both.map(range(3), unmapped((future, large))).result()
        return small, [(x, whole[0], len(whole[1])) for x, whole in shared]

    assert run(body) == (
        [(x, [3]) for x in range(3)],
        [(x, 3, len(large)) for x in range(3)],
    )


def test_one_that_isn_t_ready_is_waited_for_without_a_slot(
    client: Client, run: Callable[..., Any]
) -> None:
    futures = [client.submit(slow_add, n, 1, 0.3, pure=False) for n in range(4)]

    assert run(lambda: double.map(futures).result()) == [2 * (n + 1) for n in range(4)]


def test_one_without_a_value_fails_the_element_that_is_called_with_it(
    client: Client, run: Callable[..., Any]
) -> None:
    bad, good = client.submit(fail, "broken", pure=False), client.submit(add, 1, 2)
    late = client.submit(fail_late, "broken late", 0.3, pure=False)

    def body() -> Any:
        found: list[Any] = []
        for one in double.map([good, bad, 4, late]):
            try:
                found.append(one.result())
            except ValueError as error:
                found.append(str(error).splitlines()[0])
        return found

    assert run(body) == [6, "broken", 8, "broken late"]


def fail_late(word: str, seconds: float) -> None:
    time.sleep(seconds)
    raise ValueError(word)


def test_values_move_from_worker_to_worker(client: Client, run: Callable[..., Any]) -> None:
    future = client.submit(ones, 1_000_000)

    assert run(lambda: size.map([future] * 4).result()) == [8_000_000] * 4


@task
def size(array: Any) -> int:
    return int(array.nbytes)


@dataclass
class Holder:
    future: Any


@task
def used(holder: Any) -> int:
    assert isinstance(holder.future, Future)
    return int(holder.future.result())


class Opaque:
    def __init__(self, future: Any) -> None:
        self.future = future


def test_one_that_sits_deeper_stays_a_future_that_works(
    client: Client, run: Callable[..., Any]
) -> None:
    future = client.submit(add, 3, 4)

    assert run(lambda: used.submit(Opaque(future)).result()) == 7


@task
def computed(collection: Any) -> Any:
    assert dask.is_dask_collection(collection)
    with get_worker()._get_client().as_current():
        return collection.compute()


def test_collections_arrive_as_collections(client: Client, run: Callable[..., Any]) -> None:
    bag = dask.bag.from_sequence(range(10), npartitions=2)
    with client.as_current():
        kept = bag.persist()
        delayed = dask.delayed(add)(1, 2).persist()

    def body() -> Any:
        return (
            computed.map([bag, kept]).result(),
            computed.submit(dask.delayed(add)(3, 4)).result(),
            computed.submit(delayed).result(),
            computed.submit(kept.sum()).result(),
        )

    assert run(body) == ([list(range(10))] * 2, 7, 3, 45)


@task
def started(x: int) -> Any:
    return get_client().submit(add, x, 1, pure=False)


@task
def started_inside(x: int) -> Any:
    client = get_client()
    return {"x": x, "futures": [client.submit(ones, 100_000, pure=False)]}


@task
def persisted(count: int) -> Any:
    with get_worker()._get_client().as_current():
        return dask.bag.from_sequence(range(count), npartitions=2).persist()


@task
def wholly(x: Any) -> Any:
    return type(x).__name__, x


def test_what_tasks_return_stays_and_is_alive(client: Client) -> None:
    def body() -> Any:
        futures = started.map(range(20))
        inside = started_inside.submit(1).result()
        bag = persisted.submit(10).result()
        time.sleep(0.2)
        found = [one.result(DEADLINE_S) for one in futures.result()]
        lengths = [len(one.result(DEADLINE_S)) for one in inside["futures"]]
        assert isinstance(bag, dask.bag.Bag)
        with client.as_current():
            total = bag.sum().compute()
        again = wholly.map(futures).result()
        return found, lengths, total, again

    found, lengths, total, again = flow(
        body, task_runner=DaskTaskRunner(client=client), name="returns"
    )()

    assert found == list(range(1, 21))
    assert lengths == [100_000]
    assert total == 45
    assert again == [("int", n) for n in range(1, 21)]
    until(lambda: left_on(client) == [])


def test_an_own_cluster_has_them_too() -> None:
    def body() -> Any:
        futures = started.map(range(4))
        return [one.result(DEADLINE_S) for one in futures.result()], wholly.map(futures).result()

    found, again = flow(body, task_runner=DaskTaskRunner(cluster_kwargs={"n_workers": 2}))()

    assert found == [1, 2, 3, 4]
    assert again == [("int", n) for n in range(1, 5)]
