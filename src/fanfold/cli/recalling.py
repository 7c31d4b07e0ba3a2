"""What a recorded run called, to be called again: from the record, with the code as it is."""

import os
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from fanfold.cli.texts import clean
from fanfold.engine import entrypoints, resuming
from fanfold.engine.entrypoints import SCRIPT
from fanfold.engine.recording import arguments
from fanfold.flows import Flow
from fanfold.ports.history import History
from fanfold.values.errors import UsageError
from fanfold.values.records import (
    FlowArguments,
    FlowRunRecord,
)


@dataclass(frozen=True, slots=True)
class Call:
    """A flow, and what a recorded run called it with."""

    flow: "Flow[..., Any]"
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    key_id: str
    """Under which its results are kept."""


def recalled(history: History, record: FlowRunRecord) -> Call:
    """Return the flow of a run, and what it was called with.

    Raises:
        UsageError: The flow can't be found, what it was called with isn't kept, or doesn't fit the
            flow as it is now.
    """
    if not record.entrypoint:
        raise UsageError(
            f"The flow {record.flow} can't be found again: it was written in a notebook or an "
            "interpreter, or inside of a function. Put it into a file, at the outermost level."
        )
    held = history.read(FlowArguments(flow_run_id=record.id))
    if not held:
        raise UsageError(
            f"What run {clean(record.name)} was called with isn't kept: {resuming.unkept(record)}. "
            f"Call it with `fanfold run {record.entrypoint} -p ...`."
        )
    main, payload = arguments.unpacked_flow(held[0])
    look_for(record.entrypoint, record)
    flow: Flow[..., Any] = entrypoints.load(record.entrypoint, Flow, "flow", main=main)
    args, kwargs = arguments.unpacked(payload, script())
    resuming.fit(record, flow.fn, flow.validate, args, kwargs)
    return Call(flow, args, kwargs, resuming.key_id(history, record))


def look_for(entrypoint: str, record: FlowRunRecord) -> None:
    """Raise UsageError if the file that code of a run is in isn't there any more."""
    file, _ = entrypoints.split(entrypoint)
    if file.endswith(".py") and not os.path.isfile(file):
        raise UsageError(
            f"There is no file {file}. Run {clean(record.name)} was made with it: put it back, or "
            "call the flow where it is now: fanfold run FILE.PY -p ..."
        )


def script() -> ModuleType | None:
    """Return the script that was loaded, if one was."""
    return sys.modules.get(SCRIPT)
