"""`fanfold artifacts`: what runs made for people to look at."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

import click

from fanfold.cli.completion import keys_like, runs_like
from fanfold.cli.finding import find_run, short, short_ids
from fanfold.cli.histories import opened
from fanfold.cli.tables import (
    Block,
    Cell,
    Column,
    Facts,
    Lines,
    Table,
    json_option,
    screen,
    show_json,
    show_page,
)
from fanfold.cli.tables import show as show_table
from fanfold.cli.texts import age, clean, data, iso, local
from fanfold.engine.settings.lookup import nearest
from fanfold.ports.history import History
from fanfold.values.errors import UsageError
from fanfold.values.records import ArtifactRecord, Artifacts, FlowRuns

KINDS = ("table", "markdown", "link", "image", "progress")
MOST_VERSIONS = 100_000
"""More than anybody will look through."""
BAR_COLUMNS = 40
_COLUMNS = (
    Column(title="Id", whole=True),
    Column(title="Key"),
    Column(title="Version", whole=True, right=True),
    Column(title="Kind", whole=True),
    Column(title="Run"),
    Column(title="Changed", whole=True),
    Column(title="Description"),
)


@click.group()
def command() -> None:
    """Artifacts: tables, texts, links, images and progress that runs made for people."""


@command.command()
@click.option("--key", default="", help="With this key.", shell_complete=keys_like)
@click.option(
    "--run", default="", help="Made by a run: id, name, or last.", shell_complete=runs_like
)
@click.option("--kind", type=click.Choice(KINDS), default=None, help="Of this kind.")
@click.option("--all", "every", is_flag=True, help="All versions, not only the last of each key.")
@click.option(
    *("--limit", "-n"),
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="So many at most.",
)
@json_option
def ls(key: str, run: str, kind: str | None, every: bool, limit: int, as_json: bool) -> None:
    """List artifacts, the latest first."""
    with opened(reap=False) as lookout:
        history = lookout.history
        run_id = find_run(history, run).id if run else ""
        question = Artifacts(
            key=key, kind=kind or "", flow_run_id=run_id, latest_only=not every, limit=limit + 1
        )
        found = history.read(question)
        names = _run_names(history, found)
    shown = found[:limit]
    if as_json:
        show_json([facts(each) for each in shown])
        return
    if not shown:
        asked = key or run or kind
        click.echo("No artifact is like that." if asked else "There are no artifacts.", err=True)
        return
    _list(shown, names)
    if len(found) > limit and sys.stdout.isatty():
        click.echo(f"There are more: --limit {2 * limit}", err=True)


@command.command()
@click.argument("artifact", metavar="KEY|ID", shell_complete=keys_like)
@click.option("--version", type=click.IntRange(1), help="Of a key; the last by default.")
@json_option
def show(artifact: str, version: int | None, as_json: bool) -> None:
    """Show an artifact: by its key the last version, or by its id."""
    with opened(reap=False) as lookout:
        found = _find(lookout.history, artifact, version)
        names = _run_names(lookout.history, [found])
    if as_json:
        show_json(facts(found))
        return
    show_page([_head(found, names)])
    click.echo()
    if found.kind == "markdown" and (console := screen()) is not None:
        from rich.markdown import Markdown

        console.print(Markdown(clean(str(content(found))), hyperlinks=False))
        return
    show_page(_BODIES.get(found.kind, _as_text)(content(found)))


def content(artifact: ArtifactRecord) -> Any:
    """Return what an artifact holds: rows, a text, a URL, a number."""
    try:
        return json.loads(artifact.data)
    except ValueError:  # of another program's making: shown as it is
        return artifact.data


def facts(artifact: ArtifactRecord) -> dict[str, Any]:
    """Return an artifact as JSON has it, with its content as such."""
    return data(artifact) | {"data": content(artifact)}


def _list(artifacts: Sequence[ArtifactRecord], names: Mapping[str, str]) -> None:
    ids = short_ids([each.id for each in artifacts])
    rows: list[list[Cell | str | int]] = [
        [
            Cell(shown_id, piped=each.id),
            each.key,
            each.version,
            each.kind,
            Cell(names.get(each.flow_run_id, ""), piped=each.flow_run_id),
            Cell(age(each.changed_us), piped=iso(each.changed_us)),
            each.description,
        ]
        for each, shown_id in zip(artifacts, ids, strict=True)
    ]
    show_table(_COLUMNS, rows)


def _find(history: History, text: str, version: int | None) -> ArtifactRecord:
    if version is None:
        latest = history.read(Artifacts(key=text, latest_only=True, limit=1))
        found = latest or history.read(Artifacts(ids=(text,)))
    else:
        every = history.read(Artifacts(key=text, limit=MOST_VERSIONS))
        found = [each for each in every if each.version == version]
        if every and not found:
            known = f"{every[-1].version} to {every[0].version}"
            raise UsageError(f"{clean(text, ' ')} has no version {version}, only {known}.")
    if found:
        return found[0]
    known = history.read(Artifacts(latest_only=True, limit=MOST_VERSIONS))
    alike = [each for each in known if text and each.id.startswith(text)]
    if len(alike) == 1:
        return alike[0]
    near = nearest(text, {each.key for each in known if each.key})
    raise UsageError(
        f"There is no artifact {clean(text, ' ')}.{clean(near, ' ')} `fanfold artifacts ls` lists "
        "those that there are."
    )


def _run_names(history: History, artifacts: Sequence[ArtifactRecord]) -> dict[str, str]:
    ids = tuple({each.flow_run_id for each in artifacts if each.flow_run_id})
    runs = history.read(FlowRuns(ids=ids, limit=len(ids))) if ids else []
    return {run.id: run.name for run in runs}


def _head(artifact: ArtifactRecord, names: Mapping[str, str]) -> Facts:
    run_id = artifact.flow_run_id
    changed = artifact.changed_us
    return Facts(
        facts=[
            ("Artifact", Cell(artifact.key or artifact.id, "bold")),
            ("Id", artifact.id if artifact.key else ""),
            ("Kind", artifact.kind),
            ("Version", f"{artifact.version:,}" if artifact.key else ""),
            ("Flow run", f"{names.get(run_id, '')} ({short(run_id)})" if run_id else ""),
            ("Changed", Cell(f"{local(changed)} ({age(changed)})", piped=iso(changed))),
            ("Description", artifact.description),
        ]
    )


def _as_table(value: Any) -> list[Block]:
    columns, rows = _columns_and_rows(value)
    if not columns:
        return _as_text(value)
    return [
        Table(columns=[Column(title=clean(name, " "), fold=True) for name in columns], rows=rows)
    ]


def _columns_and_rows(value: Any) -> tuple[list[str], list[list[str]]]:
    """Return a table's columns and cells; it may be rows, rows by name, or columns by name."""
    if isinstance(value, dict):
        by_name = cast(dict[str, Any], value)
        if not all(isinstance(column, list) for column in by_name.values()):
            return _columns_and_rows([by_name])
        length = max(map(len, by_name.values()), default=0)
        columns = [[*column, *[None] * (length - len(column))] for column in by_name.values()]
        return list(by_name), [list(map(_cell, row)) for row in zip(*columns, strict=True)]
    rows: list[Any] = [*value] if isinstance(value, list) else []
    if not rows:
        return [], []
    if all(type(row) is dict for row in rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        return names, [[_cell(row.get(name)) for name in names] for row in rows]
    if all(type(row) is list for row in rows):
        width = max(map(len, rows))
        numbers = [str(number + 1) for number in range(width)]
        return numbers, [[*map(_cell, row), *[""] * (width - len(row))] for row in rows]
    return ["1"], [[_cell(row)] for row in rows]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _as_progress(value: Any) -> list[Block]:
    try:
        per_cent = float(value)
    except (TypeError, ValueError):
        return _as_text(value)
    filled = round(BAR_COLUMNS * min(100.0, max(0.0, per_cent)) / 100)
    return [Lines(text=f"{'#' * filled}{'-' * (BAR_COLUMNS - filled)} {per_cent:g} %")]


def _as_text(value: Any) -> list[Block]:
    return [Lines(text=value if isinstance(value, str) else json.dumps(value, indent=2))]


_BODIES = {"table": _as_table, "progress": _as_progress}
"""How what isn't simply a text is shown, by kind."""
