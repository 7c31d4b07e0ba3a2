"""The figures of a benchmark: one row per comparison, with what is aimed at and if it was met."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 150
"""Columns of text where the output isn't a terminal."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure should be."""

    text: str
    met: Callable[[float, float], bool]
    """Called with Fanfold's figure and the one beside it."""


def near(times: float, *, plus: float = 0.0, unit: str = "s") -> Aim:
    """Aim at no more than so many times the figure beside, plus a constant."""
    more = f" + {plus:g} {unit}" if plus else ""
    return Aim(f"<= {times:g}x{more}", lambda ours, beside: ours <= times * beside + plus)


def under(limit: float, unit: str) -> Aim:
    """Aim at less than a constant, whatever stands beside."""
    return Aim(f"< {limit:,g} {unit}", lambda ours, beside: ours < limit)


def ahead(times: float) -> Aim:
    """Aim at being so many times smaller than the figure beside."""
    return Aim(f"<= 1/{times:g}x", lambda ours, beside: ours * times <= beside)


def share(part: float) -> Aim:
    """Aim at this share of an ideal, which stands beside."""
    return Aim(f">= {part:.0%} of it", lambda ours, beside: beside >= part * ours)


def within(part: float) -> Aim:
    """Aim at the figure beside, give or take this share of it."""
    return Aim(f"± {part:.0%}", lambda ours, beside: abs(ours - beside) <= part * beside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison."""

    what: str
    where: str
    """The runner."""
    n: int
    """Elements, calls or pairs."""
    ours: float
    beside: float
    beside_what: str
    unit: str = "s"
    aim: Aim | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """Fanfold's figure over the one beside it."""
        return self.ours / self.beside if self.beside else float("inf")

    @property
    def verdict(self) -> str:
        """Return "met" or "missed"; nothing without an aim."""
        if self.aim is None:
            return ""
        return "met" if self.aim.met(self.ours, self.beside) else "missed"

    def plain(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return {
            "what": self.what,
            "where": self.where,
            "n": self.n,
            "fanfold": self.ours,
            "beside": self.beside,
            "beside_what": self.beside_what,
            "unit": self.unit,
            "ratio": self.ratio,
            "aim": self.aim.text if self.aim else None,
            "verdict": self.verdict or None,
            "note": self.note,
        }


def show(
    name: str, rows: Sequence[Row], console: Console, ours: str = "Fanfold", beside: str = "beside"
) -> None:
    """Print one benchmark's rows as a table, with such headings above the figures."""
    table = Table(title=name, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for heading in ("what", "on"):
        table.add_column(heading)
    for heading in ("n", ours, beside):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("beside is")
    table.add_column("ratio", justify="right", no_wrap=True)
    for heading in ("aim", "", "note"):
        table.add_column(heading)
    colours = {"met": "green", "missed": "bold red", "": ""}
    for row in rows:
        verdict = row.verdict
        table.add_row(
            row.what,
            row.where,
            f"{row.n:,}",
            _figure(row.ours, row.unit),
            _figure(row.beside, row.unit),
            row.beside_what,
            _ratio(row.ratio),
            row.aim.text if row.aim else "",
            f"[{colours[verdict]}]{verdict}[/]" if verdict else "",
            row.note,
        )
    console.print(table)


def console() -> Console:
    """Return where tables go: as wide as the terminal, or wide enough for a file."""
    to = Console(highlight=False)
    return to if to.is_terminal else Console(highlight=False, width=WIDTH)


def _figure(value: float, unit: str) -> str:
    if unit == "s" and value < 1.0:
        value, unit = value * 1e3, "ms"
    return f"{value:,.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def _ratio(ratio: float) -> str:
    if ratio >= 10:
        return f"{ratio:,.0f}x"
    return f"{ratio:.2f}x" if ratio >= 0.1 else f"1/{1 / ratio:,.0f}x"
