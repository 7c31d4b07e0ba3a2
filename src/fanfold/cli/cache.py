"""`fanfold cache`: what is kept of tasks' results, why a call found none, and what may go."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import import_module

import click

from fanfold.cli.completion import runs_like
from fanfold.cli.exits import WrongCommand
from fanfold.cli.histories import opened
from fanfold.cli.references import hits, ids_of, references
from fanfold.cli.runs import moment
from fanfold.cli.shelves import Shown, Total, shown, summed
from fanfold.cli.stores import Place, chosen, storage_option, tasks_argument
from fanfold.cli.tables import Block, Cell, Column, Facts, Table, json_option, show_json, show_page
from fanfold.cli.tables import show as show_table
from fanfold.cli.texts import SECOND_US, age, iso, plural, size
from fanfold.engine import settings
from fanfold.engine.results import caring, garbage
from fanfold.engine.results.garbage import GRACE_S, Verdict, Why, Wishes
from fanfold.engine.results.inventory import Entry, Folder, Inventory
from fanfold.engine.settings.kinds import OFF
from fanfold.ports.results import is_unfinished
from fanfold.values.facts import now_us

_SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_LISTED = 20
"""Results of a task that are shown unless somebody asks for more."""
_NAMED_WITH_RUN = "Which results? Name a TASK, or give --run, --key, --expired or --older-than."


class Cache(click.Group):
    """The commands below, and two that come when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all."""
        return sorted([*super().list_commands(ctx), *_MORE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one of them."""
        if cmd_name in _MORE:
            return import_module(_MORE[cmd_name]).command
        return super().get_command(ctx, cmd_name)


_MORE = {"explain": "fanfold.cli.explain", "verify": "fanfold.cli.verify"}


@click.group(cls=Cache)
def command() -> None:
    """Kept results: what is there, why a call ran, what may go.

    TASK is a task's name, or its folder as `fanfold cache ls` shows it.
    """


@command.command()
@tasks_argument
@click.option(
    *("--limit", "-n"),
    type=click.IntRange(1),
    default=_LISTED,
    show_default=True,
    help="So many results of a task at most, the latest first.",
)
@storage_option
@json_option
def ls(tasks: tuple[str, ...], limit: int, storage: str | None, as_json: bool) -> None:
    """List tasks of which results are kept; with TASK, its results."""
    place = chosen(storage)
    found = place.inventory(tasks)
    now = now_us() / SECOND_US
    if not tasks:
        totals = [summed(folder, now) for folder in found.folders]
        if as_json:
            show_json(totals)
        elif totals:
            _list_tasks(totals)
        else:
            click.echo(f"Nothing is kept in {place.store}.", err=True)
        return
    results = [each for folder in found.folders for each in shown(folder, now)]
    if as_json:
        show_json(results[:limit])
        return
    _list_results(results[:limit])
    if len(results) > limit and sys.stdout.isatty():
        click.echo(f"There are {len(results):,}: --limit {2 * limit}", err=True)


@command.command()
@storage_option
@json_option
def stats(storage: str | None, as_json: bool) -> None:
    """Show how much is kept, and how often it was of use.

    Hits are counted by the history: elements that came back Cached, of all that came to a value.
    It doesn't say of which store, so they aren't told of one that --storage names.
    """
    place = chosen(storage)
    found = place.inventory(others=True)
    now = now_us() / SECOND_US
    totals = [summed(folder, now) for folder in found.folders]
    found_again = {} if storage else _hits()
    others = _others(found)
    if as_json:
        show_json(
            {"place": str(place.store), "tasks": totals, "others": others, "hits": found_again}
        )
        return
    blocks: list[Block] = [Facts(facts=_facts(place, totals))]
    if found_again:
        rows = [
            [name, cached, made, f"{100 * cached / (cached + made):.0f} %"]
            for name, (cached, made) in found_again.items()
        ]
        titles = ["Task", *map(_right, ("Cached", "Completed", "Hits"))]
        blocks.append(Table(columns=titles, rows=rows))
    if others:
        rows = [[name, count, size(total)] for name, (count, total) in others.items()]
        blocks.append(Table(columns=["Of no task", *map(_right, ("Objects", "Size"))], rows=rows))
    show_page(blocks)


@command.command()
@tasks_argument
@click.option(
    "--run", default="", help="Made by a run: id, name, or last.", shell_complete=runs_like
)
@click.option("--key", default="", metavar="KEY", help="Of a key that begins so.")
@click.option("--expired", is_flag=True, help="That have expired.")
@click.option(
    "--older-than", metavar="TIME", callback=moment, help="Kept so long ago: 30d, 4w, or a date."
)
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@storage_option
@json_option
def rm(
    tasks: tuple[str, ...],
    run: str,
    key: str,
    expired: bool,
    older_than: datetime | None,
    dry_run: bool,
    yes: bool,
    storage: str | None,
    as_json: bool,
) -> None:
    """Remove results: all of a TASK, or those that all options name.

    Objects that result_storage_key has named go as well. Whoever needs one makes it anew.
    """
    if not (tasks or run or key or expired or older_than):
        raise click.UsageError(_NAMED_WITH_RUN)
    place = chosen(storage)
    ids = ids_of(run) if run else frozenset[str]()
    now = now_us() / SECOND_US

    def named(folder: Folder, entry: Entry) -> bool:
        lies = folder.objects.get(entry.place)
        late = older_than is None or lies is None or lies.modified_s < older_than.timestamp()
        return (
            (not run or not ids.isdisjoint(entry.run_ids))
            and entry.key.hex().startswith(key.lower())
            and (not expired or entry.record.expiry <= now)
            and late
        )

    verdicts = garbage.judged(place.inventory(tasks), Wishes(now=now, expired=False, named=named))
    if not (dry_run or yes) and verdicts:
        _tell(verdicts, [], removed=False, as_json=as_json)
        if as_json or not sys.stdin.isatty():
            raise WrongCommand("Nothing was removed: say --yes.")
        if not click.confirm("Remove that?", err=True):
            raise click.ClickException("Nothing was removed.")
    if not dry_run:
        caring.carry_out(place.store, place.keyring, verdicts, [])
    _tell(verdicts, [], removed=not dry_run, as_json=as_json)


def size_bytes(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Return the size that somebody typed: 500MB, 20G, 1048576; click's callback."""
    if value is None:
        return None
    text = value.strip().lower().removesuffix("b")
    unit = text[-1:] if text[-1:].isalpha() else ""
    try:
        return int(float(text.removesuffix(unit)) * _SIZES[unit])
    except (ValueError, KeyError, OverflowError) as error:
        raise click.BadParameter(f"{value!r} is no size such as 500MB, 20G or 1TB.") from error


@command.command()
@click.option(
    "--older-than", metavar="TIME", callback=moment, help="Also results kept so long ago: 30d, 4w."
)
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=size_bytes,
    help="Also the oldest results, until all takes no more than that: 500MB, 20G.",
)
@click.option(
    "--unreferenced",
    is_flag=True,
    help="Also results that no run in this history made or can have found.",
)
@click.option(
    "--unreadable",
    is_flag=True,
    help="Also indexes that are damaged, or signed by keys that aren't known here.",
)
@click.option(
    "--grace",
    metavar="TIME",
    default=f"{GRACE_S / 3_600:g}h",
    show_default=True,
    callback=moment,
    help="What isn't committed is left alone for so long.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@storage_option
@json_option
def gc(
    older_than: datetime | None,
    max_size: int | None,
    unreferenced: bool,
    unreadable: bool,
    grace: datetime,
    dry_run: bool,
    storage: str | None,
    as_json: bool,
) -> None:
    """Remove results that have expired or were replaced, and what was never committed.

    Safe beside runs: what they have staged and not yet committed is younger than --grace, and a
    result that goes while one looks for it is made anew. Objects that result_storage_key has named
    stay.
    """
    place = chosen(storage)
    now = now_us() / SECOND_US
    grace_s = now - grace.timestamp()
    clock = now if dry_run else caring.storage_now(place.store)
    # Of the one or the other clock that shows less, so that neither makes anything old.
    clock = min(now, clock)
    found = place.inventory(others=True)
    known = references(found) if unreferenced else None
    wishes = Wishes(
        now=clock,
        before_s=None if older_than is None else older_than.timestamp(),
        most_bytes=max_size,
        unknown=None if known is None else known.of_no_run,
        unreadable=unreadable,
        grace_s=max(0.0, grace_s),
    )
    verdicts = garbage.judged(found, wishes)
    loose = garbage.loose(found, wishes, None if known is None else known.__contains__)
    if not dry_run:
        caring.carry_out(place.store, place.keyring, verdicts, loose)
    freed = sum(found.others[name].size_bytes for name in loose)
    _tell(verdicts, loose, removed=not dry_run, as_json=as_json, freed_bytes=freed)


def _list_tasks(totals: Sequence[Total]) -> None:
    show_table(
        [
            Column(title="Task"),
            *map(_right, ("Results", "Expired", "Size", "Indexes")),
            Column(title="Newest", whole=True),
        ],
        [
            [
                each.task,
                each.results,
                each.expired,
                Cell(size(each.size_bytes), piped=str(each.size_bytes)),
                each.indexes,
                _age(each.newest_us),
            ]
            for each in totals
        ],
    )


def _list_results(results: Sequence[Shown]) -> None:
    show_table(
        [
            Column(title="Key", whole=True),
            Column(title="Kept", whole=True),
            _right("Size"),
            Column(title="Codec"),
            Column(title="State"),
            Column(title="Expires"),
            Column(title="Lies in"),
        ],
        [
            [
                each.key,
                _age(each.kept_us),
                Cell(size(each.size_bytes), piped=str(each.size_bytes)),
                each.codec,
                Cell(each.state, "" if each.state == "kept" else "yellow"),
                _age(each.expires_us) if each.expires_us is not None else "never",
                each.lies_in,
            ]
            for each in results
        ],
    )


def _right(title: str) -> Column:
    return Column(title=title, whole=True, right=True)


def _age(at_us: int | None) -> Cell | str:
    return "" if at_us is None else Cell(age(at_us), piped=iso(at_us))


def _facts(place: Place, totals: Sequence[Total]) -> list[tuple[str, Cell | str]]:
    results, expired, replaced = (
        sum(getattr(each, name) for each in totals) for name in ("results", "expired", "replaced")
    )
    loose = sum(each.uncommitted for each in totals)
    loose_bytes = sum(each.uncommitted_bytes for each in totals)
    unreadable = sum(each.unreadable for each in totals)
    bad = Cell(plural(unreadable, "index", "indexes"), "red") if unreadable else ""
    return [
        ("Store", str(place.store)),
        ("Tasks", f"{len(totals):,}"),
        ("Results", f"{results:,}"),
        ("Expired", f"{expired:,}" if expired else ""),
        ("Replaced", f"{replaced:,}" if replaced else ""),
        ("Indexes", f"{sum(each.indexes for each in totals):,}"),
        ("Unreadable", bad),
        ("Size", size(sum(each.size_bytes for each in totals))),
        ("Not committed", f"{plural(loose, 'object')}, {size(loose_bytes)}" if loose else ""),
    ]


def _others(found: Inventory) -> dict[str, tuple[int, int]]:
    """Return how many objects of no task there are, and how big they are, by what they are."""
    counts, sizes = Counter[str](), Counter[str]()
    for each in found.others.values():
        kind = "unfinished" if is_unfinished(each.name) else each.name.partition("/")[0]
        counts[kind] += 1
        sizes[kind] += each.size_bytes
    return {kind: (counts[kind], sizes[kind]) for kind in sorted(counts)}


def _hits() -> dict[str, tuple[int, int]]:
    if settings.current().history_url == OFF:
        return {}
    with opened() as lookout:
        return hits(lookout.history)


def _tell(
    verdicts: Sequence[Verdict],
    loose: Sequence[str],
    *,
    removed: bool,
    as_json: bool,
    freed_bytes: int = 0,
) -> None:
    """Say what went, or would go."""
    whys: Counter[Why] = Counter()
    for verdict in verdicts:
        whys.update(verdict.results)
    freed_bytes += sum(verdict.freed_bytes for verdict in verdicts)
    objects = [*loose]
    for verdict in verdicts:
        objects += [*verdict.users, *verdict.objects]
        objects += [name for name in verdict.indexes if name not in verdict.replacements]
    if as_json:
        counts: Mapping[str, int] = {str(why): count for why, count in whys.items() if count}
        show_json(
            {
                "removed": removed,
                "counts": counts,
                "objects": objects,
                "freed_bytes": freed_bytes,
            }
        )
        return
    parts = [_counted(why, count) for why, count in sorted(whys.items()) if count]
    if loose:
        parts.append(f"{plural(len(loose), 'object')} of no task")
    if not parts:
        click.echo("There is nothing to remove.")
        return
    verb = "Removed" if removed else "Would remove"
    click.echo(f"{verb} {', '.join(parts)}: {plural(len(objects), 'object')}, {size(freed_bytes)}")


def _counted(why: Why, count: int) -> str:
    if why is Why.UNNAMED:
        return f"{plural(count, 'object')} never committed"
    if why is Why.UNREADABLE:
        return plural(count, "unreadable index", "unreadable indexes")
    return f"{plural(count, 'result')} ({'as named' if why is Why.NAMED else why})"
