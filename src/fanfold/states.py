"""States made by hand: what a flow or task returns to say itself what became of its run."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fanfold.values.errors import UsageError
from fanfold.values.states import State as State
from fanfold.values.states import StateName
from fanfold.values.states import StateType as StateType

Make = Callable[..., State]


def _maker(code: StateName) -> Make:
    def make(name: str | None = None, *, message: str = "", data: Any = None) -> State:
        return State(
            code=code,
            label="" if name in (None, code.label) else str(name),
            message=message,
            data=data,
            error=data if isinstance(data, BaseException) else None,
        )

    make.__name__ = make.__qualname__ = code.label
    make.__doc__ = f"""Return a state of type {code.type.value}, named {code.label} unless told.

    Args:
        name: A name of your own.
        message: What people read.
        data: The run's value; for one without a value, the exception that `result` raises.
    """
    return make


Completed = _maker(StateName.COMPLETED)
Failed = _maker(StateName.FAILED)
Crashed = _maker(StateName.CRASHED)
Cancelled = _maker(StateName.CANCELLED)
Cancelling = _maker(StateName.CANCELLING)
Pending = _maker(StateName.PENDING)
Running = _maker(StateName.RUNNING)
Retrying = _maker(StateName.RETRYING)
Late = _maker(StateName.LATE)
Paused = _maker(StateName.PAUSED)
Suspended = _maker(StateName.SUSPENDED)
AwaitingConcurrencySlot = _maker(StateName.AWAITING_CONCURRENCY_SLOT)
RolledBack = _maker(StateName.ROLLED_BACK)


def Scheduled(
    scheduled_time: datetime | None = None, *, name: str | None = None, message: str = ""
) -> State:
    """Return a state of type SCHEDULED that starts at a time, now if none is given.

    Raises:
        UsageError: The time has no time zone.
    """
    return _at(StateName.SCHEDULED, scheduled_time, name, message)


def AwaitingRetry(
    scheduled_time: datetime | None = None, *, name: str | None = None, message: str = ""
) -> State:
    """Return the state of a run that is tried again at a time, now if none is given.

    Raises:
        UsageError: The time has no time zone.
    """
    return _at(StateName.AWAITING_RETRY, scheduled_time, name, message)


def _at(code: StateName, at: datetime | None, name: str | None, message: str) -> State:
    at = at or datetime.now(UTC)
    if at.tzinfo is None:
        raise UsageError(f"A state can't be scheduled at {at}, which has no time zone.")
    return State(code=code, label=name or "", message=message, data=at)
