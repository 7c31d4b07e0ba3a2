"""Shows maps on standard error: as lines that change on a terminal, as log lines elsewhere."""

import io
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from fanfold.display.logs import coloured
from fanfold.display.screen import Screen
from fanfold.display.text import (
    LIVE_MOST,
    Pace,
    Piece,
    final_line,
    joined,
    live_line,
    more_line,
    plain_line,
)
from fanfold.engine.tally import Counts
from fanfold.engine.watching import FIRST_LOOK_S, Mode, Watched, is_terminal

LIVE_EVERY_S = 0.1
PLAIN_EVERY_S = 5.0
"""And what a map must last to get any plain line."""
SHARE_OF_A_CORE = 0.04
"""Of looking: where counting takes long it is done more seldom."""

Paint = Callable[[Sequence[Piece], int], str]
"""Makes a line of at most so many columns ready for the terminal."""

logger = logging.getLogger("fanfold.progress")


class Line:
    """What is remembered of one map from look to look."""

    __slots__ = ("counts", "pace", "told_at", "waits", "watched")

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.pace = Pace(watched.began)
        self.told_at = watched.began
        self.counts = Counts()
        self.waits = ""

    def look(self, now: float) -> None:
        """Take the numbers anew."""
        self.counts = self.watched.counts()
        self.waits = self.watched.waits
        self.pace.see(now, self.counts.done)


class Terminal:
    """The display of a process. Called by one thread at a time.

    Args:
        stream: Returns where live lines go; standard error of the moment by default.
    """

    def __init__(self, stream: Callable[[], TextIO] = lambda: sys.stderr) -> None:
        self._stream = stream
        self._lines: dict[Watched, Line] = {}
        self._screen: Screen | None = None
        self._paint: Paint = plain_paint

    def prepare(self, mode: Mode) -> None:
        """Import rich where it will be needed; takes some 50 ms."""
        if mode is Mode.LIVE:
            self._paint = rich_paint(colours=coloured(self._stream()))

    def look(
        self, running: Sequence[Watched], ended: Sequence[Watched], mode: Mode, now: float
    ) -> float:
        """Show maps; return after how many seconds to look again."""
        show = self._show_live if mode is Mode.LIVE else self._show_plain
        started = time.thread_time()
        self._lines = {
            watched: self._lines.get(watched) or Line(watched)
            for watched in running
            if now - watched.began >= FIRST_LOOK_S
        }
        due = show(ended, now)
        return max(due, (time.thread_time() - started) / SHARE_OF_A_CORE)

    def close(self) -> None:
        """Take all lines away; idempotent."""
        if self._screen is not None:
            self._screen.close()
            self._screen = None

    def _show_live(self, ended: Sequence[Watched], now: float) -> float:
        stream = self._screen.stream if self._screen is not None else self._stream()
        columns, rows = size(stream)
        finals = [final(watched) for watched in ended]
        said = "".join(f"{self._paint(pieces, 0)}\n" for pieces in finals)
        if not self._lines or not in_foreground(stream):
            self.close()
            if said:
                stream.write(said)
                stream.flush()
            return LIVE_EVERY_S
        if self._screen is None:
            self._screen = Screen(stream, [sys.stdout] if is_terminal(sys.stdout) else [])
        most = max(1, min(LIVE_MOST, rows - 2))
        width = columns - 1
        options: Any = {
            "name_columns": max(len(line.watched.name) for line in self._lines.values()),
            "ascii_only": not (stream.encoding or "").lower().startswith("utf"),
        }
        shown = self._shown(most, now)
        lines = [
            live_line(
                one.watched.name, one.counts, one.pace, columns - 1, waits=one.waits, **options
            )
            for one in shown
        ]
        if len(self._lines) > len(shown):
            lines.append(more_line(len(self._lines) - len(shown)))
        self._screen.show([self._paint(pieces, width) for pieces in lines], said)
        return LIVE_EVERY_S

    def _shown(self, most: int, now: float) -> list[Line]:
        """Return the oldest lines, as many as there is room for, with numbers of now."""
        shown = list(self._lines.values())[:most]
        for line in shown:
            line.look(now)
        return shown

    def _show_plain(self, ended: Sequence[Watched], now: float) -> float:
        self.close()
        for watched in ended:
            if seconds(watched) >= PLAIN_EVERY_S:
                logger.info("%s", joined(final(watched)))
        wait = PLAIN_EVERY_S
        for line in self._lines.values():
            if now - line.told_at >= PLAIN_EVERY_S:
                line.told_at = now
                line.look(now)
                logger.info("%s", plain_line(line.watched.name, line.counts, line.pace, line.waits))
            wait = min(wait, line.told_at + PLAIN_EVERY_S - now)
        return max(wait, LIVE_EVERY_S)


def final(watched: Watched) -> list[Piece]:
    """Return the line that stays of a map that is over."""
    return final_line(watched.name, watched.counts(), seconds(watched))


def seconds(watched: Watched) -> float:
    """Return how long a map took that is over."""
    return (watched.ended or watched.began) - watched.began


def plain_paint(pieces: Sequence[Piece], columns: int) -> str:
    """Return a line without styles; cut to `columns` unless they are 0."""
    text = joined(pieces)
    return text[:columns] if columns else text


def rich_paint(*, colours: bool) -> Paint:
    """Return what gives lines their styles, as far as the terminal and NO_COLOR permit."""
    from rich.console import Console  # 50 ms, which only the display's thread takes
    from rich.text import Text

    console = Console(
        file=io.StringIO(), force_terminal=True, width=10_000, no_color=None if colours else True
    )

    def paint(pieces: Sequence[Piece], columns: int) -> str:
        text = Text.assemble(*((piece.text, piece.style) for piece in pieces), no_wrap=True)
        if columns:
            text.truncate(columns, overflow="ellipsis")
        with console.capture() as captured:
            console.print(text, end="", no_wrap=True, overflow="ignore", crop=False)
        return captured.get()

    return paint


def size(stream: TextIO) -> tuple[int, int]:
    """Return a terminal's columns and rows; 80 and 24 where it doesn't say."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, rows = 0, 0
    return columns or 80, rows or 24


def in_foreground(stream: TextIO) -> bool:
    """Return whether the terminal is ours at the moment, not that of a shell that waits for us."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True
