"""What each option of a task costs alone, per element of a map on threads, and what several do.

Beside each stands the same map without the option, so that "Fanfold" minus "beside" is what the
option costs. Hooks, conditions and key functions do nothing but return.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

from fanfold import INPUTS, flow, get_run_logger, task
from fanfold.tasks import Task
from tests.benchmarks.clock import Contestant, race
from tests.benchmarks.elements import plus_one
from tests.benchmarks.grounds import Ground
from tests.benchmarks.rows import Row, near, under

GROUNDS = ("threads",)

ELEMENTS = 20_000
WALKED, QUICK_WALKED = 1_000_000, 50_000
TURNS, QUICK_TURNS = 5, 3
AIM_US = 30.0

_names = count()
_failed: set[int] = set()


def _nothing(*_: Any) -> None:
    """Stand where a hook stands."""


class _Kept(logging.Handler):
    """Keeps the last records; without a lock, which threads would wait for more than they work."""

    def __init__(self) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=ELEMENTS)

    def createLock(self) -> None:
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _key(context: Any, arguments: dict[str, Any]) -> str:
    return str(arguments["x"])


OPTIONS: dict[str, dict[str, Any]] = {
    "task_run_name": {"task_run_name": "plus-{x}"},
    "timeout_seconds": {"timeout_seconds": 60},
    "on_running": {"on_running": [_nothing]},
    "on_completion": {"on_completion": [_nothing]},
    "on_failure": {"on_failure": [_nothing]},
    "retries": {"retries": 3},
    "retry_condition_fn": {"retry_condition_fn": _nothing, "retries": 3},
    "log_prints": {"log_prints": True},
    "tags": {"tags": ["one", "two"]},
    "chunk_size": {"chunk_size": 100},
    "max_in_flight": {"max_in_flight": 1_000},
    "on_error": {"on_error": "collect"},
    "persist_result": {"persist_result": True},
    "cache_policy": {"cache_policy": INPUTS},
    "cache_key_fn": {"cache_key_fn": _key},
    "cache_expiration": {"cache_policy": INPUTS, "cache_expiration": timedelta(days=1)},
    "refresh_cache": {"cache_policy": INPUTS, "refresh_cache": True},
    "cache_result_in_memory": {"persist_result": True, "cache_result_in_memory": False},
    "result_serializer": {"persist_result": True, "result_serializer": "json"},
}
"""By the option that is measured; those that need others have them too."""


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield a row for each option, one for several at once, and one for a walk."""
    turns = QUICK_TURNS if quick else TURNS
    plain = _mapped(ground, task(plus_one), ELEMENTS)
    for name, options in OPTIONS.items():
        optional = _mapped(ground, task(plus_one).with_options(**options), ELEMENTS)
        yield _row(ground, name, optional, plain, turns)
    yield _row(ground, "retried, logged, cached", _all_at_once(ground), plain, turns, aim=AIM_US)
    yield from _walked(ground, QUICK_WALKED if quick else WALKED, turns)


def _row(
    ground: Ground,
    what: str,
    ours: Callable[[], Any],
    beside: Callable[[], Any],
    turns: int,
    aim: float | None = None,
) -> Row:
    contestants = [
        Contestant(name=what, run=ours, before=_failed.clear),
        Contestant(name="plain map", run=beside),
    ]
    timed = race(contestants, turns, list(range(1, ELEMENTS + 1)))
    return Row(
        what=what,
        where=ground.name,
        n=ELEMENTS,
        ours=timed[what].seconds / ELEMENTS * 1e6,
        beside=timed["plain map"].seconds / ELEMENTS * 1e6,
        beside_what="plain map",
        unit="µs",
        aim=under(aim, "µs") if aim is not None else None,
    )


def _mapped(ground: Ground, mapped: Task[..., int], n: int) -> Callable[[], list[int]]:
    return _in_flow(ground, lambda: mapped.map(range(n)).result())


def _in_flow(ground: Ground, body: Callable[[], list[int]]) -> Callable[[], list[int]]:
    return flow(body, name="options", task_runner=ground.runner, validate_parameters=False)


def _all_at_once(ground: Ground) -> Callable[[], list[int]]:
    """Return a map whose elements fail once, log a line, and are kept under a key.

    The lines are kept in memory: what a terminal or a file takes for them isn't counted.
    """
    handler = _Kept()
    logger = logging.getLogger("fanfold.task_runs")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)

    @task(retries=1, cache_policy=INPUTS)
    def eventful(x: int) -> int:
        if x not in _failed:
            _failed.add(x)
            raise ValueError(x)
        get_run_logger().info("plus one: %d", x)
        return x + 1

    def body() -> list[int]:
        # A name of its own each time: nothing is known of it, however often this was measured.
        return eventful.with_options(name=f"eventful-{next(_names)}").map(range(ELEMENTS)).result()

    return _in_flow(ground, body)


def _walked(ground: Ground, n: int, turns: int) -> Iterator[Row]:
    plain = task(plus_one)
    walk = _in_flow(ground, lambda: [future.result() for future in plain.map(range(n))])
    whole = _in_flow(ground, lambda: plain.map(range(n)).result())
    timed = race(
        [Contestant(name="walk", run=walk), Contestant(name="whole", run=whole)],
        turns,
        list(range(1, n + 1)),
    )
    yield Row(
        what="[f.result() for f in map]",
        where=ground.name,
        n=n,
        ours=timed["walk"].seconds,
        beside=timed["whole"].seconds,
        beside_what="map.result()",
        aim=near(3.0),
    )
