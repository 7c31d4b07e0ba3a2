"""What a flow's return value says of its run: a value, a state, or the sum of others' states."""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast

from fanfold.engine.attempt import ended
from fanfold.engine.dataflow import substitute
from fanfold.engine.futures import Future, MapFuture, TaskFuture
from fanfold.values.errors import RunCancelled
from fanfold.values.states import State, StateName, StateType


def state_of(value: Any) -> State:
    """Return the state of a flow run whose function returned this; waits for futures inside.

    A final state made by hand is taken as it is, another one fails the run. Futures and states of
    runs, alone or in a list, tuple or set of nothing else, are summed up: Completed if all are,
    else Cancelled if one is, else Failed. Anything else is the value, with the futures inside
    replaced by their values.

    Raises:
        Exception: What a future inside some other value failed with.
    """
    if isinstance(value, State) and value.source is None:
        return ended(value, None)
    parts = _parts(value)
    if not parts:
        return State(code=StateName.COMPLETED, data=_read(value))
    counts = _counts(parts)
    total = sum(counts.values())
    completed = counts[StateType.COMPLETED]
    if completed == total:
        return State(code=StateName.COMPLETED, message="All states completed.", data=_read(value))
    if cancelled := counts[StateType.CANCELLED]:
        message = f"{cancelled}/{total} states cancelled."
        return State(code=StateName.CANCELLED, message=message, error=RunCancelled(message))
    failed = counts[StateType.FAILED] + counts[StateType.CRASHED]
    message = f"{failed}/{total} states failed."
    if not failed:
        message = f"{total - completed}/{total} states are not final."
    return State(code=StateName.FAILED, message=message, error=_error(parts))


def _parts(value: Any) -> Collection[Any]:
    """Return the futures and states that a value consists of; none if it holds anything else."""
    if isinstance(value, (Future, State)):
        return [value]
    if isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(part, (Future, State)) for part in value
    ):
        return value
    return ()


def _counts(parts: Collection[Any]) -> Counter[StateType]:
    """Return how many of the runs are in a state of which type, waiting for all."""
    counts: Counter[StateType] = Counter()
    for part in parts:
        if isinstance(part, MapFuture):
            part.wait()
            collected = getattr(part, "on_error", "") == "collect"
            for name, count in part.states.items():
                counts[StateType.COMPLETED if collected else _TYPES[name]] += count
            continue
        if isinstance(part, TaskFuture):
            part.wait()
            counts[part.state.type] += 1
        else:
            counts[part.type] += 1
    return counts


_TYPES = {state.label: state.type for state in StateName}


def _read(value: Any) -> Any:
    """Return a value with each future inside replaced by its result.

    States stay states, but hold their values themselves: what the flow's workers hold is gone soon.

    Raises:
        Exception: What a future, or a state that is the value itself, failed with.
    """
    if isinstance(value, State):
        return value.result()
    return substitute(value, (Future, State), _at_hand)


def _at_hand(found: Future | State) -> Any:
    if isinstance(found, Future):
        return cast(Any, found).result()
    if not isinstance(found.source, Future):
        return found
    data = found.result(raise_on_failure=False)
    return replace(found, source=None, data=data if found.is_completed() else None)


def _error(parts: Collection[Any]) -> BaseException | None:
    """Return what the first part without a value has instead."""
    for part in parts:
        try:
            part.result()
        except Exception as error:  # becomes what the run's result raises
            return error
    return None
