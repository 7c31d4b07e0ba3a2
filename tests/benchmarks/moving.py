"""How long values take that move between workers: a chain of maps, a tree of sums, a broadcast.

Beside each stands what one would write for the bare cluster: a future for each call, the futures
handed on as arguments, values never at the driver. The clock covers all from the first submit to
the result at the driver, and for Fanfold opening the session too.
"""

from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any

import numpy as np

from fanfold import flow, unmapped
from tests.benchmarks.clock import Contestant, race
from tests.benchmarks.elements import block, block_task, dot, dot_task, plus_one, plus_one_task
from tests.benchmarks.grounds import Cluster
from tests.benchmarks.rows import Aim, Row, near

GROUNDS = ("dask", "ray")

STAGES = 3
CHAINED, BLOCKS, SPREAD = 1_000, 1_000, 20
QUICK_BLOCKS = 100
BLOCK_NUMBERS, BIG_NUMBERS = 125_000, 12_500_000
"""Of 8 bytes: 1 MB and 100 MB."""
WIDTH = 8
"""How many blocks one sum by hand takes in."""
TURNS, QUICK = 7, 2


def measure(ground: Cluster, quick: bool) -> Iterator[Row]:
    """Yield a row for each way of moving."""
    turns = QUICK if quick else TURNS
    yield _chained(ground, turns)
    yield _summed(ground, turns, QUICK_BLOCKS if quick else BLOCKS)
    yield _spread(ground, turns)


def _chained(ground: Cluster, turns: int) -> Row:
    items = list(range(CHAINED))

    @flow(task_runner=ground.runner)
    def chained() -> list[int]:
        futures: Any = items
        for _ in range(STAGES):
            futures = plus_one_task.map(futures)
        return futures.result()

    hand = partial(ground.chained, [plus_one] * STAGES, items)
    expected = [item + STAGES for item in items]
    return _row(ground, f"{STAGES} maps in a chain", CHAINED, turns, chained, hand, expected, 1.0)


def _summed(ground: Cluster, turns: int, count: int) -> Row:
    numbers = list(range(count))

    @flow(task_runner=ground.runner)
    def summed() -> float:
        blocks = block_task.map(numbers, unmapped(BLOCK_NUMBERS))
        return float(blocks.reduce(np.add).result()[0])

    def hand() -> float:
        make = partial(block, size=BLOCK_NUMBERS)
        return float(ground.tree(make, _sum, numbers, WIDTH)[0])

    what = "blocks of 1 MB, summed up"
    return _row(ground, what, count, turns, summed, hand, float(sum(numbers)), 1.0)


def _spread(ground: Cluster, turns: int) -> Row:
    big = np.ones(BIG_NUMBERS)
    items = list(range(SPREAD))

    @flow(task_runner=ground.runner)
    def spread() -> list[float]:
        return dot_task.map(items, unmapped(big)).result()

    hand = partial(ground.spread, dot, items, big)
    expected = [float(BIG_NUMBERS + item) for item in items]
    return _row(ground, "100 MB for all elements", SPREAD, turns, spread, hand, expected, 1.2)


def _row(
    ground: Cluster,
    what: str,
    count: int,
    turns: int,
    ours: Callable[[], Any],
    hand: Callable[[], Any],
    expected: Any,
    times: float,
) -> Row:
    contestants = [
        Contestant(name="fanfold", run=ours, before=ground.settle),
        Contestant(name="by hand", run=hand, before=ground.settle),
    ]
    timed = race(contestants, turns, expected)
    aim: Aim = near(times)
    return Row(
        what=what,
        where=ground.name,
        n=count,
        ours=timed["fanfold"].seconds,
        beside=timed["by hand"].seconds,
        beside_what="futures by hand",
        aim=aim,
    )


def _sum(*blocks: Any) -> Any:
    return reduce(np.add, blocks)
