"""How code is stopped from outside: whenever it strikes, nothing strikes later."""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from fanfold.engine.limits import alarms
from fanfold.engine.limits.alarms import Interrupt
from fanfold.engine.stopping import Stop, reach
from fanfold.values.errors import RunCancelled

FILES = ("stopping.py", "contextlib.py", "test_stopping.py")
DEADLINE_S = 20.0
MOST_STEPS = 1_000


@pytest.fixture
def rings() -> Iterator[list[int]]:
    """What a handler of the user's own is called with."""
    calls: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: calls.append(number))
    yield calls
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class _AskAt:
    """Asks a stop at one of the steps of Python code that lead into its reach and out again."""

    def __init__(self, stop: Stop, step: int) -> None:
        self.left = step
        self._stop = stop

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.endswith(FILES):
            return None
        if event == "return":  # nothing ever strikes there
            return self
        if not self._stop._lock.locked():  # whoever asks waits for the lock, and we are its owner
            self.left -= 1
            if self.left == 0:
                self._stop.ask()
        return self


def _struck_at(step: int) -> tuple[str, bool]:
    """Return how code within reach ended that was struck there, and whether it was struck."""
    stop = Stop()
    asks, before, outcome = _AskAt(stop, step), sys.gettrace(), "returned"
    sys.settrace(asks)
    try:
        with reach(stop):
            pass
    except RunCancelled:
        outcome = "cancelled"
    except Interrupt:
        outcome = "interrupted"
    finally:
        sys.settrace(before)
    return outcome, stop.asked


@pytest.mark.parametrize("where", ["main", "thread"])
def test_nothing_strikes_later_whenever_somebody_asks(where: str) -> None:
    outcomes: list[str] = []
    left: list[Any] = []

    def strike_everywhere() -> None:
        for step in range(1, MOST_STEPS):
            outcome, asked = _struck_at(step)
            if not asked:
                return
            outcomes.append(outcome)
            left.extend(alarms._ringing)

    before = signal.getsignal(signal.SIGALRM)
    if where == "main":
        strike_everywhere()
    else:
        thread = threading.Thread(target=strike_everywhere)
        thread.start()
        thread.join()

    assert not left
    assert len(outcomes) > 10
    assert {"cancelled", "returned"} <= {*outcomes}
    assert signal.getsignal(signal.SIGALRM) is before


def test_code_that_took_the_signal_for_itself_is_stopped_all_the_same(rings: list[int]) -> None:
    stop = Stop()

    def go_on() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        stop.ask()
        for _ in range(MOST_STEPS):
            str(_)

    with pytest.raises(RunCancelled), reach(stop):
        go_on()

    assert not alarms._ringing


def test_a_timer_of_the_code_inside_is_served_by_the_handler_from_before(rings: list[int]) -> None:
    stop = Stop()

    with reach(stop):
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        deadline = time.monotonic() + DEADLINE_S
        while not rings and time.monotonic() < deadline:
            pass

    assert rings == [signal.SIGALRM]


def test_a_loop_that_is_left_before_it_hears_of_it_is_not_cancelled() -> None:
    stop = Stop()

    async def main() -> str:
        with reach(stop, in_loop=True):
            stop.ask()  # takes effect in the loop's next round
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "went on"

    assert asyncio.run(main()) == "went on"


def test_a_cancelled_loop_is_as_good_as_new_afterwards() -> None:
    stop = Stop()

    async def main() -> int:
        with pytest.raises(RunCancelled):
            try:
                with reach(stop, in_loop=True):
                    stop.ask()
                    await asyncio.sleep(DEADLINE_S)
            except asyncio.CancelledError:
                raise RunCancelled("as the flow's story says") from None
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0
