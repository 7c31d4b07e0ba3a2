"""What a map costs with all that is observed of it, beside itself with history and logs off.

On means: recorded in SQLite, prints taken as lines of the log, lines from workers sent home. The
elements are trivial and say nothing, so all that is measured is overhead.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from fanfold import flow
from tests.benchmarks.clock import Contestant, race
from tests.benchmarks.elements import plus_one_task
from tests.benchmarks.grounds import NAMES, Ground
from tests.benchmarks.recording import recorded, settled
from tests.benchmarks.rows import Row, near

GROUNDS = NAMES
TURNS = {1_000: 15, 100_000: 11, 1_000_000: 7}
"""By number of elements: how often each contestant is timed."""
QUICK = {1_000: 5, 100_000: 3}
MOST = 1.15


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield a row for each size."""
    for n, turns in (QUICK if quick else TURNS).items():
        contestants = [
            Contestant(
                name=name, run=_run(ground, list(range(n)), on), before=partial(_before, ground)
            )
            for name, on in (("on", True), ("off", False))
        ]
        timed = race(contestants, turns, [item + 1 for item in range(n)])
        yield Row(
            what="x + 1, observed",
            where=ground.name,
            n=n,
            ours=timed["on"].seconds,
            beside=timed["off"].seconds,
            beside_what="history and logs off",
            aim=near(MOST),
        )


def _before(ground: Ground) -> None:
    settled()
    ground.settle()


def _run(ground: Ground, items: list[int], on: bool) -> Callable[[], Any]:
    @flow(task_runner=ground.runner, log_prints=on)
    def mapped() -> list[int]:
        return plus_one_task.map(items).result()

    def run() -> list[int]:
        with recorded(on):
            return mapped()

    return run
