"""Stops a flow run's own code when somebody asks for that: from another thread, at any time.

How it is stopped depends on where the code runs, and each way is the strongest that there is: in
the main thread a signal strikes at once, also while it sleeps; in another thread an exception
strikes at its next step of Python code; a coroutine is cancelled.
"""

import math
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fanfold.engine.attempt import ended
from fanfold.engine.limits import alarms
from fanfold.engine.limits.alarms import Alarm, Interrupt
from fanfold.engine.limits.deadlines import GRACE_S, throw
from fanfold.values.errors import RunCancelled
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
        self._strike: Callable[[], None] | None = None
        self._lock = threading.Lock()

    def ask(self) -> None:
        """Stop the code that is within reach, or the next that comes there; doesn't wait for it."""
        with self._lock:
            self.asked = True
            if self._strike is not None:
                self._strike()

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
        RunCancelled: The stop was asked for, before or meanwhile.
    """
    try:
        with _InLoop(stop) if in_loop else _InThread(stop):
            yield
    except Interrupt:
        if not stop.asked:  # the time of something around is over
            raise
        raise RunCancelled(CANCELLED) from None


def ended_by(stop: Stop, error: BaseException) -> State:
    """Return the state of a run that something outside of it ends."""
    if not stop.asked and not isinstance(error, Interrupt):
        return ended(None, error)
    message = CANCELLED if stop.asked else ENDED_AROUND
    return State(code=StateName.CANCELLED, message=message, error=RunCancelled(message))


class _InThread:
    """Code that is interrupted when a stop is asked for; for one use."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._alarm: Alarm | None = None
        self._ident = 0
        self._thrown = False

    def __enter__(self) -> Self:
        if alarms.AVAILABLE and threading.current_thread() is threading.main_thread():
            self._alarm = Alarm(math.inf, GRACE_S, lambda: None)
            self._alarm.set()
        else:
            self._ident = threading.get_ident()
        try:
            self._stop.arm(self._strike)
        except Interrupt:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._alarm is not None:
            self._alarm.over = True
            self._stop.disarm()
            self._alarm.stop()
            return
        self._stop.disarm()
        if self._thrown:
            throw(self._ident, None)

    def _strike(self) -> None:
        if self._alarm is not None:
            self._alarm.due = 0.0
            ident = threading.main_thread().ident
            assert ident is not None
            signal.pthread_kill(ident, signal.SIGALRM)
        else:
            self._thrown = True
            throw(self._ident, Interrupt)


class _InLoop:
    """Code of an asyncio task, which is cancelled."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def __enter__(self) -> Self:
        import asyncio  # 10 ms, which only async flows need

        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        self._stop.arm(lambda: _cancel_soon(loop, task))
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.disarm()


def _cancel_soon(loop: "asyncio.AbstractEventLoop", task: "asyncio.Task[Any] | None") -> None:
    if task is not None:
        loop.call_soon_threadsafe(task.cancel)
