"""Results in storage: values that are there alone, damage, results of flows, what a hit costs."""

import asyncio
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanfold import INPUTS, flow, task
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results.shelf import shelf_of
from fanfold.engine.results.stored import Stored
from fanfold.ports.results import Listed
from fanfold.runtime import flow_run
from tests.unit.keeping_tasks import counted, indexes


@pytest.fixture
def results(fanfold_home: Path) -> Path:
    """Where results are kept by default."""
    return fanfold_home / "results"


# Values that stay in storage.


@pytest.mark.parametrize("runner", ["inline", "threads", "processes"])
@pytest.mark.parametrize("extra", [{}, {"result_storage_key": "at-{parameters[x]}"}])
def test_a_value_can_stay_in_storage_alone(runner: str, extra: dict[str, Any]) -> None:
    @task(cache_policy=INPUTS, cache_result_in_memory=False, **extra)
    def work(x: int) -> list[int]:
        return [x] * 3

    plain = task(lambda value: value[0])

    @flow(task_runner=runner)
    def around() -> list[Any]:
        mapped = work.map(range(5))
        mapped.wait()
        run = mapped.run
        refs = [ref for span in [(0, 5)] for ref in run.locations.find(*span)]
        held = run.session.fetch([stretch.ref for stretch in refs], 30)
        inside = [value for values in held for value in values]
        assert run.remote or all(type(value) is Stored for value in inside)
        return [mapped.result(), plain.map(mapped).result(), work.submit(7).result(), work(8)]

    for _ in range(2):
        assert around() == [[[x] * 3 for x in range(5)], [*range(5)], [7] * 3, [8] * 3]


def test_what_comes_from_storage_is_what_was_written_there() -> None:
    @task(cache_policy=INPUTS, cache_result_in_memory=False, result_serializer="json")
    def work() -> Any:
        return (1, 2)

    assert work() == [1, 2], "JSON has no tuples"


def test_what_is_refreshed_under_a_name_counts_before_what_was_kept_without_one() -> None:
    made: list[int] = []

    @task(cache_policy=INPUTS)
    def work(x: int) -> int:
        made.append(x)
        return len(made)

    named = work.with_options(result_storage_key="mine-{parameters[x]}")

    assert [work(1), named(1), named.with_options(refresh_cache=True)(1)] == [1, 1, 2]
    assert [named(1), work(1), named.map([1]).result()] == [2, 2, [2]]


class Unwriteable:
    """A store that nothing can be written to."""

    private = True

    def __init__(self, folder: str) -> None:
        self.store = FsspecStore(folder)

    def write(self, name: str, parts: Any) -> None:
        raise OSError("the disk is full")

    def create(self, name: str, payload: bytes) -> bool:
        return self.store.create(name, payload)

    def names(self, prefix: str) -> list[str]:
        return self.store.names(prefix)

    def listing(self, prefix: str) -> list[Listed]:
        return self.store.listing(prefix)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self.store.read(name, offset, length)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("extra", [{}, {"result_storage_key": "at-{parameters[x]}"}])
def test_no_value_is_lost_when_storage_is_full(
    in_memory: bool, extra: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store: Any = Unwriteable(str(tmp_path))
    options: Any = {"cache_result_in_memory": in_memory, "result_storage": store, **extra}
    work = counted([], cache_policy=INPUTS, **options)

    @flow(result_storage=store, cache_result_in_memory=in_memory)
    def around() -> list[Any]:
        return [work(1), *work.map([2, 3]).result()]

    assert around() == [["result", x] for x in (1, 2, 3)]
    assert "kept: the disk is full" in caplog.text
    assert "The result of around isn't kept" in caplog.text


# Damage.


@pytest.mark.parametrize("x", ["in a segment" * 2_000, "in its index"], ids=["big", "small"])
def test_a_damaged_result_is_made_again_with_a_warning_that_names_it(
    x: str, results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    work = counted(calls, cache_policy=INPUTS)
    flow(lambda: work(x))()
    damaged = next(results.glob("tasks/*/segments/*/*"), None) or indexes(results)[0]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    shelf_of.cache_clear()

    states = [work(x, return_state=True), work(x, return_state=True)]

    assert [(state.name, state.result()) for state in states] == [
        ("Completed", ["result", x]),
        ("Cached", ["result", x]),
    ]
    assert calls == [x, x]
    assert damaged.name in caplog.text and "made again" in caplog.text


@pytest.mark.parametrize("reader", ["all", "one"])
def test_damaged_results_of_a_map_are_made_again(
    reader: str, results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []
    work = counted(calls, cache_policy=INPUTS)

    @flow
    def mapped() -> Any:
        futures = work.map(range(50))
        return futures.result() if reader == "all" else [one.result() for one in futures]

    expected = mapped()
    segment = max(results.glob("tasks/*/segments/*/*"), key=os.path.getsize)
    content = segment.read_bytes()
    segment.write_bytes(b"\0" * 200 + content[200:])
    before = len(calls)

    assert mapped() == expected
    assert 0 < len(calls) - before < 50
    assert segment.name in caplog.text
    made_again = len(calls)
    assert mapped() == expected
    assert len(calls) == made_again


def test_an_object_that_holds_something_else_is_made_again(
    results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = counted([], result_storage_key="object.json", result_serializer="json")
    results.mkdir(parents=True)
    (results / "object.json").write_text("{")

    assert work(1) == ["result", 1]
    assert "object.json" in caplog.text and "is made again" in caplog.text
    assert (results / "object.json").read_text() == '["result", 1]'


# Flows.


@pytest.mark.parametrize("kind", ["sync", "async", "generator"])
def test_the_result_of_a_flow_is_kept_where_it_says(kind: str, tmp_path: Path) -> None:
    options: Any = {"result_storage": tmp_path, "result_serializer": "json", "name": "kept"}

    if kind == "sync":
        value = flow(**options)(lambda: {"a": 1})()
    elif kind == "async":

        async def later() -> dict[str, int]:
            return {"a": 1}

        value = asyncio.run(flow(**options)(later)())
    else:

        def items() -> Iterator[int]:
            yield 1

        value = list(flow(**options)(items)())

    (written,) = (tmp_path / "flows" / "kept").iterdir()
    assert json.loads(written.read_bytes()) == value


def test_a_flow_that_says_nothing_or_fails_keeps_nothing(results: Path) -> None:
    @flow(persist_result=True)
    def fails() -> None:
        raise ValueError

    flow(lambda: 1)()
    assert fails(return_state=True).is_failed()

    assert not results.exists()


def test_a_flow_whose_result_cannot_be_kept_completes_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lock = threading.Lock()

    assert flow(persist_result=True)(lambda: lock)() is lock

    assert "isn't kept: TypeError" in caplog.text
    assert [record.levelno for record in caplog.records if "kept" in record.message] == [
        logging.WARNING
    ]


def test_the_value_of_a_flow_can_stay_in_storage_alone() -> None:
    @flow(persist_result=True, cache_result_in_memory=False, result_serializer="json")
    def inner() -> Any:
        return (1, 2)

    double = task(lambda pair: [*pair, *pair])

    @flow
    def outer() -> Any:
        state = inner(return_state=True)
        assert state.data is None
        return [state.result(), double(state), double.submit(state).result(), inner()]

    assert outer() == [[1, 2], [1, 2, 1, 2], [1, 2, 1, 2], [1, 2]]


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_retried_flow_takes_the_results_of_its_kept_subflows(in_memory: bool) -> None:
    calls: list[Any] = []

    @flow(persist_result=True, cache_result_in_memory=in_memory)
    def kept(x: int) -> list[int]:
        calls.append(x)
        return [x]

    @flow
    def unkept() -> None:
        calls.append("unkept")

    @flow(retries=1)
    def outer() -> list[Any]:
        values = [kept(1), kept(1), kept(2)]
        unkept()
        if len(calls) < 6:
            calls.append("try")
            raise ValueError
        return values

    assert outer() == [[1], [1], [2]]
    assert calls == [1, 1, 2, "unkept", "try", "unkept"]


def test_a_subflow_that_failed_runs_again_as_a_new_run_in_the_next_try() -> None:
    ids: list[str | None] = []
    states: list[Any] = []

    @flow(persist_result=True)
    def fails_at_first() -> str:
        ids.append(flow_run.id)
        if len(ids) == 1:
            raise ValueError("no")
        return "yes"

    @flow(retries=1)
    def outer() -> Any:
        states.append(fails_at_first(return_state=True))
        return states[-1].result()

    assert outer() == "yes"
    assert len(set(ids)) == 2
    assert [state.name for state in states] == ["Failed", "Completed"]


# What it costs.


class Counting:
    """A store that counts the requests to another."""

    private = True

    def __init__(self, folder: str) -> None:
        self.store = FsspecStore(folder)
        self.requests: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.requests.append(name)
        return getattr(self.store, name)


def test_a_hit_of_a_single_call_costs_two_requests_at_most(tmp_path: Path) -> None:
    store: Any = Counting(str(tmp_path))
    work = counted([], cache_policy=INPUTS, result_storage=store)
    work(1)
    store.requests.clear()

    assert work(1) == ["result", 1]
    assert store.requests == ["names"], "this process has committed it, and holds it"

    shelf_of.cache_clear()
    assert work(1) == ["result", 1]
    assert store.requests == ["names", "names", "read"], "another one reads it with its index"


def test_results_in_memory_are_shared_in_the_process() -> None:
    calls: list[int] = []
    work = counted(calls, cache_policy=INPUTS, result_storage="memory://shared")

    assert [work(1), work(1), *flow(lambda: work.map([1, 2]).result())()] == [
        ["result", x] for x in (1, 1, 1, 2)
    ]
    assert calls == [1, 2]
