"""Turns what the engine has at hand into facts for the history.

Called by the recorder's own thread: the engine only hands over references that are light and don't
change any more.
"""

import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

from fanfold.engine import entrypoints, keys
from fanfold.engine.chunking import Span
from fanfold.engine.context import RunInfo
from fanfold.engine.keys.makers import CODE, Parts
from fanfold.values.facts import (
    ChunkDone,
    ElementTold,
    Fact,
    FlowRunMade,
    FlowRunMoved,
    FlowRunNamed,
    FlowRunResumed,
    KeyTold,
    LinesDropped,
    LogLine,
    Problem,
    TaskRunEnded,
    TaskRunMade,
)
from fanfold.values.messages import Detail, Failure, Report
from fanfold.values.states import StateName, StateType
from fanfold.values.usage import Costs

MOST_UPSTREAM_FAILED = 100
"""Of one run that are told one by one; all are in its column of states."""
MOST_TRACEBACKS = 1_000
"""Elements of one chunk whose failures are told with traceback and arguments."""
LONGEST_TEXT = 16_384
"""Characters of a message or a traceback; of longer ones the ends are kept."""

MOST_CODES = 1_000
"""Flow runs and codes of which is remembered that the code's parts are told."""
_CODES_TOLD: dict[tuple[str, str], bool] = {}

_TOLD_APART = frozenset({StateType.FAILED, StateType.CRASHED})


def flow_run_made(
    info: RunInfo, fn: Callable[..., Any] | None, runner: str, at_us: int
) -> FlowRunMade:
    """Tell of a flow run that came into being."""
    return FlowRunMade(
        flow_run_id=info.id,
        flow=info.of,
        name=info.name,
        owner="",
        version=info.version,
        parent_id=info.flow.flow_run_id if info.flow is not None else "",
        parent_task_run_id=info.parent_id,
        retry_of=info.retry_of,
        tags=tuple(sorted(info.tags)),
        entrypoint=entrypoints.of(fn) if fn is not None else "",
        runner=runner,
        host=host(),
        process=os.getpid(),
        at_us=at_us,
    )


def flow_run_resumed(info: RunInfo, runner: str, at_us: int) -> FlowRunResumed:
    """Tell that a flow run is opened again, here."""
    return FlowRunResumed(
        flow_run_id=info.id,
        version=info.version,
        runner=runner,
        host=host(),
        process=os.getpid(),
        at_us=at_us,
    )


def flow_run_named(
    flow_run_id: str, name: str, parameters: Mapping[str, str], arguments: bytes | None
) -> FlowRunNamed:
    """Tell what a flow run is called, and what it was called with."""
    return FlowRunNamed(
        flow_run_id=flow_run_id, name=name, parameters=parameters, arguments=arguments
    )


def flow_run_moved(
    flow_run_id: str,
    state: StateName,
    label: str,
    message: str,
    tries: int,
    why: Problem | None,
    at_us: int,
) -> FlowRunMoved:
    """Tell which state a flow run is in."""
    return FlowRunMoved(
        flow_run_id=flow_run_id,
        state=state,
        label=label,
        message=shortened(message),
        tries=tries,
        problem=why,
        at_us=at_us,
    )


def task_run_made(
    flow_run_id: str, info: RunInfo, fn: Callable[..., Any], count: int, stream: str, at_us: int
) -> TaskRunMade:
    """Tell of a call or a map that was handed out."""
    return TaskRunMade(
        flow_run_id=flow_run_id,
        task_run_id=info.id,
        task=info.of,
        name=info.name,
        count=count,
        single=info.single,
        first=info.first,
        stream=stream,
        parent_id=info.parent_id,
        tags=tuple(sorted(info.tags)),
        entrypoint=entrypoints.of(fn),
        at_us=at_us,
    )


def chunk_done(
    flow_run_id: str, info: RunInfo, report: Report, spans: tuple[Span, ...], at_us: int
) -> Iterator[Fact]:
    """Tell of a chunk that is home, and of its elements that have something to say."""
    if not info.single:
        yield ChunkDone(
            flow_run_id=flow_run_id,
            task_run_id=info.id,
            chunk=report.chunk,
            worker=report.worker,
            spans=spans,
            states=report.states,
            seconds=report.seconds,
            cpu_s=report.cpu_s,
            before_bytes=report.before_bytes,
            peak_bytes=report.peak_bytes,
            at_us=at_us,
        )
    if not report.details:
        return
    codes = b"".join(bytes([code]) * count for code, count in report.states)
    indices = [index for start, stop in spans for index in range(start, stop)]
    full = 0
    for position, detail in report.details.items():
        if detail.failure is None and detail.attempts <= 1 and not detail.message:
            continue  # a single call's name travels with its end
        full += 1
        told = detail if full <= MOST_TRACEBACKS else _in_short(detail)
        state = StateName(codes[position])
        yield element_told(flow_run_id, info.id, indices[position], state, told, at_us)


def keys_told(
    flow_run_id: str,
    info: RunInfo,
    shared: Parts | None,
    keyed: Mapping[int, Parts],
    spans: tuple[Span, ...],
) -> Iterator[KeyTold]:
    """Tell what cache keys were made from.

    Args:
        flow_run_id: The flow run that it is recorded under.
        info: Of the call or map.
        shared: What all its keys are made from; None once it was told.
        keyed: What else those of its first elements are made from, by position in a chunk.
        spans: The chunk's elements.
    """
    told = partial(KeyTold, flow_run_id=flow_run_id)
    code = (shared or {}).get(CODE, "")
    if code and _CODES_TOLD.get((flow_run_id, code)) is None:
        while len(_CODES_TOLD) >= MOST_CODES:
            _CODES_TOLD.pop(next(iter(_CODES_TOLD)), None)
        _CODES_TOLD[flow_run_id, code] = True
        yield told(of=code, parts=keys.code_parts(bytes.fromhex(code)))
    if info.single:
        yield told(of=info.id, index=0, parts={**(shared or {}), **keyed[0]})
        return
    if shared is not None:
        yield told(of=info.id, parts=shared)
    indices = [index for start, stop in spans for index in range(start, stop)]
    for position, parts in keyed.items():
        yield told(of=info.id, index=indices[position], parts=parts)


def element_told(
    flow_run_id: str, task_run_id: str, index: int, state: StateName, detail: Detail, at_us: int
) -> ElementTold:
    """Tell what one element has to say."""
    return ElementTold(
        flow_run_id=flow_run_id,
        task_run_id=task_run_id,
        index=index,
        state=state,
        attempts=detail.attempts,
        name=detail.name,
        label=detail.label,
        message=shortened(detail.message),
        problem=problem(detail.failure),
        seconds=detail.seconds,
        arguments=detail.arguments,
        at_us=at_us,
    )


def elements_ended(
    flow_run_id: str, task_run_id: str, ended: list[tuple[int, StateName, Detail]], at_us: int
) -> Iterator[Fact]:
    """Tell of elements that ended where no worker saw it."""
    upstream = 0
    for index, state, detail in ended:
        if state.type not in _TOLD_APART:
            continue
        if state is StateName.UPSTREAM_FAILED:
            upstream += 1
            if upstream > MOST_UPSTREAM_FAILED:
                continue
        yield element_told(flow_run_id, task_run_id, index, state, detail, at_us)


def task_run_ended(
    flow_run_id: str, task_run_id: str, states: bytearray, name: str, costs: Costs, at_us: int
) -> TaskRunEnded:
    """Tell that all elements of a call or a map are final."""
    return TaskRunEnded(
        flow_run_id=flow_run_id,
        task_run_id=task_run_id,
        states=bytes(states),
        name=name,
        seconds=costs.wall_s,
        cpu_s=costs.cpu_s,
        peak_bytes=costs.peak_bytes,
        rise_bytes=costs.rise_bytes,
        at_us=at_us,
    )


def line(flow_run_id: str, said: tuple[Any, ...], text: str) -> LogLine:
    """Tell of a line of a log.

    Args:
        flow_run_id: The flow run that it is recorded under.
        said: Its task run, index, attempt, level, logger, and seconds since 1970.
        text: The message.
    """
    task_run_id, index, attempt, level, logger, created = said
    if index is not None:
        task_run_id = task_run_id.rpartition("-")[0]
    return LogLine(
        flow_run_id=flow_run_id,
        task_run_id=task_run_id or "",
        index=index,
        attempt=attempt or 0,
        level=level,
        logger=logger,
        message=text,
        at_us=int(created * 1_000_000),
    )


def lines_dropped(flow_run_id: str, count: int) -> LinesDropped:
    """Tell that so many more lines were not kept."""
    return LinesDropped(flow_run_id=flow_run_id, count=count)


def travelled(message: bytes) -> list[Fact]:
    """Return the facts of a message from another process."""
    return pickle.loads(memoryview(message)[1:])


def problem(failure: Failure | None) -> Problem | None:
    """Return a failure as the history keeps it."""
    if failure is None:
        return None
    return Problem(
        kind=failure.kind,
        message=shortened(failure.message),
        where=failure.where,
        traceback=shortened(failure.traceback),
    )


def shortened(text: str, chars: int = LONGEST_TEXT) -> str:
    """Return a text that isn't longer than that; of a longer one the two ends."""
    if len(text) <= chars:
        return text
    half = chars // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"


@cache
def host() -> str:
    """Return this machine's name."""
    return os.uname().nodename


def _in_short(detail: Detail) -> Detail:
    failure = detail.failure
    if failure is None:
        return detail
    short = Failure(kind=failure.kind, message=failure.message, traceback="", where=failure.where)
    return Detail(
        attempts=detail.attempts,
        failure=short,
        message=detail.message,
        label=detail.label,
        seconds=detail.seconds,
        name=detail.name,
    )
