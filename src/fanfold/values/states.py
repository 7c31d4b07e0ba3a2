"""Where a run is: every state's name and type, who sets it, and what may come next."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from fanfold.values.cards import WithCard
from fanfold.values.errors import Crashed, FailedRun, RunCancelled, RunError, UnfinishedRun


class StateType(StrEnum):
    """What a state means to those who wait for the run."""

    SCHEDULED = "SCHEDULED"
    """Waits for a time or a limit."""
    PENDING = "PENDING"
    """Handed out, not started."""
    RUNNING = "RUNNING"
    """User code runs."""
    PAUSED = "PAUSED"
    """Waits for a person."""
    CANCELLING = "CANCELLING"
    """Is being stopped."""
    COMPLETED = "COMPLETED"
    """Final: there is a value."""
    FAILED = "FAILED"
    """Final: user code, or what it needed, failed."""
    CRASHED = "CRASHED"
    """Final: the infrastructure failed."""
    CANCELLED = "CANCELLED"
    """Final: somebody stopped it."""


class StateName(IntEnum):
    """Every state a run can be in; the number is its code in reports and columns, for good."""

    type: StateType
    label: str

    def __new__(cls, code: int, kind: StateType, label: str) -> "StateName":
        """Make a member whose value is the code alone."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.type = kind
        member.label = label
        return member

    PENDING = 0, StateType.PENDING, "Pending"
    """Set by the driver when the run is made; Running comes next."""
    SCHEDULED = 1, StateType.SCHEDULED, "Scheduled"
    """Set by the scheduler or by `retry`: starts at a time to come."""
    LATE = 2, StateType.SCHEDULED, "Late"
    """Set by the scheduler when the time has passed and no worker took the run."""
    AWAITING_RETRY = 3, StateType.SCHEDULED, "AwaitingRetry"
    """Set by the driver while a retry's delay passes; Retrying comes next."""
    AWAITING_CONCURRENCY_SLOT = 4, StateType.SCHEDULED, "AwaitingConcurrencySlot"
    """Set by the driver while a limit has no room."""
    RESUMING = 5, StateType.SCHEDULED, "Resuming"
    """Set when a paused run was told to go on."""
    RUNNING = 6, StateType.RUNNING, "Running"
    """Set by the worker when it calls the function for the first time."""
    RETRYING = 7, StateType.RUNNING, "Retrying"
    """Set by the worker when it calls the function again."""
    PAUSED = 8, StateType.PAUSED, "Paused"
    """Set by the flow that waits for input, its process kept."""
    SUSPENDED = 9, StateType.PAUSED, "Suspended"
    """Set by the flow that waits for input, its process ended."""
    CANCELLING = 10, StateType.CANCELLING, "Cancelling"
    """Set by whoever cancels; the driver answers with Cancelled."""
    COMPLETED = 11, StateType.COMPLETED, "Completed"
    """Final. Set by the worker: the function returned."""
    CACHED = 12, StateType.COMPLETED, "Cached"
    """Final. Set by the worker: the value was found under the run's key."""
    FAILED = 13, StateType.FAILED, "Failed"
    """Final. Set by the worker: the function raised, and no retry is left."""
    TIMED_OUT = 14, StateType.FAILED, "TimedOut"
    """Final. Set by the worker: the function overran its time limit."""
    UPSTREAM_FAILED = 15, StateType.FAILED, "UpstreamFailed"
    """Final. Set by the driver: something the run needs has no value, so it never started."""
    ROLLED_BACK = 16, StateType.COMPLETED, "RolledBack"
    """Final. Set by a transaction that took the run's effects back."""
    CRASHED = 17, StateType.CRASHED, "Crashed"
    """Final. Set by the driver: the infrastructure failed more often than it may."""
    CANCELLED = 18, StateType.CANCELLED, "Cancelled"
    """Final. Set by the driver: the run was stopped or never started."""

    @property
    def final(self) -> bool:
        """Whether nothing comes after it but a rollback."""
        return self in FINAL


FINAL = frozenset(
    {
        StateName.COMPLETED,
        StateName.CACHED,
        StateName.FAILED,
        StateName.TIMED_OUT,
        StateName.UPSTREAM_FAILED,
        StateName.ROLLED_BACK,
        StateName.CRASHED,
        StateName.CANCELLED,
    }
)
WITH_VALUE = frozenset({StateName.COMPLETED, StateName.CACHED})
RESUMABLE = FINAL - WITH_VALUE - {StateName.ROLLED_BACK}
"""A flow run that ended so is Pending again when somebody resumes it, under a lease of his own."""

_WAITING = {s for s in StateName if s.type is StateType.SCHEDULED}
_STOPPED = {StateName.CRASHED, StateName.CANCELLED, StateName.CANCELLING}
_ENDS = FINAL - {StateName.ROLLED_BACK}
_BEFORE_RUNNING = {StateName.RUNNING, StateName.RETRYING, StateName.CACHED}

NEXT: dict[StateName, frozenset[StateName]] = {
    StateName.PENDING: frozenset(
        _BEFORE_RUNNING | _WAITING | _STOPPED | {StateName.UPSTREAM_FAILED, StateName.FAILED}
    ),
    StateName.RUNNING: frozenset(
        _ENDS
        | _STOPPED
        | {StateName.RETRYING, StateName.AWAITING_RETRY, StateName.PAUSED, StateName.SUSPENDED}
        | {StateName.AWAITING_CONCURRENCY_SLOT, StateName.PENDING}
    ),
    StateName.PAUSED: frozenset(
        _STOPPED | {StateName.RESUMING, StateName.RUNNING, StateName.FAILED}
    ),
    StateName.CANCELLING: frozenset({StateName.CANCELLED, StateName.CRASHED}),
    **dict.fromkeys(
        _WAITING, frozenset(_BEFORE_RUNNING | _WAITING | _STOPPED | {StateName.PENDING})
    ),
    **dict.fromkeys({StateName.COMPLETED, StateName.CACHED}, frozenset({StateName.ROLLED_BACK})),
    **dict.fromkeys(_ENDS - WITH_VALUE, frozenset[StateName]()),
    StateName.ROLLED_BACK: frozenset(),
}
"""The one transition table. Running goes back to Pending when its worker was lost."""
NEXT[StateName.RETRYING] = NEXT[StateName.RUNNING]
NEXT[StateName.SUSPENDED] = NEXT[StateName.PAUSED]


def check(before: Iterable[int], after: Iterable[int]) -> None:
    """Refuse transitions that the table doesn't have.

    A report tells of elements that were Pending when their chunk left: the states in between
    (Running) are passed through on the way, so a Pending one may be followed by what Running may.

    Raises:
        ValueError: Some state in `before` can't be followed by some state in `after`.
    """
    for old in {StateName(code) for code in before}:
        allowed = NEXT[old]
        if StateName.RUNNING in allowed:
            allowed = allowed | NEXT[StateName.RUNNING]
        for new in {StateName(code) for code in after}:
            if new not in allowed:
                raise ValueError(f"A run that is {old.label} can't become {new.label}.")


def present(codes: bytes | bytearray, start: int, stop: int) -> list[StateName]:
    """Return which states occur in a column; 20 searches in C instead of a step per element."""
    if stop - start == 1:
        return [StateName(codes[start])]
    return [state for state in StateName if codes.find(state, start, stop) >= 0]


_made = 0


def made() -> int:
    """Return how many states this process has made; unchanged means: none came into being since.

    The fast path of a chunk needs to look for states among returned values only if it changed.
    """
    return _made


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class State(WithCard):
    """Where one run is, as its user sees it; or what a user's function wants its run to be."""

    code: StateName
    label: str = ""
    """A name of the user's own, in place of the usual one."""
    message: str = ""
    error: BaseException | None = None
    """What `result` raises; None where the run has a value or isn't final."""
    data: Any = None
    """What a hand-made state holds; values of runs are fetched when `result` asks."""
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)
    source: Any = field(default=None, compare=False)
    """The future that it is the state of; None for hand-made ones and in other processes."""

    def __post_init__(self) -> None:
        global _made
        _made += 1

    def __repr__(self) -> str:
        return f"{self.name}({self.message!r})" if self.message else f"{self.name}()"

    def __reduce__(self) -> tuple[Any, ...]:
        facts = (self.code, self.label, self.message, self.error, self.data, self.timestamp)
        return _again, facts

    @property
    def name(self) -> str:
        """The state's name, such as "Completed"."""
        return self.label or self.code.label

    @property
    def type(self) -> StateType:
        """The state's type."""
        return self.code.type

    def result(self, raise_on_failure: bool = True) -> Any:
        """Return the run's value.

        Args:
            raise_on_failure: False returns the exception instead.

        Raises:
            UnfinishedRun: The run isn't over.
            Exception: What the run failed with.
            RunError: It has no value for another reason.
        """
        if self.source is not None:
            return self.source.result(raise_on_failure=raise_on_failure)
        if self.is_completed():
            return self.data
        error = self.failure()
        if raise_on_failure or not self.is_final():
            raise error
        return error

    def failure(self) -> BaseException:
        """Return what stands for the missing value; only for states without one."""
        if self.error is not None:
            return self.error
        if isinstance(self.data, BaseException):
            return self.data
        kind = NO_VALUE.get(self.type, UnfinishedRun)
        told = self.data if isinstance(self.data, str) else ""
        return kind(self.message or told or f"The run is {self.name}, so it has no value.")

    def is_final(self) -> bool:
        """Return whether the run is over."""
        return self.code.final

    def is_completed(self) -> bool:
        """Return whether the run has a value."""
        return self.code in WITH_VALUE

    def is_failed(self) -> bool:
        """Return whether the run is of type FAILED."""
        return self.type is StateType.FAILED

    def is_crashed(self) -> bool:
        """Return whether the run is of type CRASHED."""
        return self.type is StateType.CRASHED

    def is_cancelled(self) -> bool:
        """Return whether the run was cancelled."""
        return self.type is StateType.CANCELLED

    def is_cancelling(self) -> bool:
        """Return whether the run is being stopped."""
        return self.type is StateType.CANCELLING

    def is_running(self) -> bool:
        """Return whether user code runs."""
        return self.type is StateType.RUNNING

    def is_pending(self) -> bool:
        """Return whether the run was handed out and hasn't started."""
        return self.type is StateType.PENDING

    def is_scheduled(self) -> bool:
        """Return whether the run waits for a time or a limit."""
        return self.type is StateType.SCHEDULED

    def is_paused(self) -> bool:
        """Return whether the run waits for a person."""
        return self.type is StateType.PAUSED


NO_VALUE: dict[StateType, type[RunError]] = {
    StateType.FAILED: FailedRun,
    StateType.CRASHED: Crashed,
    StateType.CANCELLED: RunCancelled,
    StateType.CANCELLING: RunCancelled,
    StateType.COMPLETED: FailedRun,
}
"""What stands for the value of a run that ended without one, by the type of its state."""


def _again(
    code: StateName,
    label: str,
    message: str,
    error: BaseException | None,
    data: Any,
    timestamp: datetime,
) -> State:
    return State(
        code=code, label=label, message=message, error=error, data=data, timestamp=timestamp
    )


_OTHER: dict[int, re.Pattern[bytes]] = {
    code: re.compile(b"[^" + re.escape(bytes([code])) + b"]") for code in StateName
}


def run_lengths(states: bytearray) -> tuple[tuple[int, int], ...]:
    """Return (state, count) pairs; a million equal states take less than a millisecond."""
    runs: list[tuple[int, int]] = []
    at = 0
    while at < len(states):
        code = states[at]
        other = _OTHER[code].search(states, at)
        end = other.start() if other else len(states)
        runs.append((code, end - at))
        at = end
    return tuple(runs)
