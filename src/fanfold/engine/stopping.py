"""Stops a flow run's own code when somebody asks for that: from another thread, at any time.

How it is stopped depends on where the code runs, and each way is the strongest that there is: in
the main thread a signal strikes at once, also while it sleeps; in another thread an exception
strikes at its next step of Python code; a coroutine is cancelled.
"""

import math
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fanfold.engine.attempt import ended
from fanfold.engine.limits import alarms
from fanfold.engine.limits.alarms import Alarm, Interrupt
from fanfold.engine.limits.deadlines import GRACE_S, take_back, throw
from fanfold.values.errors import Crashed, RunCancelled, RunError
from fanfold.values.states import State, StateName

if TYPE_CHECKING:
    import asyncio

CANCELLED = "Somebody asked for it to be cancelled."
ENDED_AROUND = "The run around it ended."


class Stop:
    """A request to stop, which may come or not. Thread-safe."""

    def __init__(self) -> None:
        self.asked = False
        """Whether somebody wants the run to stop; it never becomes False again."""
        self.error: RunError = RunCancelled(CANCELLED)
        """What it ends by then."""
        self._bell = threading.Event()
        self._strike: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def ask(self, error: RunError | None = None) -> None:
        """Stop the code that is within reach, or the next that comes there; doesn't wait for it.

        Args:
            error: Why, where nobody asked for it to be cancelled; the first one counts.
        """
        with self._lock:
            if error is not None and not self.asked:
                self.error = error
            self.asked = True
            self._bell.set()
            if self._strike is not None:
                self._strike()

    def nudge(self) -> None:
        """Wake a thread that sleeps in `wait`, as something else is to strike it."""
        self._bell.set()

    def wait(self, seconds: float) -> None:
        """Sleep; for where nothing is to be interrupted but this.

        Raises:
            RunError: Somebody asked, before or meanwhile.
        """
        if self._bell.wait(seconds) and self.asked:
            raise self.error

    def arm(self, strike: Callable[[], None]) -> None:
        """Have this called once somebody asks.

        Raises:
            Interrupt: Somebody has asked already.
        """
        with self._lock:
            self._strike = strike
            if self.asked:
                raise Interrupt

    def disarm(self) -> None:
        """Have nothing called any more; when this returns, nothing strikes."""
        with self._lock:
            self._strike = None


@contextmanager
def reach(stop: Stop, *, in_loop: bool = False) -> Generator[None]:
    """Interrupt the code inside when a stop is asked for.

    Args:
        stop: The request.
        in_loop: The code is that of the running asyncio task.

    Raises:
        RunError: The stop was asked for, before or meanwhile.
        Interrupt: The time of something around is over; or the stop was asked for (`stop.asked`),
            and it struck on the way in or out.
    """
    within = _InLoop(stop) if in_loop else _InThread(stop)
    try:
        with within:
            yield
    except Interrupt:
        within.leave()  # once more: it may have struck where this was about to be done
        if not stop.asked:  # the time of something around is over
            raise
        raise stop.error from None


def ended_by(stop: Stop, error: BaseException) -> State:
    """Return the state of a run that something outside of it ends."""
    if not stop.asked and not isinstance(error, Interrupt):
        return ended(None, error)
    why = stop.error if stop.asked else RunCancelled(ENDED_AROUND)
    crashed = isinstance(why, Crashed)
    code = StateName.CRASHED if crashed else StateName.CANCELLED
    return State(code=code, message=str(why), error=why)


class _InThread:
    """Code that is interrupted when a stop is asked for; for one use."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._alarm: Alarm | None = None
        self._ident = threading.get_ident()
        self._thrown = False

    def __enter__(self) -> Self:
        if alarms.AVAILABLE and threading.current_thread() is threading.main_thread():
            self._alarm = Alarm(math.inf, GRACE_S, lambda: None)
            self._alarm.set()
        try:
            self._stop.arm(self._strike)
        except Interrupt:
            self.leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Let nothing strike any more; idempotent."""
        if self._alarm is not None:
            self._alarm.over = True
        self._stop.disarm()
        if self._alarm is not None:
            self._alarm.stop()
        if self._thrown:
            self._thrown = False
            take_back()

    def _strike(self) -> None:
        if self._alarm is not None and alarms.heard():
            self._alarm.due = 0.0
            alarms.ring(self._ident)
        else:  # also where the code inside has taken the signal for itself
            self._thrown = True
            throw(self._ident, Interrupt)


class _InLoop:
    """Code of an asyncio task, which is cancelled."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    def __enter__(self) -> Self:
        import asyncio  # 10 ms, which only async flows need

        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()

        def strike() -> None:
            loop.call_soon_threadsafe(self._cancel)

        self._stop.arm(strike)
        return self

    def _cancel(self) -> None:
        """Strike, in the loop, unless the code has come to its end before this could run."""
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()

    def __exit__(self, *_: Any) -> None:
        self.leave()

    def leave(self) -> None:
        """Let nothing strike any more; idempotent."""
        self._stop.disarm()
        task, self._task = self._task, None
        if task is not None and self._cancelled:
            task.uncancel()  # it was meant for the code inside, and goes no further
