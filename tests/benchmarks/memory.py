"""How much a driver's memory grows by a map whose results stay on the cluster.

Each figure is taken in a fresh process that connects to the running cluster, so that neither the
scheduler nor earlier maps count: private memory (USS) before and after `map(...).wait()`, the map's
future still held, after a small map to warm up. The inputs are there before. By hand means the
futures of 100 slices. The note's peak is the highest growth seen while the map ran.
"""

import gc
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil

from fanfold import Task, flow
from tests.benchmarks.elements import plus_one, plus_one_task, small, small_task
from tests.benchmarks.grounds import Cluster, reached
from tests.benchmarks.rows import Row, under

GROUNDS = ("dask", "ray")

COUNT, QUICK_COUNT, WARM_UP_COUNT = 1_000_000, 100_000, 10_000
PIECES = 100
AIM_MB = 200.0
LOOK_S = 0.02
TIMEOUT_S = 300.0

KINDS: dict[str, tuple[str, Task[Any, Any], Callable[[int], Any]]] = {
    "numbers": ("results are numbers", plus_one_task, plus_one),
    "bytes": ("results have 100 bytes", small_task, small),
}


def measure(ground: Cluster, quick: bool) -> Iterator[Row]:
    """Yield a row for each kind of result."""
    count = QUICK_COUNT if quick else COUNT
    for kind, (what, _, _) in KINDS.items():
        ground.settle()
        ours = _in_fresh_driver(ground, "fanfold", kind, count)
        ground.settle()
        hand = _in_fresh_driver(ground, "by hand", kind, count)
        yield Row(
            what=what,
            where=ground.name,
            n=count,
            ours=ours["grown"] / 1e6,
            beside=hand["grown"] / 1e6,
            beside_what=f"by hand, {PIECES} pieces",
            unit="MB",
            aim=under(AIM_MB, "MB"),
            note=f"{ours['grown'] / count:.1f} bytes per element, peak {ours['peak'] / 1e6:.1f} MB",
        )


def _in_fresh_driver(ground: Cluster, who: str, kind: str, count: int) -> dict[str, int]:
    command = [sys.executable, "-m", __name__, ground.name, ground.address, who, kind, str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=TIMEOUT_S)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


class _Growth:
    """Private memory, from `begin` on."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._over = threading.Event()
        self._before = self._peak = 0

    def begin(self) -> None:
        gc.collect()
        self._before = self._peak = self._now()
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> dict[str, int]:
        self._over.set()
        gc.collect()
        now = self._now()
        peak = max(self._peak, now)
        return {"grown": max(0, now - self._before), "peak": peak - self._before}

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self._peak = max(self._peak, self._now())

    def _now(self) -> int:
        private: int = self._process.memory_full_info().uss
        return private


def _by_fanfold(ground: Cluster, kind: str, items: Sequence[int]) -> dict[str, int]:
    mapped = KINDS[kind][1]

    @flow(task_runner=ground.runner)
    def held() -> dict[str, int]:
        mapped.map(items[:WARM_UP_COUNT]).wait()
        growth = _Growth()
        growth.begin()
        futures = mapped.map(items)
        futures.wait()
        found = growth.end()
        if futures.states != {"Completed": len(items)}:
            raise ValueError(f"Not all elements completed: {futures.states}")
        return found

    return held()


def _by_hand(ground: Cluster, kind: str, items: Sequence[int]) -> dict[str, int]:
    function = KINDS[kind][2]
    ground.held(function, items[:WARM_UP_COUNT], PIECES)
    growth = _Growth()
    growth.begin()
    futures = ground.held(function, items, PIECES)
    found = growth.end()
    if len(futures) != PIECES:
        raise ValueError(f"{len(futures)} futures")
    return found


def _drive(name: str, address: str, who: str, kind: str, count: str) -> None:
    """Take one figure and print it; the body of the fresh process."""
    items = list(range(int(count)))
    take = {"fanfold": _by_fanfold, "by hand": _by_hand}[who]
    with reached(name, address) as ground:
        found = take(ground, kind, items)
    print(json.dumps(found))


if __name__ == "__main__":
    _drive(*sys.argv[1:])
