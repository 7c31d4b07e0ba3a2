"""Faults as data: what which attempt of which input does, and task functions that do it."""

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fanfold.testing.ledger import Ledger

LOOK_S = 0.01
"""How often a fault looks whether it should strike."""


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
            threading.Event().wait(LOOK_S)


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


def noted(x: Any, ledger: Ledger, word: str) -> Any:
    """Note under a word that it ran, and return its argument."""
    ledger.note(word, x if isinstance(x, int) else 0, os.getpid())
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
