"""The worker's story of one element: look up, call, decide, keep. Yields effects, does no I/O."""

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from fanfold.engine.spec import TaskSpec
from fanfold.engine.wording import said
from fanfold.values.errors import ClusterLost, CrashedWithCluster
from fanfold.values.states import WITH_VALUE, State, StateName

Row = tuple[Any, ...]
"""One element's mapped arguments, in the order of the layout's columns."""
RETRIED = frozenset({StateName.FAILED, StateName.TIMED_OUT})
"""Ends that a task's retries are for."""
_NOBODYS = (ClusterLost, CrashedWithCluster)
"""Errors that are no failure of the code that lets them pass."""


@dataclass(frozen=True, slots=True)
class Find:
    """Look the element up; answered by (key or None, what is known or None).

    Known is a stored value, one at hand as `Hit`, this very run's own as `Known`, an error that the
    element fails by, or that it is `Wanted` before it may run.
    """

    row: Row


@dataclass(frozen=True, slots=True)
class Known:
    """A stored value that this very run has made before: no cache hit, its own work."""

    value: Any


@dataclass(frozen=True, slots=True)
class Hit:
    """A value from the cache that was read already."""

    value: Any


@dataclass(frozen=True, slots=True)
class Wanted:
    """Nothing is known, and the element may not run before it has the lease of its key."""


@dataclass(frozen=True, slots=True)
class Call:
    """Call the function; answered by (value, None) or (None, exception)."""

    row: Row
    tries: int


@dataclass(frozen=True, slots=True)
class Judge:
    """Ask the task's condition whether to try again after this end; answered by a bool."""

    row: Row
    tries: int
    state: State


@dataclass(frozen=True, slots=True)
class Keep:
    """Stage a value for commit under its key; answered by what stands for the value from now on."""

    key: bytes
    value: Any


@dataclass(frozen=True, slots=True)
class Announce:
    """Call the hooks of a state; answered by None."""

    row: Row
    tries: int
    state: State


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an element on the worker: final, or to be tried again later."""

    state: StateName
    value: Any = None
    """Where the lease of its key is wanted, the key."""
    tries: int = 0
    error: BaseException | None = None
    again_in_s: float | None = None
    message: str = ""
    label: str = ""


Effect = Find | Call | Judge | Keep | Announce


def attempt(
    spec: TaskSpec,
    row: Row,
    *,
    tries: int = 0,
    called: tuple[Any, BaseException | None] | None = None,
    overran: State | None = None,
) -> Generator[Effect, Any, Outcome]:
    """Tell what to do for one element until its outcome is known.

    Args:
        spec: The task and how it is run.
        row: The element's mapped arguments.
        tries: User attempts that the element has behind it.
        called: What the first call of this story came to, where the fast path made it already.
        overran: What the last try came to, where its process was ended: nobody asked the condition.
    """
    hooks = spec.hooks
    key = None
    if spec.cache is not None:
        key, stored = yield Find(row)
        if isinstance(stored, Known):
            return Outcome(StateName.COMPLETED, stored.value, tries)
        if isinstance(stored, BaseException):
            return Outcome(StateName.FAILED, None, tries, stored)
        if isinstance(stored, Wanted):
            return Outcome(StateName.AWAITING_CONCURRENCY_SLOT, key, tries)
        if stored is not None:
            stored = stored.value if isinstance(stored, Hit) else stored
            if hooks is not None and hooks.completion:
                yield Announce(row, tries, State(code=StateName.CACHED, data=stored))
            return Outcome(StateName.CACHED, stored, tries)
    if overran is not None and spec.condition and not (yield Judge(row, tries, overran)):
        if hooks is not None and hooks.failure:
            yield Announce(row, tries, overran)
        return _outcome(overran, tries, None)
    if not tries and hooks is not None and hooks.running:
        yield Announce(row, tries, State(code=StateName.RUNNING))
    end, tries = yield from _tried(spec, row, tries, called)
    if isinstance(end, Outcome):
        return end
    value = end.data if type(end) is State else end
    kept = value if key is None else (yield Keep(key, value))
    if hooks is not None and hooks.completion:
        yield Announce(row, tries, ended(end, None))
    if type(end) is State:
        return _outcome(end, tries, kept)
    return Outcome(StateName.COMPLETED, kept, tries)


def _tried(
    spec: TaskSpec, row: Row, tries: int, called: tuple[Any, BaseException | None] | None
) -> Generator[Effect, Any, tuple[Any, int]]:
    """Call until there is a value or no retry on the spot; an `Outcome` is an end without value."""
    while True:
        value, error = called if called is not None else (yield Call(row, tries))
        tries += 1
        if error is None and type(value) is not State:
            return value, tries
        end = ended(value, error)
        if end.code in WITH_VALUE:
            return end, tries
        delay = None
        if end.code in RETRIED:
            delay = retry_delay_s(spec.retries, spec.delays_s, tries, spec.jitter)
        if delay is not None and spec.condition and not (yield Judge(row, tries, end)):
            delay = None
        if delay is None:
            if end.code in RETRIED and spec.hooks is not None and spec.hooks.failure:
                yield Announce(row, tries, end)
            return _outcome(end, tries, None), tries
        if delay > 0:
            again = Outcome(StateName.AWAITING_RETRY, None, tries, end.failure(), delay)
            return again, tries
        called = None


def _outcome(end: State, tries: int, value: Any) -> Outcome:
    """Return a final state as an outcome; its message counts where a user wrote it."""
    made = end.error is None or end.error is end.data
    return Outcome(
        StateName.COMPLETED if end.code in WITH_VALUE else end.code,
        value,
        tries,
        None if end.code in WITH_VALUE else end.failure(),
        message=end.message if made else "",
        label=end.label,
    )


def ended(value: Any, error: BaseException | None) -> State:
    """Return the state that a call came to: a hand-made one, or that of its value or exception."""
    if error is not None:
        users = isinstance(error, Exception) and not isinstance(error, _NOBODYS)
        code = StateName.FAILED if users else StateName.CRASHED
        return State(code=code, message=f"{type(error).__name__}: {said(error)}", error=error)
    if type(value) is not State:
        return State(code=StateName.COMPLETED, data=value)
    if value.source is not None:
        data = value.result(raise_on_failure=False)
        failed = not value.is_completed()
        error = data if failed else None
        code, label, message = value.code, value.label, value.message
        return State(code=code, label=label, message=message, error=error, data=data)
    if value.is_final():
        return value
    message = f"It returned a state that isn't final: {value.name}. {value.message}".rstrip()
    return State(code=StateName.FAILED, message=message)


def retry_delay_s(
    retries: int, delays_s: tuple[float, ...], tries: int, jitter: float = 0.0
) -> float | None:
    """Return how long to wait before the next try, None if there is none left.

    The last of several delays serves all later retries. A jitter factor adds up to that share of
    the delay, evenly distributed, so that many failing at once don't come back at once.
    """
    if tries > retries:
        return None
    if not delays_s:
        return 0.0
    delay = delays_s[min(tries, len(delays_s)) - 1]
    return delay * (1.0 + jitter * random.random()) if jitter else delay
