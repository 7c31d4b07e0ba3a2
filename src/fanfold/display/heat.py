"""A map of a map: a square for each element, or for a few, in the colour of its state."""

from collections.abc import Sequence
from itertools import groupby

from fanfold.display.html import (
    AMBER,
    BLUE,
    FAINT,
    MAGENTA,
    ORANGE,
    RED,
    SLATE,
    TEAL,
    Part,
    legend,
    line,
    tag,
)
from fanfold.values.states import StateName, present

SQUARES_MOST = 1_000
"""More elements than that share squares."""
ROW = 50
"""Squares."""
SIZE = 11
"""Pixels of a square, with the gap to the next one."""

_LINE = "rgba(0,0,0,0.22)"
_GRID = (
    f"background-image:repeating-linear-gradient(90deg,transparent 0px,transparent {SIZE - 1}px,"
    f"{_LINE} {SIZE - 1}px,{_LINE} {SIZE}px);border-bottom:1px solid {_LINE}"
)
"""The lines between squares of one stretch: neighbours in one colour are one element of HTML."""

_WORST: tuple[tuple[tuple[StateName, ...], str, str], ...] = (
    ((StateName.CRASHED,), "crashed", MAGENTA),
    ((StateName.FAILED,), "failed", RED),
    ((StateName.TIMED_OUT,), "timed out", RED),
    ((StateName.UPSTREAM_FAILED,), "upstream failed", ORANGE),
    ((StateName.CANCELLED,), "cancelled", SLATE),
    ((StateName.ROLLED_BACK,), "rolled back", SLATE),
    ((StateName.AWAITING_RETRY,), "to retry", AMBER),
    (
        tuple(s for s in StateName if not s.final and s is not StateName.AWAITING_RETRY),
        "unfinished",
        FAINT,
    ),
    ((StateName.COMPLETED,), "completed", TEAL),
    ((StateName.CACHED,), "cached", BLUE),
)
"""States, what they are called, and their colour; of several in one square the first counts."""


def tone(state: StateName) -> str:
    """Return a state's colour."""
    return next(colour for states, _, colour in _WORST if state in states)


def heat_map(codes: bytes | bytearray) -> str:
    """Return elements' states as HTML; some 10 ms for a million of them.

    Args:
        codes: Their state codes, in order.
    """
    if not codes:
        return line("no elements")
    each = -(-len(codes) // SQUARES_MOST)
    there = set(present(codes, 0, len(codes)))
    ranked = [(states, name, colour) for states, name, colour in _WORST if there & set(states)]
    squares = [_worst(codes[start : start + each], ranked) for start in range(0, len(codes), each)]
    rows = [
        _row(squares[at : at + ROW], at, each, len(codes)) for at in range(0, len(squares), ROW)
    ]
    note = f"a square is {each:,} elements, in the colour of the worst" if each > 1 else ""
    parts = _parts(codes)
    said = "; ".join(part.said for part in parts)
    return tag(
        "div",
        "margin:6px 0",
        tag("div", "margin-bottom:4px", *rows, role="img", aria_label=f"States: {said}"),
        legend(parts, note),
    )


def _worst(
    codes: bytes | bytearray, ranked: Sequence[tuple[tuple[StateName, ...], str, str]]
) -> tuple[str, str]:
    for states, name, colour in ranked:
        if any(state in codes for state in states):
            return name, colour
    raise AssertionError("every state has a colour")


def _row(squares: Sequence[tuple[str, str]], first: int, each: int, count: int) -> str:
    stretches: list[str] = []
    at = first
    for (name, colour), same in groupby(squares):
        length = len(list(same))
        start, stop = at * each, min(count, (at + length) * each)
        where = f"{start:,} to {stop - 1:,}" if stop - start > 1 else f"{start:,}"
        style = f"width:{length * SIZE}px;height:{SIZE - 1}px;background-color:{colour};{_GRID}"
        stretches.append(tag("div", style, title=f"{where}: {name}"))
        at += length
    return tag("div", "display:flex", *stretches)


def _parts(codes: bytes | bytearray) -> list[Part]:
    counted = [
        Part(sum(map(codes.count, states)), name, colour)
        for states, name, colour in reversed(_WORST)
    ]
    return [part for part in counted if part.count]
