"""What the death of a worker costs: seconds and elements that were executed again.

A map of sleeps runs with and without one worker killed (SIGKILL) when half of the elements have
started. Every element notes its start in a ledger first, which tells whom to kill, and at the end
how many were started more than once. "Kept" means that results are cached, so that what was
committed needn't run again. A worker that is started anew (Dask: 2 s) is part of the time. One turn
each: these are not figures of speed.
"""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fanfold import Task, flow, unmapped
from tests.benchmarks.elements import kept_task, noted_task
from tests.benchmarks.grounds import Ground
from tests.benchmarks.rows import Row

GROUNDS = ("processes", "dask", "ray")

COUNT, QUICK_COUNT = 2_000, 600
LOOK_S = 0.002


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield a row without and one with results kept."""
    count = QUICK_COUNT if quick else COUNT
    for what, mapped in (("results not kept", noted_task), ("results kept", kept_task)):
        undisturbed, _ = _mapped(ground, mapped, count, kill=False)
        killed, starts = _mapped(ground, mapped, count, kill=True)
        yield Row(
            what=f"one worker killed, {what}",
            where=ground.name,
            n=count,
            ours=killed,
            beside=undisturbed,
            beside_what="none killed",
            note=f"{starts - count} elements executed again",
        )


def _mapped(ground: Ground, mapped: Task[..., int], count: int, *, kill: bool) -> tuple[float, int]:
    """Return the seconds of a map and how many elements were started."""
    ground.settle()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder, "ledger")
        ledger.touch()

        @flow(task_runner=ground.runner)
        def run() -> list[Any]:
            return mapped.map(range(count), ledger=unmapped(str(ledger))).result()

        with _killer(ledger, count // 2, kill):
            began = time.perf_counter()
            found = run()
            seconds = time.perf_counter() - began
        if found != list(range(1, count + 1)):
            raise ValueError("The map returned something wrong.")
        return seconds, len(ledger.read_bytes().splitlines())


@contextmanager
def _killer(ledger: Path, after: int, kill: bool) -> Generator[None, None, None]:
    """Kill the worker that starts the element of this number."""
    over = threading.Event()
    killed: list[int] = []

    def watch() -> None:
        while not over.wait(LOOK_S):
            lines = ledger.read_bytes().split(b"\n")
            if len(lines) > after:
                killed.append(int(lines[-2].split()[0]))
                os.kill(killed[0], signal.SIGKILL)
                return

    thread = threading.Thread(target=watch)
    if kill:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if kill:
            thread.join()
    if kill and not killed:
        raise ValueError("The map was over before anybody was killed.")
