"""`fanfold runs debug`: call one element of a recorded run again, here."""

import asyncio
import inspect
import logging
import re
import shlex
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from reprlib import Repr
from typing import Any

import click

from fanfold.cli import run as runs
from fanfold.cli.exits import Exit
from fanfold.cli.finding import find_run, find_tasks, short
from fanfold.cli.histories import opened
from fanfold.cli.recalling import Call, look_for, recalled, script
from fanfold.cli.texts import clean, plural
from fanfold.engine import entrypoints, settings
from fanfold.engine.context import Again, doing_again
from fanfold.engine.debugging import Replay, replayed
from fanfold.engine.failures import users_frames
from fanfold.engine.recording import arguments, masking
from fanfold.engine.settings.kinds import OFF
from fanfold.engine.spec import taken_apart
from fanfold.ports.history import History
from fanfold.tasks import Task
from fanfold.values.errors import FanfoldError, UsageError
from fanfold.values.records import (
    Arguments,
    Elements,
    FlowArguments,
    FlowRunRecord,
    TaskRunRecord,
)
from fanfold.values.states import StateName

_ELEMENT = re.compile(r"(?P<task>.+?)(?:#(?P<nth>[0-9]+))?(?:\[(?P<index>[0-9,_]+)\])?")
_LONGEST = 200
"""Characters of a value that is shown."""
_LACKING = (StateName.FAILED, StateName.TIMED_OUT, StateName.CRASHED)
"""States of elements that are worth debugging."""


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
                call = _called_flow(recalled(history, record))
    with _unrecorded():
        status = _debugged(*call, debugger)
    raise SystemExit(status)


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
    look_for(run.entrypoint, element.flow_run)
    task: Task[..., Any] = entrypoints.load(run.entrypoint, Task, "task", main=main)
    if held:
        args, kwargs = arguments.unpacked(held[0], script())
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
    call = recalled(history, record)
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


def _called_flow(call: Call) -> Callee:
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
