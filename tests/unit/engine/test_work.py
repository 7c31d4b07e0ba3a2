"""A chunk at work: one story for each element, whichever of three ways it is told."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine import wire
from fanfold.engine.chunking import Batch
from fanfold.engine.context import RunInfo
from fanfold.engine.inputs import Inputs, Literal, Piece, Taken, load_stored
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.segments import Index
from fanfold.engine.shift import ASYNC_WIDTH
from fanfold.engine.spec import CacheSpec, Layout, Mapped, TaskSpec
from fanfold.engine.work import Work
from fanfold.values.errors import KeyNotStable, NotPicklable, ValuesLost
from fanfold.values.messages import Report
from fanfold.values.states import StateName

STORE = FsspecStore("memory://unused")
UNCACHED = CacheSpec(
    key=lambda spec, arguments: None, store=STORE, folder="", lookup=Lookup.merge(STORE, [])
)
"""Finds nothing and keeps nothing, but takes elements one by one."""


@dataclass
class Site:
    worker: str = "test"
    stops: bool = False
    said: list[bytes] = field(default_factory=list)

    def say(self, message: bytes) -> None:
        self.said.append(message)

    def session(self, heard: Any) -> None:
        """Carry nothing further."""

    def waiting(self) -> AbstractContextManager[None]:
        return nullcontext()

    def stopping(self) -> bool:
        return self.stops


def spec_of(fn: Any, **options: Any) -> TaskSpec:
    options.setdefault("layout", Layout(args=(Mapped(0),)))
    return TaskSpec(fn=fn, info=RunInfo(kind="Task run", id="1", name="task"), **options)


def worked(
    spec: TaskSpec, items: Sequence[Any], site: Site | None = None, **options: Any
) -> tuple[Report, Any]:
    work = Work(
        id="chunk",
        label="task",
        spec_key="1",
        spec=spec,
        inputs=options.pop("inputs", None) or Inputs(columns=(Literal(items=items),)),
        batch=Batch(spans=((0, len(items)),)),
        **options,
    )
    return work.run(options.get("needs", ()), (), site or Site())


def labels(report: Report) -> list[str]:
    return [StateName(code).label for code, count in report.states for _ in range(count)]


class Program:
    """A task whose n-th call for an element does what the element's plan says."""

    def __init__(self, plans: Sequence[Sequence[Any]]) -> None:
        self.plans = plans
        self.calls = [0] * len(plans)

    def __call__(self, index: int) -> Any:
        plan = self.plans[index]
        step = plan[min(self.calls[index], len(plan) - 1)]
        self.calls[index] += 1
        if isinstance(step, type):
            raise step(index)
        return step

    async def later(self, index: int) -> Any:
        return self(index)


def outcomes(spec: TaskSpec, program: Program) -> Any:
    report, values = worked(spec, range(len(program.plans)))
    details = {
        at: (d.attempts, d.again_in_s, d.failure and (d.failure.kind, d.failure.message))
        for at, d in sorted(report.details.items())
    }
    return report.reached, labels(report), values, details, program.calls


actions = st.sampled_from([1, None, "x", ValueError, StopIteration, KeyboardInterrupt, SystemExit])
programs = st.lists(st.lists(actions, min_size=1, max_size=3), max_size=8)


@given(programs, st.integers(0, 2), st.sampled_from([(), (0.0,), (5.0,), (0.0, 5.0)]))
def test_the_fast_path_and_the_book_come_to_the_same(
    plans: list[list[Any]], retries: int, delays_s: tuple[float, ...]
) -> None:
    options: dict[str, Any] = {"retries": retries, "delays_s": delays_s}
    fast, book = Program(plans), Program(plans)

    by_the_book = outcomes(spec_of(book, cache=UNCACHED, **options), book)

    assert outcomes(spec_of(fast, **options), fast) == by_the_book


@given(st.lists(st.lists(st.sampled_from([1, "x", ValueError]), min_size=1), max_size=8))
def test_async_elements_come_to_the_same_too(plans: list[list[Any]]) -> None:
    plain, slow = Program(plans), Program(plans)

    expected = outcomes(spec_of(plain, retries=1), plain)

    assert outcomes(spec_of(slow.later, is_async=True, retries=1), slow) == expected


def test_an_element_that_raises_harms_only_itself() -> None:
    report, values = worked(spec_of(lambda n: 6 // n), [3, 0, 2])

    assert labels(report) == ["Completed", "Failed", "Completed"]
    assert values == [2, None, 3]
    assert report.details[1].failure is not None
    assert report.details[1].failure.kind == "ZeroDivisionError"


def test_a_delayed_retry_goes_home_and_comes_back_with_its_count() -> None:
    program = Program([[ValueError, ValueError, "done"]])
    spec = spec_of(program, retries=2, delays_s=(1.0, 2.0))

    first, _ = worked(spec, [0])
    second, _ = worked(spec, [0], tries={0: first.details[0].attempts})
    third, values = worked(spec, [0], tries={0: second.details[0].attempts})

    assert [report.details[0].again_in_s for report in (first, second, third)] == [1.0, 2.0, None]
    assert [labels(report) for report in (first, second, third)] == [
        ["AwaitingRetry"],
        ["AwaitingRetry"],
        ["Completed"],
    ]
    assert third.details[0].attempts == 3
    assert values == ["done"]


@pytest.mark.parametrize("options", [{}, {"cache": UNCACHED}])
def test_a_chunk_stops_between_elements_when_its_budget_is_spent_or_it_is_told_to(
    options: dict[str, Any],
) -> None:
    for stop in ({"budget_s": 0.0}, {"site": Site(stops=True)}):
        report, values = worked(spec_of(str, **options), range(1000), **stop)

        assert 1 <= report.reached < 1000
        assert values == [str(number) for number in range(report.reached)]
        assert labels(report) == ["Completed"] * report.reached


@pytest.mark.parametrize("options", [{}, {"cache": UNCACHED}])
def test_a_chunk_without_a_budget_does_all_its_elements(options: dict[str, Any]) -> None:
    report, values = worked(spec_of(abs, **options), range(5000))

    assert report.reached == 5000
    assert values == list(range(5000))
    assert report.states == ((int(StateName.COMPLETED), 5000),)


def test_async_elements_overlap_up_to_a_width() -> None:
    running = most = 0

    async def together(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return number

    report, values = worked(spec_of(together, is_async=True), range(100))

    assert most == ASYNC_WIDTH
    assert values == list(range(100))
    assert report.reached == 100


def test_a_result_that_cannot_travel_fails_its_element_alone() -> None:
    spec = spec_of(lambda n: threading.Lock() if n == 1 else n)

    report, buffers = worked(spec, range(3), remote=True)

    assert labels(report) == ["Completed", "Failed", "Completed"]
    assert wire.load(buffers) == [0, None, 2]
    failure = report.details[1].failure
    assert failure is not None
    assert NotPicklable.__name__ in failure.kind


def test_inputs_come_from_what_other_chunks_made() -> None:
    pieces = (Piece(need=1, slot=1, count=2), Piece(need=0, slot=0, count=1))
    inputs = Inputs(columns=(Taken(pieces=pieces),))
    work = Work(
        id="chunk",
        label="task",
        spec_key="1",
        spec=spec_of(str.upper),
        inputs=inputs,
        batch=Batch(spans=((0, 3),)),
    )

    _, values = work.run([["x", "y"], ["a", "b", "c"]], (), Site())

    assert values == ["B", "C", "X"]


def test_a_need_that_is_shorter_than_before_is_infrastructure() -> None:
    inputs = Inputs(columns=(Taken(pieces=(Piece(need=0, slot=0, count=3),)),))
    work = Work(
        id="chunk",
        label="task",
        spec_key="1",
        spec=spec_of(str.upper),
        inputs=inputs,
        batch=Batch(spans=((0, 3),)),
    )

    with pytest.raises(ValuesLost) as caught:
        work.run([["x"]], (), Site())

    assert caught.value.lost == (0,)


@pytest.mark.parametrize("error", [RuntimeError("key"), TypeError("unhashable")])
def test_a_key_function_that_raises_harms_only_its_element(
    tmp_path: Path, error: Exception
) -> None:
    def key(spec: TaskSpec, arguments: dict[str, Any]) -> bytes | None:
        if arguments["n"] == 1:
            raise error
        return None

    store = FsspecStore(str(tmp_path))
    cache = CacheSpec(key=key, store=store, folder="t", lookup=Lookup.merge(store, []))

    def same(n: int) -> int:
        return n

    report, values = worked(spec_of(same, cache=cache), range(3))

    assert (values[0], values[2]) == (0, 2)
    assert [labels(report)[at] for at in (0, 2)] == ["Completed"] * 2
    assert labels(report)[1] == "Failed" or (values[1] == 1 and report.warnings)


def test_an_argument_without_a_stable_form_runs_uncached_with_a_warning(tmp_path: Path) -> None:
    def key(spec: TaskSpec, arguments: dict[str, Any]) -> bytes | None:
        raise KeyNotStable("arguments.n", "lock")

    store = FsspecStore(str(tmp_path))
    cache = CacheSpec(key=key, store=store, folder="t", lookup=Lookup.merge(store, []))

    def same(n: int) -> int:
        return n

    report, values = worked(spec_of(same, cache=cache), range(3))

    assert values == [0, 1, 2]
    assert len(report.warnings) == 1
    assert "task runs uncached: arguments.n is a lock" in report.warnings[0]
    assert report.staged == {}


def test_what_is_kept_is_found_by_the_next_chunk_and_not_called_again(tmp_path: Path) -> None:
    store = FsspecStore(str(tmp_path))
    calls: list[int] = []

    def square(n: int) -> int:
        calls.append(n)
        return n * n

    def key(spec: TaskSpec, arguments: dict[str, Any]) -> bytes | None:
        return arguments["n"].to_bytes(16, "big")

    def cache(*tables: Any) -> CacheSpec:
        return CacheSpec(key=key, store=store, folder="t", lookup=Lookup.merge(store, tables))

    first, _ = worked(spec_of(square, cache=cache()), [1, 2])
    spec = spec_of(square, cache=cache(Index(tables=first.staged)))
    second, _ = worked(spec, [2, 3])

    assert labels(second) == ["Cached", "Completed"]
    assert calls == [1, 2, 3]
    assert len(first.staged) == len(second.staged) == 1


def test_a_chunk_that_is_run_again_stops_where_its_first_try_did(tmp_path: Path) -> None:
    # Given a try that stopped after two of four elements, and staged them
    store = FsspecStore(str(tmp_path))
    calls: list[int] = []
    site = Site()

    def square(n: int) -> int:
        calls.append(n)
        site.stops = len(calls) == 2
        return n * n

    cache = CacheSpec(
        key=lambda spec, arguments: arguments["n"].to_bytes(16, "big"),
        store=store,
        folder="t",
        lookup=Lookup.merge(store, []),
    )
    first, _ = worked(spec_of(square, cache=cache), range(4), site, rerun=True)

    # When the cluster runs it again, with nothing to stop it
    second, values = worked(spec_of(square, cache=cache), range(4), rerun=True)

    # Then it takes what is there, and leaves the rest to those who have it by now
    assert (first.reached, second.reached, calls) == (2, 2, [0, 1])
    assert labels(second) == ["Completed"] * 2
    assert load_stored(values) == [0, 1]
    assert second.staged == first.staged


@pytest.mark.parametrize("is_async", [False, True])
def test_a_chunk_of_equal_keys_that_is_run_again_gets_as_far_as_before(
    tmp_path: Path, is_async: bool
) -> None:
    # Given a try that stopped when two values were made, which more elements than that have
    store = FsspecStore(str(tmp_path))
    items = [0] * ASYNC_WIDTH + [1] * ASYNC_WIDTH + [2] * ASYNC_WIDTH
    calls: list[int] = []
    site = Site()

    def square(n: int) -> int:
        calls.append(n)
        site.stops = len(calls) == 2
        return n * n

    async def later(n: int) -> int:
        return square(n)

    cache = CacheSpec(
        key=lambda spec, arguments: arguments["n"].to_bytes(16, "big"),
        store=store,
        folder="t",
        lookup=Lookup.merge(store, []),
    )
    spec = spec_of(later if is_async else square, cache=cache, is_async=is_async)
    first, _ = worked(spec, items, site, rerun=True)

    # When the cluster runs it again, with nothing to stop it
    second, values = worked(spec, items, rerun=True)

    # Then it makes nothing anew, and stops once it has found both
    assert (calls, first.staged) == ([0, 1], second.staged)
    assert first.reached == second.reached == (2 if is_async else 1) * ASYNC_WIDTH + (not is_async)
    assert set(load_stored(values)) == {0, 1}
