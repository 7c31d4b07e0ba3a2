"""Futures: waited for, awaited, called back, retried; and what failures say together."""

import asyncio
import logging
import operator
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fanfold import MapFuture, TaskFuture, flow, task
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.engine.futures import FutureList, as_completed, wait
from fanfold.engine.waiting import callbacks_called
from fanfold.values.errors import MapError, UpstreamFailed

DEADLINE_S = 10.0


@task
def add_one(x: int) -> int:
    return x + 1


@task
def same(x: Any) -> Any:
    return x


@task
def fails_on_odd(x: int) -> int:
    if x % 2:
        raise ValueError(f"{x} is odd")
    return x


class Gate:
    """A task whose elements wait until they are let through."""

    def __init__(self, count: int) -> None:
        self.open = [threading.Event() for _ in range(count)]

        @task
        def passes(x: int) -> int:
            assert self.open[x].wait(DEADLINE_S)
            return x

        self.task = passes

    def let_all(self) -> None:
        for event in self.open:
            event.set()


def in_flow(body: Callable[[], Any], workers: int = 8) -> Any:
    return flow(body, task_runner=ThreadPoolTaskRunner(max_workers=workers))()


def test_a_result_that_is_late_can_be_waited_for_again() -> None:
    def body() -> None:
        gate = Gate(1)
        future = gate.task.submit(0)
        with pytest.raises(TimeoutError, match="aren't over after"):
            future.result(timeout=0.01)
        assert future.wait(timeout=0.01) is None
        assert not future.done() and not future.state.is_final()
        gate.let_all()
        assert future.result(timeout=DEADLINE_S) == 0
        assert future.done() and future.state.is_completed()

    in_flow(body)


def test_an_element_has_an_id_of_its_own() -> None:
    def body() -> None:
        single, futures = add_one.submit(1), add_one.map([1, 2])
        assert single.task_run_id == single.run.id
        assert [f.task_run_id for f in futures] == [f"{futures.run.id}-0", f"{futures.run.id}-1"]

    in_flow(body)


def test_futures_of_the_same_element_are_equal() -> None:
    def body() -> None:
        futures = add_one.map([1, 2, 3])
        assert futures[0] == futures[-3] and len({futures[0], futures[-3], futures[1]}) == 2
        assert futures[0] != futures[1] and futures[:2] == futures[0:2] and futures != futures[1:]
        assert futures[0] != 5

    in_flow(body)


def test_waiting_tells_what_is_over_and_raises_nothing() -> None:
    def body() -> None:
        gate = Gate(3)
        futures = gate.task.map(range(3))
        failed = fails_on_odd.submit(1)
        gate.open[0].set()
        futures[0].wait()
        done, not_done = wait([futures[0], futures[0], failed, futures], timeout=0.05)
        assert done == {futures[0], failed} and not_done == {futures[1], futures[2]}
        with pytest.raises(ValueError, match="negative"):
            wait(futures, timeout=-1)
        gate.let_all()
        assert wait(futures) == ({*futures}, set())
        assert wait([]) == (set(), set())

    in_flow(body)


def test_elements_come_in_the_order_in_which_they_are_over() -> None:
    def body() -> None:
        gate = Gate(4)
        futures = gate.task.map(range(4))
        order: list[int] = []
        single = add_one.submit(9)
        single.wait()
        walk = as_completed([*futures, futures[2], single])
        assert next(walk) == single
        for index in (2, 0, 3, 1):
            gate.open[index].set()
            order.append(next(walk).index)
        assert order == [2, 0, 3, 1]
        with pytest.raises(StopIteration):
            next(walk)
        assert {f.result() for f in futures.as_completed()} == {0, 1, 2, 3}
        assert not futures.run.watchers

    in_flow(body)


def test_a_walk_that_takes_too_long_says_how_many_are_missing() -> None:
    def body() -> None:
        gate = Gate(3)
        futures = gate.task.map(range(3))
        gate.open[1].set()
        walk = as_completed(futures, timeout=0.2)
        assert next(walk) == futures[1]
        with pytest.raises(TimeoutError, match=r"^2 \(of 3\) futures unfinished$"):
            next(walk)
        assert not futures.run.watchers
        with pytest.raises(ValueError, match="negative"):
            as_completed(futures, timeout=-1)
        gate.let_all()

    in_flow(body)


def test_a_callback_is_called_once_with_the_future_off_the_dispatcher() -> None:
    calls: list[tuple[Any, str]] = []

    def note(future: Any) -> None:
        calls.append((future, threading.current_thread().name))

    def body() -> None:
        gate = Gate(3)
        futures = gate.task.map(range(3))
        futures.add_done_callback(note)
        for future in futures:
            future.add_done_callback(note)
        gate.let_all()
        futures.wait()
        callbacks_called([futures.run])
        assert {future for future, _ in calls} == {futures, *futures}
        assert {name for _, name in calls} == {"fanfold-callbacks"}
        calls.clear()
        futures[1].add_done_callback(note)
        assert calls == [(futures[1], threading.current_thread().name)]
        callbacks_called([futures.run])
        assert len(calls) == 1 and not futures.run.watchers

    in_flow(body)


def test_a_callback_that_raises_is_logged_and_harms_no_other(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fanfold"), "propagate", True)
    called: list[Any] = []

    def raises(_: Any) -> None:
        raise OSError("no")

    def body() -> None:
        gate = Gate(1)
        future = gate.task.submit(0)
        future.add_done_callback(raises)
        future.add_done_callback(called.append)
        gate.let_all()
        future.wait()
        callbacks_called([future.run])
        future.add_done_callback(raises)
        assert called == [future]

    in_flow(body)
    told = [record.getMessage() for record in caplog.records if "callback" in record.getMessage()]
    assert len(told) == 2 and told[0].startswith("A callback of <TaskFuture passes")


def test_a_callback_runs_in_the_flow_and_can_submit_more() -> None:
    more: list[TaskFuture[int]] = []
    came = threading.Event()

    def chain(future: Any) -> None:
        more.append(add_one.submit(future.result()))
        came.set()

    def body() -> Any:
        gate = Gate(1)
        gate.task.submit(0).add_done_callback(chain)
        gate.let_all()
        assert came.wait(DEADLINE_S)
        return more[0].result()

    assert in_flow(body) == 1


def test_futures_are_awaited_without_a_thread_each() -> None:
    gate = Gate(1)

    @task
    def after(x: int) -> int:
        assert gate.open[0].wait(DEADLINE_S)
        return x

    async def around() -> None:
        futures = after.map(range(2_000))
        before = threading.active_count()
        asyncio.get_running_loop().call_later(0.05, gate.let_all)
        walked = asyncio.gather(*futures)
        whole = asyncio.ensure_future(_await(futures))
        await asyncio.sleep(0.01)
        assert threading.active_count() <= before + 33
        assert await walked == list(range(2_000)) == await whole
        assert await futures[5] == 5
        assert not futures.run.watchers
        with pytest.raises(ValueError, match="1 is odd"):
            await fails_on_odd.submit(1)

    asyncio.run(around())


async def _await(future: Any) -> Any:
    return await future


def test_values_on_other_processes_are_awaited_too() -> None:
    async def around() -> Any:
        futures = add_one.map(range(500))
        return await futures, await asyncio.gather(*futures)

    runner = ProcessTaskRunner(max_workers=2)
    whole, single = asyncio.run(_in_async_flow(around, runner))
    assert whole == single == list(range(1, 501))


async def _in_async_flow(body: Callable[[], Any], runner: Any) -> Any:
    done: list[Any] = []

    def sync() -> None:
        done.append(asyncio.run(body()))

    await asyncio.to_thread(flow(sync, task_runner=runner))
    return done[0]


def test_a_walk_over_a_map_reads_a_chunk_at_a_time() -> None:
    fetched: list[int] = []

    def body() -> None:
        futures = add_one.map(range(20_000))
        futures.wait()
        session = futures.run.session
        fetch = session.fetch

        def counted(refs: Any, timeout_s: Any = None) -> Any:
            fetched.append(len(refs))
            return fetch(refs, timeout_s)

        session.fetch = counted  # type: ignore[method-assign]
        assert [future.result() for future in futures] == list(range(1, 20_001))
        assert sum(fetched) <= futures.run.chunks_made
        one, two = iter(futures), iter(futures)
        fetched.clear()
        assert [(next(one).result(), next(two).result()) for _ in range(10_000)] == [
            (n, n) for n in range(1, 10_001)
        ]
        assert len(fetched) <= 2 * futures.run.chunks_made

    flow(body, task_runner=ProcessTaskRunner(max_workers=2))()


def test_a_walk_costs_little_more_than_the_values_at_once() -> None:
    def body() -> float:
        futures = add_one.map(range(200_000))
        futures.wait()
        began = time.perf_counter()
        for future in futures:
            future.result()
        return time.perf_counter() - began

    # 0.04 s here; a lock and a search for each took 1.6 s.
    assert in_flow(body) < 0.6


def test_several_failures_are_told_together_and_caught_as_the_first() -> None:
    def body() -> None:
        futures = fails_on_odd.map(range(2_000))
        with pytest.raises(ValueError, match="is odd") as caught:
            futures.result()
        error = caught.value
        assert isinstance(error, MapError)
        assert error.count == 1_000 and error.total == 2_000
        assert str(error).startswith("1,000 of 2,000 elements of `fails_on_odd` failed:\n")
        assert "1,000 x ValueError at test_futures.py:" in str(error)
        assert "in fails_on_odd: 1 is odd (elements 1, 3, 5, ...)" in str(error)
        assert str(error).endswith("See .failed, or result(raise_on_failure=False).")
        assert error.args == ("1 is odd",) and str(error.__cause__) == "1 is odd"
        assert type(error.__cause__) is ValueError
        assert [f.index for f in futures.failed[:3]] == [1, 3, 5] and len(futures.failed) == 1_000

    in_flow(body)


def test_a_single_failure_is_raised_as_itself() -> None:
    def body() -> None:
        futures = fails_on_odd.map([0, 1, 2])
        with pytest.raises(ValueError) as caught:
            futures.result()
        assert type(caught.value) is ValueError
        with pytest.raises(ValueError) as caught:
            fails_on_odd.map([1, 3])[1].result()
        assert type(caught.value) is ValueError

    in_flow(body)


def test_what_failed_by_the_same_root_is_one_group() -> None:
    def body() -> None:
        futures = same.map(fails_on_odd.map(range(10)))
        with pytest.raises(UpstreamFailed, match=r"fails_on_odd\[1\] Failed") as caught:
            futures.result()
        assert isinstance(caught.value, MapError) and len(caught.value.groups) == 1

    in_flow(body)


class Wanting(Exception):
    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(code)
        self.code = code
        self.why = why

    def __reduce__(self) -> Any:
        return _wanting, (self.code, self.why)


def _wanting(code: int, why: str) -> Wanting:
    return Wanting(code, why=why)


class Slotted(Exception):
    __slots__ = ("held",)


class Final(Exception):
    def __init_subclass__(cls) -> None:
        raise TypeError("not to be derived from")


CAUSES: dict[str, Callable[[], Exception]] = {
    "keyword": lambda: Wanting(5, why="so"),
    "os": lambda: FileNotFoundError(2, "gone", "a.txt"),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "key": lambda: KeyError("name"),
    "group": lambda: ExceptionGroup("two", [ValueError("a")]),
    "final": lambda: Final("x"),
    "stop": lambda: StopAsyncIteration("x"),
    "ours": lambda: UpstreamFailed("x"),
}


@pytest.mark.parametrize("which", CAUSES)
def test_an_error_of_a_map_is_what_its_cause_is(which: str) -> None:
    cause = CAUSES[which]()
    error = MapError.made("parse", 3, (), cause)

    for one in (error, pickle.loads(pickle.dumps(error))):
        assert isinstance(one, MapError) and one.name == "parse" and one.total == 3
        assert str(one).startswith("0 of 3 elements of `parse` failed")
        assert type(one.__cause__) is type(cause)
        if which not in ("group", "final"):
            assert isinstance(one, type(cause))
            assert one.args == cause.args and vars(cause).items() <= vars(one).items()
    if isinstance(cause, FileNotFoundError):
        assert (error.errno, error.filename) == (2, "a.txt")  # type: ignore[attr-defined]
    if isinstance(cause, UnicodeDecodeError):
        assert error.object == b"\xff"  # type: ignore[attr-defined]


def test_an_error_of_a_map_keeps_what_its_cause_has_in_slots() -> None:
    cause = Slotted("x")
    cause.held = 7

    error = MapError.made("parse", 3, (), cause)

    assert isinstance(error, Slotted) and error.held == 7


def test_an_error_of_a_map_travels_without_a_cause_that_cannot() -> None:
    class Local(Exception):
        pass

    again = pickle.loads(pickle.dumps(MapError.made("parse", 3, (), Local("x"))))

    assert type(again) is MapError and again.total == 3


def test_failures_are_collected_where_the_map_says_so() -> None:
    def body() -> None:
        run = fails_on_odd.map(range(4)).run
        futures: MapFuture[int] = MapFuture(run, on_error="collect")
        kinds = [type(value) for value in futures.result()]
        assert kinds == [int, ValueError, int, ValueError]
        assert [type(value) for value in futures[1:3].result()] == [ValueError, int]
        with pytest.raises(MapError):
            futures.result(raise_on_failure=True)

    in_flow(body)


class Flaky:
    """A task that fails on some inputs until it is mended."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.calls: list[int] = []
        lock = threading.Lock()

        @task
        def flaky(x: int, y: int = 0) -> int:
            with lock:
                self.calls.append(x)
            if x in self.bad:
                raise ValueError(x)
            return x + y

        self.task = flaky


@pytest.mark.parametrize("bad", [{5}, {3, 4, 5}, {1, 3, 5}, {2, 3, 9}], ids=str)
def test_failed_elements_are_retried_alone(bad: set[int]) -> None:
    def body() -> None:
        flaky = Flaky(set(bad))
        futures = flaky.task.map(range(10), y=[100] * 10)
        futures.wait()
        assert [f.index for f in futures.failed] == sorted(bad)
        [f.result(raise_on_failure=False) for f in futures]
        flaky.bad.clear()
        flaky.calls.clear()
        again = futures.retry_failed()
        assert isinstance(again, MapFuture) and len(again) == len(bad)
        assert again.result() == [x + 100 for x in sorted(bad)]
        assert sorted(flaky.calls) == sorted(bad)
        assert futures.result() == [x + 100 for x in range(10)] == [f.result() for f in futures]
        assert futures.states == {"Completed": 10} and not futures.failed and futures.done()
        assert len(futures.retry_failed()) == 0

    in_flow(body)


def test_results_wait_for_a_retry_that_is_under_way() -> None:
    def body() -> None:
        flaky = Flaky({1, 7})
        futures = flaky.task.map(range(10))
        futures.wait()
        flaky.bad.clear()
        futures.retry_failed()
        assert futures.result(timeout=DEADLINE_S) == list(range(10))

    in_flow(body)


def test_what_fails_again_can_be_retried_again() -> None:
    def body() -> None:
        flaky = Flaky({1, 7})
        futures = flaky.task.map(range(10))
        flaky_again = futures.retry_failed()
        assert len(flaky_again.failed) in (0, 2)
        futures.wait()
        assert [f.index for f in futures.failed] == [1, 7]
        flaky.bad.discard(7)
        futures.retry_failed().wait()
        assert [f.index for f in futures.failed] == [1]
        flaky.bad.clear()
        futures.retry_failed().wait()
        assert futures.result() == list(range(10))

    in_flow(body)


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner(max_workers=2), "inline"], ids=str)
def test_maps_of_maps_are_retried_from_the_top(runner: Any) -> None:
    flaky = Flaky({1, 2, 7})
    later = Flaky({4})

    @flow(task_runner=runner)
    def body() -> list[int]:
        one = flaky.task.map(range(10))
        two = later.task.map(one, y=one)
        total = two[:9].reduce(operator.add)
        two.wait()
        total.wait()
        assert [f.index for f in two.failed] == [1, 2, 4, 7]
        flaky.bad.clear()
        later.bad.clear()
        one.retry_failed()
        two.retry_failed()
        return two.result()

    assert body() == list(range(0, 20, 2))


def test_a_retry_on_other_processes_takes_the_values_over() -> None:
    def body() -> None:
        futures = fails_once.map(range(6), [str(folder)] * 6)
        futures.wait()
        assert len(futures.failed) == 3
        futures.retry_failed()
        assert futures.result() == list(range(6)) == [f.result() for f in futures]
        assert same.map(futures).result() == list(range(6))

    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flow(body, task_runner=ProcessTaskRunner(max_workers=2))()


@task
def fails_once(x: int, folder: str) -> int:
    from pathlib import Path

    mark = Path(folder) / str(x)
    if x % 2 and not mark.exists():
        mark.touch()
        raise ValueError(x)
    return x


def test_a_list_of_futures_of_several_runs_is_waited_for_together() -> None:
    def body() -> None:
        some = FutureList([*fails_on_odd.map(range(3)), add_one.submit(1)])
        some.wait()
        assert some.done() and some.states == {"Completed": 3, "Failed": 1}
        assert [f.index for f in some.failed] == [1]
        with pytest.raises(ValueError, match="1 is odd"):
            some.result()
        assert some.result(raise_on_failure=False)[2:] == [2, 2]
        assert len(list(some.as_completed())) == 4
        gate = Gate(1)
        late = FutureList([gate.task.submit(0)])
        with pytest.raises(TimeoutError, match=r"1 \(of 1\) futures unfinished"):
            late.result(timeout=0.01)
        gate.let_all()

    in_flow(body)


def test_futures_tell_in_short_what_they_are() -> None:
    def body() -> None:
        futures = add_one.map(range(3))
        futures.wait()
        assert repr(futures) == "<MapFuture add_one: 3 Completed>"
        assert repr(futures[:0]) == "<MapFuture add_one: empty>"
        assert repr(futures[1]) == "<TaskFuture add_one[1] Completed>"

    in_flow(body)
