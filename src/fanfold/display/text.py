"""What is said of a map: while it runs, now and then, and when it is over. Pure."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from fanfold.engine.tally import Counts, share, shortened, span

RATE_OVER_S = 10.0
"""How far back the rate looks: long enough to be calm, short enough to notice a change."""
LIVE_MOST = 8
"""Maps that get a line of their own at a time."""
NAME_MOST = 24
BAR_LEAST, BAR_MOST = 10, 30
FAILURE_LEAST = 12
"""Columns; in fewer not even a failure's type can be made out."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some characters of a line, in one style; the styles are rich's."""

    text: str
    style: str = ""


class Pace:
    """How fast a map goes, from what was seen of it in the last `RATE_OVER_S`."""

    def __init__(self, began: float) -> None:
        self._seen: deque[tuple[float, int]] = deque([(began, 0)])

    def see(self, now: float, done: int) -> None:
        """Take note of how much is done."""
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - RATE_OVER_S:
            self._seen.popleft()

    @property
    def per_s(self) -> float:
        """Elements a second; 0 where nothing is known."""
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        return max(0.0, (after - before) / (end - start)) if end > start else 0.0

    def left_s(self, counts: Counts) -> float | None:
        """Return the seconds until all is done, None where nobody can tell."""
        if counts.total is None or not self.per_s:
            return None
        return max(0, counts.total - counts.cancelled - counts.done) / self.per_s


def live_line(
    name: str,
    counts: Counts,
    pace: Pace,
    columns: int,
    *,
    waits: str = "",
    name_columns: int = 0,
    ascii_only: bool = False,
) -> list[Piece]:
    """Return a running map's line, at most `columns` wide where they are 45 or more.

    Args:
        name: Of the map; cut to `NAME_MOST`.
        counts: How far it is.
        pace: How fast it goes.
        columns: The room for all.
        waits: What it waits for, if it can't run on the workers there are.
        name_columns: The least room for the name, so that lines stand below each other.
        ascii_only: Whether the terminal knows no other characters.

    Where there is no room for everything, the bar goes first, then the retries, the cached share
    and the rate. What it waits for, or else the first failure, takes what is left.
    """
    head = Piece(shortened(name, NAME_MOST).ljust(min(name_columns, NAME_MOST)), "bold")
    counted = Piece(_counted(counts), "")
    bad = _bad(counts)
    eta = _eta(pace.left_s(counts))
    room = columns - _width(head, counted, bad, eta)
    note = _note(counts, waits)
    noted = bool(note.text) and room >= FAILURE_LEAST + 2
    if noted:
        room -= FAILURE_LEAST + 2
    optional: list[Piece] = []
    for piece in (
        Piece(rate(pace.per_s), "cyan"),
        Piece(_cached(counts), "green"),
        Piece(_retries(counts), "yellow"),
    ):
        if piece.text and len(piece.text) + 2 <= room:
            optional.append(piece)
            room -= len(piece.text) + 2
    bar: list[Piece] = []
    if not noted and counts.total and room >= BAR_LEAST + 2:
        bar = _bar(counts.done / counts.total, min(room - 2, BAR_MOST), ascii_only)
    if noted:
        note = Piece(shortened(note.text, room + FAILURE_LEAST), note.style)
    line = _spaced([head], bar, [counted], *([piece] for piece in optional))
    return _spaced(line, [bad], [eta], [note] if noted else [])


def plain_line(name: str, counts: Counts, pace: Pace, waits: str = "") -> str:
    """Return a running map's line for a log."""
    done = _counted(counts)
    if counts.total:
        done += f" ({share(counts.done, counts.total)})"
    left = pace.left_s(counts)
    parts = [
        done,
        rate(pace.per_s),
        _cached(counts),
        _retries(counts),
        _bad(counts).text,
        f"{span(left)} left" if left is not None else "",
    ]
    line = f"{name}: {', '.join(part for part in parts if part)}"
    line += f"; waits: {waits}" if waits else ""
    return f"{line}; first: {counts.first}" if counts.first else line


def final_line(name: str, counts: Counts, seconds: float) -> list[Piece]:
    """Return the line that stays of a map.

    Such as "embed  1,000/1,000 in 4.2 s  240/s  35 % cached  3 failed (ValueError: bad date,
    element 17)".
    """
    bad = _bad(counts)
    if counts.first is not None:
        bad = Piece(f"{bad.text} ({counts.first})", bad.style)
    return _spaced(
        [Piece(shortened(name, NAME_MOST), "bold")],
        [Piece(f"{_counted(counts)} in {span(seconds)}")],
        [Piece(rate(counts.done / seconds if seconds else 0.0), "cyan")],
        [Piece(_cached(counts), "green")],
        [Piece(_retries(counts), "yellow")],
        [bad],
    )


def more_line(hidden: int) -> list[Piece]:
    """Return what stands for the maps that have no line."""
    return [Piece(f"and {hidden:,} more", "dim")]


def joined(pieces: Sequence[Piece]) -> str:
    """Return a line without its styles."""
    return "".join(piece.text for piece in pieces)


def _counted(counts: Counts) -> str:
    return f"{counts.done:,} done" if counts.total is None else f"{counts.done:,}/{counts.total:,}"


def rate(per_s: float) -> str:
    """Return a pace, such as "1,020/s"; empty if it is 0."""
    if not per_s:
        return ""
    if per_s >= 9.95:
        return f"{per_s:,.0f}/s"
    return f"{per_s:.1f}/s" if per_s >= 0.095 else f"{per_s * 60:.1f}/min"


def _cached(counts: Counts) -> str:
    return f"{share(counts.cached, counts.done)} cached" if counts.cached else ""


def _retries(counts: Counts) -> str:
    if counts.retries:
        return retried(counts.retries)
    return f"{counts.waiting:,} to retry" if counts.waiting else ""


def retried(retries: int | None) -> str:
    """Return how many retries there were; empty if none, or if nobody counted them."""
    return f"{retries:,} {'retry' if retries == 1 else 'retries'}" if retries else ""


def _bad(counts: Counts) -> Piece:
    told = (
        (counts.failed, "failed"),
        (counts.crashed, "crashed"),
        (counts.upstream_failed, "upstream-failed"),
        (counts.cancelled, "cancelled"),
    )
    return Piece(", ".join(f"{number:,} {what}" for number, what in told if number), "red")


def _note(counts: Counts, waits: str) -> Piece:
    if waits:
        return Piece(f"waits: {waits}", "yellow")
    return Piece("") if counts.first is None else Piece(str(counts.first), "red")


def _eta(seconds: float | None) -> Piece:
    return Piece(f"eta {clock(seconds)}", "dim") if seconds is not None else Piece("")


def clock(seconds: float) -> str:
    """Return a time to come as a clock has it: "0:04", "1:02:03"."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _bar(part: float, columns: int, ascii_only: bool) -> list[Piece]:
    full = min(columns, int(part * columns))
    done, todo = ("#", "-") if ascii_only else ("━", "━")
    return [Piece(done * full, "cyan"), Piece(todo * (columns - full), "bright_black")]


def _width(*pieces: Piece) -> int:
    return sum(len(piece.text) + 2 for piece in pieces if piece.text) - 2


def _spaced(*groups: Sequence[Piece]) -> list[Piece]:
    line: list[Piece] = []
    for group in groups:
        if any(piece.text for piece in group):
            if line:
                line.append(Piece("  "))
            line += [piece for piece in group if piece.text]
    return line
