"""Time limits: calls a function and stops it when its time is over.

How it is stopped depends on the thread, and each way is the strongest that there is:

- In the main thread by a signal, which strikes at once, also while it sleeps (`alarms`).
- In any other thread the function runs in a helper thread and gets the exception there. Python
  delivers it only between two steps of Python code, so if the function hasn't ended `grace_s` later
  it is abandoned: it goes on, and nobody waits for it. (If the function is just starting a thread,
  CPython delivers it to that one instead, which ends the same way.)
- Where the process may end without harm to others, it does `grace_s` after the deadline, even while
  C code holds the GIL (`watchdog`).
- A coroutine is cancelled, and abandoned if it goes on `grace_s` later.

Whatever a call returns or raises after its deadline doesn't count. What it raises before is its own
error, also if that is a `TimeoutError`.
"""

import math
import numbers
import threading
import time
from _thread import allocate_lock
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context, copy_context
from datetime import timedelta
from functools import cache
from threading import Thread, get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from fanfold.engine.context import current
from fanfold.engine.limits import alarms
from fanfold.engine.limits.alarms import Alarm, Interrupt
from fanfold.engine.limits.watchdog import Watchdog, watchdog
from fanfold.values.errors import TimedOut, UsageError

if TYPE_CHECKING:
    import asyncio

GRACE_S = 2.0
"""From the exception to giving the call up or ending the process: time for `finally` blocks."""
LONGEST_S = 1e9
"""30 years: more than this the clocks of some systems don't take."""

P = ParamSpec("P")
R = TypeVar("R")


def checked_timeout(name: str, value: object) -> float | None:
    """Return a time limit in seconds; None stays None, for no limit.

    Args:
        name: What the limit is called where the user wrote it, such as `timeout_seconds`.
        value: A number of seconds or a timedelta.

    Raises:
        UsageError: It is something else, zero, negative, not a number, or endless.
    """
    if value is None:
        return None
    seconds = math.nan
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, numbers.Real) and value is not True:
        seconds = float(value)
    if 0 < seconds <= LONGEST_S:
        return seconds
    raise UsageError(
        f"{name} is {value!r}; it needs to be a number of seconds above 0 and at most "
        f"{LONGEST_S:g}, a timedelta, or None for no limit."
    )


def abandoned() -> list[str]:
    """Return the names of the calls in this process that nobody could stop and that still run."""
    return list(_abandoned.values())


class Limiter:
    """Calls functions, one at a time, each with the same time limit.

    To be closed in the end, or used as a context manager. One thread at a time; not re-entrant: a
    call inside a call takes a Limiter of its own, and then the outer limit holds for both.

    Args:
        seconds: The limit of one call, as `checked_timeout` returns it. It starts with the call.
        name: Of what is called; a function is asked for it when it is needed.
        kills: The process is ours and may end, as nobody else's work is in it.
        grace_s: From the exception to giving the call up or ending the process.
    """

    def __init__(
        self,
        seconds: float,
        *,
        name: str | Callable[[], str],
        kills: bool = False,
        grace_s: float = GRACE_S,
    ) -> None:
        self.seconds = seconds
        self.name = name
        self.grace_s = grace_s
        self._watchdog: Watchdog | None = watchdog() if kills else None
        self._helper: _Helper | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back thread and timer. Idempotent; never waits for what was called."""
        if self._helper is not None:
            self._helper.dismiss()
            self._helper = None
        if self._watchdog is not None:
            self._watchdog.close()

    def call(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the function returns, or raise what it raises, if it does so in time.

        Raises:
            TimedOut: It didn't.
            Interrupt: The time of a limit further out is over: to be let through.
        """
        if alarms.AVAILABLE and threading.current_thread() is threading.main_thread():
            return self._call_here(fn, args, kwargs)
        return self._call_there(fn, args, kwargs)

    def _call_here(self, fn: Callable[..., R], args: Any, kwargs: Any) -> R:
        alarm = Alarm(self.seconds, self.grace_s, self._call_off)
        due = alarm.due
        try:
            self._set_watchdog()
            alarm.set()
            value = fn(*args, **kwargs)
            alarm.over = True
        except BaseException as error:
            alarm.over = True
            meant = alarm.rang and not alarm.outer_rang()
            # First this: an alarm further out may strike between the two, and then sees to both.
            self._call_off()
            alarm.stop()
            if isinstance(error, Interrupt):
                if not meant:
                    raise
            elif not isinstance(error, Exception) or not (alarm.rang or time.monotonic() >= due):
                raise
            raise self._timed_out("soft" if alarm.rang else "late", error) from _cause(error)
        self._call_off()
        alarm.stop()
        if alarm.rang or time.monotonic() >= due:
            raise self._timed_out("soft" if alarm.rang else "late")
        return value

    def _call_there(self, fn: Callable[..., R], args: Any, kwargs: Any) -> R:
        due = time.monotonic() + self.seconds
        job = _Job(fn, args, kwargs, until=min(due, _here.until))
        if self._helper is None:
            with _here.starting:
                self._helper = _Helper()
        helper = self._helper
        try:
            self._set_watchdog()
            helper.start(job)
            if not helper.ended(job.until):
                if job.until < due:
                    raise Interrupt
                job.throw(helper)
                # Where the process may end, the watchdog sees to that, and there is no way back.
                grace_s = self.grace_s if self._watchdog is None else LONGEST_S
                if not helper.ended(time.monotonic() + grace_s):
                    raise self._timed_out("abandoned")
        except BaseException:
            # Also when something strikes this very thread: what it waited for must not go on.
            self._helper = None
            _abandoned[helper] = _spelled(self.name)
            helper.leave(job)
            raise
        finally:
            self._call_off()
        return self._came_to(job, due)

    def _came_to(self, job: "_Job", due: float) -> Any:
        """Return what an ended job returned, or raise what it raised, if it was in time."""
        context = current()
        if context is not None and context.meter is not None:
            context.meter.count(job.cpu_s)
        error, job.error = job.error, None
        try:
            if error is not None:
                stopped = job.thrown or job.finished >= due
                if not (stopped and isinstance(error, Exception | Interrupt)):
                    raise error
            elif job.finished < due and not job.thrown:
                return job.value
            soft = job.thrown or isinstance(error, Interrupt)
            raise self._timed_out("soft" if soft else "late", error) from _cause(error)
        finally:
            # The exception leads to this frame, and would keep all that it leads to alive.
            del error

    def _set_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.set(self.seconds + self.grace_s)

    def _call_off(self) -> None:
        if self._watchdog is not None:
            self._watchdog.call_off()

    def _timed_out(self, how: str, error: BaseException | None = None) -> TimedOut:
        """Return the error; its traceback leads to where the exception struck."""
        made = TimedOut(_spelled(self.name), self.seconds, how)
        if isinstance(error, Interrupt):
            made.__traceback__ = _without_ours(error.__traceback__)
        return made


async def call_async(
    seconds: float,
    awaitable: Awaitable[R],
    *,
    name: str | Callable[[], str],
    grace_s: float = GRACE_S,
) -> R:
    """Return what the awaitable comes to, or raise what it raises, if that is in time.

    It runs as a task of its own; cancelling the caller cancels it and waits for what comes of that.

    Args:
        seconds: The limit, from now on.
        awaitable: A coroutine, or what else can be awaited.
        name: Of what is called; a function is asked for it when it is needed.
        grace_s: From cancelling to abandoning what goes on in spite of it.

    Raises:
        TimedOut: It isn't.
    """
    import asyncio  # 10 ms, which only async calls need

    due = time.monotonic() + seconds
    task = asyncio.ensure_future(awaitable)
    asked = await _wait(task, due)
    in_time = time.monotonic() < due
    how = "late" if task.done() else "soft"
    if how == "soft":
        task.cancel()
        try:
            await asyncio.wait((task,), timeout=grace_s)
        finally:
            if not task.done():
                how = "abandoned"
                _abandoned[task] = _spelled(name)
                task.add_done_callback(_left)
    error = None if not task.done() or task.cancelled() else task.exception()
    if how == "late" and (in_time or task.cancelled() or not isinstance(error, Exception | None)):
        return task.result()
    raise asked or TimedOut(_spelled(name), seconds, how) from error


async def _wait(task: "asyncio.Future[Any]", due: float) -> "asyncio.CancelledError | None":
    """Wait for a task until then; return how somebody asked to cancel it meanwhile, which it was.

    What it makes of that is for the task to say, as if it had been awaited without a limit.
    """
    import asyncio  # 10 ms, which only async calls need

    asked: asyncio.CancelledError | None = None
    while not task.done() and (left := due - time.monotonic()) > 0:
        try:
            await asyncio.wait((task,), timeout=left)
        except asyncio.CancelledError as cancelled:
            asked = cancelled
            task.cancel(*cancelled.args)
    return asked


class _Here(threading.local):
    """What is around the code of a thread."""

    def __init__(self) -> None:
        self.until = math.inf
        """When the limits are over that this helper thread works under."""
        self.starting = allocate_lock()
        """Held while a helper is started. CPython knows a new thread by the identity of the one
        that starts it, at first, so what is thrown at that one would strike the new one."""


_here = _Here()
_abandoned: dict[object, str] = {}


class _Job:
    """One call in a helper thread.

    Whoever takes `begun` first decides whether it runs: an exception that was thrown before would
    strike the helper outside any call. Whoever takes `decided` first decides how it ends: the
    helper that it ended by itself, and then no exception is thrown any more; the caller that one
    is, and then the helper goes on to its next job only when that exception has struck or was
    taken back. So none strikes a later job.
    """

    __slots__ = (
        "args",
        "begun",
        "context",
        "cpu_s",
        "decided",
        "error",
        "finished",
        "fn",
        "kwargs",
        "starting",
        "striking",
        "thrown",
        "until",
        "value",
    )

    def __init__(self, fn: Callable[..., Any], args: Any, kwargs: Any, until: float) -> None:
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.until = until
        self.context: Context = copy_context()
        self.begun = allocate_lock()
        self.decided = allocate_lock()
        self.starting = allocate_lock()
        self.striking = allocate_lock()
        """Held until the exception is on its way."""
        self.striking.acquire()
        self.thrown = False
        self.finished = math.inf
        self.cpu_s = 0.0
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Call the function, in the helper."""
        _here.until, _here.starting = self.until, self.starting
        began_s = time.thread_time()
        try:
            try:
                if self.begun.acquire(False):
                    self.value = self.context.run(self.fn, *self.args, **self.kwargs)
            except BaseException as error:
                self.error = error
                # Without this frame, as if the caller had made the call.
                if error.__traceback__ is not None:
                    error.__traceback__ = error.__traceback__.tb_next
            self.finished = time.monotonic()
            self.cpu_s = time.thread_time() - began_s
            ours = self.decided.acquire(False)
        except Interrupt as late:
            self.error, ours = late, False
        if not ours:
            with suppress(Interrupt):
                self.striking.acquire()
                take_back()

    def throw(self, helper: "_Helper") -> None:
        """Throw the exception into the helper, unless the call has ended; in the caller."""
        if self.thrown:
            return
        if self.begun.acquire(False):
            self.thrown = True
            return
        if not self.decided.acquire(False):
            return
        self.thrown = True
        try:
            with self.starting:
                throw(helper.ident, Interrupt)
        finally:
            self.striking.release()


class _Helper:
    """A thread that makes one call after the other for one Limiter."""

    def __init__(self) -> None:
        self._wake = allocate_lock()
        self._wake.acquire()
        self._ended = allocate_lock()
        self._ended.acquire()
        self._job: _Job | None = None
        # A daemon, for an abandoned one must not keep the process from ending.
        thread = Thread(target=self._serve, name="fanfold-limited", daemon=True)
        thread.start()
        assert thread.ident is not None
        self.ident = thread.ident

    def start(self, job: _Job) -> None:
        """Begin a job; the one before has ended."""
        self._job = job
        self._wake.release()

    def ended(self, until: float) -> bool:
        """Wait for the end of the job, at most until then on the monotonic clock."""
        left = max(0.0, until - time.monotonic())
        return self._ended.acquire(timeout=min(left, threading.TIMEOUT_MAX))

    def leave(self, job: _Job) -> None:
        """Don't wait for the job: interrupt it, and let the thread end with it."""
        job.throw(self)
        if job.striking.locked():
            # The throw before this one was cut short, and the thread would wait for it for ever.
            job.striking.release()
        self.dismiss()

    def dismiss(self) -> None:
        """Let the thread end when it has nothing to do."""
        self._job = None
        self._wake.release()

    def _serve(self) -> None:
        # It strikes outside a job only where its caller was struck while throwing it, and then
        # nobody waits for this thread any more.
        with suppress(Interrupt):
            self._take_jobs()
        _abandoned.pop(self, None)

    def _take_jobs(self) -> None:
        while True:
            self._wake.acquire()
            job = self._job
            if job is None:
                return
            job.run()
            # Nothing of the call is kept until the next one.
            del job
            self._ended.release()


def _left(task: "asyncio.Future[Any]") -> None:
    """Note that an abandoned coroutine has ended; nobody else asks for its exception."""
    _abandoned.pop(task, None)
    if not task.cancelled():
        task.exception()


def _spelled(name: str | Callable[[], str]) -> str:
    return name if isinstance(name, str) else name()


def _cause(error: BaseException | None) -> BaseException | None:
    return error if isinstance(error, Exception) else None


def _without_ours(found: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of time limits, which are at its two ends."""
    steps: list[TracebackType] = []
    while found is not None:
        if found.tb_frame.f_code.co_filename not in (__file__, alarms.__file__):
            steps.append(found)
        found = found.tb_next
    rest: TracebackType | None = None
    for step in reversed(steps):
        rest = TracebackType(rest, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return rest


@cache
def _thrower() -> Callable[..., int]:
    import ctypes  # 2 ms, which only helper threads that overrun need

    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
    throw.argtypes = (ctypes.c_ulong, ctypes.c_void_p)
    return throw


def throw(ident: int, error: type[BaseException]) -> None:
    """Let an exception strike a thread at its next step of Python code."""
    _thrower()(ident, id(error))


def take_back() -> None:
    """See to it that nothing strikes the calling thread that was thrown at it before.

    By another one, which takes its place and is caught. Python's own way of taking it back leaves
    CPython 3.11 in wait for it, and from then on whatever is traced hangs, in a debugger too.
    """
    with suppress(Interrupt):
        throw(get_ident(), Interrupt)
        while True:
            pass
