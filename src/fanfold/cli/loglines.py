"""Lines of logs: which are read, how they are shown, and how they are followed."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import click

from fanfold.cli.exits import Exit, of_state
from fanfold.cli.finding import family, find_element, find_tasks, subflows, task_runs
from fanfold.cli.histories import LOOK_EVERY_S, Lookout
from fanfold.cli.texts import clean, iso, moment, plural
from fanfold.engine import settings
from fanfold.values.errors import UsageError
from fanfold.values.records import (
    FlowRunRecord,
    FlowRuns,
    LineRecord,
    Lines,
    TaskRunRecord,
    TaskRuns,
)

PAGE = 1_000
"""Lines that are asked for at a time."""
NONE = ("-",)
"""No task run's id: asks for no lines, where an empty tuple would ask for all."""
_OURS = ("fanfold.flow_runs", "fanfold.task_runs")
_COLOURS = ((logging.CRITICAL, 1), (logging.ERROR, 31), (logging.WARNING, 33), (logging.INFO, 36))
_DIM = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Only:
    """Whose lines are wanted; all where nothing is given."""

    task: str = ""
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A line with the names of what said it."""

    line: LineRecord
    origin: str
    """Such as "parse[17]"; empty for the run's own code."""
    flow_run: FlowRunRecord
    task_run: TaskRunRecord | None


class Reading:
    """The log of a run and all runs below it, read on from where the last look ended.

    Args:
        lookout: The history.
        run: The run.
        wanted: Which lines, apart from whose.
        only: Whose.
        as_json: Whether they are shown as JSON Lines.

    Raises:
        UsageError: The run has no such task or element.
    """

    def __init__(
        self,
        lookout: Lookout,
        run: FlowRunRecord,
        wanted: Lines,
        only: Only,
        *,
        as_json: bool = False,
    ) -> None:
        self._lookout = lookout
        self._history = lookout.history
        self._run = run
        self._runs = {each.id: each for each in family(self._history, run)}
        self._tasks: dict[str, TaskRunRecord] = {}
        self._only = only
        self._wanted = self._of_element(wanted) if only.index is not None else wanted
        self._as_json = as_json
        self._shown_day = ""

    def show(self, tail: int | None) -> None:
        """Print the lines that there are: the last so many, or all of them for None."""
        shown = 0
        for told in self._all() if tail is None else self._last(tail):
            self._print(told)
            shown += 1
        if not shown and tail != 0 and self._run.state.final:
            click.echo("There are no such lines.", err=True)

    def follow(self) -> Exit:
        """Print lines as they come until the run is over, and return what to exit with."""
        while True:
            # Whether it is over is asked first: what was said until then is recorded by now.
            run = self._runs[self._run.id] = self._now(self._run)
            for told in self._all():
                self._print(told)
            if run.state.final:
                name = clean(run.name, " ")
                click.echo(f"{name} is {run.label or run.state.label}.", err=True)
                return of_state(run.state)
            time.sleep(LOOK_EVERY_S)
            self._lookout.reap()
            self._look_below()

    def tell_dropped(self) -> None:
        """Say how many lines weren't kept, if so."""
        dropped = sum(run.lines_dropped for run in self._runs.values())
        if dropped:
            click.echo(
                f"{plural(dropped, 'line')} more weren't kept: so many came at once, or they are "
                f"beyond history.lines_per_run, which is "
                f"{settings.current().history_lines_per_run:,} here.",
                err=True,
            )

    def _now(self, run: FlowRunRecord) -> FlowRunRecord:
        found = self._history.read(FlowRuns(ids=(run.id,)))
        if not found:
            raise UsageError(f"Run {clean(run.name, ' ')} was removed from the history meanwhile.")
        return found[0]

    def _look_below(self) -> None:
        """Find runs that were called since; those that are over call no more."""
        for known in [run for run in self._runs.values() if not run.state.final]:
            self._runs[known.id] = self._now(known)
            for called in subflows(self._history, known.id):
                if called.id not in self._runs:
                    self._runs.update((each.id, each) for each in family(self._history, called))

    def _of_element(self, wanted: Lines) -> Lines:
        assert self._only.index is not None
        runs = find_tasks(self._history, self._run, self._only.task)
        found = find_element(runs, self._only.task, self._only.index)
        index = None if found.task_run.single else self._only.index
        return replace(wanted, task_run_ids=(found.task_run.id,), index=index)

    def _question(self) -> Lines:
        """Return the question for what comes next."""
        question = replace(self._wanted, flow_run_ids=tuple(self._runs))
        if self._only.task and self._only.index is None:
            runs = task_runs(self._history, tuple(self._runs), self._only.task)
            question = replace(question, task_run_ids=tuple(run.id for run in runs) or NONE)
        return question

    def _last(self, tail: int) -> Iterator[Told]:
        question = replace(self._question(), last=True, limit=tail + 1)
        lines = self._history.read(question)
        if lines:
            self._wanted = replace(self._wanted, after_id=lines[-1].id)
        if len(lines) > tail > 0:
            click.echo(f"The last {plural(tail, 'line')}; --all shows all.", err=True)
        yield from self._with_names(lines[len(lines) - tail :] if len(lines) > tail else lines)

    def _all(self) -> Iterator[Told]:
        question = replace(self._question(), limit=PAGE)
        while True:
            lines = self._history.read(replace(question, after_id=self._wanted.after_id))
            if lines:
                self._wanted = replace(self._wanted, after_id=lines[-1].id)
            yield from self._with_names(lines)
            if len(lines) < PAGE:
                return

    def _with_names(self, lines: list[LineRecord]) -> Iterator[Told]:
        missing = {line.task_run_id for line in lines} - self._tasks.keys() - {""}
        if missing:
            question = TaskRuns(ids=tuple(missing), limit=len(missing))
            self._tasks.update((run.id, run) for run in self._history.read(question))
        for line in lines:
            run, task = self._runs[line.flow_run_id], self._tasks.get(line.task_run_id)
            yield Told(line=line, origin=self._origin(line, run, task), flow_run=run, task_run=task)

    def _origin(self, line: LineRecord, run: FlowRunRecord, task: TaskRunRecord | None) -> str:
        parts = [run.name] if run.id != self._run.id else []
        if task is not None:
            parts.append(task.name if line.index is None else f"{task.name}[{line.index}]")
        origin = "/".join(clean(part, " ") for part in parts)
        return f"{origin} attempt {line.attempt}" if line.attempt > 1 else origin

    def _print(self, told: Told) -> None:
        if self._as_json:
            click.echo(json.dumps(facts(told)))
        elif sys.stdout.isatty():
            day = moment(told.line.at_us).astimezone().strftime("%Y-%m-%d")
            if day != self._shown_day:
                self._shown_day = day
                click.echo(_coloured(day, _DIM))
            click.echo(for_people(told))
        else:
            click.echo(for_pipes(told))


def level(context: click.Context, parameter: click.Parameter, value: str) -> int:
    """Return the number of a level of logging that somebody named; click's callback."""
    known = logging.getLevelNamesMapping()
    if value.isdigit():
        return int(value)
    if value.upper() not in known:
        raise click.BadParameter(
            f"{value!r} is no level. There are: debug, info, warning, error, critical."
        )
    return known[value.upper()]


def facts(told: Told) -> dict[str, object]:
    """Return a line as JSON has it."""
    line, task = told.line, told.task_run
    return {
        "id": line.id,
        "at": iso(line.at_us),
        "level": logging.getLevelName(line.level),
        "logger": line.logger,
        "message": line.message,
        "flow_run_id": line.flow_run_id,
        "flow_run": told.flow_run.name,
        "task_run_id": line.task_run_id or None,
        "task_run": task.name if task is not None else None,
        "task": task.task if task is not None else None,
        "index": line.index,
        "attempt": line.attempt or None,
    }


def for_people(told: Told) -> str:
    """Return a line as terminals show it: local time, level, who said it, what."""
    line = told.line
    at = moment(line.at_us).astimezone().strftime("%H:%M:%S")
    level = logging.getLevelName(line.level)
    colour = next((colour for least, colour in _COLOURS if line.level >= least), _DIM)
    head = f"{_coloured(at, _DIM)} | {_coloured(f'{level:<7}', colour)} | "
    who = told.origin if line.logger in _OURS else f"{told.origin} {line.logger}".strip()
    return f"{head}{who} | {clean(line.message)}" if who else head + clean(line.message)


def for_pipes(told: Told) -> str:
    """Return a line with tabs between time, level, who said it, and what.

    What has several lines goes on below, with tabs for the first three.
    """
    line = told.line
    level = logging.getLevelName(line.level)
    message = clean(line.message, end="\n\t\t\t")
    return f"{iso(line.at_us)}\t{level}\t{told.origin}\t{message}"


@cache
def _in_colours() -> bool:
    from fanfold.display.logs import coloured  # 0.1 s, for terminals alone

    return coloured(sys.stdout)


def _coloured(text: str, colour: int) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if _in_colours() else text
