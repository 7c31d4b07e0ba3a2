"""Faults as data: what which attempt of which input does, and task functions that do it."""

import asyncio
import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from fanfold.engine.context import current
from fanfold.engine.telling import get_run_logger
from fanfold.runtime import task_run
from fanfold.tasks import Task
from fanfold.testing.ledger import LOOK_S, Gate, Ledger, pause

SAID, LINES = "said", 10
"""What `telling` says with a number, and how often in each attempt."""


class Fault(Protocol):
    """Something that an attempt does instead of returning its input."""

    def strike(self, x: int, ledger: Ledger) -> Any:
        """Do it; whatever is returned is the attempt's value."""
        ...


@dataclass(frozen=True, slots=True)
class Raise:
    """Raises an exception."""

    error: BaseException

    def strike(self, x: int, ledger: Ledger) -> Any:
        """Raise it."""
        raise self.error


@dataclass(frozen=True, slots=True)
class Kill:
    """Kills the worker process, as the kernel does when memory runs out.

    Args:
        committed_in: A result store's folder: wait until something is committed there, and note
            what, before the process dies.
        timeout_s: How long to wait for that.
    """

    committed_in: str = ""
    timeout_s: float = 60.0

    def strike(self, x: int, ledger: Ledger) -> Any:
        """Note it, then die."""
        if self.committed_in:
            ledger.note("committed", *self._indexes())
        ledger.note("killed", x, os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)

    def _indexes(self) -> list[str]:
        root, deadline = Path(self.committed_in), time.monotonic() + self.timeout_s
        while True:
            # What is being written has a name that begins with a dot.
            found = [str(path.relative_to(root)) for path in root.glob("tasks/*/index/[!.]*")]
            if found or time.monotonic() > deadline:
                return found
            pause()


@dataclass(frozen=True, slots=True)
class Freeze:
    """Stops the worker process until somebody lets it go on; then all goes well."""

    def strike(self, x: int, ledger: Ledger) -> Any:
        """Note it, then stop."""
        ledger.note("frozen", x, os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)
        return x


@dataclass(frozen=True, slots=True)
class ReturnUnpicklable:
    """Returns what can't travel between processes."""

    def strike(self, x: int, ledger: Ledger) -> Any:
        """Return it."""
        return Unpicklable()


class Unpicklable:
    """A value whose pickling fails, and not with one of pickle's own errors."""

    def __reduce__(self) -> Any:
        raise ValueError("this value stays where it is")


@dataclass(frozen=True, slots=True)
class RaisePicky:
    """Raises an exception that is pickled well, and can't be made again from its pickle."""

    left: str
    right: str

    def strike(self, x: int, ledger: Ledger) -> Any:
        """Make and raise it."""
        raise Picky(self.left, self.right)


class Picky(Exception):
    """Wants two arguments, and tells its base of one."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(f"{left} and {right}")


@dataclass(frozen=True, slots=True)
class RaiseLocked:
    """Raises an exception that can't be pickled."""

    message: str

    def strike(self, x: int, ledger: Ledger) -> Any:
        """Make and raise it."""
        raise Locked(self.message)


class Locked(Exception):
    """Holds a lock."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class RaiseForeign:
    """Raises an exception whose module exists only where it is raised."""

    message: str

    def strike(self, x: int, ledger: Ledger) -> Any:
        """Make its module, import its class from there and raise it."""
        module = ModuleType("fanfold_testing_foreign")
        exec("class Foreign(Exception): pass", module.__dict__)
        sys.modules[module.__name__] = module
        raise module.Foreign(self.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Faults by input, each a sequence over the attempts; after the last one all goes well."""

    ledger: Ledger
    faults: Mapping[int, tuple[Fault, ...]] = field(default_factory=dict[int, tuple[Fault, ...]])


def perform(x: int, plan: Plan) -> Any:
    """Note that it ran, do what the plan says for this attempt, else return the input."""
    plan.ledger.note("ran", x, os.getpid())
    faults = plan.faults.get(x, ())
    if faults:
        attempt = plan.ledger.claim(f"attempt-{x}")
        if attempt < len(faults):
            return faults[attempt].strike(x, plan.ledger)
    return x


def weighty(x: int, size: int) -> bytes:
    """Return so many bytes, none of them zero, so that they take real memory."""
    return bytes([1 + x % 255]) * size


def nested(x: int, depth: int, timeout_s: float) -> int:
    """Submit and map itself, and return the argument times three for each level."""
    if not depth:
        return x
    inner = Task(nested)
    one = inner.submit(x, depth - 1, timeout_s).result(timeout_s)
    return one + sum(inner.map([x, x], depth - 1, timeout_s).result(timeout_s))


def siblings(ledger: Ledger, count: int, timeout_s: float) -> list[bool]:
    """Submit and map elements of which each waits until so many have begun; return who saw it."""
    meeting = Task(meet)
    numbers = range(count)
    futures = [meeting.submit(x, ledger, "submitted", count, timeout_s) for x in numbers]
    found = [future.result(timeout_s) for future in futures]
    return found + meeting.map(numbers, ledger, "mapped", count, timeout_s).result(timeout_s)


def meet(x: int, ledger: Ledger, word: str, count: int, timeout_s: float) -> bool:
    """Note that it began, and wait until so many have; return whether they did in time."""
    ledger.note(word, x)
    until = time.monotonic() + timeout_s
    while len(ledger.counts(word)) < count and time.monotonic() < until:
        pause()
    return len(ledger.counts(word)) >= count


WORD: ContextVar[str] = ContextVar("fanfold_testing_word", default="unset")
"""Stands for a context variable of a user's."""


def telling(gate: Gate, timeout_s: float) -> tuple[list[str], str, bool]:
    """Log and print in turns; then raise at the first attempt, and wait at a gate at the next.

    Returns:
        The tags of the run, what is in `WORD`, and whether the gate was opened.
    """
    for number in range(0, LINES, 2):
        get_run_logger().info("%s %s", SAID, number)
        print(SAID, number + 1)
    if task_run.run_count == 1:
        raise ValueError("once more")
    context = current()
    tags = context.info.tags if context is not None else ()
    return sorted(tags), WORD.get(), gate.wait(timeout_s)


def overrun(x: int, seconds: float) -> str:
    """Go on for some seconds, each number in its own way; whatever can be is interrupted."""
    WAYS[x](seconds)
    return "through"


def _loop(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def _release(seconds: float) -> None:
    """Stay in C code that releases the GIL, and can't be stopped."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", max(1, int(seconds * _per_second(_hash))))


def _hold(seconds: float) -> None:
    """Stay in C code that holds the GIL."""
    sum(range(int(seconds * _per_second(_sum))))


def _hash(loops: int) -> None:
    hashlib.pbkdf2_hmac("sha256", b"", b"", loops)


def _sum(loops: int) -> None:
    sum(range(loops))


def _per_second(work: Callable[[int], None]) -> float:
    """Return how many loops this machine does in a second, if nobody else wants it meanwhile."""
    loops, took = 1_000, 0.0
    while took < LOOK_S:
        loops *= 2
        began = time.thread_time()
        work(loops)
        took = time.thread_time() - began
    return loops / took


WAYS: Sequence[Callable[[float], None]] = (time.sleep, _loop, _release, _hold)
"""To go on for some seconds."""


async def together(x: int) -> int:
    """Return how many elements, with this one, are inside it in the same loop."""
    loop = asyncio.get_running_loop()
    _inside[loop] = _inside.get(loop, 0) + 1
    await asyncio.sleep(LOOK_S)
    among = _inside[loop]
    _inside[loop] -= 1
    return among


_inside: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()


def noted(x: Any, ledger: Ledger, word: str) -> Any:
    """Note under a word that it ran, and return its argument."""
    ledger.note(word, x if isinstance(x, int) else 0, os.getpid())
    return x


def seated(x: int, ledger: Ledger) -> int:
    """Note when it begins and ends, and take a moment between, so that others may overlap."""
    ledger.note("seat", "taken")
    time.sleep(LOOK_S)
    ledger.note("seat", "left")
    return x


def same(x: Any) -> Any:
    """Return the argument."""
    return x


@dataclass(frozen=True, slots=True)
class Traced:
    """A value that notes in which process it is unpickled."""

    ledger: Ledger
    number: int
    ballast: bytes = b""

    def __reduce__(self) -> tuple[Any, ...]:
        self.ledger.note("pickled", self.number, os.getpid())
        return _traced, (self.ledger, self.number, self.ballast)

    def __call__(self, x: Any) -> Any:
        """Return the argument, for it may serve as a task's function."""
        return x


def _traced(ledger: Ledger, number: int, ballast: bytes) -> Traced:
    ledger.note("unpickled", number, os.getpid())
    return Traced(ledger, number, ballast)


def make_traced(number: int, ledger: Ledger) -> Traced:
    """Make a traced value where the element runs."""
    ledger.note("made", number, os.getpid())
    return Traced(ledger, number)


def pass_traced(value: Traced, ledger: Ledger) -> Traced:
    """Take a traced value and return it."""
    ledger.note("passed", value.number, os.getpid())
    return value


def size_of(x: int, big: Traced, ledger: Ledger) -> int:
    """Return how much a traced value weighs, in bytes."""
    ledger.note("weighed", x, os.getpid())
    return len(big.ballast)
