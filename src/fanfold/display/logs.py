"""Log lines on a terminal: the time dim, the level in its colour; and in notebooks.

Not by rich, which takes longer to import than a small flow takes to run.

Notebooks put standard error on red ground, so there it has warnings and errors alone, and what is
as it should be goes to standard output.
"""

import logging
import os
import sys
from typing import TextIO

from fanfold.display.cell_lines import CellLines, of_element
from fanfold.engine import settings
from fanfold.engine.telling import Formatter
from fanfold.engine.watching import is_terminal

LINE = "%(asctime)s | %(levelname)-7s | %(run)s%(message)s"
_STYLED = "\x1b[2m%(asctime)s\x1b[0m | \x1b[{}m%(levelname)-7s\x1b[0m | %(run)s%(message)s"
_COLOURS = {
    logging.DEBUG: "2",
    logging.INFO: "36",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}
"""SGR numbers by level."""
ASK_AGAIN_S = 0.2
"""So long a stream counts as the terminal, or none, that it was."""


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes log lines to standard error, whatever that is when a line is made.

    So lines go where a test or a notebook cell has put standard error, and above live lines.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self._to: TextIO = sys.stderr
        self._flushes = True
        self._cell_lines = CellLines()
        self._asked: tuple[TextIO | None, float, bool] = (None, 0.0, False)
        self._plain = Formatter(LINE, "%H:%M:%S")
        self._styled = {
            level: Formatter(_STYLED.format(colour), "%H:%M:%S")
            for level, colour in _COLOURS.items()
        }

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where the line goes that is being written."""
        return self._to

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in colours where they are wanted."""
        formatter = self._styled.get(record.levelno) if self._coloured(record.created) else None
        return (formatter or self._plain).format(record)

    def flush(self) -> None:
        """Flush what isn't written line by line anyway."""
        stream = self._to
        if self._flushes and stream is not None and not getattr(stream, "line_buffering", False):
            super().flush()

    def _coloured(self, now: float) -> bool:
        """Return whether to write in colours; asked again after a while: it takes 20 µs."""
        stream, until, answer = self._asked
        if stream is not sys.stderr or now >= until:
            stream, answer = sys.stderr, coloured(sys.stderr)
            self._asked = (stream, now + ASK_AGAIN_S, answer)
        return answer

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, if there is a standard error; called by one thread at a time."""
        self._to = sys.stderr
        if self._to is None:
            return
        if of_kernel(self._to):
            self._emit_in_cell(record)
        else:
            super().emit(record)

    def _emit_in_cell(self, record: logging.LogRecord) -> None:
        instead = self._cell_lines.take(record)
        if record.levelno < logging.WARNING and of_kernel(sys.stdout):
            self._to = sys.stdout
        if instead == "":
            return
        if instead is not None:
            record = logging.LogRecord(record.name, record.levelno, "", 0, instead, None, None)
        # The kernel flushes by itself. A flush waits for its thread, which takes 0.2 ms; without
        # any, lines of flows would come after what is printed to the other stream later.
        self._flushes = not of_element(record)
        super().emit(record)
        self._flushes = True


def of_kernel(stream: TextIO | None) -> bool:
    """Return whether a stream is one by which a kernel brings output to its notebook's cells."""
    return type(stream).__module__.startswith("ipykernel")


def coloured(stream: TextIO) -> bool:
    """Return whether to write in colours: as `logging.colors` says; if auto, on terminals alone.

    NO_COLOR in the environment switches them off.
    """
    wanted = settings.current().logging_colors
    if wanted == "auto":
        return not os.environ.get("NO_COLOR") and is_terminal(stream)
    return wanted == "true"
