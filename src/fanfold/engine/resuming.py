"""Takes up a flow run that has ended without a value, or whose process died: under its own id.

What is recorded of it and kept of its results counts; the flow's code runs again from its start,
and finds there what was committed.
"""

import inspect
import re
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from fanfold.engine import loading, registry, settings
from fanfold.engine.context import Again, Replay, Resumed, current, doing_again, tagged
from fanfold.engine.entrypoints import SCRIPT
from fanfold.engine.recording import arguments, recorder, taking
from fanfold.engine.recording.reaping import tend
from fanfold.engine.settings.kinds import OFF
from fanfold.engine.spec import taken_apart
from fanfold.ports.history import History
from fanfold.values.errors import (
    HistoryUnavailable,
    MissingContextError,
    ParameterTypeError,
    RunHeld,
    UsageError,
)
from fanfold.values.records import FlowArguments, FlowRunRecord, FlowRuns
from fanfold.values.secrets import COVER
from fanfold.values.states import RESUMABLE

WAIT_S = 10.0
"""How long one who comes second waits to hear who was first: a batch is recorded in 0.1 s."""
LOOK_S = 0.05
_BEGINNING = re.compile("[0-9a-f]{4,23}")
"""Of an id; what the command line takes for one too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """A run that is this process's to go on with, and what it was called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tags: tuple[str, ...]
    again: Again

    @contextmanager
    def going_on(self) -> Generator[None]:
        """Let the flow that is called inside be this run."""
        with tagged(*self.tags), doing_again(self.again):
            yield


def resumption(
    flow_run_id: str, flow: str, fn: Callable[..., Any], validate: Callable[..., Any]
) -> Resumption:
    """Take a run up by the settings' history.

    Args:
        flow_run_id: Which: its id, or the beginning of one that no other has.
        flow: Name of the flow that is to go on with it.
        fn: That flow's function.
        validate: Takes a call's arguments; raises if they don't fit.

    Raises:
        UsageError: There is no such run, it is of another flow, it can't be resumed, or what it was
            called with isn't kept or doesn't fit the flow any more.
        RunHeld: Somebody drives it.
        HistoryUnavailable: The history can't be reached.
    """
    loading.refuse(f"flow {flow}")
    url = settings.current().history_url
    if url == OFF:
        raise UsageError("No history is kept (history.url is off), so no run can be resumed.")
    history = registry.history(url)
    try:
        with suppress(HistoryUnavailable):  # dead runs are told apart all the same
            tend(history, url, settings.home())
        record = _meant(history, flow_run_id)
        if record is None:
            raise UsageError(f"There is no flow run {flow_run_id} in the history {url}.")
        flow_run_id = record.id
        if record.flow != flow:
            raise UsageError(
                f"Flow run {flow_run_id} is one of {record.flow}, not of {flow}. Resume it by the "
                "flow that it is of."
            )
        check(record)
        args, kwargs = _called_with(history, record, fn)
        fit(record, fn, validate, args, kwargs)
        again = taken(history, record)
        return Resumption(args=args, kwargs=kwargs, tags=record.tags, again=again)
    finally:
        history.close()


def check(record: FlowRunRecord) -> None:
    """Refuse a run that nobody can resume, whoever drives it.

    Raises:
        UsageError: It was called by another, or has ended with a value.
        MissingContextError: This is inside of a run.
    """
    name = f"Flow run {record.name} ({record.id})"
    if current() is not None:
        raise MissingContextError(
            f"{name} can't be resumed by the code of a run, as it is none of its subflows. Resume "
            "it outside of flows and tasks."
        )
    if record.parent_id:
        raise UsageError(f"{name} was called by flow run {record.parent_id}: resume that one.")
    if record.state.final and record.state not in RESUMABLE:
        raise UsageError(
            f"{name} is {record.state.label}, so there is nothing to resume. To run it again: "
            f"fanfold runs retry {record.id}"
        )


def taken(history: History, record: FlowRunRecord) -> Again:
    """Take a run for this process; it is to be called now.

    Args:
        history: That it is recorded in.
        record: What is recorded of it; `check` found it right.

    Raises:
        RunHeld: Somebody drives it, or has just taken it.
        UsageError: It has ended with a value meanwhile.
        HistoryUnavailable: The history can't be reached.
    """
    recorded = recorder.current()
    assert recorded is not None
    until = time.monotonic() + WAIT_S
    while (lease := recorded.take(record.id)) is None:
        record = taking.recorded(history, record.id) or record
        check(record)
        if taking.is_driven(record):
            raise RunHeld(record.id, record.host, record.process, taking.since_us(record))
        if time.monotonic() > until:
            raise RunHeld(record.id, "", 0, 0)
        time.sleep(LOOK_S)
    keyed = key_id(history, record)
    return Again(
        retry_of=record.retry_of,
        key_id=keyed,
        replay=Replay(whole=True, since=keyed),
        resumed=Resumed(id=record.id, name=record.name, epoch=lease.epoch, tries=record.tries),
    )


def key_id(history: History, record: FlowRunRecord) -> str:
    """Return what stands for a run in keys: the id of the first run that it does anew."""
    while record.retry_of:
        older = history.read(FlowRuns(ids=(record.retry_of,)))
        if not older:
            return record.retry_of
        record = older[0]
    return record.id


def fit(
    record: FlowRunRecord,
    fn: Callable[..., Any],
    validate: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Raise UsageError if a flow can't be called any more as a run called it.

    Args:
        record: The run.
        fn: The flow's function as it is now.
        validate: Takes a call's arguments; raises if they don't fit.
        args: What the run was called with.
        kwargs: Alike.
    """
    try:
        validate(*args, **kwargs)
    except (UsageError, TypeError) as error:
        now = str(inspect.signature(fn)).replace(f"{SCRIPT}.", "")
        raise UsageError(
            f"What flow run {record.name} ({record.id}) was called with doesn't fit the flow as it "
            f"is now, {record.flow}{now}: {error}"
        ) from None


def unkept(record: FlowRunRecord) -> str:
    """Return why it isn't kept what a run was called with, as far as can be told."""
    if record.problem is not None and record.problem.kind.endswith(ParameterTypeError.__name__):
        return "it didn't fit the flow"
    if any(COVER in shown for shown in record.parameters.values()):
        return "it holds a secret"
    return "it can't be pickled, or is larger than 1 MiB"


def _meant(history: History, run_id: str) -> FlowRunRecord | None:
    """Return the run of an id, or of the beginning of one."""
    record = taking.recorded(history, run_id)
    if record is not None or _BEGINNING.fullmatch(run_id) is None:
        return record
    found = history.read(FlowRuns(id_prefix=run_id, limit=2))
    if len(found) > 1:
        raise UsageError(
            f"Several flow runs have an id that begins with {run_id}: give more of it."
        )
    return found[0] if found else None


def _called_with(
    history: History, record: FlowRunRecord, fn: Callable[..., Any]
) -> arguments.Packed:
    held = history.read(FlowArguments(flow_run_id=record.id))
    if not held:
        raise UsageError(
            f"What flow run {record.name} ({record.id}) was called with isn't kept: "
            f"{unkept(record)}. Call the flow again instead."
        )
    function, given, named = taken_apart(fn)
    _, payload = arguments.unpacked_flow(held[0])
    args, kwargs = arguments.unpacked(payload, sys.modules.get(function.__module__))
    mine = given and not isinstance(given[0], type)  # as `packed_flow` put them there
    return args[len(given) if mine else 0 :], {
        name: value for name, value in kwargs.items() if name not in named
    }
