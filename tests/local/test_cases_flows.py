"""Flows as tasks, hand-made states, hooks and context, on every runner of this machine."""

import asyncio
import os
import pickle
from typing import Any

import pytest

from fanfold import MapFuture, State, flow, get_run_logger, runtime, tags, task, wait
from fanfold.ports.runner import TaskRunner
from fanfold.states import Cancelled, Completed, Failed
from fanfold.task_runners import ProcessTaskRunner
from fanfold.testing.ledger import Ledger
from fanfold.values.errors import FailedRun, RunCancelled, SessionClosed, UpstreamFailed

DEADLINE_S = 20.0
BIG = 100_000
"""More bytes than travel home beside a report."""


@task
def add_one(x: int) -> int:
    return x + 1


@flow
def doubling(x: int) -> int:
    return add_one.submit(x).result() + add_one.map([x]).result()[0]


@flow
def fails_on_two(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x


def test_a_flow_is_submitted_and_mapped_beside_its_caller(inside: Any) -> None:
    """With arguments validated, and tasks and a runner of its own; it depends as tasks do."""

    @flow
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return await add_one.submit(x)

    def body() -> Any:
        assert doubling(5) == 12
        one = doubling.submit("1")
        return [
            one.result(),
            doubling.submit(one).result(),
            doubling.map([1, 2, 3]).result(),
            doubling.map(add_one.map([1, 2])).result(),
            later.submit(1).result(),
            later.map([1, 2]).result(),
            add_one.submit(doubling.submit(2, wait_for=[one])).result(),
        ]

    assert inside(body) == [4, 10, [4, 6, 8], [6, 8], 2, [2, 3], 7]


def test_a_submitted_flow_that_fails_is_a_failed_run(inside: Any) -> None:
    @flow
    def by_hand(x: int) -> Any:
        return [Completed(data=x), Failed(message="by hand"), Cancelled(message="enough")][x]

    def body() -> None:
        futures = fails_on_two.map([1, 2, 3])
        states = by_hand.map([0, 1, 2])
        dependents = add_one.map(futures)
        wrong = doubling.submit("word")
        wait([futures, states, dependents, wrong])
        assert [future.state.name for future in futures] == ["Completed", "Failed", "Completed"]
        with pytest.raises(ValueError, match="two"):
            futures.result()
        assert [future.state.name for future in states] == ["Completed", "Failed", "Cancelled"]
        assert [future.state.message for future in states][1:] == ["by hand", "enough"]
        assert states[0].result() == 0
        with pytest.raises(FailedRun, match="by hand"):
            states[1].result()
        with pytest.raises(RunCancelled, match="enough"):
            states[2].result()
        assert [f.state.name for f in dependents] == ["Completed", "UpstreamFailed", "Completed"]
        with pytest.raises(UpstreamFailed, match=r"fails_on_two\[1\]|fails-on-two\[1\]"):
            dependents[1].result()
        with pytest.raises(TypeError, match="x"):
            wrong.result()

    inside(body)


def test_a_submitted_flow_belongs_to_the_flow_that_submitted_it(inside: Any) -> None:
    @flow
    def child(x: int) -> tuple[str | None, ...]:
        return runtime.flow_run.id, runtime.flow_run.parent_flow_run_id, runtime.flow_run.flow_name

    def body() -> Any:
        return runtime.flow_run.id, child.submit(1).result(), child.map([1, 2]).result()

    parent, single, mapped = inside(body)
    ids = [one[0] for one in (single, *mapped)]
    assert len({parent, *ids}) == 4
    assert [one[1:] for one in (single, *mapped)] == [(parent, "child")] * 3


def test_states_made_by_hand_are_those_of_their_elements(inside: Any) -> None:
    @task
    def judged(x: int) -> Any:
        if x == 1:
            return Failed(message="not this one", data=ValueError("held"))
        if x == 2:
            return Completed(message="skipped", name="Skipped", data="two")
        if x == 3:
            return Cancelled(message="no more")
        return x

    def body() -> None:
        futures = judged.map(range(5))
        then = same.map(futures)
        wait([futures, then])
        states = [future.state for future in futures]
        assert [state.name for state in states] == [
            *("Completed", "Failed", "Skipped", "Cancelled", "Completed"),
        ]
        assert [state.message for state in states[1:4]] == ["not this one", "skipped", "no more"]
        assert states[2].is_completed() and states[3].is_cancelled()
        values = futures.result(raise_on_failure=False)
        assert values[0] == 0 and values[2] == "two" and values[4] == 4
        with pytest.raises(ValueError, match="held"):
            futures[1].result()
        with pytest.raises(RunCancelled, match="no more"):
            futures[3].result()
        assert [future.state.type.value for future in then] == [
            *("COMPLETED", "FAILED", "COMPLETED", "FAILED", "COMPLETED"),
        ]
        assert judged.submit(1, return_state=True).name == "Failed"
        assert [state.name for state in judged.map([0, 2], return_state=True)] == [
            *("Completed", "Skipped"),
        ]

    @task
    def same(x: Any) -> Any:
        return x

    inside(body)


def test_hooks_are_called_where_the_element_runs_with_what_became_of_it(
    inside: Any, ledger: Ledger
) -> None:
    def noting(word: str) -> Any:
        def hook(_: Any, run: Any, state: State) -> None:
            ledger.note(word, run.map_index, state.name, run.run_count, len(run.parameters))

        return hook

    async def noting_later(_: Any, run: Any, state: State) -> None:
        await asyncio.sleep(0)
        ledger.note("later", run.map_index, state.name)

    def breaks(*_: Any) -> None:
        raise RuntimeError("a hook that breaks")

    @task(
        retries=1,
        on_running=[noting("running")],
        on_completion=[breaks, noting("completed"), noting_later],
        on_failure=[noting("failed")],
    )
    def works(x: Any) -> Any:
        if x == 1:
            raise ValueError(x)
        return x

    def body() -> None:
        futures = works.map([0, 1, fails_on_two.submit(2)])
        futures.wait()
        assert futures.states == {"Completed": 1, "Failed": 1, "UpstreamFailed": 1}

    inside(body)

    running = sorted(ledger.lines("running"))
    assert running == [["0", "Running", "1", "1"], ["1", "Running", "1", "1"]]
    assert ledger.lines("completed") == [["0", "Completed", "1", "1"]]
    assert ledger.lines("later") == [["0", "Completed"]]
    assert [words[:2] for words in sorted(ledger.lines("failed"))] == [
        ["1", "Failed"],
        ["2", "UpstreamFailed"],
    ]
    assert ["1", "Failed", "2", "1"] in ledger.lines("failed")


def test_running_code_knows_its_run(runner: TaskRunner) -> None:
    @task(tags=["own"], task_run_name="n-{x}", retries=1)
    def knows(x: int, y: int = 5) -> dict[str, Any]:
        if x == 2 and runtime.task_run.run_count == 1:
            raise ValueError("once")
        return {
            "run": (runtime.task_run.id, runtime.task_run.name, runtime.task_run.task_name),
            "index": runtime.task_run.map_index,
            "count": runtime.task_run.run_count,
            "tags": runtime.task_run.tags,
            "parameters": dict(runtime.task_run.parameters),
            "flow": (runtime.flow_run.flow_name, dict(runtime.flow_run.parameters)),
        }

    @flow(task_runner=runner, name="around", tags=["flow"])
    def around(day: str) -> Any:
        with tags("inner"):
            futures: MapFuture[Any] = knows.map([1, 2])
        single = knows.submit(3, y=4)
        return [f.task_run_id for f in (*futures, single)], futures.result(), single.result()

    ids, mapped, single = around("monday")

    assert [one["run"] for one in (*mapped, single)] == [
        (run_id, f"n-{x}", "knows") for run_id, x in zip(ids, (1, 2, 3), strict=True)
    ]
    assert [one["index"] for one in (*mapped, single)] == [0, 1, None]
    assert [one["count"] for one in (*mapped, single)] == [1, 2, 1]
    assert mapped[0]["tags"] == ["flow", "inner", "own"] and single["tags"] == ["flow", "own"]
    assert [one["parameters"] for one in (*mapped, single)] == [
        *({"x": 1, "y": 5}, {"x": 2, "y": 5}, {"x": 3, "y": 4}),
    ]
    assert {str(one["flow"]) for one in (*mapped, single)} == {
        str(("around", {"day": "monday"})),
    }


def test_lines_and_prints_of_elements_carry_their_ids_home(
    runner: TaskRunner, caplog: pytest.LogCaptureFixture
) -> None:
    @task(log_prints=True)
    def says(x: int) -> int:
        print("printed", x)
        get_run_logger().info("logged %s", x)
        return child.submit(x).result()

    @task
    def child(x: int) -> int:
        print("inner", x)
        return os.getpid()

    @flow(task_runner=runner)
    def deeper(x: int) -> None:
        get_run_logger().info("subflow %s", x)
        says.submit(x).wait()

    @flow(task_runner=runner, name="around")
    def around() -> Any:
        deeper.submit(7).wait()
        futures = says.map(range(2))
        return runtime.flow_run.id, [future.task_run_id for future in futures], futures.result()

    with caplog.at_level("INFO", "fanfold"):
        flow_run_id, ids, pids = around()

    found = {record.getMessage(): record.__dict__ for record in caplog.records}
    for index in (0, 1):
        for line in (f"printed {index}", f"logged {index}"):
            record = found[line]
            assert record["levelname"] == "INFO" and record["name"] == "fanfold.task_runs"
            assert record["task_run_id"] == ids[index] and record["map_index"] == index
            assert record["flow_run_id"] == flow_run_id and record["flow_name"] == "around"
            assert record["process"] == pids[index]
        inner = found[f"inner {index}"]
        assert inner["task_name"] == "child" and inner["flow_run_id"] == flow_run_id
        assert inner["task_run_id"] not in ids and inner["map_index"] is None
    for line in ("subflow 7", "printed 7", "logged 7", "inner 7"):
        assert found[line]["flow_name"] == "deeper" and found[line]["flow_run_id"] != flow_run_id
    assert (os.getpid() in pids) is not isinstance(runner, ProcessTaskRunner)


@task
def big(x: int) -> bytes:
    if x == 2:
        raise ValueError("two")
    return bytes([x]) * BIG


def test_states_and_values_that_a_flow_returns_outlive_its_workers(inside: Any) -> None:
    def body() -> Any:
        states = big.map([0, 1, 2], return_state=True)
        return {"states": states, "futures": big.map([3, 4]), "one": big.submit(5)}

    found = inside(body)

    assert [state.name for state in found["states"]] == ["Completed", "Completed", "Failed"]
    assert found["states"][1].result() == bytes([1]) * BIG
    with pytest.raises(ValueError, match="two"):
        found["states"][2].result()
    assert [value[0] for value in found["futures"]] == [3, 4] and found["one"][0] == 5
    states = inside(lambda: big.map([0, 1], return_state=True))
    assert [state.result()[0] for state in states] == [0, 1]


def test_a_value_that_is_gone_with_its_flow_is_told_and_its_state_stays(inside: Any) -> None:
    futures: list[Any] = []

    def body() -> None:
        futures.extend([big.submit(1), big.map([3, 4])])

    inside(body)

    for future in futures:
        try:
            assert future.result(timeout=DEADLINE_S)[0] in (1, bytes([3]) * BIG)
        except SessionClosed as error:
            assert "big" in str(error) and "the flow body is over" in str(error)
    assert futures[0].state.name == "Completed" and futures[1].states == {"Completed": 2}


def test_equal_runners_are_equal_and_travel(runner: TaskRunner) -> None:
    assert pickle.loads(pickle.dumps(runner)) == runner
