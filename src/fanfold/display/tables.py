"""Tables as HTML: their first rows and columns, however large they are."""

from collections.abc import Sequence
from typing import Any

from fanfold.display.html import DIM, line, tag, text
from fanfold.engine.wording import shortened

ROWS_MOST = 20
COLUMNS_MOST = 12
CELL_MOST = 60
"""Characters."""

_CELL = "padding:2px 14px 2px 0;text-align:{};vertical-align:top;background:none"
_TABLE = "border-collapse:collapse;margin:4px 0;font-size:90%"
_HEAD = "border-bottom:1px solid rgba(128,128,128,0.5)"


def table(rows: Sequence[Any]) -> str:
    """Return rows as HTML: dicts by column, or lists, as artifacts hold them."""
    shown = rows[:ROWS_MOST]
    names = _names(shown)
    columns = names[:COLUMNS_MOST]
    cells = [[_of(row, column) for column in columns] for row in shown]
    numeric = [
        bool(cells) and all(isinstance(row[at], (int, float, type(None))) for row in cells)
        for at in range(len(columns))
    ]
    sides = ["right" if number else "left" for number in numeric]
    head = [_cell("th", str(name), side) for name, side in zip(columns, sides, strict=True)]
    body = [
        tag("tr", "background:none", *(_cell("td", *one) for one in zip(row, sides, strict=True)))
        for row in cells
    ]
    titled = any(isinstance(row, dict) for row in shown)
    top = tag("thead", _HEAD, tag("tr", "background:none", *head)) if titled else ""
    return tag("table", _TABLE, top, tag("tbody", "", *body)) + _more(len(rows), len(names))


def _names(rows: Sequence[Any]) -> list[Any]:
    if any(isinstance(row, dict) for row in rows):
        return list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    return list(range(max((len(row) for row in rows if isinstance(row, list)), default=0)))


def _of(row: Any, column: Any) -> Any:
    if isinstance(row, dict):
        return row.get(column)
    return row[column] if isinstance(row, list) and column < len(row) else None


def _cell(name: str, value: Any, side: str, *_: Any) -> str:
    words = "" if value is None else f"{value:,}" if _is_count(value) else str(value)
    return tag(name, _CELL.format(side), text(shortened(words, CELL_MOST)))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _more(rows: int, columns: int) -> str:
    told: list[str] = []
    if rows > ROWS_MOST:
        told.append(f"{ROWS_MOST} of {rows:,} rows")
    if columns > COLUMNS_MOST:
        told.append(f"{COLUMNS_MOST} of {columns:,} columns")
    return line(", ".join(told), style=f"font-size:85%;{DIM}") if told else ""
