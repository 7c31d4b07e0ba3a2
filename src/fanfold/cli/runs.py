"""`fanfold runs`: what ran and runs, its logs, and how to cancel it."""

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module

import click

from fanfold.cli import exits, loglines, pages
from fanfold.cli.completion import flows_like, runs_like, states_like
from fanfold.cli.finding import (
    LATEST,
    WHICH_RUN,
    find_element,
    find_run,
    find_tasks,
    latest_option,
    run_argument,
    short,
    short_ids,
    states_named,
    wants_latest,
)
from fanfold.cli.histories import Lookout, opened
from fanfold.cli.tables import Cell, Column, json_option, show, show_json, show_page
from fanfold.cli.texts import SECOND_US, age, clean, iso, style, took
from fanfold.engine.wording import span
from fanfold.values.records import FlowRunRecord, FlowRuns, Lines
from fanfold.values.states import StateName

WAIT_S = 10.0
"""How long `cancel` waits for the end: a driver looks every second, and elements need a moment."""
WAIT_LOOK_S = 0.2
_COLUMNS = (
    Column(title="Run", whole=True),
    Column(title="Flow"),
    Column(title="Name"),
    Column(title="State", whole=True),
    Column(title="Began", whole=True),
    Column(title="Took", whole=True, right=True),
)
_UNITS = {"s": "seconds", "min": "minutes", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)")


class Runs(click.Group):
    """The commands below, and those of `cli.rerun`, which need the engine and come when asked."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all."""
        return sorted([*super().list_commands(ctx), *_rerun()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one of them."""
        return super().get_command(ctx, cmd_name) or _rerun().get(cmd_name)


def moment(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime | None:
    """Return the time that somebody typed as so long ago, or as a date; click's callback."""
    if value is None:
        return None
    ago = _AGO.fullmatch(value.strip())
    try:
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        return datetime.fromisoformat(value.strip()).astimezone()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{value!r} is neither so long ago, such as 90s, 15min, 2h, 3d or 1w, nor a date such "
            "as 2026-05-03 or 2026-05-03T14:00."
        ) from error


@click.group(cls=Runs)
def command() -> None:
    """Flow runs: look at them, cancel them, run them again.

    RUN is an id or its beginning, a name (the latest run that has it, or whose flow has it), or
    `last` or -1 for the latest.
    """


@command.command()
@click.option("--flow", metavar="NAME", default="", help="Of this flow.", shell_complete=flows_like)
@click.option(
    *("--state", "words"),
    metavar="STATE",
    multiple=True,
    shell_complete=states_like,
    help="In a state, by its name or type, such as failed; may be given several times.",
)
@click.option("--tag", "tags", multiple=True, help="With a tag; with several, all of them.")
@click.option(
    "--since", metavar="TIME", callback=moment, help="Made since: 2h, 3d, 90s, or a date."
)
@click.option(
    *("--limit", "-n"),
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="So many at most.",
)
@click.option("--all", "every", is_flag=True, help="Also runs that other flows called.")
@json_option
def ls(
    flow: str,
    words: tuple[str, ...],
    tags: tuple[str, ...],
    since: datetime | None,
    limit: int,
    every: bool,
    as_json: bool,
) -> None:
    """List flow runs, the latest first."""
    question = FlowRuns(
        flow=flow,
        states=states_named(words),
        tags=tags,
        since_us=None if since is None else int(since.timestamp() * SECOND_US),
        parent_id=None if every else "",
        limit=limit + 1,
    )
    with opened() as lookout:
        found = lookout.history.read(question)
    runs = found[:limit]
    if as_json:
        show_json(runs)
        return
    if not runs:
        asked = flow or words or tags or since
        called = "" if every else " --all looks at those that other flows called, too."
        click.echo(f"No run is like that.{called}" if asked else "There is no run yet.", err=True)
        return
    _list(runs)
    if len(found) > limit and sys.stdout.isatty():
        click.echo(f"There are more: --limit {2 * limit}", err=True)


@command.command(name="show")
@run_argument(default=True)
@click.option(
    "--task", metavar="NAME", help="One of its tasks: its name, or that or the id of a call."
)
@click.option("--index", type=click.IntRange(0), help="An element of a map, from 0.")
@json_option
def show_(run: str, task: str | None, index: int | None, as_json: bool) -> None:
    """Show how a run went: its tasks, its failures, what to do next.

    Without RUN it is the latest.
    """
    _need_task(task, index)
    with opened() as lookout:
        history = lookout.history
        found = find_run(history, run)
        if task is None:
            account = pages.run_account(history, found)
        else:
            runs = find_tasks(history, found, task)
            if index is None and len(runs) == 1 and runs[0].single:
                index = 0
            if index is None:
                account = pages.task_account(history, found, runs)
            else:
                account = pages.element_account(history, found, find_element(runs, task, index))
    if as_json:
        show_json(account.data())
    else:
        show_page(account.page())


@command.command()
@run_argument(default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is over; exit as it did.")
@click.option("--grep", "words", metavar="WORDS", default="", help="With these words, in order.")
@click.option("--task", metavar="NAME", help="Of a task: its name, or that or the id of a call.")
@click.option("--index", type=click.IntRange(0), help="Of an element of its map, from 0.")
@click.option("--attempt", type=click.IntRange(1), help="Of an attempt, from 1.")
@click.option(
    "--level", metavar="LEVEL", default="0", callback=loglines.level, help="Of this level or above."
)
@click.option("--logger", metavar="NAME", default="", help="Of this logger or those below it.")
@click.option(
    *("--tail", "-n"),
    type=click.IntRange(0),
    default=1_000,
    show_default=True,
    help="The last so many lines.",
)
@click.option("--all", "every", is_flag=True, help="All lines from the beginning.")
@json_option
def logs(
    run: str,
    follow: bool,
    words: str,
    task: str | None,
    index: int | None,
    attempt: int | None,
    level: int,
    logger: str,
    tail: int,
    every: bool,
    as_json: bool,
) -> None:
    """Show a run's log, with those of the runs it called.

    Without RUN it is the latest. --json writes JSON Lines. With -f it exits with 0 when the run is
    Completed, 1 Failed, 3 Cancelled, 4 Crashed.
    """
    _need_task(task, index)
    wanted = Lines(words=words, attempt=attempt, level=level, logger=logger)
    with opened() as lookout:
        found = find_run(lookout.history, run)
        only = loglines.Only(task=task or "", index=index)
        reading = loglines.Reading(lookout, found, wanted, only, as_json=as_json)
        reading.show(None if every else tail)
        code = reading.follow() if follow else exits.Exit.DONE
        reading.tell_dropped()
    click.get_current_context().exit(code)


@command.command()
@click.argument("runs", metavar="RUN...", nargs=-1, shell_complete=runs_like)
@latest_option
@click.option("--no-wait", is_flag=True, help="Ask alone; don't wait for the end.")
@json_option
@click.pass_context
def cancel(context: click.Context, runs: tuple[str, ...], no_wait: bool, as_json: bool) -> None:
    """Ask runs to stop, and say what comes of it.

    A driver hears of it within a second or two; elements that run are interrupted where the task
    runner can do that.
    """
    if wants_latest(context):
        runs = (*runs, LATEST)
    if not runs:
        raise click.UsageError(WHICH_RUN, context)
    with opened() as lookout:
        found = {run.id: run for run in (find_run(lookout.history, text) for text in runs)}
        asked = {run_id for run_id in found if lookout.history.cancel(run_id)}
        waited = [] if no_wait else sorted(asked)
        ends = _ends(lookout, tuple(found), waited)
    outcomes = [_outcome(run, run.id in asked, bool(waited)) for run in ends]
    if as_json:
        show_json([each.facts for each in outcomes])
    else:
        for each in outcomes:
            click.echo(each.text)
    context.exit(max(each.code for each in outcomes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of asking a run to stop."""

    run: FlowRunRecord
    asked: bool
    text: str
    code: exits.Exit

    @property
    def facts(self) -> dict[str, object]:
        """What `--json` says of it."""
        return {"run": self.run, "asked": self.asked, "message": self.text}


def _outcome(run: FlowRunRecord, asked: bool, waited: bool) -> Outcome:
    name = f"{clean(run.name, ' ')} ({short(run.id)})"
    code = exits.Exit.FAILED
    if run.state.final and not asked:
        text = f"{name} is over already: {run.state.label} {age(run.ended_us or run.created_us)}."
    elif run.state is StateName.CANCELLED:
        text, code = f"{name} is Cancelled.", exits.Exit.DONE
    elif run.state.final:
        text = f"{name} came to another end before it was cancelled: {run.state.label}."
    elif not waited:
        text, code = f"{name} was asked to stop.", exits.Exit.DONE
    else:
        text = (
            f"{name} was asked to stop, and is still {run.state.label} after {span(WAIT_S)}: what "
            f"runs can't be interrupted, or its driver is stopped. `fanfold runs show "
            f"{short(run.id)}` says how it goes on."
        )
    return Outcome(run=run, asked=asked, text=text, code=code)


def _ends(lookout: Lookout, ids: tuple[str, ...], waited: list[str]) -> list[FlowRunRecord]:
    """Return runs in the order of their ids, when those waited for are over or `WAIT_S` passed."""
    until = time.monotonic() + WAIT_S
    while True:
        runs = {run.id: run for run in lookout.history.read(FlowRuns(ids=ids, limit=len(ids)))}
        if all(runs[each].state.final for each in waited) or time.monotonic() > until:
            return [runs[each] for each in ids]
        time.sleep(WAIT_LOOK_S)
        lookout.reap()


def _need_task(task: str | None, index: int | None) -> None:
    if index is not None and task is None:
        raise click.UsageError("--index needs --task: the name of the map that it is an index of.")


def _list(runs: Sequence[FlowRunRecord]) -> None:
    # Most flows don't name their runs: no column on a terminal for saying everything twice.
    named = not sys.stdout.isatty() or any(run.name != run.flow for run in runs)
    rows: list[list[Cell | str]] = []
    for run, run_id in zip(runs, short_ids([run.id for run in runs]), strict=True):
        row: list[Cell | str] = [Cell(run_id, piped=run.id), run.flow]
        if named:
            row.append(Cell(run.name if run.name != run.flow else "", piped=run.name))
        began = run.started_us or run.created_us
        row.append(Cell(run.label or run.state.label, style(run.state)))
        row.append(Cell(age(began), piped=iso(began)))
        row.append(took(run.started_us, run.ended_us))
        rows.append(row)
    show([column for column in _COLUMNS if named or column.title != "Name"], rows)


def _rerun() -> dict[str, click.Command]:
    commands: list[click.Command] = import_module("fanfold.cli.rerun").COMMANDS
    return {each.name: each for each in commands if each.name}
