"""Alarms: exceptions that strike in the main thread at a given time, also while it sleeps.

They share the one timer that a process has (`ITIMER_REAL`), with each other and with the user's
code, and nest as calls do: the limit of a flow lies around the limits of its tasks. Only for
systems with `setitimer`, and only for the main thread, where Python handles signals.

The invariants:

- `_ringing` holds the alarms of the calls under way, outermost first. What ends takes along
  all further in, for the alarm of an outer call may have struck while an inner one was ending.
- An alarm that is over never strikes, so setting `over` is the first thing that happens after the
  call. Signal handlers run only where a function is called or a loop goes round, so nothing comes
  between.
- A handler and a timer that somebody set before are served while ours are in their place, and put
  back when the call ends. Code that takes the signal for itself inside a call takes it from us:
  then the alarm of that call doesn't strike.
"""

import math
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

AVAILABLE = hasattr(signal, "setitimer")
"""Whether this system has what alarms need."""
EARLY_S = 0.0005
"""The kernel's timer may go off that much before `time.monotonic` is there."""


class Interrupt(BaseException):
    """Unwinds a call whose time is over.

    No `Exception`, so that users' `except Exception` don't take it for an error of theirs. Whoever
    catches `BaseException` between two limits lets it through: it may be meant for the outer one.
    """


class Alarm:
    """Strikes once the time is over, and again and again if code goes on all the same.

    Args:
        seconds: From now until it strikes; endless for one that is made due by others.
        again_s: From one strike to the next.
        ended: Called if a call further out ends this one, so that its owner can't.
    """

    __slots__ = ("_again_s", "_ended", "_theirs_every", "before", "due", "over", "rang", "theirs")

    def __init__(self, seconds: float, again_s: float, ended: Callable[[], None]) -> None:
        self.due = time.monotonic() + seconds
        """When it strikes next, by the monotonic clock."""
        self.over = False
        """The call is over. Set by the owner, at once."""
        self.rang = False
        self._again_s = again_s
        self._ended = ended
        self.before: Any = None
        """The handler that was there before."""
        self.theirs = math.inf
        """When the timer is due that was there before."""
        self._theirs_every = 0.0

    def set(self) -> None:
        """Start it; in the main thread."""
        self.before = signal.getsignal(signal.SIGALRM)
        _ringing.append(self)
        signal.signal(signal.SIGALRM, _ring)
        left, every = signal.getitimer(signal.ITIMER_REAL)
        if left and self.before is not _ring:
            self.theirs, self._theirs_every = time.monotonic() + left, every
        _wind()

    def stop(self) -> None:
        """Stop it, and all that were set since; idempotent."""
        self.over = True
        if self not in _ringing:
            return
        at = _ringing.index(self)
        inner = _ringing[at + 1 :]
        for alarm in inner:
            alarm.over = True
            alarm._ended()
        del _ringing[at:]
        if self.before is not _ring:
            self._put_back()
        else:
            _wind()

    def outer_rang(self) -> bool:
        """Return whether an alarm further out has struck, so that no inner one counts."""
        at = _ringing.index(self) if self in _ringing else len(_ringing)
        return any(alarm.rang for alarm in _ringing[:at])

    def serve_theirs(self, number: int, frame: FrameType | None) -> None:
        """Do what would have happened without us when the timer before was due."""
        self.theirs = self.theirs + self._theirs_every if self._theirs_every else math.inf
        _wind()
        if callable(self.before):
            self.before(number, frame)
        elif self.before is signal.SIG_DFL:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGALRM)

    def strike(self) -> None:
        """Raise the exception, and be due again."""
        self.rang = True
        self.due = time.monotonic() + self._again_s
        _wind()
        raise Interrupt

    def _put_back(self) -> None:
        # In this order: their handler must never see our timer.
        signal.setitimer(signal.ITIMER_REAL, 0)
        # None: a handler that C code set, which Python can't put back.
        if self.before is not None:
            signal.signal(signal.SIGALRM, self.before)
        if self.theirs < math.inf:
            left = max(self.theirs - time.monotonic(), EARLY_S)
            signal.setitimer(signal.ITIMER_REAL, left, self._theirs_every)


_ringing: list[Alarm] = []
_rung = False
"""Whether a signal is on its way that no timer sent."""


def heard() -> bool:
    """Return whether the signal still comes to us; code inside a call may have taken it."""
    return signal.getsignal(signal.SIGALRM) is _ring


def ring(main: int) -> None:
    """Send the signal to the main thread, for an alarm that was made due; from any thread."""
    global _rung
    _rung = True
    signal.pthread_kill(main, signal.SIGALRM)


def _ring(number: int, frame: FrameType | None) -> None:
    """Handle the signal: the outermost alarm that is due strikes."""
    global _rung
    now = time.monotonic() + EARLY_S
    rung, _rung = _rung, False
    if not (rung or any(min(alarm.theirs, alarm.due) <= now for alarm in _ringing)):
        _pass_on(number, frame)
    for alarm in list(_ringing):
        if alarm.theirs <= now:
            alarm.serve_theirs(number, frame)
    for alarm in _ringing:
        if not alarm.over and alarm.due <= now:
            alarm.strike()
    _wind()


def _pass_on(number: int, frame: FrameType | None) -> None:
    """Serve a timer that code inside a call has set, for the handler that was there before."""
    if _ringing and callable(before := _ringing[0].before):
        before(number, frame)


def _wind() -> None:
    """Let the timer go off when the next alarm is due, ours or theirs."""
    due = math.inf
    for alarm in _ringing:
        due = min(due, alarm.theirs, math.inf if alarm.over else alarm.due)
    left = 0.0 if due == math.inf else max(due - time.monotonic(), EARLY_S)
    signal.setitimer(signal.ITIMER_REAL, left)
