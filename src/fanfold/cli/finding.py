"""Finds runs, tasks and elements by what people type for them."""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click

from fanfold.cli.completion import runs_like
from fanfold.cli.texts import age, clean, state_words
from fanfold.engine.settings.lookup import nearest
from fanfold.ports.history import History
from fanfold.values.errors import UsageError
from fanfold.values.records import FlowRunRecord, FlowRuns, TaskRunRecord, TaskRuns
from fanfold.values.states import StateName

C = TypeVar("C", bound=Callable[..., Any])

LATEST = "last"
WHICH_RUN = "Which run? Give RUN, or -1 for the latest."
LEAST_DIGITS = 4
"""Of an id's beginning that stands for a run."""
SHORT_DIGITS = 12
"""Of an id that is shown to people: a run's time of birth in milliseconds."""
_ID = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},24}}")
_ELEMENT = re.compile(r"(?P<run>[^/]+)/(?P<task>[^/[]+)(?:\[(?P<index>[0-9]+)\])?")
_WHOLE_ID = 24
_MOST_NAMED = 5
_PAGE = 1_000
_LOOKED_AT = 200
"""The latest runs among whose names one that is like a wrong one is looked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """An element: its call or map, and its column there."""

    task_run: TaskRunRecord
    column: int

    @property
    def label(self) -> str:
        """What people call it: "parse[17]"; the name alone of a single call."""
        run = self.task_run
        return run.name if run.single else f"{run.name}[{run.first + self.column}]"


def run_argument(*, default: bool) -> Callable[[C], C]:
    """Give a command the argument RUN, as its parameter `run`; `-1` stands for the latest.

    Args:
        default: Whether it is the latest where none is given; else it must be given.
    """

    def given(command: C) -> C:
        argument = click.argument(
            "run", required=False, shell_complete=runs_like, callback=_or_latest(default)
        )
        return argument(latest_option(command))

    return given


def latest_option(command: C) -> C:
    """Give a command `-1`, which says that its RUN is the latest, as its parameter `latest`."""
    option = click.option(
        *("-1", "latest"),
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_remember,
        help="The latest run.",
    )
    return option(command)


def wants_latest(context: click.Context) -> bool:
    """Return whether `-1` was given."""
    return bool(context.meta.get(LATEST))


def find_run(history: History, text: str) -> FlowRunRecord:
    """Return the run that somebody typed an id, the beginning of one, or a name for.

    A name stands for the latest run that has it, or whose flow has it; `last` for the latest run
    that no flow called.

    Raises:
        UsageError: Nothing matches, or several do; names the nearest ones.
    """
    if text == LATEST:
        latest = history.read(FlowRuns(parent_id="", limit=1))
        if not latest:
            raise UsageError("There is no run yet.")
        return latest[0]
    asked = [FlowRuns(name=text, limit=1), FlowRuns(flow=text, limit=1)]
    if _ID.fullmatch(text):
        whole = len(text) == _WHOLE_ID
        by_id = FlowRuns(ids=(text,)) if whole else FlowRuns(id_prefix=text, limit=_MOST_NAMED + 1)
        asked.insert(0 if whole else 1, by_id)
    for question in asked:
        found = history.read(question)
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(_several(text, found))
    raise UsageError(_nothing(history, text))


def short(run_id: str) -> str:
    """Return an id as it is shown to people, who may type it so."""
    return run_id[:SHORT_DIGITS]


def short_ids(ids: list[str]) -> list[str]:
    """Return ids as short as they can be shown together without two looking the same."""
    digits = SHORT_DIGITS
    while digits < _WHOLE_ID and len({each[:digits] for each in ids}) < len(set(ids)):
        digits += 1
    return [each[:digits] for each in ids]


def task_runs(history: History, flow_run_ids: tuple[str, ...], task: str) -> list[TaskRunRecord]:
    """Return all calls and maps of a task, by its name, that of a run, or a run's id.

    An empty task stands for all.
    """
    by_id = (task,) if len(task) == _WHOLE_ID and _ID.fullmatch(task) else ()
    question = TaskRuns(flow_run_ids=flow_run_ids, ids=by_id, task="" if by_id else task)
    return list(_paged(history, question))


def find_tasks(history: History, run: FlowRunRecord, task: str) -> list[TaskRunRecord]:
    """Return the calls and maps of a task in a run since it was last resumed, at least one.

    If there is none since then, those from before.

    Raises:
        UsageError: There is none; names the nearest one.
    """
    found = task_runs(history, (run.id,), task)
    if found:
        return [each for each in found if each.created_us >= run.resumed_us] or found
    names = {name for each in task_runs(history, (run.id,), "") for name in (each.task, each.name)}
    known = f" It has {', '.join(sorted(names)[:_MOST_NAMED])}." if names else " It has none."
    known = nearest(task, names) or known
    so_far = "" if run.state.final else " so far"
    raise UsageError(f"Run {clean(run.name)} has no task {clean(task)}{so_far}.{clean(known)}")


def find_element(
    runs: list[TaskRunRecord], task: str, index: int, by_id: str = "Give --task one of their ids"
) -> Found:
    """Return the element of a task's runs that an index stands for.

    Args:
        runs: All of the task's, at least one.
        task: What was typed for it.
        index: Counted from the beginning of a streamed map; of single calls: which of them.
        by_id: How one of several maps is named to the command that asks.

    Raises:
        UsageError: There is none, or several maps have one.
    """
    singles = [each for each in runs if each.single]
    if len(singles) == len(runs) and 0 <= index < len(singles):
        return Found(singles[index], 0)
    having = [
        each for each in runs if not each.single and each.first <= index < each.first + each.count
    ]
    if len(having) == 1:
        return Found(having[0], index - having[0].first)
    if having:
        raise UsageError(
            f"{len(having):,} maps of {clean(task)} have an element {index:,}. {by_id}: "
            f"{', '.join(each.id for each in having[:_MOST_NAMED])}"
            f"{' ...' if len(having) > _MOST_NAMED else ''}"
        )
    most = max((each.first + each.count for each in runs if not each.single), default=len(singles))
    raise UsageError(
        f"There is no element {index:,} of {clean(task)}: they are numbered from 0 to {most - 1:,}."
    )


def family(history: History, run: FlowRunRecord) -> list[FlowRunRecord]:
    """Return a run and all that it called, and those called, level by level."""
    found = [run]
    for each in found:
        found.extend(subflows(history, each.id))
    return found


def subflows(history: History, flow_run_id: str) -> list[FlowRunRecord]:
    """Return the runs that a run's own code and tasks called, the latest first."""
    found: list[FlowRunRecord] = []
    while True:
        before = found[-1].id if found else ""
        page = history.read(FlowRuns(parent_id=flow_run_id, before_id=before, limit=_PAGE))
        found.extend(page)
        if len(page) < _PAGE:
            return found


def states_named(words: tuple[str, ...]) -> tuple[StateName, ...]:
    """Return the states that people typed names or types of, whatever the case.

    Raises:
        UsageError: One isn't known; names the nearest one.
    """
    found: dict[StateName, None] = {}
    for word in words:
        plain = re.sub(r"[^a-z]", "", word.lower())
        of_type = [state for state in StateName if state.type.lower() == plain]
        named = [state for state in StateName if state.label.lower() == plain]
        if not (of_type or named):
            labels = {state.label.lower(): state.label for state in StateName}
            known = nearest(plain, labels) or f" There are: {', '.join(state_words())}."
            raise UsageError(f"There is no state {clean(word, ' ')}.{known}")
        found.update(dict.fromkeys(of_type or named))
    return tuple(found)


def _paged(history: History, question: TaskRuns) -> Iterator[TaskRunRecord]:
    after = ""
    while True:
        page = history.read(replace(question, after_id=after, limit=_PAGE))
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].id


def _or_latest(default: bool) -> Callable[[click.Context, click.Parameter, str | None], str]:
    def value(context: click.Context, parameter: click.Parameter, given: str | None) -> str:
        if given is not None and wants_latest(context):
            raise click.UsageError("Either RUN or -1, not both.", context)
        if given is None and not (default or wants_latest(context)):
            raise click.UsageError(WHICH_RUN, context)
        return given or LATEST

    return value


def _remember(context: click.Context, parameter: click.Parameter, latest: bool) -> None:
    context.meta[LATEST] = latest


def _several(text: str, found: list[FlowRunRecord]) -> str:
    named = found[:_MOST_NAMED]
    ids = short_ids([each.id for each in found])
    lines = [
        f"  {digits}  {clean(each.name, ' ')}  {each.state.label}  {age(each.created_us)}"
        for digits, each in zip(ids, named, strict=False)
    ]
    more = ["  ..."] if len(found) > len(named) else []
    return "\n".join([f"Several runs have an id that begins with {text}:", *lines, *more])


def _nothing(history: History, text: str) -> str:
    element = _ELEMENT.fullmatch(text)
    if element is not None:  # as `debug` has it
        index = f" --index {element['index']}" if element["index"] else ""
        named = f"{shlex.quote(element['run'])} --task {shlex.quote(element['task'])}{index}"
        return f"There is no run {clean(text, ' ')}. To name a task of one: {clean(named, ' ')}"
    latest = history.read(FlowRuns(limit=_LOOKED_AT))
    names = {name for each in latest for name in (each.name, each.flow)}
    ids = {each.id[: len(text)]: each.id for each in latest} if _ID.fullmatch(text) else {}
    near = nearest(text, names) or nearest(text, ids)
    few = (
        f" At least {LEAST_DIGITS} digits of an id are needed." if len(text) < LEAST_DIGITS else ""
    )
    return (
        f"There is no run {clean(text, ' ')}.{clean(near, ' ')}{few if not near else ''} "
        "`fanfold runs ls --all` lists those that there are."
    )
