"""How well elements that take their time fill two slots.

Three kinds: computing for 10 ms each, beside the best of 8, 32 and 100 slices by hand; sleeping for
10 ms each, beside the ideal (all sleeps, divided by the slots); and sleeping for very different
times (lognormal, sigma 1.5, mean 25 ms, always the same ones), beside one future per element, which
balances as well as anything can and pays with a message per element. Where others use the machine's
cores, the computing rows say little.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from fanfold import Task, flow
from tests.benchmarks.clock import Contestant, best, race
from tests.benchmarks.elements import nap, nap_task, spin, spin_task
from tests.benchmarks.grounds import SLOTS, Ground
from tests.benchmarks.rows import Row, near, share
from tests.benchmarks.throughput import PIECES

GROUNDS = ("processes", "dask", "ray")

TURNS = 2
COUNT, UNEVEN_COUNT, QUICK_COUNT = 500, 400, 100
NAP_S = 0.01
SIGMA, MEAN_S, SEED = 1.5, 0.025, 20


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield a row for each kind of duration."""
    count = QUICK_COUNT if quick else COUNT
    yield _computing(ground, list(range(count)))
    yield _sleeping(ground, [NAP_S] * count)
    yield _uneven(ground, lognormal(QUICK_COUNT if quick else UNEVEN_COUNT))


def _computing(ground: Ground, items: Sequence[int]) -> Row:
    contestants = [_fanfold(ground, spin_task, items)]
    contestants += [
        Contestant(
            name=f"by hand, {pieces} pieces",
            run=partial(ground.by_hand, spin, items, pieces),
            before=ground.settle,
        )
        for pieces in PIECES
    ]
    timed = race(contestants, TURNS, items)
    ours = timed.pop("fanfold")
    hand = best(list(timed.values()))
    return Row(
        what="10 ms of computing",
        where=ground.name,
        n=len(items),
        ours=ours.seconds,
        beside=hand.seconds,
        beside_what=hand.name,
        aim=near(1.05),
    )


def _sleeping(ground: Ground, naps: Sequence[float]) -> Row:
    ours = race([_fanfold(ground, nap_task, naps)], TURNS, naps)["fanfold"].seconds
    ideal = sum(naps) / SLOTS
    return Row(
        what="10 ms of sleep",
        where=ground.name,
        n=len(naps),
        ours=ours,
        beside=ideal,
        beside_what="ideal",
        aim=share(0.95),
        note=f"{ideal / ours:.1%} of the ideal",
    )


def _uneven(ground: Ground, naps: Sequence[float]) -> Row:
    single = Contestant(
        name="one future each",
        run=partial(ground.one_each, nap, naps),
        before=ground.settle,
    )
    timed = race([_fanfold(ground, nap_task, naps), single], TURNS, naps)
    ours, beside = timed["fanfold"].seconds, timed["one future each"].seconds
    return Row(
        what="sleeps of very different length",
        where=ground.name,
        n=len(naps),
        ours=ours,
        beside=beside,
        beside_what="one future each",
        aim=near(1.0),
        note=f"ideal {sum(naps) / SLOTS:.2f} s, longest {max(naps):.2f} s",
    )


def _fanfold(ground: Ground, mapped: Task[Any, Any], items: Sequence[Any]) -> Contestant:
    return Contestant(name="fanfold", run=_flow(ground, mapped, items), before=ground.settle)


def _flow(ground: Ground, mapped: Task[Any, Any], items: Sequence[Any]) -> Callable[[], list[Any]]:
    @flow(task_runner=ground.runner)
    def run() -> list[Any]:
        return mapped.map(items).result()

    return run


def lognormal(count: int) -> list[float]:
    """Return sleeps in seconds, scaled to have exactly the mean."""
    source = random.Random(SEED)
    drawn = [math.exp(source.gauss(0, SIGMA)) for _ in range(count)]
    scale = MEAN_S * count / sum(drawn)
    return [length * scale for length in drawn]
