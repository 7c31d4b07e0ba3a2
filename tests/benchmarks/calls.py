"""What a single call, a retried and a cached element cost, in microseconds each.

All on threads of this process. Beside each stands the plainest Python that does the same: a
function call, `executor.submit(...).result()`, a loop with an `except`. None of those keeps states,
so the ratios are big; the figures themselves are what counts.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fanfold import INPUTS, flow, task
from tests.benchmarks.clock import Contestant, race
from tests.benchmarks.elements import plus_one
from tests.benchmarks.grounds import SLOTS, Ground
from tests.benchmarks.rows import Aim, Row, under

GROUNDS = ("threads",)

TURNS, QUICK_TURNS = 7, 3
CALLS, FLOWS, ELEMENTS = 500, 50, 2_000
FLOW_AIM_US = 20_000.0
CALL_AIM_US = 150.0

Run = Callable[[], list[int]]

_failed: set[int] = set()
"""Elements that have failed; threads share it."""


def second_time_lucky(x: int) -> int:
    """Fail the first time for each element."""
    if x not in _failed:
        _failed.add(x)
        raise ValueError(x)
    return x + 1


plain_task = task(plus_one)
retried_task = task(second_time_lucky).with_options(retries=1)
cached_task = plain_task.with_options(name="cached", cache_policy=INPUTS)


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield a row for each kind of call."""
    turns = QUICK_TURNS if quick else TURNS

    def row(what: str, n: int, ours: Run, beside_what: str, beside: Run, **more: Any) -> Row:
        timed = race([_contestant(what, ours), _contestant(beside_what, beside)], turns, _values(n))
        return Row(
            what=what,
            where=ground.name,
            n=n,
            ours=timed[what].seconds / n * 1e6,
            beside=timed[beside_what].seconds / n * 1e6,
            beside_what=beside_what,
            unit="µs",
            **more,
        )

    direct: Aim = under(CALL_AIM_US, "µs")
    yield row("direct call", CALLS, _called, "function call", _plainly(CALLS), aim=direct)
    yield row("submit().result()", CALLS, _submitted(ground), "executor.submit", _executed)
    aim: Aim = under(FLOW_AIM_US, "µs")
    flows = _warm_flows(ground)
    yield row("warm flow with one task", FLOWS, flows, "function call", _plainly(FLOWS), aim=aim)
    yield row("element that fails once", ELEMENTS, _retried(ground), "loop, except", _tried_again)
    yield row("element from the cache", ELEMENTS, _cached(ground), "loop", _plainly(ELEMENTS))


def _contestant(name: str, run: Run) -> Contestant:
    return Contestant(name=name, run=run, before=_failed.clear)


def _values(n: int) -> list[int]:
    return list(range(1, n + 1))


def _plainly(n: int) -> Run:
    return lambda: [plus_one(x) for x in range(n)]


def _called() -> list[int]:
    return [plain_task(x) for x in range(CALLS)]


def _executed() -> list[int]:
    with ThreadPoolExecutor(SLOTS) as pool:
        return [pool.submit(plus_one, x).result() for x in range(CALLS)]


def _tried_again() -> list[int]:
    values: list[int] = []
    for x in range(ELEMENTS):
        try:
            values.append(second_time_lucky(x))
        except ValueError:
            values.append(second_time_lucky(x))
    return values


def _submitted(ground: Ground) -> Run:
    """Return a flow of many submits, so that its own start doesn't show."""

    @flow(task_runner=ground.runner)
    def submits() -> list[int]:
        return [plain_task.submit(x).result() for x in range(CALLS)]

    return submits


def _warm_flows(ground: Ground) -> Run:
    @flow(task_runner=ground.runner)
    def one_task(x: int) -> int:
        return plain_task.submit(x).result()

    return lambda: [one_task(x) for x in range(FLOWS)]


def _retried(ground: Ground) -> Run:
    @flow(task_runner=ground.runner)
    def retries() -> list[int]:
        return retried_task.map(range(ELEMENTS)).result()

    return retries


def _cached(ground: Ground) -> Run:
    @flow(task_runner=ground.runner)
    def hits() -> list[int]:
        return cached_task.map(range(ELEMENTS)).result()

    return hits
