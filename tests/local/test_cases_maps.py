"""Maps on every runner of this machine: what goes in, what is in flight, fails, and costs."""

import asyncio
import gc
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from fanfold import MapFuture, allow_failure, as_completed, flow, quote, task, unmapped, wait
from fanfold.ports.runner import TaskRunner
from fanfold.task_runners import ProcessTaskRunner, ThreadPoolTaskRunner
from fanfold.testing.ledger import Gate, Latch, Ledger, pause
from fanfold.values.errors import (
    MapError,
    MappingLengthMismatch,
    MappingMissingIterable,
    ResourcesUnavailable,
)

DEADLINE_S = 20.0

MakeGate = Callable[..., tuple[Gate, Latch]]


def until(holds: Callable[[], bool]) -> None:
    """Return once something holds that other processes do, and nobody tells of."""
    deadline = time.monotonic() + DEADLINE_S / 2
    while not holds():
        assert time.monotonic() < deadline
        pause()


@task
def same(x: Any) -> Any:
    return x


@task
def add(x: int, y: int = 10, *, z: int = 0) -> int:
    return x + y + z


@task
def fails_on_two(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x


def test_whatever_can_be_walked_over_is_mapped_over(inside: Any) -> None:
    """And what can't, or is marked, is the same for all."""

    @task
    def gathers(x: Any, y: list[int] = [1, 4], **others: Any) -> Any:  # noqa: B006
        return x, sum(y), others

    def body() -> None:
        for given in ([1, 2, 3], (1, 2, 3), range(1, 4), {1, 2, 3}, {1: 0, 2: 0, 3: 0}):
            assert add.map(given).result() == [11, 12, 13]
        assert add.map(n for n in (1, 2, 3)).result() == [11, 12, 13]
        assert add.map(iter([1, 2]), iter([3, 4])).result() == [4, 6]
        assert add.map([1, 2, 3], [4, 5, 6]).result() == [5, 7, 9]
        assert add.map([1, 2], 5, z=[1, 2]).result() == [7, 9]
        assert add.map([1, 2], unmapped(5), z=unmapped(1)).result() == [7, 8]
        assert gathers.map(["a"], k=["xy"], s="xy", u=unmapped([1])).result() == [
            ("a", 5, {"k": "xy", "s": "xy", "u": [1]})
        ]
        assert same.map(quote([1, 2])).result() == [1, 2]
        assert add.map(quote(1), [1, 2]).result() == [2, 3]
        assert same.map([]).result() == [] and same.map(same.map([])).result() == []
        assert same.map(same.submit([1, 2])).result() == [1, 2]
        with pytest.raises(MappingMissingIterable):
            add.map(5, 6)
        with pytest.raises(MappingLengthMismatch):
            add.map([1, 2, 3], [1, 2])

    inside(body)


def test_a_map_over_a_map_loses_only_what_failed(inside: Any) -> None:
    def body() -> None:
        first = fails_on_two.map([1, 2, 3])
        then, allowed = same.map(first), same.map(allow_failure(first))
        with_failed = same.map([1, 2], wait_for=[allow_failure(first)])
        pairs = pair.map([0, 1], allow_failure(fails_on_two.submit(2)))
        wait([then, allowed, with_failed, pairs])
        assert [future.state.name for future in then] == [
            *("Completed", "UpstreamFailed", "Completed"),
        ]
        assert repr(allowed.result()) == "[1, ValueError('two'), 3]"
        assert with_failed.result() == [1, 2]
        assert repr(pairs.result()) == "[(0, ValueError('two')), (1, ValueError('two'))]"

    @task
    def pair(x: Any, y: Any) -> Any:
        return x, y

    inside(body)


def test_a_hundred_thousand_elements_are_one_run_in_bounded_memory(inside: Any) -> None:
    """Far less than an object per element stays; Prefect holds some kB for each."""
    count = 100_000

    def body() -> None:
        process = psutil.Process()
        same.map(range(1_000)).wait()
        gc.collect()
        before, objects = process.memory_info().rss, len(gc.get_objects())
        futures = same.map(range(count))
        futures.wait()
        grown = process.memory_info().rss - before
        assert len(gc.get_objects()) - objects < count / 10
        assert futures.states == {"Completed": count}
        assert not futures.run.details and futures.run.chunks_made < 400
        assert grown < 40 << 20
        assert futures[count - 1].result() == count - 1

    inside(body)


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_an_endless_map_never_has_more_in_flight_than_it_may(
    wide: TaskRunner, ledger: Ledger, limit: int
) -> None:
    """Started and not yet taken by whoever walks over it."""

    @task
    def noted(x: int) -> int:
        ledger.note("start", x)
        return x

    def body() -> None:
        for taken, future in enumerate(noted.map(itertools.count(), max_in_flight=limit)):
            assert len(ledger.lines("start")) <= taken + limit
            assert future.result() == taken
            assert len(ledger.lines("start")) <= taken + limit
            if taken == 60:
                break

    flow(body, task_runner=wide)()
    assert len(ledger.lines("start")) <= 61 + limit


@pytest.mark.parametrize("read", ["list", "result", "walk", "as_completed", "await"])
def test_however_a_map_is_read_no_more_run_than_may(
    wide: TaskRunner, ledger: Ledger, read: str
) -> None:
    limit = 2

    @task
    def noted(x: int) -> int:
        ledger.note("start", x)
        ledger.note("end", x)
        return x

    def body() -> Any:
        futures = noted.map(range(60) if read == "list" else iter(range(60)), max_in_flight=limit)
        if read == "walk":
            return [future.result() for future in futures]
        if read == "as_completed":
            return sorted(future.result() for future in as_completed(futures))
        return futures.result()

    async def body_later() -> Any:
        return await noted.map(iter(range(60)), max_in_flight=limit)

    if read == "await":
        assert asyncio.run(flow(body_later, task_runner=wide)()) == list(range(60))
    else:
        assert flow(body, task_runner=wide)() == list(range(60))
    with open(f"{ledger.folder}/ledger") as lines:
        steps = [1 if line.startswith("start") else -1 for line in lines]
    assert max(itertools.accumulate(steps)) <= limit
    assert len(steps) == 120


@pytest.mark.parametrize(("limit", "at_once"), [(2, 2), (3, 3), (100, 3)])
def test_a_map_over_a_list_has_as_many_in_flight_as_it_may(
    wide: TaskRunner, gates: MakeGate, ledger: Ledger, limit: int, at_once: int
) -> None:
    """And no fewer: the limit isn't one chunk's, whose elements wait for each other."""
    gate, latch = gates()

    @task
    def waits(x: int) -> int:
        ledger.note("start", x)
        assert gate.wait(DEADLINE_S)
        return x

    def body() -> list[int]:
        futures = waits.map(range(12), max_in_flight=limit)
        try:
            until(lambda: len(ledger.lines("start")) >= at_once)
            assert len(ledger.lines("start")) == at_once
        finally:
            latch.open()
        return futures.result()

    assert flow(body, task_runner=wide)() == list(range(12))


def test_a_failed_element_of_a_chunk_is_retried_alone(inside: Any, ledger: Ledger) -> None:
    @task(chunk_size=4)
    def once_bad(x: int) -> int:
        ledger.note("call", x)
        if x == 5 and not ledger.claim("bad"):
            raise ValueError("five")
        return x * 2

    def body() -> None:
        futures = once_bad.map(range(10))
        futures.wait()
        assert futures.run.chunks_made == 3
        assert futures.states == {"Completed": 9, "Failed": 1}
        with pytest.raises(ValueError, match=r"^five"):
            futures.result()
        retried = futures.retry_failed()
        assert retried.result() == [10]
        assert futures.result() == [x * 2 for x in range(10)]
        assert futures.states == {"Completed": 10}

    inside(body)

    assert ledger.counts("call") == Counter([*range(10), 5])


def test_failures_are_collected_in_the_places_of_values(inside: Any) -> None:
    def body() -> list[Any]:
        collecting = fails_on_two.map([1, 2, 3], on_error="collect")
        assert repr(collecting.result()) == "[1, ValueError('two'), 3]"
        assert repr(collecting[1:].result()) == "[ValueError('two'), 3]"
        with pytest.raises(ValueError, match="two"):
            collecting.result(raise_on_failure=True)
        return collecting

    assert repr(inside(body)) == "[1, ValueError('two'), 3]"


def test_failures_of_a_map_are_told_by_kind_and_place(inside: Any) -> None:
    @task
    def breaks(x: int) -> Any:
        if x % 10 == 3:
            raise KeyError(x)
        if x % 2:
            raise ValueError(f"odd {x}")
        return x

    def body() -> None:
        futures = same.map(breaks.map(range(40)))
        with pytest.raises(MapError) as told:
            breaks.map(range(40)).result()
        assert isinstance(told.value, ValueError) and told.value.args == ("odd 1",)
        groups = told.value.groups
        assert [(g.kind, g.count, g.first) for g in groups] == [
            ("ValueError", 16, (1, 5, 7)),
            ("KeyError", 4, (3, 13, 23)),
        ]
        assert all(" in breaks" in g.where and Path(__file__).name in g.where for g in groups)
        with pytest.raises(MapError, match=r"20 of 40 elements of `same` failed") as told:
            futures.result()
        assert {group.kind for group in told.value.groups} == {"UpstreamFailed"}
        assert [group.count for group in told.value.groups] == [16, 4]
        assert str(told.value).count("\n") == 3

    inside(body)


class Shipped:
    """A big value that notes in which process it was unpickled."""

    def __init__(self, ledger: Ledger, size: int) -> None:
        self.ledger = ledger
        self.content = bytes(size)

    def __reduce__(self) -> Any:
        self.ledger.note("pickled", os.getpid())
        return _unpacked, (self.ledger, self.content)


def _unpacked(ledger: Ledger, content: bytes) -> Shipped:
    ledger.note("unpickled", os.getpid())
    return Shipped(ledger, len(content))


def test_what_is_the_same_for_all_is_shipped_once_per_process(ledger: Ledger) -> None:
    """20 MB to 300 elements in some dozen chunks; also as the result of another call."""
    size = 20 << 20

    @task
    def big() -> bytes:
        return bytes(size)

    @task
    def measure(x: int, held: Any) -> tuple[int, int, int]:
        return x, len(getattr(held, "content", held)), os.getpid()

    def body() -> tuple[list[Any], list[Any], int]:
        futures = measure.map(range(300), unmapped(Shipped(ledger, size)), chunk_size=10)
        by_hand = futures.result()
        return by_hand, measure.map(range(300), big.submit()).result(), futures.run.chunks_made

    by_hand, made, chunks = flow(body, task_runner=ProcessTaskRunner(2))()

    assert chunks == 30
    assert (
        [row[:2] for row in by_hand] == [row[:2] for row in made] == [(x, size) for x in range(300)]
    )
    assert ledger.counts("pickled") == {os.getpid(): 1}
    unpickled = ledger.counts("unpickled")
    assert set(unpickled.values()) == {1} and set(unpickled) <= {row[2] for row in by_hand}


def test_what_no_local_runner_can_give_is_refused_in_words(runner: TaskRunner) -> None:
    on_gpu = same.with_options(resources={"gpu": 1})

    def body() -> None:
        for ask in (lambda: on_gpu.submit(1), lambda: on_gpu.map([1])):
            with pytest.raises(ResourcesUnavailable, match="gpu=1, but its runner can't hold"):
                ask()
        assert on_gpu(1) == 1
        assert same.with_options(resources={"cpu": 1}).submit(1).result() == 1

    flow(body, task_runner=runner)()


def test_a_retry_delay_holds_no_slot(narrow: TaskRunner, ledger: Ledger) -> None:
    """The other task runs between the two tries, though there is one slot and a long delay."""

    @task(retries=1, retry_delay_seconds=0.5)
    def flaky(x: int) -> int:
        ledger.note("try", x)
        if x == 1 and not ledger.claim("tried"):
            raise ValueError("once")
        return x

    @task
    def other(x: int) -> int:
        ledger.note("other", x)
        return x

    def body() -> Any:
        waiting = flaky.map([0, 1, 2])
        meanwhile = other.submit(1)
        assert meanwhile.result(timeout=DEADLINE_S) == 1
        assert waiting[1].state.name == "AwaitingRetry"
        assert waiting[0].result() == 0 and waiting[2].result() == 2
        return waiting

    assert flow(body, task_runner=narrow)() == [0, 1, 2]
    with open(f"{ledger.folder}/ledger") as lines:
        assert [line.split() for line in lines] == [
            *([["try", str(x)] for x in range(3)]),
            ["other", "1"],
            ["try", "1"],
        ]


def test_two_maps_share_the_slots_of_their_flow(wide: TaskRunner, gates: MakeGate) -> None:
    """A second map needn't wait for the first one's end."""
    gate, latch = gates()

    @task
    def waits(x: int) -> int:
        assert gate.wait(DEADLINE_S)
        return x

    def body() -> Any:
        first = waits.map([1, 2], chunk_size=1)
        second = same.map(range(100))
        assert second.result(timeout=DEADLINE_S) == list(range(100))
        latch.open()
        return first

    assert flow(body, task_runner=wide)() == [1, 2]


def test_a_map_is_taken_apart_without_a_deadlock_at_one_slot() -> None:
    """Elements that need earlier elements of other maps, which wait in the same queue."""

    def body() -> list[int]:
        column: MapFuture[Any] = add.map(range(50), 0)
        for _ in range(20):
            column = add.map(column, column[::-1])
        return column.result()

    for runner in (ThreadPoolTaskRunner(1), ProcessTaskRunner(1)):
        values = flow(body, task_runner=runner)()
        assert values == [49 * 2**19] * 50
