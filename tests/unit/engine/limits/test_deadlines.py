"""Calls under a time limit, in every kind of thread, with what stops easily and what doesn't."""

import asyncio
import contextlib
import hashlib
import math
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import pytest

from fanfold.engine.limits import deadlines
from fanfold.engine.limits.alarms import Interrupt
from fanfold.engine.limits.deadlines import Limiter, abandoned, call_async, checked_timeout
from fanfold.engine.limits.watchdog import SIGNAL, KernelWatchdog
from fanfold.values.errors import RunError, TimedOut, UsageError

LIMIT_S = 0.05
GRACE_S = 0.1
PLENTY_S = 30.0
PROGRAMS = Path(__file__).with_name("deadline_programs.py")

In = Callable[[Callable[[], Any]], Any]


def in_main(fn: Callable[[], Any]) -> Any:
    return fn()


def in_other(fn: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(fn).result(PLENTY_S)


everywhere = pytest.mark.parametrize("within", [in_main, in_other], ids=["main", "other"])


def limited(fn: Callable[..., Any], *args: Any, seconds: float = LIMIT_S) -> Any:
    with Limiter(seconds, name="embed[3]", grace_s=GRACE_S) as limiter:
        return limiter.call(fn, *args)


def for_ever() -> None:
    while True:
        pass


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does, which has no event to tell of it."""
    deadline = time.monotonic() + PLENTY_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Generator[None]:
    yield
    until(lambda: not abandoned())
    until(lambda: not [t for t in threading.enumerate() if t.name == "fanfold-limited"])


@everywhere
def test_a_call_in_time_returns_its_value(within: In) -> None:
    def add(a: int, /, *, fn: int) -> int:
        return a + fn

    with Limiter(PLENTY_S, name="add") as limiter:
        assert within(lambda: [limiter.call(add, n, fn=1) for n in range(3)]) == [1, 2, 3]


@everywhere
def test_python_code_that_overruns_is_stopped_by_an_exception(within: In) -> None:
    with pytest.raises(TimedOut) as caught:
        within(lambda: limited(for_ever))

    assert caught.value.how == "soft"
    assert caught.value.seconds == LIMIT_S
    assert str(caught.value) == (
        "embed[3] overran its time limit of 0.05 s; it was stopped by an exception."
    )
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "for_ever"


def test_a_sleep_in_the_main_thread_ends_at_the_deadline() -> None:
    began = time.monotonic()

    with pytest.raises(TimedOut):
        limited(time.sleep, PLENTY_S)

    assert time.monotonic() - began < PLENTY_S / 2


def test_a_sleep_in_another_thread_is_abandoned_named_and_forgotten_when_it_ends() -> None:
    gate = Event()

    def stuck() -> None:
        gate.wait(PLENTY_S)

    with pytest.raises(TimedOut, match="goes on, and nobody waits for it") as caught:
        in_other(lambda: limited(stuck))

    assert caught.value.how == "abandoned"
    assert abandoned() == ["embed[3]"]
    gate.set()
    until(lambda: not abandoned())


def test_after_an_abandoned_call_the_next_has_a_thread_of_its_own() -> None:
    gate = Event()

    def calls() -> tuple[str, str]:
        with Limiter(LIMIT_S, name=lambda: "named when needed", grace_s=0.01) as limiter:
            with pytest.raises(TimedOut, match="named when needed"):
                limiter.call(gate.wait, PLENTY_S)
            return limiter.call(str, "next"), str(abandoned())

    assert in_other(calls) == ("next", "['named when needed']")
    gate.set()


@everywhere
def test_c_code_that_gives_the_gil_away_counts_as_overrun_when_it_ends(within: In) -> None:
    with pytest.raises(TimedOut):
        within(lambda: limited(hashlib.pbkdf2_hmac, "sha256", b"", b"", 400_000))


@everywhere
def test_finally_blocks_run_and_except_exception_does_not_catch_it(within: In) -> None:
    ran: list[str] = []

    def tidy() -> None:
        try:
            for_ever()
        except Exception:
            ran.append("swallowed")
        finally:
            ran.append("finally")

    with pytest.raises(TimedOut):
        within(lambda: limited(tidy))
    assert ran == ["finally"]


@everywhere
def test_what_is_returned_after_the_exception_was_swallowed_does_not_count(within: In) -> None:
    def swallow() -> str:
        with contextlib.suppress(BaseException):
            for_ever()
        return "value"

    with pytest.raises(TimedOut) as caught:
        within(lambda: limited(swallow))
    assert caught.value.how == "soft"


@everywhere
def test_an_error_in_place_of_the_exception_is_the_cause_of_the_time_out(within: In) -> None:
    def translate() -> None:
        try:
            for_ever()
        except BaseException:
            raise ValueError("broken") from None

    with pytest.raises(TimedOut) as caught:
        within(lambda: limited(translate))
    assert isinstance(caught.value.__cause__, ValueError)


def test_code_that_goes_on_in_the_main_thread_is_struck_again() -> None:
    strikes: list[float] = []

    def twice() -> None:
        while len(strikes) < 2:
            try:
                for_ever()
            except BaseException:
                strikes.append(time.monotonic())

    with pytest.raises(TimedOut):
        limited(twice)
    assert strikes[1] - strikes[0] > GRACE_S / 2


@everywhere
@pytest.mark.parametrize("kind", [TimeoutError, KeyError, SystemExit])
def test_an_error_in_time_is_the_users_own(within: In, kind: type[BaseException]) -> None:
    error = kind("Oh no!")

    def fail() -> None:
        raise error

    with pytest.raises(kind) as caught:
        within(lambda: limited(fail, seconds=PLENTY_S))

    assert caught.value is error
    assert not isinstance(caught.value, TimedOut)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].name == "fail"
    assert len([f for f in frames if f.filename == deadlines.__file__]) <= 3


@everywhere
def test_leaving_the_process_after_the_deadline_is_not_held_up(within: In) -> None:
    def leave() -> None:
        try:
            for_ever()
        finally:
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        within(lambda: limited(leave))


@everywhere
def test_the_clock_starts_with_each_call(within: In) -> None:
    def calls() -> int:
        with Limiter(0.2, name="x") as limiter:
            began, count = time.monotonic(), 0
            while time.monotonic() - began < 0.3:
                limiter.call(time.sleep, 0.01)
                count += 1
            return count

    assert within(calls) > 1


def test_context_variables_reach_a_helper_thread() -> None:
    color: ContextVar[str] = ContextVar("color")

    def read() -> str:
        color.set("red")
        return limited(color.get, seconds=PLENTY_S)

    assert in_other(read) == "red"


def test_calls_of_one_limiter_share_a_thread() -> None:
    def threads() -> set[int]:
        with Limiter(PLENTY_S, name="x") as limiter:
            return {limiter.call(threading.get_ident) for _ in range(20)}

    assert len(in_other(threads)) == 1


@everywhere
@pytest.mark.parametrize("inner_s", [LIMIT_S, PLENTY_S], ids=["inner", "outer"])
def test_of_two_limits_the_one_that_is_over_stops_the_call(within: In, inner_s: float) -> None:
    passed: list[str] = []

    def inner() -> None:
        with Limiter(inner_s, name="inner", grace_s=GRACE_S) as limiter:
            try:
                limiter.call(for_ever)
            except TimedOut:
                passed.append("inner")
                raise
            except Interrupt:
                passed.append("outer")
                raise

    outer_s = LIMIT_S + PLENTY_S - inner_s
    with (
        Limiter(outer_s, name="outer", grace_s=PLENTY_S) as limiter,
        pytest.raises(TimedOut) as caught,
    ):
        within(lambda: limiter.call(inner))

    expected = "inner" if inner_s == LIMIT_S else "outer"
    assert passed == [expected]
    assert caught.value.name == expected


def test_of_two_limits_over_at_once_the_outer_counts() -> None:
    outer = Limiter(LIMIT_S, name="outer", grace_s=GRACE_S)
    inner = Limiter(LIMIT_S, name="inner", grace_s=GRACE_S)

    def hold() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        try:
            time.sleep(2 * LIMIT_S)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})

    with outer, inner, pytest.raises(TimedOut) as caught:
        outer.call(inner.call, hold)
    assert caught.value.name == "outer"


@pytest.fixture
def own_alarm() -> Generator[list[str]]:
    """Set a timer and a handler as a user's program would."""
    rang: list[str] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append("rang"))
    timer = signal.setitimer(signal.ITIMER_REAL, 0)
    yield rang
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, *timer)


def test_the_users_own_timer_is_there_again_afterwards(own_alarm: list[str]) -> None:
    signal.setitimer(signal.ITIMER_REAL, 100, 7)
    handler = signal.getsignal(signal.SIGALRM)

    limited(str)
    with pytest.raises(TimedOut):
        limited(for_ever)

    left, every = signal.getitimer(signal.ITIMER_REAL)
    assert 90 < left < 100
    assert every == 7
    assert signal.getsignal(signal.SIGALRM) is handler
    assert own_alarm == []


def test_the_users_own_timer_goes_off_during_a_call(own_alarm: list[str]) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)

    def wait() -> int:
        while len(own_alarm) < 3:
            time.sleep(0.001)
        return len(own_alarm)

    assert limited(wait, seconds=PLENTY_S) >= 3
    with pytest.raises(TimedOut):
        limited(for_ever)


def test_no_exception_strikes_after_the_end_of_a_call_in_the_main_thread() -> None:
    missed = 0
    with Limiter(0.001, name="x", grace_s=GRACE_S) as limiter:
        for n in range(300):
            # Around the deadline, a little before and a little after.
            due = time.monotonic() + 0.001 + (n % 30 - 20) * 0.00002
            try:
                limiter.call(busy, due)
            except TimedOut:
                missed += 1
            busy(time.monotonic() + 0.0002)
    assert missed


def test_no_exception_strikes_after_the_end_of_a_call_in_a_helper_thread() -> None:
    def calls() -> int:
        missed = 0
        with Limiter(0.001, name="x", grace_s=PLENTY_S) as limiter:
            threads: set[int] = set()
            for n in range(300):
                due = time.monotonic() + 0.001 + (n % 30 - 20) * 0.00002
                try:
                    limiter.call(busy, due)
                except TimedOut:
                    missed += 1
                # The helper is alive and unharmed: it carries out the next call.
                with contextlib.suppress(TimedOut):
                    threads.add(limiter.call(threading.get_ident))
            assert len(threads) == 1
        return missed

    assert in_other(calls)


def test_limits_over_at_about_the_same_time_leave_no_thread_behind() -> None:
    def inner(seconds: float) -> None:
        with Limiter(seconds, name="inner", grace_s=PLENTY_S) as limiter:
            limiter.call(busy, time.monotonic() + 0.002)

    def calls() -> set[str]:
        hows: set[str] = set()
        for n in range(100):
            # Some are over while the thread for the inner call is being started.
            with Limiter(0.001, name="outer", grace_s=PLENTY_S) as limiter:
                try:
                    limiter.call(inner, 0.0008 + n * 0.000004)
                except TimedOut as error:
                    hows.add(error.how)
        return hows

    assert "abandoned" not in in_other(calls)


def busy(due: float) -> None:
    while time.monotonic() < due:
        pass


def test_what_ends_by_itself_too_late_does_not_count() -> None:
    def late() -> str:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        time.sleep(2 * LIMIT_S)
        return "value"

    with pytest.raises(TimedOut, match="too late for its result to count") as caught:
        limited(late)
    assert caught.value.how == "late"


def test_a_lock_taken_with_with_is_free_again() -> None:
    lock = Lock()

    def hold() -> None:
        with lock:
            for_ever()

    for within in (in_main, in_other):
        with pytest.raises(TimedOut):
            within(lambda: limited(hold))
        assert not lock.locked()


def program(
    name: str, thread: str, dog: str, seconds: float = LIMIT_S
) -> tuple[int, list[str], str]:
    done = subprocess.run(
        [sys.executable, str(PROGRAMS), name, thread, dog, str(seconds)],
        capture_output=True,
        text=True,
        timeout=PLENTY_S,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


ENDS = {"kernel": -int(SIGNAL or 0), "thread": 1}
DOGS = [
    pytest.param(
        "kernel", marks=pytest.mark.skipif(not KernelWatchdog.available(), reason="no such timer")
    ),
    "thread",
]


@pytest.mark.parametrize(
    ("name", "thread"),
    [("deaf", "main"), ("free", "main"), ("held", "main"), ("held", "other"), ("sleep", "other")],
)
def test_what_nothing_else_stops_ends_with_its_process(name: str, thread: str) -> None:
    dog = "kernel" if KernelWatchdog.available() else "thread"

    code, said, traces = program(name, thread, dog)

    assert (code, said) == (ENDS[dog], [])
    assert f"in {name}" in traces


@pytest.mark.parametrize("dog", DOGS)
def test_a_process_whose_calls_stop_or_are_in_time_goes_on(dog: str) -> None:
    code, said, traces = program("sleep", "main", dog)

    assert (code, said, traces) == (0, ["soft", "in time"], "")


def test_the_thread_of_faulthandler_ends_a_process_too() -> None:
    code, said, traces = program("held", "main", "thread")

    assert (code, said) == (1, [])
    assert "in held" in traces


def asynchronously(fn: Callable[[], Any], seconds: float = LIMIT_S) -> Any:
    async def main() -> Any:
        return await call_async(seconds, fn(), name="embed[3]", grace_s=GRACE_S)

    return asyncio.run(main())


def test_a_coroutine_in_time_returns_its_value() -> None:
    assert asynchronously(lambda: asyncio.sleep(0, "value"), PLENTY_S) == "value"


def test_a_coroutine_that_overruns_is_cancelled() -> None:
    ran: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(PLENTY_S)
        finally:
            ran.append("finally")

    with pytest.raises(TimedOut) as caught:
        asynchronously(wait)
    assert (caught.value.how, ran) == ("soft", ["finally"])


def test_a_coroutine_that_swallows_its_cancellation_and_returns_does_not_count() -> None:
    async def swallow() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(PLENTY_S)
        return "value"

    with pytest.raises(TimedOut):
        asynchronously(swallow)


def test_a_coroutine_that_goes_on_is_abandoned() -> None:
    async def main() -> list[str]:
        go = asyncio.Event()

        async def deaf() -> None:
            while not go.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await go.wait()
            raise ValueError("for nobody")

        with pytest.raises(TimedOut) as caught:
            await call_async(LIMIT_S, deaf(), name="deaf", grace_s=GRACE_S)
        assert caught.value.how == "abandoned"
        left = abandoned()
        go.set()
        await asyncio.sleep(0.01)
        return left

    assert asyncio.run(main()) == ["deaf"]


def test_a_coroutine_that_blocks_the_loop_does_not_count() -> None:
    async def block() -> str:
        time.sleep(2 * LIMIT_S)
        return "value"

    with pytest.raises(TimedOut) as caught:
        asynchronously(block)
    assert caught.value.how == "late"


@pytest.mark.parametrize("error", [TimeoutError("Oh no!"), asyncio.CancelledError("mine")])
def test_a_coroutines_error_in_time_is_its_own(error: BaseException) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)) as caught:
        asynchronously(fail, PLENTY_S)
    assert not isinstance(caught.value, TimedOut)


def test_cancelling_the_caller_cancels_the_coroutine_and_is_no_time_out() -> None:
    ran: list[str] = []

    async def main() -> None:
        began = asyncio.Event()

        async def wait() -> None:
            began.set()
            try:
                await asyncio.sleep(PLENTY_S)
            finally:
                ran.append("finally")

        caller = asyncio.ensure_future(call_async(PLENTY_S, wait(), name="x"))
        await began.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run(main())
    assert ran == ["finally"]


def test_of_two_limits_around_a_coroutine_the_one_that_is_over_counts() -> None:
    async def main(outer_s: float, inner_s: float) -> None:
        inner = call_async(inner_s, asyncio.sleep(PLENTY_S), name="inner")
        await call_async(outer_s, inner, name="outer")

    for limits, name in (((LIMIT_S, PLENTY_S), "outer"), ((PLENTY_S, LIMIT_S), "inner")):
        with pytest.raises(TimedOut) as caught:
            asyncio.run(main(*limits))
        assert caught.value.name == name


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), (1, 1.0), (0.5, 0.5), (timedelta(minutes=1), 60.0)],
)
def test_a_limit_is_a_number_of_seconds_or_a_timedelta(value: Any, seconds: float | None) -> None:
    assert checked_timeout("timeout_seconds", value) == seconds


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, False, "30", timedelta(0)])
def test_anything_else_is_refused_and_named(value: Any) -> None:
    with pytest.raises(UsageError, match="timeout_seconds is "):
        checked_timeout("timeout_seconds", value)


def test_the_error_is_a_timeout_error_and_pickles() -> None:
    error = TimedOut("embed[3]", 1, "abandoned")
    error.add_note("a note")

    copy = pickle.loads(pickle.dumps(error))

    assert isinstance(copy, TimeoutError)
    assert isinstance(copy, RunError)
    assert (str(copy), copy.__notes__) == (str(error), ["a note"])
    assert (copy.name, copy.seconds, copy.how, copy.errno) == ("embed[3]", 1, "abandoned", None)


def test_a_caller_that_is_struck_itself_interrupts_what_it_waits_for() -> None:
    ended = Event()

    def tidy() -> None:
        try:
            for_ever()
        finally:
            ended.set()

    def inner() -> None:
        with Limiter(PLENTY_S, name="inner") as limiter:
            limiter.call(tidy)

    outcome: list[TimedOut] = []

    def outer() -> None:
        try:
            limited(inner)
        except TimedOut as error:
            outcome.append(error)

    thread = Thread(target=outer)
    thread.start()
    thread.join(PLENTY_S)

    assert ended.wait(PLENTY_S)
    assert [error.how for error in outcome] == ["soft"]
