"""What notebooks show of the things that users hold: flows, tasks, states, futures, runners.

Made of what is at hand: nothing is asked of a cluster or a history, nothing is waited for, and no
value is brought home. Texts are bounded, escaped, and free of secrets.
"""

import inspect
import json
from collections.abc import Iterable, Mapping
from functools import singledispatch
from typing import Any, cast

from fanfold.artifacts import ArtifactId
from fanfold.caching import CachePolicy
from fanfold.display.heat import heat_map, tone
from fanfold.display.html import (
    BLUE,
    DIM,
    FAINT,
    RED,
    SLATE,
    TEAL,
    Part,
    bar,
    legend,
    line,
    link,
    tag,
    text,
)
from fanfold.display.tables import table
from fanfold.engine.flow import dashboards
from fanfold.engine.futures import FutureList, MapFuture, TaskFuture
from fanfold.engine.recording.showing import shown
from fanfold.engine.streams import StreamFuture
from fanfold.engine.tally import alike, told
from fanfold.engine.wording import shortened
from fanfold.flows import Flow
from fanfold.tasks import Task
from fanfold.values.runs import FlowRun, TaskRun
from fanfold.values.states import State, StateName

VALUE_MOST = 120
"""Characters of a value."""
TEXT_MOST = 300
"""Characters of a message or a description."""
FACTS_MOST = 24
PAGES_MOST = 8
FUTURES_MOST = 10_000
"""Of a list of single futures that are looked at one by one."""

_SMALL = f"font-size:85%;{DIM}"
_CODE = "font-size:90%;white-space:pre-wrap;overflow-wrap:anywhere"


@singledispatch
def card(thing: Any) -> str | None:
    """Return a thing as HTML; None where there is nothing to show but its text."""
    return _runner(thing) if hasattr(thing, "open") else None


@card.register(Flow)
def _(thing: Flow[..., Any]) -> str:
    return _function("flow", TEAL, thing)


@card.register(Task)
def _(thing: Task[..., Any]) -> str:
    return _function("task", BLUE, thing)


@card.register(State)
def _(thing: State) -> str:
    error = thing.error
    message = thing.message or (f"{type(error).__name__}: {error}" if error is not None else "")
    value = ""
    if thing.is_completed() and thing.source is None:
        value = _code(f"value: {shown(thing.data, VALUE_MOST)}")
    return _card(
        tone(thing.code),
        _title("state", thing.name, f"of type {thing.type.value}"),
        _words(message),
        value,
        line(text(thing.timestamp.isoformat(" ", "seconds")), style=_SMALL),
    )


@card.register(TaskFuture)
def _(thing: TaskFuture[Any]) -> str:
    run, index = thing.run, thing.index
    state, detail = StateName(run.states[index]), run.details.get(index)
    failure = run.error(index) if state.final else None
    label = (detail.label if detail else "") or state.label
    return _card(
        tone(state),
        _title("task run", run.label(index), label),
        line(text(told(failure)), style=f"color:{RED}") if failure is not None else "",
        _words(detail.message if detail else ""),
        _facts({"id": thing.task_run_id, "attempts": detail.attempts if detail else None}),
    )


@card.register(MapFuture)
def _(thing: MapFuture[Any]) -> str:
    run = thing.run
    title = _title("map", run.name, f"{len(thing):,} elements")
    return _card(BLUE, title, heat_map(run.codes(thing.indices)), _failures(thing), width=600)


@card.register(StreamFuture)
def _(thing: StreamFuture[Any]) -> str:
    states = thing.states
    parts = _parts(states)
    return _card(
        BLUE,
        _title("map over an iterator", thing.run.name, f"{sum(states.values()):,} elements so far"),
        bar(
            parts, sum(states.values()) or 1, f"{thing.run.name}: {sum(states.values()):,} started"
        ),
        legend(parts),
        width=600,
    )


@card.register(FutureList)
def _(thing: FutureList[Any]) -> str:
    looked_at = list(thing[:FUTURES_MOST])
    parts = _parts(FutureList(looked_at).states)
    beyond = f"counted among the first {FUTURES_MOST:,}" if len(thing) > FUTURES_MOST else ""
    return _card(
        BLUE,
        _title("futures", f"{len(thing):,}"),
        bar(parts, len(looked_at) or 1, f"{len(thing):,} futures"),
        legend(parts, beyond),
        width=600,
    )


@card.register(FlowRun)
def _(thing: FlowRun) -> str:
    return _run("flow run", thing, f"of {thing.flow_name}")


@card.register(TaskRun)
def _(thing: TaskRun) -> str:
    return _run("task run", thing, f"of {thing.task_name}")


@card.register(ArtifactId)
def _(thing: ArtifactId) -> str | None:
    made = thing.made
    if made is None or made.kind not in _ARTIFACTS:
        return None
    data = json.loads(made.data)
    title = _title("artifact", made.key or made.artifact_id)
    return _card(BLUE, title, _words(made.description), _ARTIFACTS[made.kind](data))


def _progress(data: float) -> str:
    parts = [Part(round(data), "per cent", TEAL)]
    shown = bar(parts, 100, f"{data:g} per cent") + line(text(f"{data:g} %"), style=_SMALL)
    return tag("div", "max-width:600px", shown)


_ARTIFACTS = {
    "table": table,
    "progress": _progress,
    "image": lambda data: link(data, shortened(data, TEXT_MOST)),
}
"""By kind; texts and links are Markdown, which notebooks show by themselves."""


def _function(kind: str, colour: str, thing: Flow[..., Any] | Task[..., Any]) -> str:
    given = cast("Mapping[str, Any]", thing.options)
    facts = {
        name: repr(value) if isinstance(value, CachePolicy) else value
        for name, value in given.items()
        if name not in ("name", "description") and value not in (None, [], ())
    }
    signature = shortened(shown_signature(thing.fn), TEXT_MOST)
    return _card(
        colour,
        _title(kind, thing.name),
        _code(signature),
        _words(thing.description),
        _facts(facts),
    )


def shown_signature(function: Any) -> str:
    """Return a function's parameters as they are written, with values that hide secrets."""
    parameters: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        name = str(parameter.replace(default=parameter.empty))
        if parameter.default is not parameter.empty:
            name += f" = {shown(parameter.default, 40)}"
        parameters.append(name)
    return f"({', '.join(parameters)})"


def _run(kind: str, thing: FlowRun | TaskRun, of: str) -> str:
    state = thing.state
    title = _title(kind, thing.name, of if state is None else f"{of}, {state.name}")
    facts = {"id": thing.id, "tags": sorted(thing.tags), "run_count": thing.run_count}
    return _card(
        tone(state.code) if state is not None else FAINT,
        title,
        _words(state.message) if state is not None else "",
        _facts(thing.parameters),
        _facts(facts),
    )


def _runner(thing: Any) -> str:
    pages = dashboards(thing)
    links = [link(page, "dashboard of the cluster") for page in pages[:PAGES_MOST]]
    return _card(
        TEAL if pages else SLATE,
        _title("task runner", type(thing).__name__),
        _code(shortened(repr(thing), TEXT_MOST)),
        line(" &ensp; ".join(links)),
    )


def _failures(thing: MapFuture[Any]) -> str:
    kinds = alike(thing.run, thing.indices)
    lines = [line(text(shortened(str(kind), TEXT_MOST))) for kind in kinds]
    return tag("div", f"font-size:85%;color:{RED}", *lines) if lines else ""


def _parts(states: Mapping[str, int]) -> list[Part]:
    tones = {state.label: tone(state) for state in StateName}
    return [Part(number, name, tones.get(name, FAINT)) for name, number in states.items()]


def _card(colour: str, *blocks: str, width: int = 0) -> str:
    style = f"border-left:3px solid {colour};padding:2px 0 2px 12px;margin:6px 0;line-height:1.45"
    return tag("div", f"{style};max-width:{width}px" if width else style, *blocks)


def _title(kind: str, name: str, more: str = "") -> str:
    told = tag("span", DIM, text(kind))
    named = tag("strong", "", text(shortened(name, VALUE_MOST)))
    return line(" &ensp; ".join([told, named, *([tag("span", DIM, text(more))] if more else [])]))


def _words(words: str | None) -> str:
    return line(text(shortened(words or "", TEXT_MOST)))


def _code(code: str) -> str:
    return line(tag("code", _CODE, text(code)))


def _facts(facts: Mapping[str, Any]) -> str:
    told: Iterable[tuple[str, Any]] = list(facts.items())[:FACTS_MOST]
    items = [
        f"{tag('span', DIM, text(name))}&nbsp;{text(_value(value))}"
        for name, value in told
        if value is not None
    ]
    if len(facts) > FACTS_MOST:
        items.append(text(f"and {len(facts) - FACTS_MOST:,} more"))
    return line(" &ensp; ".join(items), style="font-size:85%")


def _value(value: Any) -> str:
    return shortened(value, VALUE_MOST) if isinstance(value, str) else shown(value, VALUE_MOST)
