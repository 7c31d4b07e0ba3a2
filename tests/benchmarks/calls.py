"""What a single call, a retried and a cached element cost, in microseconds each.

All on threads of this process. Beside each stands the plainest Python that does the same: a function
call, `executor.submit(...).result()`, a loop with an `except`. None of those keeps states, so the
ratios are big; the figures themselves are what counts.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from fanfold import INPUTS, flow, task
from tests.benchmarks.clock import Contestant, race
from tests.benchmarks.elements import plus_one
from tests.benchmarks.grounds import SLOTS, Ground
from tests.benchmarks.rows import Aim, Row, under

GROUNDS = ("threads",)

TURNS, QUICK_TURNS = 7, 3
CALLS, FLOWS, ELEMENTS = 500, 50, 2_000
FLOW_AIM_US = 20_000.0

plain = task(plus_one)
_failed: set[int] = set()


def second_time_lucky(x: int) -> int:
    """Fail the first time for each element; threads share what has failed."""
    if x not in _failed:
        _failed.add(x)
        raise ValueError(x)
    return x + 1


retried = task(second_time_lucky, retries=1)
cached = task(plus_one, name="cached", cache_policy=INPUTS)


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield a row for each kind of call."""
    turns = QUICK_TURNS if quick else TURNS
    runner = ground.runner

    @flow(task_runner=runner)
    def one_task(x: int) -> int:
        return plain.submit(x).result()

    @flow(task_runner=runner)
    def retries() -> list[int]:
        return retried.map(range(ELEMENTS)).result()

    @flow(task_runner=runner)
    def hits() -> list[int]:
        return cached.map(range(ELEMENTS)).result()

    @flow(task_runner=runner)
    def calls_and_submits() -> Iterator[Row]:
        with ThreadPoolExecutor(SLOTS) as pool:
            yield _row("direct call", "function call", CALLS, turns, _called, _plainly(CALLS))
            submits = lambda: [pool.submit(plus_one, x).result() for x in range(CALLS)]  # noqa: E731
            yield _row("submit().result()", "executor.submit", CALLS, turns, _submitted, submits)

    yield from list(calls_and_submits())
    flows: Callable[[], list[int]] = lambda: [one_task(x) for x in range(FLOWS)]  # noqa: E731
    aim = under(FLOW_AIM_US, "µs")
    yield _row("warm flow with one task", "function call", FLOWS, turns, flows, _plainly(FLOWS), aim)
    yield _row("element that fails once", "loop, except", ELEMENTS, turns, retries, _retried_plainly)
    yield _row("element from the cache", "function call", ELEMENTS, turns, hits, _plainly(ELEMENTS))
