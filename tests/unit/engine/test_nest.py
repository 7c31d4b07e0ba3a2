"""What elements start: on the runner that they run on, without holding the slot that it needs."""

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fanfold import flow, task
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.engine import pulse
from fanfold.engine.dispatch import dispatcher
from fanfold.engine.nest import Nest
from fanfold.engine.pulse import BEAT, BEAT_S, Pulse
from fanfold.values.errors import MapError

DEADLINE_S = 30.0


@task
def same(x: int) -> int:
    return x


@task
def process(x: int) -> int:
    return os.getpid()


@task
def tree(depth: int) -> int:
    """Count the leaves of a tree that has three branches on each level."""
    if not depth:
        return 1
    branches = tree.map([depth - 1] * 2).result(timeout=DEADLINE_S)
    return sum(branches) + tree.submit(depth - 1).result(timeout=DEADLINE_S)


@pytest.mark.parametrize("slots", [1, 2])
def test_three_levels_deep_and_no_slot_is_held(slots: int) -> None:
    @flow(task_runner=ThreadPoolTaskRunner(slots))
    def growing() -> list[int]:
        return tree.map([3] * 4).result(timeout=DEADLINE_S)

    assert growing() == [27] * 4


def test_async_elements_give_their_slot_back_too() -> None:
    @task
    async def outer(x: int) -> int:
        return sum(await asyncio.gather(*same.map([x, x])))

    @flow(task_runner=ThreadPoolTaskRunner(1))
    def both() -> list[int]:
        return outer.map([1, 2, 3]).result(timeout=DEADLINE_S)

    assert both() == [2, 4, 6]


def test_siblings_run_side_by_side_where_slots_are_free() -> None:
    together = threading.Barrier(3)

    @task
    def meets(x: int) -> int:
        together.wait(DEADLINE_S)
        return x

    @task
    def outer(x: int) -> list[int]:
        return meets.map(range(3), chunk_size=1).result(timeout=DEADLINE_S)

    @flow(task_runner=ThreadPoolTaskRunner(3))
    def meeting() -> list[int]:
        return outer.submit(0).result(timeout=DEADLINE_S)

    # Three of them, though one of three slots is the parent's.
    assert meeting() == [0, 1, 2]


def test_what_a_direct_call_starts_goes_to_the_runner_of_the_flow() -> None:
    @task
    def outer() -> set[int]:
        return set(process.map(range(4)).result())

    @flow(task_runner=ProcessTaskRunner(1))
    def calling() -> set[int]:
        return outer()

    assert os.getpid() not in calling()


def test_nothing_of_a_cancelled_element_starts_any_more() -> None:
    ran: list[int] = []
    waits, goes_on = threading.Event(), threading.Event()

    @task
    def slow(x: int) -> int:
        ran.append(x)
        waits.set()
        goes_on.wait(DEADLINE_S)
        return x

    ends: list[Any] = []

    @task
    def outer() -> None:
        try:
            slow.map(range(50), chunk_size=1).result(timeout=DEADLINE_S)
        except BaseException as error:
            ends.append(error)
            raise

    @flow(task_runner=ThreadPoolTaskRunner(1))
    def cancelling() -> str:
        future = outer.submit()
        assert waits.wait(DEADLINE_S)
        dispatcher().cancel([future.run])
        # The running element is let go only when the pulse has seen the cancellation.
        goes_on.wait(3 * pulse.LOOK_S)
        goes_on.set()
        future.wait(DEADLINE_S)
        return future.state.name

    assert cancelling() == "Cancelled"
    assert len(ran) == 1
    assert isinstance(ends[0], MapError)


class Hearing:
    """A site that notes what it is told to say."""

    worker = "test"

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.stops = False

    def say(self, message: bytes) -> None:
        self.said.append(message)

    def stopping(self) -> bool:
        return self.stops

    def session(self, heard: Callable[[str, bytes], None]) -> None:
        """Carry nothing further."""

    def waiting(self) -> Any:
        raise AssertionError


def test_a_pulse_beats_for_those_that_run_long() -> None:
    now = [0.0]
    beating, site = Pulse(lambda: now[0]), Hearing()
    nest = Nest(site)
    with beating.of(nest):
        beating.beat()
        now[0] = BEAT_S
        beating.beat()
        beating.beat()
        now[0] = 2 * BEAT_S
        beating.beat()
    now[0] = 9 * BEAT_S
    beating.beat()

    assert site.said == [BEAT, BEAT]


def test_a_pulse_stops_what_elements_of_a_cancelled_chunk_have_started() -> None:
    class Started:
        stopped = 0

        def stop_runs(self) -> None:
            self.stopped += 1

    site, started = Hearing(), Started()
    nest, beating = Nest(site), Pulse()
    assert nest.owner(lambda: started) is started
    with beating.of(nest):
        beating.beat()
        assert not started.stopped
        site.stops = True
        beating.beat()

    assert started.stopped == 1
