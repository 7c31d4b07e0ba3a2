"""What running code knows of its run, and what runs are called."""

import asyncio
import functools
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from fanfold import flow, runtime, tags, task
from fanfold.adapters.runners.processes import ProcessPoolTaskRunner
from fanfold.values.errors import UsageError

FLOW_FACTS = (
    *("id", "name", "flow_name", "flow_version", "run_count", "scheduled_start_time"),
    *("parent_flow_run_id", "root_flow_run_id"),
)


def facts_of_flow() -> dict[str, Any]:
    return {name: getattr(runtime.flow_run, name) for name in (*FLOW_FACTS, "tags", "parameters")}


def facts_of_task() -> dict[str, Any]:
    names = ("id", "name", "task_name", "run_count", "map_index", "tags", "parameters")
    return {name: getattr(runtime.task_run, name) for name in names}


def test_outside_of_runs_there_is_nothing_to_know() -> None:
    assert facts_of_flow() == dict.fromkeys(FLOW_FACTS) | {"tags": [], "parameters": {}}
    assert facts_of_task() == {
        **dict.fromkeys(("id", "name", "task_name", "run_count", "map_index")),
        **{"tags": [], "parameters": {}},
    }


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_flow_knows_itself_and_its_arguments_with_defaults(asynchronous: bool) -> None:
    before = datetime.now(UTC)

    def work(x: int, y: str = "why") -> Any:
        return facts_of_flow(), facts_of_task()["id"]

    async def work_later(x: int, y: str = "why") -> Any:
        return work(x, y)

    made = flow(
        work_later if asynchronous else work,
        **{"name": "load", "version": "2", "tags": ["b", "a"], "flow_run_name": "load-{x}-{y}"},
    )
    came = made("1")  # type: ignore[arg-type]
    facts, task_run_id = asyncio.run(came) if asynchronous else came

    assert task_run_id is None
    started = facts.pop("scheduled_start_time")
    assert before <= started <= datetime.now(UTC)
    flow_run_id = facts.pop("id")
    assert facts == {
        **{"name": "load-1-why", "flow_name": "load", "flow_version": "2", "run_count": 1},
        **{"parent_flow_run_id": None, "root_flow_run_id": flow_run_id},
        **{"tags": ["a", "b"], "parameters": {"x": 1, "y": "why"}},
    }


@pytest.mark.parametrize("way", ["called", "submitted", "mapped", "on processes"])
def test_a_task_knows_itself_and_its_flow(way: str) -> None:
    @task(tags=["own"], task_run_name="square-{x}")
    def square(x: int, power: int = 2) -> Any:
        return facts_of_flow(), facts_of_task()

    @flow(
        flow_run_name="numbers-{n}",
        task_runner=ProcessPoolTaskRunner(max_workers=1) if way == "on processes" else "threads",
    )
    def numbers(n: int) -> Any:
        with tags("block"):
            if way == "called":
                return facts_of_flow(), square(3)
            if way == "submitted":
                return facts_of_flow(), square.submit(3)
            return facts_of_flow(), square.map([1, 3])[1].result()

    around, (of_flow, of_task) = numbers(9)

    assert of_flow == around
    single = way in ("called", "submitted")
    assert of_task.pop("id").endswith("-1") == (not single)
    assert of_task == {
        **{"name": "square-3", "task_name": "square", "run_count": 1},
        **{"map_index": None if single else 1, "tags": ["block", "own"]},
        "parameters": {"x": 3, "power": 2},
    }


def test_elements_of_a_streamed_map_are_counted_through() -> None:
    @task(max_in_flight=3)
    def index(x: int) -> Any:
        return runtime.task_run.map_index, runtime.task_run.id

    found = flow(lambda: index.map(iter(range(20))))()

    assert [at for at, _ in found] == list(range(20))
    assert len({task_run_id for _, task_run_id in found}) == 20


def test_async_elements_of_one_chunk_know_themselves_alone() -> None:
    async def both() -> Any:
        together = asyncio.Barrier(2)

        @task
        async def work(x: int) -> Any:
            await together.wait()
            found = runtime.task_run.id, runtime.task_run.parameters
            await together.wait()
            return found

        return await asyncio.gather(work(1), work(2))

    (first_id, first), (second_id, second) = asyncio.run(both())

    assert first_id != second_id
    assert (first, second) == ({"x": 1}, {"x": 2})


def test_big_and_odd_parameters_of_a_flow_stay_with_it() -> None:
    @task
    def names() -> list[str]:
        return sorted(runtime.flow_run.parameters)

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def around(small: str, big: str, lock: Any) -> Any:
        return sorted(runtime.flow_run.parameters), names.submit()

    assert around("s", "b" * 10_000, threading.Lock()) == (["big", "lock", "small"], ["small"])


def test_a_flow_inside_a_task_outside_of_flows_is_its_own_root() -> None:
    @flow
    def inner() -> Any:
        return facts_of_flow()

    facts = task(lambda: inner())()

    assert (facts["root_flow_run_id"], facts["parent_flow_run_id"]) == (facts["id"], None)


def test_a_name_may_come_from_a_function_that_asks_what_runs_and_is_called_once() -> None:
    asked: list[None] = []

    def flow_run_name() -> str:
        asked.append(None)
        facts = facts_of_flow()
        return f"{facts['flow_name']} of {facts['parameters']['x']}"

    def task_run_name(parameters: dict[str, Any]) -> str:
        facts = facts_of_task()
        assert facts["parameters"] == parameters
        return f"{facts['task_name']} of {parameters['y']} in {runtime.flow_run.name}"

    @task(task_run_name=task_run_name)
    def work(y: int) -> str | None:
        return runtime.task_run.name

    @flow(flow_run_name=flow_run_name, retries=1)
    def around(x: int) -> Any:
        if runtime.flow_run.run_count == 1:
            raise ValueError("once")
        return [runtime.flow_run.name, work(2), work.submit(3), *work.map([4])]

    assert around(1) == [
        "around of 1",
        *(f"work of {y} in around of 1" for y in (2, 3, 4)),
    ]
    assert len(asked) == 1


def test_a_template_reaches_into_arguments() -> None:
    class Day:
        year = 2030

    @flow(flow_run_name="{day.year}-{n:03d}")
    def load(day: Any, n: int = 7) -> Any:
        inner = task(lambda day: runtime.task_run.name, task_run_name="t-{day.year}")
        return [runtime.flow_run.name, inner(day)]

    assert load(Day()) == ["2030-007", "t-2030"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{missing}", r"can't be filled in.*Its arguments are: x"),
        ("{x.missing}", "can't be filled in"),
        (lambda: 5, "returned 5; it must return a string"),
        (functools.partial(str.upper, b"x"), "descriptor"),
    ],
    ids=["missing", "attribute", "number", "raises"],
)
def test_a_name_that_can_not_be_made_fails_the_run_before_its_function(
    name: Any, message: str
) -> None:
    ran: list[int] = []

    def work(x: int) -> None:
        ran.append(x)

    for made in (flow(work, flow_run_name=name), task(work, task_run_name=name)):
        with pytest.raises((UsageError, TypeError), match=message):
            made(1)
    assert ran == []


@pytest.mark.parametrize("name", [5, b"name", ["name"]])
def test_a_name_that_is_neither_text_nor_function_is_refused_at_once(name: Any) -> None:
    with pytest.raises(TypeError, match="can be named by a string or a function"):
        flow(lambda: None, flow_run_name=name)
    with pytest.raises(TypeError, match="can be named by a string or a function"):
        task(lambda: None, task_run_name=name)
