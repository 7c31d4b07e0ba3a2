"""What the model foretells for two workers, beside what a real cluster of two takes.

The model's machine is all its own, so the fastest turn stands beside it: on a busy machine that is
the nearest to what a map takes alone. The note tells the median.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from fanfold import Task, flow
from tests.benchmarks.durations import NAP_S, lognormal
from tests.benchmarks.elements import nap_task, plus_one_task
from tests.benchmarks.grounds import SLOTS
from tests.benchmarks.rows import Row, within
from tests.benchmarks.simulation.costs import Costs
from tests.benchmarks.simulation.durations import Durations, Even, Listed
from tests.benchmarks.simulation.roles import Roles
from tests.benchmarks.simulation.trial import Trial

AIM = 0.2
CORES = 2
"""That driver, scheduler and workers share here."""
AT_A_TIME = 32
"""Chunks whose values a reader fetches together."""
NAPS, UNEVEN = 500, 400
TRIVIAL = {100_000: 40, 1_000_000: 25}
"""Elements, and how often their map is timed."""
NAP_TURNS = 3


def foretold_s(costs: Costs, count: int, durations: Durations) -> float:
    """Return what a flow run takes that maps so many elements and reads all values."""
    trial = Trial(
        workers=SLOTS, elements=count, durations=durations, costs=costs, cores=min(CORES, SLOTS)
    )
    outcome = trial.play()
    far = outcome.chunks if count > outcome.chunks * costs.small_elements else 0
    reading = math.ceil(far / AT_A_TIME) * costs.fetch_s + count * costs.read_s
    return costs.flow_s + outcome.took_s + reading


def rows(roles: Roles, costs: Costs) -> Iterator[Row]:
    """Yield a row for each case: foretold first, then measured."""
    more_s = oversleep_s()
    for count, turns in TRIVIAL.items():
        items = list(range(count))
        told = foretold_s(costs, count, Even(0.0))
        yield _row(roles, "x + 1", told, plus_one_task, items, turns, [x + 1 for x in items])
    naps = {"10 ms of sleep": [NAP_S] * NAPS, "sleeps of very different length": lognormal(UNEVEN)}
    for what, lengths in naps.items():
        listed = Listed(tuple(length + more_s for length in lengths), sleeps=True)
        told = foretold_s(costs, len(lengths), listed)
        yield _row(roles, what, told, nap_task, lengths, NAP_TURNS, lengths)


def _row(
    roles: Roles,
    what: str,
    told_s: float,
    mapped: Task[Any, Any],
    items: Sequence[Any],
    turns: int,
    expected: list[Any],
) -> Row:
    seconds = [_timed(roles, _flow(roles, mapped, items), expected) for _ in range(turns + 1)][1:]
    return Row(
        what=what,
        where=roles.name,
        n=len(items),
        ours=told_s,
        beside=min(seconds),
        beside_what=f"fastest of {turns}",
        aim=within(AIM),
        note=f"median {median(seconds) * 1e3:,.0f} ms",
    )


def _timed(roles: Roles, run: Callable[[], list[Any]], expected: list[Any]) -> float:
    roles.settle()
    gc.collect()
    began = time.perf_counter()
    found = run()
    seconds = time.perf_counter() - began
    if found != expected:
        raise ValueError(f"The map returned something wrong: {str(found)[:200]}")
    return seconds


def _flow(roles: Roles, mapped: Task[Any, Any], items: Sequence[Any]) -> Callable[[], list[Any]]:
    @flow(task_runner=roles.runner)
    def run() -> list[Any]:
        return mapped.map(items).result()

    return run


def oversleep_s() -> float:
    """Return how much longer than asked a sleep takes here."""

    def slept() -> float:
        began = time.perf_counter()
        time.sleep(NAP_S)
        return time.perf_counter() - began

    return median(slept() for _ in range(20)) - NAP_S
