"""`fanfold migrate`: rewrite what code takes from Prefect, and say what couldn't be.

What it says is counted in lines of `path:line:column: name: fate: what to do`.
"""

import difflib
import io
import json
import os
import tempfile
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from fanfold.cli.migration.notebook import NotANotebook, rewrite_notebook
from fanfold.cli.migration.rewrite import Note, rewrite

_SUFFIXES = frozenset({".py", ".ipynb"})
_PASSED_BY = frozenset({"__pycache__", "node_modules", "site-packages"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one file."""

    path: Path
    before: str = ""
    after: str = ""
    notes: tuple[tuple[int | None, Note], ...] = ()
    """With the number of the cell, in notebooks."""
    error: str = ""
    """Why the file couldn't be done; then nothing of it changes."""
    written: bool = False
    encoding: str = "utf-8"

    @property
    def changed(self) -> bool:
        """Whether something is to be changed, or was."""
        return self.before != self.after

    @property
    def done(self) -> bool:
        """Whether nothing needs a look."""
        return not (self.notes or self.error)

    def complaints(self) -> Iterator[str]:
        """Yield a line for everything that needs a look."""
        if self.error:
            yield f"{self.path}: {self.error}"
        for cell, note in self.notes:
            place = f"{note.line}:{note.column}" if cell is None else f"cell {cell}:{note.line}"
            yield f"{self.path}:{place}: {note.name}: {note.fate}: {note.says}"


@click.command("migrate")
@click.argument(
    "paths",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, readable=False, path_type=Path),
)
@click.option("--write", is_flag=True, help="Change the files; without it nothing is changed.")
@click.option(
    "--diff/--no-diff", default=None, help="Show the changes; the default without --write."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(paths: tuple[Path, ...], write: bool, diff: bool | None, as_json: bool) -> None:
    """Rewrite imports and uses of Prefect in Python files, notebooks and folders of them.

    What has no place in Fanfold stays imported from Prefect and is named on stderr, by line. Exit
    codes: 0 when all is done, 1 when something needs a look, 2 when the command was wrong.
    """
    outcomes: list[Outcome] = []
    for path in files(paths):
        outcome = migrated(path)
        if write and outcome.changed and not outcome.error:
            error = write_atomically(outcome)
            outcome = replace(outcome, error=error, written=not error)
        outcomes.append(outcome)
        if not as_json:
            _show(outcome, diff=not write if diff is None else diff)
    if as_json:
        click.echo(json.dumps(facts(outcomes), indent=2))
    else:
        click.echo(_summary(outcomes, write), err=True)
    click.get_current_context().exit(0 if all(outcome.done for outcome in outcomes) else 1)


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that are named and those in folders that are, each once, folders in order.

    Hidden folders, environments and caches are passed by, and links to folders aren't followed.
    """
    seen: set[Path] = set()
    for path in paths:
        for file in _below(path) if path.is_dir() else [path]:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _passed_by(Path(where, name)))
        for name in sorted(names):
            if Path(name).suffix in _SUFFIXES:
                yield Path(where, name)


def _passed_by(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name in _PASSED_BY
    return hidden or (folder / "pyvenv.cfg").exists()


def migrated(path: Path) -> Outcome:
    """Return what a file would become; reads it and changes nothing."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Outcome(path=path, error=f"It can't be read: {error.strerror}.")
    try:
        if path.suffix == ".ipynb":
            text, encoding = data.decode(), "utf-8"
            after, placed = rewrite_notebook(text)
            notes = tuple((one.cell, one.note) for one in placed)
        else:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
            text = data.decode(encoding)
            rewritten = rewrite(text)
            after, notes = rewritten.text, tuple((None, note) for note in rewritten.notes)
        after.encode(encoding)
    except (SyntaxError, ValueError, RecursionError, NotANotebook) as error:
        return Outcome(path=path, error=_why(error))
    return Outcome(path=path, before=text, after=after, notes=notes, encoding=encoding)


def _why(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        line = f" in line {error.lineno}" if error.lineno else ""
        return f"It can't be parsed{line}: {error.msg}."
    if isinstance(error, UnicodeError):
        return f"It is no text: {error}."
    if isinstance(error, RecursionError):
        return "It can't be parsed: it is nested too deep."
    return str(error) if isinstance(error, NotANotebook) else f"It can't be parsed: {error}."


def write_atomically(outcome: Outcome) -> str:
    """Write a file whole or not at all; return why it couldn't be written, or nothing.

    Its permissions stay, and a link to it stays a link.
    """
    path = outcome.path.resolve()
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        return f"It can't be written: {error.strerror}."
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(outcome.after.encode(outcome.encoding))
            file.flush()
            os.fsync(descriptor)
        temporary.chmod(path.stat().st_mode & 0o7777)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        return f"It can't be written: {error.strerror}."
    return ""


def facts(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Return what `--json` prints: a list of files, each with what needs a look."""
    return {
        "files": [
            {
                "path": str(outcome.path),
                "changed": outcome.changed,
                "written": outcome.written,
                "error": outcome.error or None,
                "notes": [
                    {
                        "cell": cell,
                        "line": note.line,
                        "column": note.column,
                        "name": note.name,
                        "fate": note.fate,
                        "says": note.says,
                    }
                    for cell, note in outcome.notes
                ],
            }
            for outcome in outcomes
        ]
    }


def _show(outcome: Outcome, *, diff: bool) -> None:
    if diff and outcome.changed:
        click.echo(_diff(outcome), nl=False)
    for line in outcome.complaints():
        click.echo(line, err=True)


def _diff(outcome: Outcome) -> str:
    """Return the change as a unified diff.

    Lines are split as Python's tokenizer does, for a form feed inside of one ends none.
    """
    before, after = io.StringIO(outcome.before, newline=""), io.StringIO(outcome.after, newline="")
    lines = difflib.unified_diff(
        list(before), list(after), f"a/{outcome.path}", f"b/{outcome.path}"
    )
    whole = (
        line if line.endswith(("\n", "\r")) else f"{line}\n\\ No newline at end of file\n"
        for line in lines
    )
    return "".join(whole)


def _summary(outcomes: Sequence[Outcome], write: bool) -> str:
    changed = sum(outcome.written if write else outcome.changed for outcome in outcomes)
    looks = sum(len(outcome.notes) + bool(outcome.error) for outcome in outcomes)
    verb = "changed" if write else "would change (--write does it)"
    files = f"{len(outcomes)} file" + "s" * (len(outcomes) != 1)
    places = "1 place needs" if looks == 1 else f"{looks} places need"
    return f"{files}: {changed} {verb}, {places} a look."
