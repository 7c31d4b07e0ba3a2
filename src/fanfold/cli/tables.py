"""What commands print: tables, facts and texts, on a terminal, into a pipe, or as JSON.

On a terminal a table fits the width: texts are shortened or folded, ids never. In a pipe the same
cells are whole, with tabs between them, and titles are left out. Whatever others named or said
something is cleaned of what could break a line or move the cursor.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fanfold.cli.texts import clean, written
from fanfold.engine import settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

C = TypeVar("C", bound=Callable[..., Any])

GAP = 2
"""Spaces between two columns."""
LEAST = 6
"""A column isn't shortened below this, unless nothing else helps."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A text in a style of rich's."""

    text: str
    style: str = ""
    piped: str | None = None
    """What stands for it in a pipe, where that isn't the same: whole ids, times for programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How a column is shown on a terminal."""

    title: str
    right: bool = False
    """Whether it is set flush right, as numbers are."""
    whole: bool = False
    """Never shortened: what is copied from the terminal into the next command."""
    fold: bool = False
    """Goes on in the next line where there is no room, instead of being shortened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows below titles."""

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Cell | str | int]]
    """Numbers have separators on a terminal, and none in a pipe."""
    heading: str = ""
    """What stands above it on a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names with what is to be said of them; those without anything are left out."""

    facts: Sequence[tuple[str, Cell | str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """A text with its own lines, such as a traceback or commands to type."""

    text: str
    heading: str = ""
    style: str = ""


Block = Table | Facts | Lines


def json_option(command: C) -> C:
    """Give a command `--json`, as its parameter `as_json`."""
    option = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
    return option(command)


def show_json(value: Any) -> None:
    """Print a record, or what is made of records, as JSON."""
    click.echo(written(value))


def show(columns: Sequence[Column | str], rows: Sequence[Sequence[Cell | str | int]]) -> None:
    """Print a table; columns that are given as titles alone are shortened where need be."""
    show_page([Table(columns=columns, rows=rows)])


def show_page(blocks: Iterable[Block]) -> None:
    """Print what stands below each other, with empty lines between."""
    console = screen()
    for number, block in enumerate(blocks):
        if number:
            click.echo()
        if console is None:
            for line in plain(block):
                click.echo(line)
        else:
            print_on(console, block)


def screen() -> "Console | None":
    """Return the terminal as rich has it; None where output goes elsewhere."""
    if not sys.stdout.isatty():
        return None
    from rich.console import Console  # 40 ms, for terminals alone

    colors = settings.current().logging_colors
    return Console(no_color=colors == "false" or None, highlight=False, emoji=False, markup=False)


def plain(block: Block) -> list[str]:
    """Return a block as lines for a pipe: cells with tabs between them."""
    if isinstance(block, Lines):
        body = clean(block.text).splitlines()
    elif isinstance(block, Facts):
        body = [f"{name}\t{one_line(cell)}" for name, cell in block.facts if one_line(cell)]
    else:
        body = ["\t".join(map(one_line, row)) for row in block.rows]
    heading = "" if isinstance(block, Facts) else block.heading
    return [heading, *body] if heading else body


def print_on(console: "Console", block: Block) -> None:
    """Print a block on a terminal of rich's."""
    from rich.text import Text

    if not isinstance(block, Facts) and block.heading:
        console.print(Text(block.heading, "bold"))
    if isinstance(block, Lines):
        console.print(Text(clean(block.text), block.style), soft_wrap=True)
    elif isinstance(block, Facts):
        _print_facts(console, block)
    else:
        _print_table(console, block)


def one_line(cell: Cell | str | int) -> str:
    """Return what stands for a cell in a pipe: one line without tabs."""
    if isinstance(cell, Cell):
        return clean(cell.text if cell.piped is None else cell.piped, end=" ")
    return clean(str(cell), end=" ")


def widths(
    natural: Sequence[int], columns: Sequence[Column], room: int, gap: int = GAP
) -> list[int]:
    """Return how wide columns are that shall fit into the room.

    The widest column gives way first; those that are to stay whole only when nothing else is left.

    Args:
        natural: How wide they would like to be.
        columns: What they are.
        room: How wide all may be together, with the gaps.
        gap: Spaces between two.
    """
    found = list(natural)
    excess = sum(found) + gap * (len(found) - 1) - room
    soft = [index for index, column in enumerate(columns) if not column.whole]
    for may, least in ((soft, LEAST), (range(len(found)), 1)):
        while excess > 0:
            widest = max(may, key=found.__getitem__, default=-1)
            if widest < 0 or found[widest] <= least:
                break
            found[widest] -= 1
            excess -= 1
    return found


def _text(cell: Cell | str | int) -> str:
    if isinstance(cell, int):
        return f"{cell:,}"
    return cell.text if isinstance(cell, Cell) else cell


def _rich(cell: Cell | str | int, end: str = " ") -> "Text":
    from rich.text import Text

    return Text(clean(_text(cell), end), cell.style if isinstance(cell, Cell) else "")


def _print_table(console: "Console", table: Table) -> None:
    from rich.cells import cell_len
    from rich.table import Table as Grid

    columns = [Column(title=c) if isinstance(c, str) else c for c in table.columns]
    rows = [[_rich(cell) for cell in row] for row in table.rows]
    natural = [
        max(cell_len(column.title), *(cell_len(row[index].plain) for row in rows), 0)
        for index, column in enumerate(columns)
    ]
    grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column, width in zip(columns, widths(natural, columns, console.width), strict=True):
        grid.add_column(
            column.title,
            justify="right" if column.right else "left",
            width=max(1, width),
            no_wrap=not (column.fold or column.whole),
            overflow="fold" if column.fold or column.whole else "ellipsis",
        )
    for row in rows:
        grid.add_row(*row)
    console.print(grid)


def _print_facts(console: "Console", block: Facts) -> None:
    from rich.table import Table as Grid

    grid = Grid.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, cell in block.facts:
        if _text(cell):
            grid.add_row(name, _rich(cell, end="\n"))
    console.print(grid)
