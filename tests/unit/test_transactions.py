"""Transactions: what is done in one counts together, or is taken back together."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fanfold import INPUTS, flow, task, unmapped
from fanfold.transactions import (
    Transaction,
    TransactionState,
    atransaction,
    transaction,
)
from tests.unit.keeping_tasks import hooked, indexes

Log = list[Any]
RUNNERS = ["inline", "threads", "processes"]
every_runner = pytest.mark.parametrize("runner", RUNNERS)


@pytest.fixture
def results(fanfold_home: Path) -> Path:
    """Where results are kept by default."""
    return fanfold_home / "results"


# What tasks inside do.


def test_hooks_for_the_commit_are_called_when_the_block_ends() -> None:
    log: Log = []
    first, second = hooked(log, "first"), hooked(log, "second")

    with transaction() as txn:
        assert txn.is_active()
        first()
        second()
        log.append("end of the block")

    assert log == ["end of the block", ("first", "commit"), ("second", "commit")]
    assert txn.is_committed()


def test_a_task_that_fails_has_the_others_taken_back_the_last_one_first() -> None:
    log: Log = []
    tasks = [hooked(log, name) for name in ("first", "second", "third")]

    with pytest.raises(ValueError, match="1 fails"), transaction() as txn:
        tasks[0]()
        tasks[1]()
        tasks[2](1, fails=True)

    assert log == [("second", "rollback"), ("first", "rollback")]
    assert txn.is_rolled_back()


def test_an_exception_of_the_block_takes_everything_back_and_goes_on() -> None:
    log: Log = []

    with pytest.raises(KeyError, match="mine"), transaction() as txn:
        hooked(log)()
        raise KeyError("mine")

    assert log == [("step", "rollback")]
    assert txn.is_rolled_back() and not txn.commit()


@pytest.mark.parametrize("how", ["caught", "state", "submitted"])
def test_a_task_that_fails_takes_the_transaction_with_it_even_if_nobody_minds(how: str) -> None:
    log: Log = []
    step = hooked(log)

    @flow
    def around() -> TransactionState:
        with transaction() as txn:
            step()
            if how == "caught":
                with pytest.raises(ValueError):
                    step(fails=True)
            elif how == "state":
                assert step(fails=True, return_state=True).is_failed()
            else:
                step.submit(fails=True).wait()
        return txn.state

    assert around() is TransactionState.ROLLED_BACK
    assert log == [("step", "rollback")]


def test_a_retry_takes_nothing_back() -> None:
    log: Log = []
    tries: list[int] = []

    @task(retries=2)
    def unsure() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError
        return len(tries)

    with transaction() as txn:
        hooked(log)()
        assert unsure() == 3

    assert log == [("step", "commit")]
    assert txn.is_committed()


@every_runner
def test_submits_and_maps_are_part_of_it_wherever_they_run(runner: str) -> None:
    log: Log = []
    step = hooked(log)

    @flow(task_runner=runner)
    def around(fails: bool) -> Any:
        with transaction():
            step.submit(1)
            assert step.map(range(5)).result() == [*range(5)]
            step.map([7, 8], unmapped(False))
            if fails:
                raise RuntimeError("no")

    around(fails=False)
    assert log == [("step", "commit")] * 8
    log.clear()
    with pytest.raises(RuntimeError, match="no"):
        around(fails=True)
    assert 6 <= len(log) <= 8
    assert set(log) == {("step", "rollback")}


@every_runner
def test_elements_of_a_map_that_completed_are_taken_back_one_by_one(runner: str) -> None:
    log: Log = []
    step = hooked(log)

    @flow(task_runner=runner)
    def around() -> list[str]:
        with transaction() as txn:
            states = step.map([1, 2, 3, 4], [False, False, True, False], return_state=True)
        assert txn.is_rolled_back()
        return [state.name for state in states]

    assert around() == ["Completed", "Completed", "Failed", "Completed"]
    assert log == [("step", "rollback")] * 3


def test_a_submit_that_is_still_under_way_is_waited_for_and_counts() -> None:
    log: Log = []
    go_on = threading.Event()

    @task(on_commit=[lambda txn: log.append("commit")])
    def slow() -> None:
        assert go_on.wait(30)
        log.append("done")

    @flow
    def around() -> None:
        with transaction():
            slow.submit()
            threading.Timer(0.05, go_on.set).start()

    around()

    assert log == ["done", "commit"]


def test_what_has_not_begun_does_not_begin_any_more_once_the_block_has_failed() -> None:
    began: Log = []
    go_on = threading.Event()

    @task
    def slow(x: int) -> None:
        began.append(x)
        assert go_on.wait(30)

    @flow
    def around() -> None:
        with transaction():
            future = slow.map(range(1000), chunk_size=1)
            while not began:
                threading.Event().wait(0.001)
            threading.Timer(0.05, go_on.set).start()
            futures.append(future)
            raise ValueError

    futures: list[Any] = []
    assert around(return_state=True).is_failed()

    assert 0 < len(began) < 1000
    assert futures[0].states["Cancelled"] == 1000 - len(began)


def test_futures_say_that_they_were_rolled_back() -> None:
    step = hooked([])

    @flow
    def around() -> Any:
        with transaction() as txn:
            single, mapped = step.submit(1), step.map([1, 2])
            assert (single.result(), mapped.result()) == (1, [1, 2])
            txn.rollback()
        return [single.state.name, mapped[1].state.name, single.state.type.value]

    assert around() == ["RolledBack", "RolledBack", "COMPLETED"]


def test_async_tasks_and_hooks_take_part() -> None:
    log: Log = []

    @task
    async def step(x: int) -> int:
        await asyncio.sleep(0)
        return x

    @step.on_rollback
    async def undo(txn: Transaction) -> None:
        await asyncio.sleep(0)
        log.append("undone")

    @flow
    async def around() -> None:
        async with atransaction():
            assert await asyncio.gather(step(1), step(2)) == [1, 2]
            assert await step(3) == 3
            raise ValueError

    with pytest.raises(ValueError):
        asyncio.run(around())

    assert log == ["undone"] * 3


def test_tasks_of_a_subflow_are_part_of_it() -> None:
    log: Log = []
    step = hooked(log)
    inner = flow(lambda: step.submit(1).result(), name="inner")

    with pytest.raises(ValueError), transaction():
        inner()
        raise ValueError

    assert log == [("step", "rollback")]


def test_what_a_task_has_called_is_taken_back_after_it() -> None:
    log: Log = []
    child = hooked(log, "child")

    @task
    def parent(fails: bool) -> None:
        child()
        child.submit().result()
        if fails:
            raise ValueError

    parent.on_rollback(lambda txn: log.append(("parent", "rollback")))

    with transaction() as txn:
        parent(fails=False)
        txn.rollback()
    assert log == [("parent", "rollback"), ("child", "rollback"), ("child", "rollback")]

    log.clear()
    with pytest.raises(ValueError), transaction():
        parent(fails=True)
    assert log == [("child", "rollback")] * 2


def test_a_hook_that_raises_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    log: Log = []

    def broken(txn: Transaction) -> None:
        raise RuntimeError("the hook is broken")

    with transaction() as txn:
        hooked(log, "first")()
        hooked(log, "second", on_rollback=[broken])()
        txn.rollback()

    assert log == [("second", "rollback"), ("first", "rollback")]
    assert "the hook is broken" in caplog.text


@pytest.mark.parametrize("way", ["call", "submit", "map"])
@every_runner
def test_a_commit_hook_outside_of_transactions_follows_the_commit(
    way: str, runner: str, results: Path
) -> None:
    log: Log = []
    step = task(lambda x: x, name="step", cache_policy=INPUTS)
    step.on_commit(lambda txn: log.append(len(indexes(results))))
    step.on_rollback(lambda txn: log.append("rollback"))

    @flow(task_runner=runner)
    def around() -> None:
        if way == "call":
            step(1)
        elif way == "submit":
            step.submit(1)
        else:
            step.map([1, 2, 3])

    around()

    assert len(log) == (3 if way == "map" else 1)
    assert all(there >= 1 for there in log)


def test_a_cached_result_has_nothing_to_take_back() -> None:
    log: Log = []
    step = hooked(log, cache_policy=INPUTS)
    step(1)
    log.clear()

    with transaction() as txn:
        step(1)
        txn.rollback()

    assert log == []


# What is kept.


@every_runner
def test_results_are_kept_only_once_the_outermost_is_committed(runner: str, results: Path) -> None:
    work = task(lambda x: x + 1, name="work", cache_policy=INPUTS)
    named = task(lambda x: x, name="named", result_storage_key="out/{parameters[x]}")
    there: Callable[[], int] = lambda: len([*(results / "out").glob("*")])  # noqa: E731

    @flow(task_runner=runner)
    def around() -> None:
        with transaction():
            with transaction():
                assert work(1) == 2
                assert work.submit(2).result() == 3
                assert work.map([3, 4]).result() == [4, 5]
                assert named("a") == "a"
                assert named.map(["b", "c"]).result() == ["b", "c"]
            assert (indexes(results), there()) == ([], 0)

    around()

    assert there() == 3
    names = flow(lambda: [s.name for s in work.map([1, 2, 3, 4], return_state=True)])()
    assert names == ["Cached"] * 4
    assert named("a", return_state=True).name == "Cached"


@every_runner
def test_nothing_of_a_transaction_that_was_rolled_back_is_ever_found(
    runner: str, results: Path
) -> None:
    work = task(lambda x: x + 1, name="work", cache_policy=INPUTS)
    named = task(lambda x: x, name="named", result_storage_key="out/{parameters[x]}")

    @flow(task_runner=runner)
    def around() -> None:
        with transaction():
            work.map([1, 2]).result()
            named.submit("a").result()
            raise ValueError

    assert around(return_state=True).is_failed()

    assert indexes(results) == []
    assert not (results / "out").exists()
    assert work(1, return_state=True).name == "Completed"


def test_a_value_that_stays_in_storage_can_be_read_inside() -> None:
    options: Any = {"cache_policy": INPUTS, "cache_result_in_memory": False}
    work = task(lambda x: [x], name="work", **options)
    named = work.with_options(result_storage_key="at-{parameters[x]}")

    with transaction():
        assert [work(1), named(2), work.submit(3).result()] == [[1], [2], [3]]


def test_what_cannot_be_committed_is_taken_back(
    results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log: Log = []
    step = hooked(log, result_storage_key="taken/object")

    with transaction() as txn:
        step(1)
        (results / "taken").write_text("a file where a folder should be")

    assert txn.is_rolled_back()
    assert log == [("step", "rollback")]
    assert "can't be committed" in caplog.text
