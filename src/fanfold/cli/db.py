"""`fanfold db`: how the history is, and what is done to keep it well."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

import click

from fanfold.cli.finding import states_named
from fanfold.cli.histories import opened
from fanfold.cli.runs import moment
from fanfold.cli.tables import Block, Cell, Column, Facts, Table, json_option, show_json, show_page
from fanfold.cli.texts import SECOND_US, age, clean, local, plural, size
from fanfold.engine import settings
from fanfold.engine.recording import spool
from fanfold.engine.recording.pruning import DAY_US, FOR_EVER_US, retention
from fanfold.ports.history import History
from fanfold.values.errors import HistoryTooNew, HistoryUnavailable
from fanfold.values.facts import now_us
from fanfold.values.records import FlowRuns, Retention, Status
from fanfold.values.states import FINAL, StateName

SLICE = 100
"""Outermost runs that go in one transaction, so that flows that run can write in between."""
PAGE = 1_000
"""Runs that are read at a time, to count what would go."""


@click.group()
def command() -> None:
    """The history: how it is, and what keeps it well.

    The setting history.url says where it is kept. Its tables are made when it is first used.
    """


@command.command()
@json_option
def status(as_json: bool) -> None:
    """Show where the history is, and how it is."""
    with opened(reap=False) as lookout:
        found = lookout.history.status()
    told = (found, retention(), undelivered())
    if as_json:
        show_json(_described(*told))
    elif found.schema:
        show_page(_page(*told))
    _check(found)


@command.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
@json_option
def upgrade(dry_run: bool, as_json: bool) -> None:
    """Apply migrations that are missing.

    Whatever opens the history does so, too; this is for those who want to choose the time.
    """
    with opened(reap=False) as lookout:
        history = lookout.history
        before = history.status()
        if before.schema:
            _check(before)
        if dry_run:
            missing: Sequence[int] = range(before.schema + 1, before.latest_schema + 1)
        else:
            missing = history.upgrade()
    if as_json:
        show_json({"place": before.place, "migrations": list(missing), "applied": not dry_run})
        return
    if not missing:
        click.echo(f"{before.place} is current: version {before.latest_schema}")
        return
    numbers = ", ".join(map(str, missing))
    verb = "would be applied" if dry_run else "applied"
    click.echo(f"{before.place}: {verb} {plural(len(missing), 'migration')}: {numbers}")


@command.command()
@json_option
def vacuum(as_json: bool) -> None:
    """Give space back to the disk."""
    with opened(reap=False) as lookout:
        place = _checked(lookout.history).place
        freed = lookout.history.vacuum()
    if as_json:
        show_json({"place": place, "freed_bytes": freed})
        return
    click.echo(f"{place} is smaller by {size(freed)}" if freed else f"{place} had nothing to give")


@command.command()
@click.option(
    *("--older-than", "older_than"),
    metavar="TIME",
    callback=moment,
    help="Over for so long, such as 30d or 4w, or since a date.",
)
@click.option(
    *("--state", "words"),
    metavar="STATE",
    multiple=True,
    help="Ended in a state, by its name or type; may be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Count what would go; remove nothing.")
@json_option
def prune(
    older_than: datetime | None, words: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Remove runs that ended long ago.

    Their logs, elements and artifacts go with them. Without --older-than it goes by the settings
    history.keep_days and history.keep_days_by_state, as happens by itself once a day. A run that a
    flow called goes with its outermost caller.
    """
    now = now_us()
    keeping = chosen(older_than, states_named(words), now)
    with opened(reap=False) as lookout:
        _checked(lookout.history)
        if dry_run:
            count = stale(lookout.history, keeping, now)
            told = f"{plural(count, 'run')} would go, with all that belongs to them"
        else:
            lookout.reap()
            count = _prune(lookout.history, keeping, now)
            told = f"Removed {plural(count, 'run')} with all that belonged to them"
    if as_json:
        show_json({"runs": count, "removed": not dry_run})
    else:
        click.echo(told)


def chosen(older_than: datetime | None, states: tuple[StateName, ...], now: int) -> Retention:
    """Return what is to be kept when only some states, or what is older than that, shall go."""
    kept = retention()
    keep = {state: kept.by_state.get(state, kept.keep_us) for state in FINAL}
    if older_than is not None:
        keep = dict.fromkeys(FINAL, max(0, now - int(older_than.timestamp() * SECOND_US)))
    if states:
        keep = {state: keep[state] if state in states else FOR_EVER_US for state in FINAL}
    return Retention(keep_us=FOR_EVER_US, by_state=keep)


def stale(history: History, keeping: Retention, now: int) -> int:
    """Return how many outermost runs would go."""
    count, before = 0, ""
    while True:
        page = history.read(
            FlowRuns(parent_id="", states=tuple(FINAL), before_id=before, limit=PAGE)
        )
        count += sum(
            now - run.ended_us >= keeping.by_state.get(run.state, keeping.keep_us)
            for run in page
            if run.ended_us is not None
        )
        if len(page) < PAGE:
            return count
        before = page[-1].id


def _checked(history: History) -> Status:
    found = history.status()
    _check(found)
    return found


def _check(found: Status) -> None:
    """See that a history is there, and not beyond us: looking at it is to make none.

    Raises:
        HistoryUnavailable: There is none.
        HistoryTooNew: A newer Fanfold made it.
    """
    if found.schema == 0:
        raise HistoryUnavailable(
            f"There is no history at {found.place} yet. The first run of a flow makes it; so does "
            "`fanfold db upgrade`."
        )
    if found.schema > found.latest_schema:
        raise HistoryTooNew(found.place, found.schema, found.latest_schema)


def _prune(history: History, keeping: Retention, now: int) -> int:
    removed = 0
    on_terminal = sys.stderr.isatty()
    try:
        while True:
            gone = history.prune(keeping, now, SLICE)
            removed += gone
            if gone < SLICE:
                break
            if on_terminal:
                click.echo(f"\r{plural(removed, 'run')} so far", nl=False, err=True)
    finally:
        if on_terminal and removed >= SLICE:
            click.echo(err=True)
    if removed and on_terminal:
        click.echo("`fanfold db vacuum` gives their space back to the disk.", err=True)
    return removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """What waits on this machine's disk for the history to be reachable."""

    folder: str
    journals: int
    batches: int
    of_others: int
    """Journals for other histories than the one that the settings name."""


def undelivered() -> Undelivered:
    """Count the journals below the home, and the batches in those for this history."""
    folder = settings.home() / spool.FOLDER
    mine = f"{spool.digest(settings.current().history_url)}-*{spool.SUFFIX}"
    paths, batches = list(folder.glob(mine)), 0
    for path in paths:
        with suppress(FileNotFoundError), path.open("rb") as lines:  # it was delivered meanwhile
            batches += sum(spool.unframed(line.rstrip(b"\n")) is not None for line in lines)
    of_others = len(list(folder.glob(f"*{spool.SUFFIX}"))) - len(paths)
    return Undelivered(
        folder=str(folder), journals=len(paths), batches=batches, of_others=of_others
    )


def _page(found: Status, kept: Retention, waiting: Undelivered) -> list[Block]:
    rows = [[clean(table, " "), f"{count:,}"] for table, count in found.counts.items()]
    return [
        Facts(
            facts=[
                ("History", found.place),
                ("Engine", f"{found.engine}, Fanfold {version('fanfold')}"),
                ("Tables", _tables(found)),
                ("Size", size(found.size_bytes) if found.size_bytes else ""),
                ("Oldest run", _oldest(found.oldest_us)),
                ("Kept", _kept_for(kept)),
                ("Not delivered", _waiting(waiting)),
            ]
        ),
        Table(columns=["Table", Column(title="Rows", right=True)], rows=rows),
    ]


def _tables(found: Status) -> Cell | str:
    if found.schema > found.latest_schema:
        return Cell(f"version {found.schema}, of a newer Fanfold than this one", "red")
    if found.schema < found.latest_schema:
        missing = f"version {found.schema} of {found.latest_schema}: the next run upgrades them"
        return Cell(f"{missing}, or `fanfold db upgrade`", "yellow")
    return f"version {found.schema}, current"


def _oldest(oldest_us: int | None) -> str:
    return "there is none yet" if oldest_us is None else f"{local(oldest_us)} ({age(oldest_us)})"


def _kept_for(kept: Retention) -> str:
    parts = [_for(kept.keep_us)]
    parts += [f"{state.label} {_for(keep_us)}" for state, keep_us in kept.by_state.items()]
    return ", ".join(parts)


def _for(keep_us: int) -> str:
    return "for ever" if keep_us >= FOR_EVER_US else f"{keep_us / DAY_US:g} days"


def _waiting(waiting: Undelivered) -> Cell | str:
    parts: list[str] = []
    if waiting.journals:
        batches = plural(waiting.batches, "batch", "batches")
        parts.append(f"{batches} in {plural(waiting.journals, 'journal')}: the next run delivers")
    if waiting.of_others:
        parts.append(f"{plural(waiting.of_others, 'journal')} that other histories' runs deliver")
    if not parts:
        return "nothing"
    return Cell(f"{'; '.join(parts)} ({waiting.folder})", "yellow")


def _described(found: Status, kept: Retention, waiting: Undelivered) -> dict[str, object]:
    """Return what `--json` says."""
    return {
        "status": found,
        "current": found.schema == found.latest_schema,
        "fanfold": version("fanfold"),
        "keep_days": _days(kept.keep_us),
        "keep_days_by_state": {
            state.label: _days(keep_us) for state, keep_us in kept.by_state.items()
        },
        "undelivered": waiting,
    }


def _days(keep_us: int) -> float | None:
    """Return days; None for ever."""
    return None if keep_us >= FOR_EVER_US else keep_us / DAY_US
