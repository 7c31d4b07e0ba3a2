"""How long a map of trivial elements takes, from 10 to a million of them.

The clock covers one call of a warm flow on a warm cluster: opening the session, checking versions,
the map, and `.result()` as a list at the driver. Beside it stand the best of 8, 32 and 100 slices
by hand (a plain loop where there are no processes) and one future per element. Inputs are lists of
numbers. Processes live for one flow, and their pool by hand for one map: both start within the
clock.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from fanfold import flow
from tests.benchmarks.clock import Contestant, Timed, best, race
from tests.benchmarks.elements import plus_one, plus_one_task
from tests.benchmarks.grounds import NAMES, Ground
from tests.benchmarks.rows import Aim, Row, ahead, near, under

GROUNDS = NAMES
PIECES = (8, 32, 100)
WHAT = "x + 1"
CLUSTERS = ("dask", "ray")

TURNS = {10: 15, 1_000: 15, 10_000: 11, 50_000: 5, 100_000: 9, 1_000_000: 5}
"""By number of elements: how often each contestant is timed."""
QUICK = {10: 5, 1_000: 5, 10_000: 3, 100_000: 3}

OVERHEAD_S = 0.03
MILLION_S = 0.5
FAR_AHEAD, FAR_AHEAD_AT = 300, 50_000
"""Of one future per element, at so many elements."""
THREADS_US = 2.0


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield rows for all sizes."""
    for n, turns in (QUICK if quick else TURNS).items():
        items = list(range(n))
        contestants = [Contestant(name="fanfold", run=_flow(ground, items), before=ground.settle)]
        contestants += _by_hand(ground, items)
        contestants += _one_each(ground, items)
        timed = race(contestants, turns, [item + 1 for item in items])
        yield from _rows(ground, n, timed)


def _flow(ground: Ground, items: Sequence[int]) -> Callable[[], list[int]]:
    @flow(task_runner=ground.runner)
    def mapped() -> list[int]:
        return plus_one_task.map(items).result()

    return mapped


def _by_hand(ground: Ground, items: Sequence[int]) -> list[Contestant]:
    if ground.name in ("inline", "threads"):
        loop = partial(ground.by_hand, plus_one, items, 1)
        return [Contestant(name="a plain loop", run=loop)]
    return [
        Contestant(
            name=f"by hand, {pieces} pieces",
            run=partial(ground.by_hand, plus_one, items, pieces),
            before=ground.settle,
        )
        for pieces in sorted({min(pieces, len(items)) for pieces in PIECES})
    ]


def _one_each(ground: Ground, items: Sequence[int]) -> list[Contestant]:
    if len(items) not in ground.one_each_sizes:
        return []
    run: Callable[[], Any] = partial(ground.one_each, plus_one, items)
    name = "one future each"
    return [Contestant(name=name, run=run, before=ground.settle, least=len(items) >= 10_000)]


def _rows(ground: Ground, n: int, timed: dict[str, Timed]) -> Iterator[Row]:
    ours = timed.pop("fanfold").seconds
    singles = timed.pop("one future each", None)
    hand = best(list(timed.values()))

    def row(beside: Timed, aim: Aim | None, what: str = WHAT) -> Row:
        return Row(
            what=what,
            where=ground.name,
            n=n,
            ours=ours,
            beside=beside.seconds,
            beside_what=beside.name,
            aim=aim,
        )

    cluster = ground.name in CLUSTERS
    yield row(hand, near(1.2, plus=OVERHEAD_S) if cluster and n >= 1_000 else None)
    if singles is not None:
        aim = ahead(FAR_AHEAD) if n == FAR_AHEAD_AT else near(1.0)
        yield row(singles, aim if cluster else None)
    if cluster and n == 1_000_000:
        yield row(hand, under(MILLION_S, "s"), f"{WHAT}, a million")
    if ground.name == "threads" and n >= 100_000:
        yield Row(
            what=f"{WHAT}, per element",
            where=ground.name,
            n=n,
            ours=ours / n * 1e6,
            beside=hand.seconds / n * 1e6,
            beside_what=hand.name,
            unit="µs",
            aim=under(THREADS_US, "µs"),
        )
