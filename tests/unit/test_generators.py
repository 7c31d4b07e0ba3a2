"""Flows and tasks that yield: item by item to who calls them, as lists to who submits them."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from fanfold import flow, runtime, task
from fanfold.cache_policies import INPUTS
from fanfold.engine.context import current
from fanfold.values.errors import SessionClosed

DEADLINE_S = 10.0


def items_of(made: Any, *args: Any, most: int = 99) -> tuple[list[Any], BaseException | None]:
    """Take items of a generator flow or task of either kind; return them and what it raised."""
    taken: list[Any] = []

    def take() -> None:
        items = made(*args)
        for item in items:
            taken.append(item)
            if len(taken) == most:
                items.close()

    async def take_later() -> None:
        items = made(*args)
        async for item in items:
            taken.append(item)
            if len(taken) == most:
                await items.aclose()

    try:
        asyncio.run(take_later()) if made.is_async else take()
    except Exception as error:
        return taken, error
    return taken, None


def both_kinds(body: Callable[[], Any]) -> list[Callable[[], Any]]:
    """Return a generator function and an async one of the same items."""

    def plain() -> Generator[Any]:
        yield from body()

    async def later() -> AsyncGenerator[Any]:
        for item in body():
            await asyncio.sleep(0)
            yield item

    return [plain, later]


@pytest.mark.parametrize("make", [flow, task])
@pytest.mark.parametrize("delay", [0, 0.001])
def test_each_retry_yields_from_the_beginning_again(make: Any, delay: float) -> None:
    def body() -> Generator[int]:
        yield 1
        yield 2
        raise ValueError("no")

    for fn in both_kinds(body):
        items, error = items_of(make(fn, retries=2, retry_delay_seconds=delay))

        assert items == [1, 2, 1, 2, 1, 2]
        assert isinstance(error, ValueError)


@pytest.mark.parametrize("make", [flow, task])
def test_items_come_as_they_are_made(make: Any) -> None:
    made: list[int] = []

    def body() -> Generator[int]:
        for number in range(3):
            made.append(number)
            yield number

    items = make(body)()

    assert (next(items), made) == (0, [0])
    assert (next(items), made) == (1, [0, 1])
    assert list(items) == [2]


def test_only_the_generators_own_steps_are_inside_its_run() -> None:
    names: list[Any] = []

    @task
    def work() -> Generator[Any]:
        for _ in range(2):
            yield runtime.task_run.name

    @flow
    def around() -> Generator[Any]:
        for name in work():
            names.append((name, runtime.task_run.name, runtime.flow_run.name))
            yield runtime.flow_run.name

    for name in around():
        assert (name, current()) == ("around", None)
    assert names == [("work", None, "around")] * 2


@pytest.mark.parametrize("make", [flow, task])
def test_a_consumer_that_stops_early_completes_the_run_and_closes_the_generator(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[Any] = []
    told: list[str] = []

    def body() -> Generator[int]:
        try:
            yield from range(5)
        finally:
            closed.append(runtime.flow_run.name or runtime.task_run.name)

    hooks = {
        option: [lambda owner, run, state: told.append(state.name)]
        for option in ("on_completion", "on_failure")
    }
    for fn in both_kinds(body):
        caplog.clear()
        with caplog.at_level(logging.INFO, "fanfold"):
            items, error = items_of(make(fn, name="work", retries=2, **hooks), most=2)

        assert (items, error) == ([0, 1], None)
        if make is flow:
            assert "Completed in" in caplog.records[-1].getMessage()

    assert told == ["Completed", "Completed"]
    assert closed == ["work", "work"]


def test_a_flow_whose_consumer_stops_early_starts_nothing_more_and_waits_for_nothing() -> None:
    futures: list[Any] = []
    entered, go = threading.Event(), threading.Event()

    @task
    def blocked() -> None:
        entered.set()
        assert go.wait(DEADLINE_S)

    @flow
    def around() -> Generator[int]:
        futures.append(blocked.submit())
        futures.append(blocked.submit(wait_for=futures[:1]))
        assert entered.wait(DEADLINE_S)
        yield 1
        yield 2

    assert items_of(around, most=1) == ([1], None)
    assert futures[1].state.name == "Cancelled"
    with pytest.raises(SessionClosed):
        futures[0].run.owner.session()
    go.set()


@pytest.mark.parametrize("make", [flow, task])
def test_what_a_generator_raises_while_it_is_closed_reaches_who_closes_it(make: Any) -> None:
    def body() -> Generator[int]:
        try:
            yield 1
            yield 2
        finally:
            raise ValueError("while closing")

    items, error = items_of(make(body, retries=2), most=1)

    assert items == [1]
    assert str(error) == "while closing"


def test_a_kept_result_is_yielded_again_and_a_part_of_one_is_never_kept(tmp_path: Path) -> None:
    begun: list[None] = []

    def body() -> Generator[int]:
        begun.append(None)
        yield from range(4)

    for number, fn in enumerate(both_kinds(body)):
        begun.clear()
        made = task(fn, name=f"work-{number}", cache_policy=INPUTS, result_storage=tmp_path)
        assert items_of(made, most=2) == ([0, 1], None)
        assert items_of(made) == ([0, 1, 2, 3], None)
        assert items_of(made) == ([0, 1, 2, 3], None)
        assert len(begun) == 2


@pytest.mark.parametrize("make", [flow, task])
def test_submitted_and_mapped_generators_give_lists(make: Any) -> None:
    def plain(x: int) -> Generator[int]:
        yield x
        yield x + 1

    async def later(x: int) -> AsyncGenerator[int]:
        yield x
        yield x + 1

    for fn in (plain, later):
        made = make(fn)

        @flow
        def around(made: Any = made) -> Any:
            return [made.submit(1).result(), made.map([1, 5]).result()]

        assert around() == [[1, 2], [[1, 2], [5, 6]]]


@pytest.mark.parametrize("make", [flow, task])
def test_the_state_of_a_generator_holds_its_items(make: Any) -> None:
    def plain() -> Generator[int]:
        yield 1
        yield 2

    assert make(plain)(return_state=True).result() == [1, 2]


def test_a_generator_flow_waits_for_what_it_submitted_when_it_ends() -> None:
    done: list[int] = []

    @flow
    def around() -> Generator[int]:
        task(done.append).map([1, 2, 3])
        yield 0

    assert list(around()) == [0]
    assert sorted(done) == [1, 2, 3]


@pytest.mark.parametrize("make", [flow, task])
def test_objects_with_a_generator_as_call_yield_too(make: Any) -> None:
    class Counting:
        def __call__(self, most: int) -> Generator[int]:
            yield from range(most)

    class CountingLater:
        async def __call__(self, most: int) -> AsyncGenerator[int]:
            for number in range(most):
                yield number

    assert items_of(make(Counting(), name="counts"), 3) == ([0, 1, 2], None)
    assert items_of(make(CountingLater(), name="counts"), 3) == ([0, 1, 2], None)
