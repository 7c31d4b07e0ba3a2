"""Calls with equal keys: one runs, the others take what it has made."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fanfold import INPUTS, TASK_SOURCE, flow, task
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.testing.ledger import Ledger
from tests.unit.keeping_tasks import counted

every_runner = pytest.mark.parametrize("runner", ["inline", "threads", "processes"])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path))


def mapped(runner: Any, work: Any, *columns: Any) -> tuple[Counter[str], list[Any]]:
    """Map in a flow; return how many elements ended in which state, and their values."""

    @flow(task_runner=runner)
    def around() -> tuple[Counter[str], list[Any]]:
        futures = work.map(*columns)
        futures.wait()
        states = Counter(future.state.name for future in futures)
        return states, [future.result(raise_on_failure=False) for future in futures]

    return around()


@every_runner
def test_a_hundred_elements_with_the_same_inputs_run_once(runner: str, ledger: Ledger) -> None:
    @task(cache_policy=INPUTS)
    def work(x: dict[str, int], y: int) -> list[int]:
        ledger.note("ran", x["at"])
        return [x["at"], y]

    states, values = mapped(runner, work, [{"at": 1} for _ in range(100)], [2] * 100)

    assert ledger.counts("ran") == {1: 1}
    assert states == {"Completed": 1, "Cached": 99}
    assert values == [[1, 2]] * 100 and len({id(value) for value in values}) == 100


@every_runner
def test_those_that_wait_run_themselves_where_the_first_fails(runner: str, ledger: Ledger) -> None:
    @task(cache_policy=INPUTS)
    def work(x: int) -> int:
        ledger.note("ran", x)
        if ledger.claim(str(x)) < 2:
            raise ValueError(x)
        return x

    states, _ = mapped(runner, work, [1] * 20)

    assert states["Failed"] == 2 and states["Failed"] + states["Cached"] < 20
    assert ledger.counts("ran")[1] == states["Failed"] + states["Completed"]


def parity(context: Any, arguments: dict[str, Any]) -> str:
    """Return a key that is equal for inputs that differ, which only a chunk can see."""
    return str(arguments["x"] % 2)


@every_runner
@pytest.mark.parametrize("kept_at", [{}, {"result_storage_key": "at-{parameters[x]}"}])
@pytest.mark.parametrize("extra", [{}, {"cache_result_in_memory": False}])
def test_equal_keys_of_different_inputs_run_once_inside_a_chunk(
    runner: str, ledger: Ledger, extra: dict[str, Any], kept_at: dict[str, str]
) -> None:
    @task(cache_key_fn=parity, chunk_size=10, **extra, **kept_at)
    def work(x: int) -> list[int]:
        ledger.note("ran", x)
        return [x]

    states, values = mapped(runner, work, range(10))

    assert ledger.counts("ran") == {0: 1, 1: 1}
    assert states == {"Completed": 2, "Cached": 8}
    assert values == [[x % 2] for x in range(10)]


@every_runner
def test_async_elements_of_a_chunk_wait_for_the_one_that_makes_their_value(
    runner: str, ledger: Ledger
) -> None:
    @task(cache_key_fn=parity, chunk_size=8)
    async def work(x: int) -> int:
        await asyncio.sleep(0)
        ledger.note("ran", x)
        if x == 0:
            raise ValueError(x)
        return x

    states, values = mapped(runner, work, range(8))

    assert ledger.counts("ran") == {0: 1, 1: 1, 2: 1}
    assert states == {"Failed": 1, "Completed": 2, "Cached": 5}
    assert values[1:] == [1, 2, 1, 2, 1, 2, 1]


def test_hooks_hear_of_cached_elements_with_values_of_their_own() -> None:
    heard: list[Any] = []
    calls: list[int] = []
    work = counted(calls, cache_key_fn=parity, chunk_size=3)
    work.on_completion(lambda task, run, state: heard.append((state.name, state.result())))

    _, values = mapped("threads", work, [1, 3, 5])

    assert calls == [1] and values == [["result", 1]] * 3
    assert Counter(name for name, _ in heard) == {"Completed": 1, "Cached": 2}
    assert len({id(value) for _, value in heard}) == 3


@pytest.mark.parametrize("extra", [{"refresh_cache": True}, {"persist_result": True}])
def test_elements_that_share_no_result_all_run(extra: dict[str, Any]) -> None:
    calls: list[int] = []
    policy = {} if "persist_result" in extra else {"cache_policy": INPUTS}

    states, _ = mapped("threads", counted(calls, **policy, **extra), [1, 1, 1])

    shared = extra.get("persist_result", False)
    assert len(calls) == (1 if shared else 3)
    assert states == ({"Completed": 1, "Cached": 2} if shared else {"Completed": 3})


def test_what_an_argument_that_does_not_count_is_makes_no_difference() -> None:
    calls: list[int] = []

    @task(cache_policy=INPUTS - "debug")
    def work(x: int, *, debug: int) -> int:
        calls.append(debug)
        return x

    @flow(task_runner="threads")
    def around() -> list[str]:
        futures = work.map([1] * 4, debug=range(4))
        return [future.state.name for future in futures if future.wait() is None]

    assert sorted(around()) == ["Cached"] * 3 + ["Completed"]
    assert calls == [0]


def test_where_the_code_alone_is_the_key_one_element_runs() -> None:
    calls: list[int] = []

    states, values = mapped("threads", counted(calls, cache_policy=TASK_SOURCE), range(50))

    assert (len(calls), states["Cached"]) == (1, 49)
    assert values == [["result", calls[0]]] * 50


def test_a_segment_that_cannot_be_written_leaves_all_elements_their_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def write(self: Any, name: str, parts: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(FsspecStore, "write", write)
    calls: list[int] = []
    work = counted(calls, cache_key_fn=parity, chunk_size=4, result_storage=tmp_path)

    _, values = mapped("threads", work, range(4))

    assert calls == [0, 1] and values == [["result", x % 2] for x in range(4)]
    assert "the disk is full" in caplog.text
