"""Notebooks: their cells read as one program, and written back as they were laid out."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fanfold.cli.migration.rewrite import Note, Rewritten, rewrite, shifted
from fanfold.cli.migration.source import applied

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_MAGIC = re.compile(r"\s*(?:[%!?]|[\w.,\s]+=\s*[%!]|[\w.]+\?{1,2}\s*$)")
_PYTHON_CELL = re.compile(r"\s*%%(?:time|timeit|capture|prun)\b")
_INDENTS = (1, 2, 4, 0, None)


class NotANotebook(Exception):
    """The file isn't a notebook, or not one that can be written back as it is laid out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellNote:
    """A note, and the cell it is about."""

    cell: int
    """From 1 on, among all cells."""
    note: Note


@dataclass(frozen=True, slots=True)
class _Cell:
    number: int
    text: str
    program: str
    """The same without what only notebooks understand; of the same length, with a line break."""


def rewrite_notebook(text: str) -> tuple[str, tuple[CellNote, ...]]:
    """Return a notebook with its code cells rewritten as one program, and what needs a look.

    Outputs and everything else stay as they are, byte for byte.

    Raises:
        NotANotebook: It is no JSON of a notebook, or written in a way that can't be kept.
        SyntaxError: A cell is no program; says which.
    """
    notebook, style = _read(text)
    cells = list(_programs(notebook))
    for cell in cells:
        _check(cell)
    whole = rewrite("".join(cell.program for cell in cells))
    changed = list(_changed(cells, whole))
    for cell, new in changed:
        _put(notebook["cells"][cell.number - 1], new)
    notes = tuple(_placed(note, cells) for note in whole.notes)
    return (_written(notebook, style) if changed else text), notes


def _read(text: str) -> tuple[dict[str, Any], tuple[int | None, bool, str]]:
    try:
        notebook = json.loads(text)
    except ValueError as error:
        raise NotANotebook(f"It is no notebook: {error}.") from error
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise NotANotebook("It is no notebook of format 4.")
    for indent in _INDENTS:
        for as_ascii in (False, True):
            for end in ("\n", ""):
                if _written(notebook, (indent, as_ascii, end)) == text:
                    return notebook, (indent, as_ascii, end)
    raise NotANotebook("Its JSON isn't laid out as notebooks are; save it once with Jupyter.")


def _written(notebook: dict[str, Any], style: tuple[int | None, bool, str]) -> str:
    indent, as_ascii, end = style
    return json.dumps(notebook, indent=indent, ensure_ascii=as_ascii) + end


def _programs(notebook: dict[str, Any]) -> Iterator[_Cell]:
    for number, cell in enumerate(notebook["cells"], 1):
        if cell.get("cell_type") == "code":
            text = "".join(cell.get("source", ""))
            yield _Cell(number, text, _masked(text))


def _masked(text: str) -> str:
    """Return a cell with lines for IPython alone replaced by as many bytes of plain Python."""
    if _parses(text):
        return text + "\n"
    lines = [line for line in _LINE.findall(text) if line]
    if lines and lines[0].lstrip().startswith("%%") and not _PYTHON_CELL.match(lines[0]):
        masked = [_blank(line) for line in lines]
    else:
        masked = [_mask(line) if _MAGIC.match(line) else line for line in lines]
    return "".join(masked) + "\n"


def _mask(line: str) -> str:
    body = line.rstrip("\r\n")
    indent = body[: len(body) - len(body.lstrip())]
    size = len(body.encode()) - len(indent.encode())
    return indent + "0" + " " * (size - 1) + line[len(body) :]


def _blank(line: str) -> str:
    body = line.rstrip("\r\n")
    return " " * len(body.encode()) + line[len(body) :]


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def _check(cell: _Cell) -> None:
    try:
        ast.parse(cell.program)
    except SyntaxError as error:
        raise SyntaxError(f"cell {cell.number}, line {error.lineno}: {error.msg}") from error


def _changed(cells: list[_Cell], whole: Rewritten) -> Iterator[tuple[_Cell, str]]:
    start = 0
    for cell in cells:
        end = start + len(cell.program.encode())
        edits = [edit for edit in whole.edits if start <= edit.start and edit.end < end]
        if edits:
            yield cell, applied(cell.text.encode(), shifted(edits, -start)).decode()
        start = end


def _put(cell: dict[str, Any], text: str) -> None:
    lines = [line for line in _LINE.findall(text) if line]
    cell["source"] = text if isinstance(cell["source"], str) else lines


def _placed(note: Note, cells: list[_Cell]) -> CellNote:
    line = note.line
    for cell in cells:
        count = len([part for part in _LINE.findall(cell.program) if part])
        if line <= count:
            return CellNote(cell=cell.number, note=replace(note, line=line))
        line -= count
    raise AssertionError("a note lies behind the last cell")
