"""SERIALIZABLE: calls with equal keys, wherever they are, run one after another."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fanfold import INPUTS, flow, task
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.cache_policies import TASK_SOURCE
from fanfold.engine.results.records import TransactionRecord
from fanfold.futures import as_completed
from fanfold.ports.results import ResultStore
from fanfold.task_runners import ThreadPoolTaskRunner
from fanfold.testing.ledger import Gate, Ledger, pause
from fanfold.transactions import CommitMode, IsolationLevel, atransaction, transaction
from fanfold.values.errors import StoreError
from tests.stores.places import S3Place
from tests.unit.keeping_tasks import counted

DEADLINE_S = 60.0
ALONE = INPUTS.configure(isolation_level="SERIALIZABLE")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path))


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that another thread or process brings about."""
    for _ in range(6_000):
        if holds():
            return
        pause()
    raise AssertionError("it never came about")


class Processes:
    """Processes that call one task; ended at the end of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[subprocess.Popen[bytes]] = []

    def begin(self, renew_s: float) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-m", "tests.unit.isolated_call"]
        process = subprocess.Popen([*program, str(self.folder), str(renew_s)])
        self.all.append(process)
        return process


@pytest.fixture(params=["disk", "s3"])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ResultStore:
    """Return where results are kept by this process and those that it starts."""
    if request.param == "s3":
        s3: S3Place = request.getfixturevalue("s3")
        s3.be_default(monkeypatch)
        return s3.store()
    home: Path = request.getfixturevalue("fanfold_home")
    return FsspecStore(str(home / "results"))


@pytest.fixture
def processes(tmp_path: Path, storage: ResultStore) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    for process in made.all:
        process.kill()
        process.wait()


def test_two_processes_that_want_the_same_at_once_do_it_once(
    processes: Processes, ledger: Ledger
) -> None:
    with Gate(f"{ledger.folder}/gate").kept() as gate:
        both = [processes.begin(5.0), processes.begin(5.0)]
        until(lambda: len(ledger.lines("began")) == 2 and bool(ledger.lines("ran")))

        gate.open()

        assert [process.wait(DEADLINE_S) for process in both] == [0, 0]
    assert ledger.lines("ran") == [["1"]]
    assert sorted(ledger.lines("ended")) == [["Cached", "1"], ["Completed", "1"]]


def test_the_lease_of_a_killed_process_expires(
    processes: Processes, ledger: Ledger, storage: ResultStore
) -> None:
    with Gate(f"{ledger.folder}/gate").kept() as gate:
        holder = processes.begin(0.5)
        until(lambda: bool(ledger.lines("ran")))
        other = processes.begin(0.5)
        until(lambda: len(ledger.lines("began")) == 2)

        holder.send_signal(signal.SIGKILL)
        gate.open()

        assert other.wait(DEADLINE_S) == 0
    assert ledger.lines("ended") == [["Completed", "1"]]
    assert len(ledger.lines("ran")) == 2
    (claim,) = storage.names("claims/")
    assert claim.endswith("/000002"), "it took the first one for dead, and removed it"


@contextmanager
def being_made(work: Any, *args: Any) -> Generator[None]:
    """Have another thread in the middle of a call."""
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(work, *args)
        yield
        called.result(DEADLINE_S)


def held(calls: list[Any], **options: Any) -> tuple[Any, threading.Event, threading.Event]:
    """Return a task whose first call of 1 waits; what says that it began, and what lets it go."""
    begun, go = threading.Event(), threading.Event()

    @task(**{"cache_policy": ALONE, **options})
    def work(x: int) -> list[int]:
        calls.append(x)
        if x == 1 and not begun.is_set():
            begun.set()
            assert go.wait(DEADLINE_S)
        return [x]

    return work, begun, go


def test_an_element_that_waits_holds_no_slot() -> None:
    calls: list[int] = []
    work, begun, go = held(calls)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def around() -> list[str]:
        futures = work.map([1, 2, 3, 4])
        others = [future for _, future in zip(range(3), as_completed(futures), strict=False)]
        assert sorted(future.result()[0] for future in others) == [2, 3, 4]
        go.set()
        return [future.state.name for future in futures if future.result()]

    with being_made(work, 1):
        assert begun.wait(DEADLINE_S)
        states = around()

    assert Counter(states) == {"Cached": 1, "Completed": 3}
    assert sorted(calls) == [1, 2, 3, 4]


@pytest.mark.parametrize("runner", ["inline", "threads", "processes"])
def test_flows_that_map_over_the_same_at_once_do_it_once(runner: str, ledger: Ledger) -> None:
    @task(isolation="serializable", cache_policy=INPUTS)
    def work(x: int) -> int:
        ledger.note("ran", x)
        if ledger.claim(str(x)) == 0 and x % 4 == 0:
            raise ValueError(x)
        return x

    @flow(task_runner=runner)
    def around() -> Counter[str]:
        made = task(lambda x: x % 8).map(range(16))
        futures = work.map(made)
        futures.wait()
        return Counter(future.state.name for future in futures)

    with ThreadPoolExecutor(2) as pool:
        states = sum([flow.result() for flow in [pool.submit(around) for _ in range(2)]], Counter())

    assert ledger.counts("ran") == {x: 2 if x % 4 == 0 else 1 for x in range(8)}
    assert states == {"Completed": 8, "Failed": 2, "Cached": 22}


def test_where_the_first_fails_the_next_one_runs() -> None:
    calls: list[int] = []
    begun, go = threading.Event(), threading.Event()

    @task(cache_policy=ALONE)
    def work() -> int:
        calls.append(1)
        if len(calls) == 1:
            begun.set()
            assert go.wait(DEADLINE_S)
            raise ValueError
        return 1

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(work, return_state=True)
        assert begun.wait(DEADLINE_S)
        second = pool.submit(work, return_state=True)
        go.set()
        states = [first.result(DEADLINE_S).name, second.result(DEADLINE_S).name]

    assert (states, len(calls)) == (["Failed", "Completed"], 2)


def test_an_async_call_waits_without_stopping_the_loop() -> None:
    calls: list[int] = []

    async def around() -> list[str]:
        begun, go = asyncio.Event(), asyncio.Event()

        @task(cache_policy=ALONE)
        async def work() -> int:
            calls.append(1)
            begun.set()
            await go.wait()
            return 1

        first = asyncio.create_task(work(return_state=True))
        await begun.wait()
        second = asyncio.create_task(work(return_state=True))
        abandoned = asyncio.create_task(work())
        for _ in range(10):
            await asyncio.sleep(0)
        abandoned.cancel()
        go.set()
        return [(await first).name, (await second).name, (await work(return_state=True)).name]

    assert asyncio.run(around()) == ["Completed", "Cached", "Cached"]
    assert calls == [1]


def test_a_generator_task_runs_once_too() -> None:
    calls: list[int] = []

    @task(cache_policy=ALONE)
    def numbers() -> Iterator[int]:
        calls.append(1)
        yield from (1, 2)

    assert [list(numbers()), list(numbers())] == [[1, 2], [1, 2]]
    assert calls == [1]


def test_without_it_nothing_is_claimed(fanfold_home: Path) -> None:
    work = counted([], cache_policy=INPUTS)
    flow(lambda: work.map([1, 2, 1]).result(), task_runner="threads")()
    work(3)

    assert not (fanfold_home / "results" / "claims").exists()


def test_what_is_refreshed_is_made_by_one_after_another() -> None:
    calls: list[int] = []
    work, begun, go = held(calls, refresh_cache=True)

    with being_made(work, 1):
        assert begun.wait(DEADLINE_S)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(work, 1, return_state=True)
            go.set()
            assert second.result(DEADLINE_S).name == "Completed"

    assert calls == [1, 1]


def test_a_store_that_cannot_be_claimed_on_fails_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(self: FsspecStore, name: str, payload: bytes) -> bool:
        raise StoreError("it can't create exclusively")

    monkeypatch.setattr(FsspecStore, "create", create)
    calls: list[Any] = []
    work = counted(calls, cache_policy=ALONE, result_storage=tmp_path)

    with pytest.raises(StoreError, match=r"noted can't have the lease of its key: it can't create"):
        work(1)

    assert calls == []


def test_a_damaged_result_is_made_again_by_the_one_that_has_the_lease(tmp_path: Path) -> None:
    calls: list[Any] = []
    work = counted(calls, cache_policy=ALONE, result_storage=tmp_path)
    flow(lambda: work.map([1]).result(), task_runner="threads")()
    (segment,) = (tmp_path / "tasks").glob("*/segments/*/*")
    segment.write_bytes(b"x" * segment.stat().st_size)

    value = flow(lambda: work.submit(1).result(), task_runner="threads")()

    assert value == ["result", 1] and calls == [1, 1]


# Transactions.


def opened(key: str, **options: Any) -> Any:
    return transaction(key=key, isolation_level=IsolationLevel.SERIALIZABLE, **options)


def test_one_transaction_of_a_key_is_open_at_a_time() -> None:
    order: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def first() -> None:
        with opened("k") as txn:
            begun.set()
            assert go.wait(DEADLINE_S)
            order.append("first")
            txn.stage({"by": "first"})

    def second() -> Any:
        with opened("k") as txn:
            order.append("second")
            assert txn.is_committed()
            return txn.read()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        assert begun.wait(DEADLINE_S)
        other = pool.submit(second)
        go.set()
        one.result(DEADLINE_S)
        assert other.result(DEADLINE_S) == {"by": "first"}

    assert order == ["first", "second"]


@pytest.mark.parametrize("mode", CommitMode)
def test_a_transaction_that_failed_lets_the_next_one_begin(mode: CommitMode) -> None:
    for _ in range(2):
        with pytest.raises(ValueError), opened("k", commit_mode=mode) as txn:
            assert txn.is_active()
            raise ValueError


def test_transactions_in_each_other_may_have_one_key() -> None:
    with opened("k") as outer, opened("k") as inner:
        assert outer.is_active() and inner.is_active()

    assert outer.is_committed() and inner.is_committed()


def test_an_async_transaction_waits_without_stopping_the_loop() -> None:
    order: list[int] = []

    async def one(number: int) -> None:
        async with atransaction(key="k", isolation_level="serializable", overwrite=True):
            order.append(number)
            for _ in range(10):
                await asyncio.sleep(0)
            order.append(number)

    async def around() -> None:
        await asyncio.gather(one(1), one(2))

    asyncio.run(around())

    assert order in ([1, 1, 2, 2], [2, 2, 1, 1])


async def briefly_open(order: list[str]) -> None:
    async with atransaction(key="k", isolation_level="serializable", overwrite=True) as txn:
        order.append("begun")
        await asyncio.sleep(0)
        txn.stage("made")
    order.append("over")


def test_async_transactions_that_wait_leave_the_threads_of_the_loop_to_who_is_open() -> None:
    order: list[str] = []

    async def around() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        await asyncio.gather(*[briefly_open(order) for _ in range(3)])

    asyncio.run(around())

    assert Counter(order) == {"begun": 3, "over": 3}


def test_whoever_stops_waiting_for_a_transaction_is_not_given_its_lease_later() -> None:
    order: list[str] = []

    async def around() -> None:
        with opened("k"):
            waiting = asyncio.create_task(briefly_open(order))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await briefly_open(order)

    asyncio.run(around())

    assert order == ["begun", "over"]


def test_who_is_stopped_while_it_looks_for_the_record_gives_the_lease_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    looks, go_on = threading.Event(), threading.Event()

    def look(_: TransactionRecord) -> bool:
        looks.set()
        return not go_on.wait(DEADLINE_S)

    async def around() -> None:
        async with atransaction(key="k", isolation_level="serializable"):
            raise AssertionError("it was entered")

    async def stopped() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(TransactionRecord, "exists", look)
            looking = asyncio.create_task(around())
            await asyncio.to_thread(looks.wait, DEADLINE_S)
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await looking
            go_on.set()
        await briefly_open(order)

    asyncio.run(stopped())

    assert order == ["begun", "over"]


def test_tasks_inside_hold_their_keys_until_the_transaction_is_over() -> None:
    calls: list[int] = []
    work, _, go = held(calls, cache_policy=INPUTS)
    go.set()
    alone = work.with_options(isolation="serializable")

    with ThreadPoolExecutor(1) as pool:
        with opened("k"):
            work(1)
            work(1)  # would wait for ever, could it not see that its own transaction has the key
            other = pool.submit(alone, 1, return_state=True)
            assert calls == [1, 1]
        assert other.result(DEADLINE_S).name == "Cached"

    assert calls == [1, 1]


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_a_transaction_that_is_taken_back_gives_its_keys_back(runner: str, ledger: Ledger) -> None:
    @task(cache_policy=TASK_SOURCE + INPUTS, isolation="serializable")
    def work(x: int) -> int:
        ledger.note("ran", x)
        return x

    @flow(task_runner=runner)
    def around() -> None:
        with transaction():
            assert work.map([1, 2]).result() == [1, 2]
            raise ValueError

    with pytest.raises(ValueError):
        around()

    assert [work(1), work(2)] == [1, 2]
    assert ledger.counts("ran") == {1: 2, 2: 2}
