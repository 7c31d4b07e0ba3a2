"""A program that runs flows, one after the other, until its standard input is closed.

Run as `python -m tests.crashes.flowing RUNNER`; prints the id of each flow run and its number once
it is over. Each maps, logs, fails in one element, and every third one calls another flow.
"""

import sys
import threading
from itertools import count

from fanfold import flow, get_run_logger, runtime, task

ELEMENTS = 60
LINES = 10
"""Of each run of `mapped`."""
FAILS = 13
"""The element that does."""


@task
def halve(x: int) -> float:
    """Return the half of all numbers but one."""
    if x == FAILS:
        raise ValueError("no")
    return x / 2


@flow
def called(number: int) -> str | None:
    """Return the id of its run."""
    get_run_logger().info("called by flow %d", number)
    return runtime.flow_run.id


@flow
def mapped(number: int) -> str | None:
    """Return the id of its run, after a map and some lines."""
    for line in range(LINES):
        get_run_logger().info("flow %d says line %d", number, line)
    if number % 3 == 0:
        called(number)
    halves = halve.map(range(ELEMENTS)).result(raise_on_failure=False)
    if len(halves) != ELEMENTS:
        raise ValueError(f"Flow {number} has {len(halves)} results.")
    return runtime.flow_run.id


def main(runner: str) -> None:
    """Run flows until nobody wants more."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    one = mapped.with_options(task_runner=runner)
    for number in count():
        print(one(number), number, flush=True)
        if over.is_set():
            return


if __name__ == "__main__":
    main(sys.argv[1])
