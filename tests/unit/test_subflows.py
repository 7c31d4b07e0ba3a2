"""Flows inside flows: called, submitted and mapped."""

import asyncio
import os
import threading
from typing import Any

import pytest

from fanfold import Task, flow, runtime, tags, task
from fanfold.adapters.runners.processes import ProcessPoolTaskRunner, ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.states import Cancelled, Failed
from fanfold.values.errors import UpstreamFailed

DEADLINE_S = 10.0


def ids() -> tuple[Any, Any, Any]:
    run = runtime.flow_run
    return run.id, run.parent_flow_run_id, run.root_flow_run_id


@flow
def inner(x: int) -> Any:
    return ids(), runtime.flow_run.tags, x


@flow
async def inner_later(x: int) -> Any:
    await asyncio.sleep(0)
    return ids(), runtime.flow_run.tags, x


def test_a_subflow_knows_its_caller_and_the_outermost_flow_however_it_is_performed() -> None:
    @task
    def calls() -> Any:
        return inner(3)

    @flow(tags=["outer"])
    def middle() -> Any:
        with tags("block"):
            found = [
                *(inner(0), inner.submit(1).result(), *inner.map([2]).result(), calls()),
                *(calls.submit().result(), inner_later.submit(4).result()),
                *inner_later.map([5]).result(),
            ]
        return ids(), found

    @flow
    def outer() -> Any:
        return ids(), middle()

    (outer_id, _, root), ((middle_id, parent, of_middle), found) = outer()

    assert root == parent == of_middle == outer_id
    assert [x for *_, x in found] == [0, 1, 2, 3, 3, 4, 5]
    assert len({run_id for (run_id, _, _), _, _ in found}) == 7
    for (_, parent_id, root_id), found_tags, _ in found:
        assert (parent_id, root_id) == (middle_id, outer_id)
        assert found_tags == ["block", "outer"]


def test_a_flow_that_calls_itself_makes_a_run_for_each_call() -> None:
    @flow
    def down(n: int) -> list[Any]:
        return [ids(), *(down(n - 1) if n else [])]

    found = down(3)

    assert len({run_id for run_id, _, _ in found}) == 4
    assert [parent for _, parent, _ in found[1:]] == [run_id for run_id, _, _ in found[:-1]]
    assert {root for *_, root in found} == {found[0][0]}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_submitted_and_mapped_subflows_run_side_by_side_on_threads(asynchronous: bool) -> None:
    together = threading.Barrier(2, timeout=DEADLINE_S)

    def work(x: int) -> int:
        together.wait()
        return x

    async def work_later(x: int) -> int:
        await asyncio.to_thread(together.wait)
        return x

    meets = flow(work_later if asynchronous else work)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def around() -> Any:
        futures = [meets.submit(1), meets.submit(2)]
        return [*(future.result() for future in futures), *meets.map([3, 4]).result()]

    assert around() == [1, 2, 3, 4]


@pytest.mark.parametrize("runner", ["inline", "threads"])
def test_final_states_of_submitted_and_mapped_subflows_are_those_of_their_futures(
    runner: str,
) -> None:
    @flow
    def ends(how: str) -> Any:
        if how == "raise":
            raise ValueError("no")
        states = {"cancel": Cancelled(message="enough"), "reject": Failed("Rejected", message="x")}
        return states.get(how, how)

    hows = ["fine", "cancel", "reject", "raise"]

    @flow(task_runner=runner)
    def around() -> Any:
        found = [ends.submit(how, return_state=True) for how in hows]
        return {"states": found + ends.map(hows, return_state=True)}

    found = around()["states"]

    expected = ["Completed", "Cancelled", "Rejected", "Failed"]
    assert [state.name for state in found] == expected * 2
    for good, cancelled, rejected, raised in (found[:4], found[4:]):
        assert good.result() == "fine"
        assert (cancelled.message, rejected.message) == ("enough", "x")
        assert isinstance(raised.result(raise_on_failure=False), ValueError)


def test_what_a_subflow_raises_comes_out_of_its_future() -> None:
    @flow
    def fails(x: int) -> None:
        raise ValueError(f"no {x}")

    @flow
    async def fails_later(x: int) -> None:
        raise ValueError(f"no {x}")

    for made in (fails, fails_later):

        @flow
        def around(made: Any = made) -> None:
            with pytest.raises(ValueError, match="no 1"):
                made.submit(1).result()
            with pytest.raises(ValueError, match="no 2"):
                made.map([2]).result()

        around()


def test_arguments_of_submitted_subflows_are_waited_for_and_coerced() -> None:
    @task
    def one() -> str:
        return "1"

    @flow
    def add(x: int, y: int = 1) -> int:
        return x + y

    @flow
    def around() -> Any:
        first = add.submit(one.submit())
        return [first, add.submit("5", y=first), *add.map(["1", "2"], y=one.submit())]  # type: ignore[arg-type]

    assert around() == [2, 7, 2, 3]


@pytest.mark.parametrize("way", ["called", "submitted", "awaited"])
def test_a_subflow_waits_for_what_it_is_told_to_wait_for(way: str) -> None:
    order: list[str] = []
    go = threading.Event()

    @task
    def before() -> None:
        assert go.wait(DEADLINE_S)
        order.append("before")

    @task
    def fails() -> None:
        raise ValueError("no")

    def work() -> None:
        order.append("after")

    async def work_later() -> None:
        work()

    made = flow(work_later if way == "awaited" else work)

    async def awaits(future: Any) -> None:
        await made(wait_for=[future])  # type: ignore[misc]

    def perform(future: Any) -> None:
        if way == "awaited":
            asyncio.run(awaits(future))
        elif way == "called":
            made(wait_for=[future])
        else:
            made.submit(wait_for=[future]).result()

    @flow
    def around() -> None:
        future = before.submit()
        thread = threading.Thread(target=go.set)
        thread.start()
        perform(future)
        thread.join()
        with pytest.raises(UpstreamFailed):
            perform(fails.submit())

    around()

    assert order == ["before", "after"]


def test_each_subflow_may_have_a_runner_of_its_own() -> None:
    @task
    def process() -> int:
        return os.getpid()

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def elsewhere() -> bool:
        return process.submit().result() == os.getpid()

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def here() -> list[Any]:
        return [elsewhere(), process.submit().result() == os.getpid(), elsewhere.submit().result()]

    assert here() == [False, True, False]


def test_tasks_of_a_subflow_run_on_one_thread_while_their_caller_holds_another() -> None:
    @task
    def leaf(x: int) -> int:
        return x + 1

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def below(x: int) -> int:
        return sum(leaf.map([x, x]).result())

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def above() -> Any:
        return [below.submit(1), below.map([2, 3])]

    assert above() == [4, [6, 8]]


def test_a_subflow_may_take_longer_to_begin_than_its_time_limit() -> None:
    go = threading.Event()

    @task
    def slow() -> None:
        assert not go.wait(0.15)

    @flow(timeout_seconds=0.1)
    def quick() -> str:
        return "done"

    @flow
    def around() -> str:
        return quick(wait_for=[slow.submit()])

    assert around() == "done"


@pytest.mark.parametrize("kept", [None, True], ids=["as it is", "results kept"])
def test_methods_callable_objects_and_partial_functions_can_be_subflows(kept: Any) -> None:
    class Shop:
        factor = 3

        @flow
        def own(self, x: int) -> int:
            return self.factor * x

        def __call__(self, x: int) -> int:
            return self.factor * x

    class ShopLater:
        async def __call__(self, x: int) -> int:
            return 3 * x

    made = [Shop().own, flow(Shop(), name="shop"), flow(ShopLater(), name="later")]

    @flow(persist_result=kept)
    def around() -> list[Any]:
        return [
            *(one.submit(2).result() for one in made),
            *(one.map([2]).result()[0] for one in made),
        ]

    assert around() == [6] * 6
    assert made[1](2) == 6
    assert asyncio.run(made[2](2)) == 6  # type: ignore[arg-type]
    assert isinstance(made[0]._as_task(), Task)


def test_called_subflows_of_an_equal_runner_share_the_cluster_of_their_caller() -> None:
    @task
    def process(x: int) -> int:
        return os.getpid()

    @flow(task_runner=ProcessTaskRunner(max_workers=1))
    def inner(x: int) -> int:
        return process.submit(x).result()

    @flow(task_runner=ProcessTaskRunner(max_workers=2))
    def apart() -> int:
        return process.submit(0).result()

    @flow(task_runner=ProcessTaskRunner(max_workers=1))
    def outer() -> tuple[set[int], int, int]:
        mine = process.submit(0).result()
        theirs = {inner(1), inner(2)}
        # It goes on when theirs are over.
        return theirs, apart(), process.submit(4).result() if mine in theirs else 0

    shared, other, after = outer()

    assert shared == {after}
    assert other not in shared
