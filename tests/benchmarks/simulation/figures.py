"""Tables of what the model found."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks.simulation.trial import Outcome

WORSE = 1.03
"""A ratio above it is shown as a loss, below its inverse as a gain."""


def show(outcomes: Iterable[tuple[str, Outcome]], console: Console) -> None:
    """Print a line for each map."""
    table = _table("maps on modelled clusters")
    headings = ("workers", "elements", "took", "ideal", "of the ideal", "chunks", "a second")
    more = ("driver busy", "scheduler busy", "all began", "bytes each", "played in")
    table.add_column("what")
    for heading in (*headings, *more):
        table.add_column(heading, justify="right")
    for what, outcome in outcomes:
        trial = outcome.trial
        table.add_row(
            what,
            f"{trial.workers:,}",
            f"{trial.elements:,}",
            f"{outcome.took_s:,.1f} s",
            f"{outcome.ideal_s:,.1f} s",
            f"{outcome.efficiency:.1%}",
            f"{outcome.chunks:,}",
            f"{outcome.chunks_per_s:,.0f}",
            f"{outcome.driver_busy:.0%}",
            f"{outcome.scheduler_busy:.0%}",
            f"{outcome.all_began_s:.1f} s",
            f"{outcome.weight / trial.elements:.2f}",
            f"{outcome.real_s:.1f} s",
        )
    console.print(table)


def show_sweep(
    names: Sequence[str], found: Iterable[tuple[str, list[float]]], console: Console
) -> None:
    """Print a line for each value of a default."""
    table = _table("other defaults: time over the time with the defaults as they are")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for number, (what, figures) in enumerate(found):
        cells = [f"{figure:.1f} s" if number == 0 else _ratio(figure) for figure in figures]
        table.add_row(what, *cells)
    console.print(table)


def _ratio(figure: float) -> str:
    colour = "red" if figure > WORSE else "green" if figure < 1 / WORSE else ""
    return f"[{colour}]{figure:.3f}[/]" if colour else f"{figure:.3f}"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
