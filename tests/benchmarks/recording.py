"""What a flow pays for being recorded in SQLite, beside the same with `FANFOLD_HISTORY_URL=off`.

The processor's time counts all threads, the recorder's too, up to the moment at which everything is
on the disk. Maps that take their time run in pairs, with and without, each first in turn; what
counts is the median of the pairs' ratios.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any

from fanfold import flow
from fanfold.engine.recording import recorder
from tests.benchmarks.calls import CALL_AIM_US, CALLS, FLOW_AIM_US, FLOWS, plain_task
from tests.benchmarks.clock import Contestant, race
from tests.benchmarks.elements import plus_one_task, spin_task
from tests.benchmarks.grounds import Ground
from tests.benchmarks.rows import Aim, Row, under

GROUNDS = ("threads",)

TURNS, QUICK_TURNS = 7, 3
ELEMENTS, QUICK_ELEMENTS = 1_000_000, 100_000
PAIRS, QUICK_PAIRS = 15, 3
SPINS, QUICK_SPINS, SPIN_S = 5_000, 1_000, 0.001
"""Elements of the map that takes its time, and for how long each computes."""
ELEMENT_AIM_US = 1.0
PAIR_AIM = 1.05
FLUSH_S = 60.0
URL = "FANFOLD_HISTORY_URL"

Run = Callable[[], Any]


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield rows for processor's time, pairs of maps, calls and flows."""
    turns = QUICK_TURNS if quick else TURNS
    yield _processor(ground, QUICK_ELEMENTS if quick else ELEMENTS, turns)
    yield _pairs(ground, QUICK_SPINS if quick else SPINS, QUICK_PAIRS if quick else PAIRS)
    calls = [x + 1 for x in range(CALLS)]
    direct = under(CALL_AIM_US, "µs")
    yield _each(ground, "direct call", lambda: [plain_task(x) for x in range(CALLS)], calls, direct)

    @flow(task_runner=ground.runner)
    def one_task(x: int) -> int:
        return plain_task.submit(x).result()

    flows = [x + 1 for x in range(FLOWS)]
    warm = under(FLOW_AIM_US, "µs")
    what = "warm flow with one task"
    yield _each(ground, what, lambda: [one_task(x) for x in range(FLOWS)], flows, warm)


def _processor(ground: Ground, n: int, turns: int) -> Row:
    items = list(range(n))

    @flow(task_runner=ground.runner)
    def mapped() -> list[int]:
        return plus_one_task.map(items).result()

    taken: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(turns + 1):
        for kept in (True, False) if turn % 2 == 0 else (False, True):
            with recorded(kept):
                began = time.process_time()
                found = mapped()
                settled()
                taken[kept].append(time.process_time() - began)
            if len(found) != n:
                raise ValueError("The map returned something wrong.")
    ours, beside = (median(taken[kept][1:]) / n * 1e6 for kept in (True, False))
    aim = Aim(f"<= +{ELEMENT_AIM_US:g} µs", lambda one, other: one - other <= ELEMENT_AIM_US)
    return Row(
        what="processor's time per element of a map",
        where=ground.name,
        n=n,
        ours=ours,
        beside=beside,
        beside_what="history off",
        unit="µs",
        aim=aim,
        note=f"{ours - beside:+.3f} µs",
    )


def _pairs(ground: Ground, spins: int, pairs: int) -> Row:
    items = list(range(spins))

    @flow(task_runner=ground.runner)
    def mapped() -> list[int]:
        return spin_task.map(items, SPIN_S).result()

    taken: list[dict[bool, float]] = []
    for pair in range(pairs + 1):
        seconds: dict[bool, float] = {}
        for kept in (True, False) if pair % 2 == 0 else (False, True):
            with recorded(kept):
                began = time.perf_counter()
                found = mapped()
                seconds[kept] = time.perf_counter() - began
                settled()
            if found != items:
                raise ValueError("The map returned something wrong.")
        taken.append(seconds)
    ratio = median(seconds[True] / seconds[False] for seconds in taken[1:])
    return Row(
        what="map that computes",
        where=ground.name,
        n=spins,
        ours=median(seconds[True] for seconds in taken[1:]),
        beside=median(seconds[False] for seconds in taken[1:]),
        beside_what="history off",
        aim=Aim(f"pairs <= {PAIR_AIM:g}x", lambda ours, beside: ratio <= PAIR_AIM),
        note=f"median of {pairs} pairs' ratios {ratio:.3f}",
    )


def _each(ground: Ground, what: str, run: Run, expected: list[int], aim: Aim) -> Row:
    contestants = [
        Contestant(name=name, run=partial(_with, kept, run), before=settled)
        for name, kept in (("recorded", True), ("off", False))
    ]
    timed = race(contestants, TURNS, expected)
    return Row(
        what=what,
        where=ground.name,
        n=len(expected),
        ours=timed["recorded"].seconds / len(expected) * 1e6,
        beside=timed["off"].seconds / len(expected) * 1e6,
        beside_what="history off",
        unit="µs",
        aim=aim,
    )


def _with(kept: bool, run: Run) -> Any:
    with recorded(kept):
        return run()


@contextmanager
def recorded(kept: bool) -> Generator[None]:
    """Have runs recorded where the settings say, or nowhere."""
    before = os.environ.get(URL)
    if not kept:
        os.environ[URL] = "off"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(URL, None)
        else:
            os.environ[URL] = before


def settled() -> None:
    """Wait until all that was told is on the disk."""
    running = recorder.current()
    if running is not None and not running.flush(FLUSH_S):
        raise ValueError("The history doesn't keep up.")
