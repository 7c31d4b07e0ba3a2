"""`fanfold runs retry` and `fanfold runs debug`: run again what ran before, from the record."""

import asyncio
import inspect
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from reprlib import Repr
from types import ModuleType
from typing import Any

import click

from fanfold.cli import run as runs
from fanfold.cli.exits import Exit
from fanfold.cli.finding import family, find_run, find_tasks, run_argument, short, task_runs
from fanfold.cli.histories import opened
from fanfold.cli.tables import json_option
from fanfold.cli.texts import age, clean, plural
from fanfold.engine import entrypoints, settings
from fanfold.engine.context import Again, ResultOptions, doing_again
from fanfold.engine.debugging import Replay, replayed
from fanfold.engine.entrypoints import SCRIPT
from fanfold.engine.failures import users_frames
from fanfold.engine.recording import arguments, masking
from fanfold.engine.settings.kinds import OFF
from fanfold.engine.spec import taken_apart
from fanfold.flows import Flow
from fanfold.ports.history import History
from fanfold.specs import kept_runs
from fanfold.tasks import Task
from fanfold.values.errors import FanfoldError, UsageError
from fanfold.values.records import (
    Arguments,
    Elements,
    FlowArguments,
    FlowRunRecord,
    FlowRuns,
    TaskRunRecord,
)
from fanfold.values.states import FINAL, WITH_VALUE, StateName

_ELEMENT = re.compile(r"(?P<task>.+?)(?:#(?P<nth>[0-9]+))?(?:\[(?P<index>[0-9,_]+)\])?")
_LONGEST = 200
"""Characters of a value that is shown."""
_LACKING = (StateName.FAILED, StateName.TIMED_OUT, StateName.CRASHED)
"""States of elements that are worth debugging."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A flow, and what a recorded run called it with."""

    flow: "Flow[..., Any]"
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    key_id: str
    """Under which its results are kept."""


@dataclass(frozen=True, slots=True)
class _Element:
    """An element of a recorded run."""

    flow_run: FlowRunRecord
    task_run: TaskRunRecord
    column: int
    nth: int
    """Which of the task's calls and maps, from 0."""

    @property
    def label(self) -> str:
        run = self.task_run
        return run.task if run.single else f"{run.task}[{run.first + self.column}]"


@click.command()
@run_argument(default=False)
@click.option("--fresh", is_flag=True, help="Read nothing from the cache: all runs anew.")
@json_option
def retry(run: str, fresh: bool, as_json: bool) -> None:
    """Run a flow again as a new run, with the same arguments.

    What the old run and its retries have kept comes back Cached, and only the rest runs.

    Exits with 0 when the new run is Completed, 1 Failed, 3 Cancelled, 4 Crashed; with 2 when the
    flow can't be found any more.
    """
    with opened() as lookout:
        record = find_run(lookout.history, run)
        if record.state not in FINAL:
            raise UsageError(
                f"Run {clean(record.name)} is {record.state.label}. Wait for its end, or cancel it "
                f"first: fanfold runs cancel {short(record.id)}"
            )
        call = _call(lookout.history, record)
        click.echo(_plan(lookout.history, record, call, fresh), err=as_json)
    read: dict[str, object] = {"tasks.refresh_cache": True} if fresh else {}
    again = Again(retry_of=record.id, key_id=call.key_id)
    with settings.temporary(read), doing_again(again):
        runs.finish(call.flow, call.args, call.kwargs, as_json=as_json)


@click.command()
@click.argument("element", metavar="RUN/TASK[INDEX]")
@click.option("--pdb", "debugger", is_flag=True, help="Open pdb where it fails.")
@click.option(
    "--rerun-upstream", is_flag=True, help="Run tasks whose values are needed and aren't kept."
)
def debug(element: str, debugger: bool, rerun_upstream: bool) -> None:
    """Run one element of a recorded run again, here and once, without retries and time limit.

    INDEX is that of a map, RUN/TASK#2 the task's second call or map of a run; without them the
    first is taken that failed. RUN alone runs the flow itself. It is the code as it is now that
    runs; nothing is recorded.

    Exits with 0 when it succeeds, 1 when it fails.
    """
    with opened() as lookout:
        history = lookout.history
        run, _, task = element.partition("/")
        record = find_run(history, run)
        with _unrecorded():
            if task:
                call = _called_element(history, _found(history, record, task), rerun_upstream)
            else:
                call = _called_flow(_call(history, record))
    with _unrecorded():
        status = _debugged(*call, debugger)
    raise SystemExit(status)


COMMANDS = [retry, debug]
"""For the group `runs`."""


# What a flow was called with.


def _call(history: History, record: FlowRunRecord) -> _Call:
    """Return the flow of a run, and what it was called with.

    Raises:
        UsageError: The flow can't be found.
        FanfoldError: What it was called with isn't kept.
    """
    if not record.entrypoint:
        raise UsageError(
            f"The flow {record.flow} can't be found again: it was written in a notebook or an "
            "interpreter, or inside of a function. Put it into a file, at the outermost level."
        )
    held = history.read(FlowArguments(flow_run_id=record.id))
    if not held:
        raise FanfoldError(
            f"What run {clean(record.name)} was called with isn't kept: it holds a secret, can't "
            "be pickled, is larger than 1 MiB, or didn't fit the flow. Call it with "
            f"`fanfold run {record.entrypoint} -p ...`."
        )
    main, payload = arguments.unpacked_flow(held[0])
    _look_for(record.entrypoint, record)
    flow: Flow[..., Any] = entrypoints.load(record.entrypoint, Flow, "flow", main=main)
    args, kwargs = arguments.unpacked(payload, _script())
    return _Call(flow, args, kwargs, _key_id(history, record))


def _key_id(history: History, record: FlowRunRecord) -> str:
    """Return what stands for a run in keys: the id of the first run that it does anew."""
    while record.retry_of:
        older = history.read(FlowRuns(ids=(record.retry_of,)))
        if not older:
            return record.retry_of
        record = older[0]
    return record.id


def _look_for(entrypoint: str, record: FlowRunRecord) -> None:
    """Raise UsageError if the file that code of a run is in isn't there any more."""
    file, _ = entrypoints.split(entrypoint)
    if file.endswith(".py") and not os.path.isfile(file):
        raise UsageError(
            f"There is no file {file}. Run {clean(record.name)} was made with it: put it back, or "
            "call the flow where it is now: fanfold run FILE.PY -p ..."
        )


def _script() -> ModuleType | None:
    return sys.modules.get(SCRIPT)


# What a retry will do.


def _plan(history: History, record: FlowRunRecord, call: _Call, fresh: bool) -> str:
    """Return what is said before a retry begins."""
    who = (
        f"{clean(record.name)} ({short(record.id)}), {record.state.label} {age(record.created_us)}"
    )
    counts = [
        (each, each.counts)
        for run in family(history, record)
        for each in task_runs(history, (run.id,), "")
    ]
    whole = sum(sum(each.values()) for _, each in counts)
    if fresh:
        return f"Retrying {who}. Nothing is read from the cache, so all runs again."
    if record.parent_id:
        return (
            f"Retrying {who}. What it has kept belongs to run {short(record.parent_id)}, which "
            "called it; here all runs again."
        )
    is_kept = _keeping(call.flow.results)
    kept = sum(
        each[state]
        for run, each in counts
        for state in each
        if state is StateName.CACHED or (state in WITH_VALUE and is_kept(run))
    )
    if not kept:
        return f"Retrying {who}. Nothing was kept, so all runs again."
    rest = f"{plural(whole - kept, 'element')} run" if whole - kept != 1 else "1 element runs"
    # A key may hold the task's code, which only the run itself digests.
    return (
        f"Retrying {who}. Kept are {kept:,} of {plural(whole, 'element')}; {rest} again, and what "
        "has other code now."
    )


def _keeping(results: ResultOptions) -> Callable[[TaskRunRecord], bool]:
    """Return what tells if results of a run of a task are kept, as far as can be told."""
    known: dict[str, frozenset[str]] = {}

    def is_kept(run: TaskRunRecord) -> bool:
        if run.entrypoint not in known:
            known[run.entrypoint] = frozenset()
            with suppress(FanfoldError):  # of what can't be told nothing is said
                found: Task[..., Any] = entrypoints.load(
                    run.entrypoint, Task, "task", main=_is_script(run.entrypoint)
                )
                known[run.entrypoint] = kept_runs(found, results)
        return run.id in known[run.entrypoint]

    return is_kept


def _is_script(entrypoint: str) -> bool:
    """Return whether a task is of the script that was loaded."""
    script = _script()
    return script is not None and script.__file__ == entrypoints.split(entrypoint)[0]


# Which element, and what it is called with.


def _found(history: History, record: FlowRunRecord, text: str) -> _Element:
    """Return the element that somebody typed TASK, TASK#2, TASK[5] or TASK#2[5] for."""
    match = _ELEMENT.fullmatch(text)
    assert match is not None
    task, nth, index = match["task"], match["nth"], match["index"]
    every = sorted(find_tasks(history, record, task), key=lambda run: (run.created_us, run.id))
    numbers = _numbered(every)
    if nth is not None:
        every = [run for run in every if numbers[run.id] == int(nth) - 1]
        if not every:
            raise UsageError(
                f"There is no {task}#{nth}: run {clean(record.name)} has "
                f"{plural(max(numbers.values()) + 1, 'call or map', 'calls and maps')} of it."
            )
    if index is not None:
        wanted = int(re.sub("[,_]", "", index))
        holding = [run for run in every if 0 <= wanted - run.first < run.count]
        if not holding:
            most = max(run.first + run.count for run in every)
            raise UsageError(f"There is no {task}[{index}]: they go from 0 to {most - 1:,}.")
        run = holding[0]
        if len(holding) > 1:
            several = plural(len(holding), "map")
            click.echo(f"{several} of {task} have an element {index}: taking the first.", err=True)
        return _Element(record, run, wanted - run.first, numbers[run.id])
    return _first_lacking(history, record, every, numbers)


def _first_lacking(
    history: History, record: FlowRunRecord, every: list[TaskRunRecord], numbers: dict[str, int]
) -> _Element:
    """Return the first element that failed; the only one, if there is just one."""
    if len(every) == 1 and every[0].count == 1:
        return _Element(record, every[0], 0, numbers[every[0].id])
    for run in every:
        for element in history.read(Elements(task_run_ids=(run.id,), states=_LACKING, limit=1)):
            found = _Element(record, run, element.index, numbers[run.id])
            which = f" of {run.task}#{found.nth + 1}" if numbers[every[-1].id] else ""
            click.echo(f"The first that failed: {found.label}{which}", err=True)
            return found
    raise UsageError(
        f"No element of {every[0].task} failed. Name the one that is meant: "
        f"{short(record.id)}/{every[0].task}[0]"
    )


def _numbered(every: list[TaskRunRecord]) -> dict[str, int]:
    """Return which of the task's calls and maps each is; parts of a streamed map are one."""
    numbers: dict[str, int] = {}
    of_stream: dict[str, int] = {}
    count = -1
    for run in every:
        if run.stream and run.stream in of_stream:
            numbers[run.id] = of_stream[run.stream]
            continue
        count += 1
        numbers[run.id] = count
        if run.stream:
            of_stream[run.stream] = count
    return numbers


Callee = tuple[str, Callable[..., Any], Callable[[], Any], Any, Any]
"""A label, the plain function, what calls it as a run, and its arguments."""


def _called_element(history: History, element: _Element, reruns: bool) -> Callee:
    """Return how to call an element again.

    Raises:
        UsageError: Its task can't be found.
        FanfoldError: What it is called with can't be had.
    """
    run, replay = element.task_run, None
    if not run.entrypoint:
        raise UsageError(
            f"The task {run.task} can't be found again: it was written in a notebook or an "
            "interpreter, or inside of a function. Put it into a file, at the outermost level."
        )
    held = history.read(Arguments(task_run_id=run.id, index=element.column))
    main = _was_script(history, element)
    _look_for(run.entrypoint, element.flow_run)
    task: Task[..., Any] = entrypoints.load(run.entrypoint, Task, "task", main=main)
    if held:
        args, kwargs = arguments.unpacked(held[0], _script())
    else:
        replay = _replayed(history, element, reruns)
        assert replay.arguments is not None
        args, kwargs = replay.arguments
    function, _, _ = taken_apart(task.fn)
    alone: Any = Task(
        function,
        name=task.name,
        tags=task.tags,
        log_prints=task.log_prints,
        retries=0,
        persist_result=False,
    )

    def call() -> Any:
        if task.is_async and not task.yields:
            return asyncio.run(alone(*args, **kwargs))
        return _exhausted(alone, args, kwargs) if task.yields else alone(*args, **kwargs)

    return element.label, function, call, args, kwargs


def _exhausted(alone: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return all items of a generator task of either kind."""
    if not alone.is_async:
        return list(alone(*args, **kwargs))

    async def items() -> list[Any]:
        return [item async for item in alone(*args, **kwargs)]

    return asyncio.run(items())


def _was_script(history: History, element: _Element) -> bool | None:
    """Return whether the task is of the script that was run; None if nobody knows."""
    record, place = element.flow_run, entrypoints.split(element.task_run.entrypoint)[0]
    if entrypoints.split(record.entrypoint)[0] != place:
        return None
    held = history.read(FlowArguments(flow_run_id=record.id))
    return arguments.unpacked_flow(held[0])[0] if held else None


def _replayed(history: History, element: _Element, reruns: bool) -> Replay:
    """Have the flow run again from what is kept, to learn what an element is called with.

    Raises:
        FanfoldError: It didn't get there.
    """
    record, run = element.flow_run, element.task_run
    click.echo(
        f"What {element.label} was called with isn't kept: running {record.flow} up to it, "
        f"{'its tasks too where nothing is kept' if reruns else 'from what is kept'}.",
        err=True,
    )
    call = _call(history, record)
    index = run.first + element.column
    replay = Replay(task=run.task, nth=element.nth, index=index, reruns=reruns)
    failure: BaseException | None = None
    with _silent(), doing_again(Again(key_id=call.key_id)), replayed(replay):
        state = runs.ended(call.flow, call.args, call.kwargs)
        failure = None if state.is_completed() else state.failure()
    if replay.arguments is not None:
        return replay
    if replay.missing:
        told = "; ".join(replay.missing.values())
        nth = f"#{element.nth + 1}" if element.nth else ""
        typed = f"{short(record.id)}/{run.task}{nth}{element.label.removeprefix(run.task)}"
        raise FanfoldError(
            f"What {element.label} is called with can't be had without running tasks again: {told}."
            f" To run them: fanfold runs debug {shlex.quote(typed)} --rerun-upstream"
        )
    end = f"it ended with {type(failure).__name__}: {failure}" if failure else "it ended"
    raise FanfoldError(
        f"The flow {record.flow} didn't come to {element.label} when it ran again: {end}."
    )


def _called_flow(call: _Call) -> Callee:
    """Return how to call a flow again, with what is kept of its tasks."""
    flow = call.flow.with_options(retries=0)

    def called() -> Any:
        with doing_again(Again(key_id=call.key_id)):
            state = runs.ended(flow, call.args, call.kwargs)
        if not state.is_completed():
            raise state.failure()
        return state.result()

    return flow.name, taken_apart(flow.fn)[0], called, call.args, call.kwargs


# Running it.


def _debugged(
    label: str,
    function: Callable[..., Any],
    call: Callable[[], Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    debugger: bool,
) -> Exit:
    """Call once, show what came of it, and return what to exit with."""
    click.echo(f"{label} is called with:")
    for name, value in _named(function, args, kwargs):
        click.echo(f"  {name} = {clean(_in_short(value))}")
    try:
        value = call()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except (Exception, SystemExit) as error:
        click.echo(f"It failed:\n{runs.told(error)}", err=True)
        if debugger:
            import pdb  # 20 ms, for this alone

            pdb.post_mortem(users_frames(error.__traceback__))
        return Exit.FAILED
    click.echo(f"It succeeded this time: {clean(_in_short(value))}")
    return Exit.DONE


def _named(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield the arguments of a call by the names of the parameters, as far as they fit."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):  # the call itself says what doesn't fit
        yield from ((f"argument {at}", value) for at, value in enumerate(args, 1))
        yield from kwargs.items()
        return
    yield from bound.arguments.items()


def _in_short(value: Any) -> str:
    """Return a value in one line, secrets masked."""
    short = Repr()
    short.maxstring = short.maxother = _LONGEST
    return masking.mask(short.repr(value))


@contextmanager
def _silent() -> Generator[None]:
    """Keep a replay's lines back: what it says of its end isn't what happened."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _unrecorded() -> Generator[None]:
    with settings.temporary({"history.url": OFF}):
        yield
