"""The worker's story of one element: look up, call, decide, keep. Yields effects, does no I/O."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from fanfold.engine.spec import TaskSpec
from fanfold.values.states import StateName

Row = tuple[Any, ...]
"""One element's mapped arguments, in the order of the layout's columns."""


@dataclass(frozen=True, slots=True)
class Find:
    """Look the element up; answered by (key or None, stored value, `Known` one or None)."""

    row: Row


@dataclass(frozen=True, slots=True)
class Known:
    """A stored value that this very run has made before: no cache hit, its own work."""

    value: Any


@dataclass(frozen=True, slots=True)
class Call:
    """Call the function; answered by (value, None) or (None, exception)."""

    row: Row
    tries: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Stage a value for commit under its key; answered by None."""

    key: bytes
    value: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an element on the worker: final, or to be tried again later."""

    state: StateName
    value: Any = None
    tries: int = 0
    error: BaseException | None = None
    again_in_s: float | None = None


Effect = Find | Call | Keep


def attempt(
    spec: TaskSpec, row: Row, *, tries: int = 0, error: BaseException | None = None
) -> Generator[Effect, Any, Outcome]:
    """Tell what to do for one element until its outcome is known.

    Args:
        spec: The task and how it is run.
        row: The element's mapped arguments.
        tries: User attempts that the element has behind it.
        error: What the first call of this story raised, where the fast path made it already.
    """
    key = None
    if spec.cache is not None:
        key, stored = yield Find(row)
        if isinstance(stored, Known):
            return Outcome(StateName.COMPLETED, stored.value, tries)
        if stored is not None:
            return Outcome(StateName.CACHED, stored, tries)
    value = None
    while True:
        if error is None:
            value, error = yield Call(row, tries)
        tries += 1
        if error is None:
            break
        if not isinstance(error, Exception):
            return Outcome(StateName.CRASHED, None, tries, error)
        delay = retry_delay_s(spec.retries, spec.delays_s, tries)
        if delay is None:
            return Outcome(StateName.FAILED, None, tries, error)
        if delay > 0:
            return Outcome(StateName.AWAITING_RETRY, None, tries, error, delay)
        error = None
    if key is not None:
        yield Keep(key, value)
    return Outcome(StateName.COMPLETED, value, tries)


def retry_delay_s(retries: int, delays_s: tuple[float, ...], tries: int) -> float | None:
    """Return how long to wait before the next try, None if there is none left.

    The last of several delays serves all later retries.
    """
    if tries > retries:
        return None
    if not delays_s:
        return 0.0
    return delays_s[min(tries, len(delays_s)) - 1]
