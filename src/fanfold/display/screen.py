"""Lines that stay at the bottom of a terminal while others write above them.

While there are any, whatever the program writes to standard output and standard error passes
through here: the lines are taken away, the program's text is written, and they come back below it.
That is done by shadowing the streams' own `write`, for replacing `sys.stdout` would miss the
handlers that hold the stream already, and would undo a `redirect_stdout` that began meanwhile.

The cursor stays where the program left it, with the lines in the rows below. So what comes past
Python's streams (child processes, C code, what is typed at a prompt) finds its place too, and only
its second line and those after it get mixed up with ours.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TextIO
from weakref import WeakSet

AT_ONCE_S = 0.05
"""Lines come back at once after a text unless they did so this long ago: a flood of log lines
costs little more than without us."""

_SAVE, _RESTORE, _DOWN, _CLEAR = "\x1b7", "\x1b8", "\x1bD", "\x1b[J"
"""What a VT100 knows already; _DOWN keeps the column and scrolls at the bottom, _CLEAR clears from
the cursor on."""

_screens: "WeakSet[Screen]" = WeakSet()


class Screen:
    """The bottom of one terminal. Thread-safe, also from signal handlers.

    Args:
        stream: The terminal; gets the lines.
        others: More streams whose text may land on the same terminal.
        clock: Returns seconds.
    """

    def __init__(
        self,
        stream: TextIO,
        others: Sequence[TextIO] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stream = stream
        self._streams = list(dict.fromkeys((stream, *others)))
        self._clock = clock
        self._lock = threading.RLock()
        self._lines: list[str] = []
        self._drawn = False
        self._drawn_at = 0.0
        self._open = False
        self._undo: list[Callable[[], None]] = []
        self._write = stream.write
        _screens.add(self)

    def show(self, lines: Sequence[str], above: str = "") -> None:
        """Show these lines in place of those that were there.

        Args:
            lines: At most one row each, without its end.
            above: Whole lines that stay.
        """
        with self._lock:
            if above:
                self._erase()
                self._put(above)
            self._lines = list(lines)
            if lines and not self._open:
                self._shadow()
            self._draw()

    def close(self) -> None:
        """Take the lines away and let the streams be as they were; idempotent."""
        with self._lock:
            self._erase()
            self._lines = []
            self._open = False
            for undo in self._undo:
                undo()
            self._undo.clear()

    def forget(self) -> None:
        """Let go of everything in a forked child, whose parent shows the lines."""
        self._lock = threading.RLock()
        self._drawn = False
        self.close()

    def _draw(self) -> None:
        """Write all lines below the cursor: in one go, so nothing flickers."""
        if not self._lines:
            self._erase()
            return
        # Room is made first: what is saved is a place on the screen, which scrolling would move.
        room = _DOWN * len(self._lines) + f"\x1b[{len(self._lines)}A"
        rows = "".join(f"\r\n{line}" for line in self._lines)
        self._put(f"{_CLEAR}{room}{_SAVE}{rows}{_RESTORE}")
        self._drawn = True
        self._drawn_at = self._clock()

    def _erase(self) -> None:
        if self._drawn:
            self._put(_CLEAR)
            self._drawn = False

    def _put(self, text: str) -> None:
        try:
            self._write(text)
            self.stream.flush()
        except (OSError, ValueError):  # the terminal is gone, and nobody sees what is missing
            self._lines = []
            self._drawn = False

    def _shadow(self) -> None:
        self._open = True
        for stream in self._streams:
            written = partial(self._pass_on, stream.write, stream)
            before = vars(stream).get("write") if hasattr(stream, "__dict__") else None
            try:
                stream.write = written
            except AttributeError:  # can't be shadowed; its text may be written over
                continue
            self._undo.append(partial(_restore, stream, written, before))

    def _pass_on(self, write: Callable[[str], int], stream: TextIO, text: str) -> int:
        with self._lock:
            self._erase()
            count = write(text)
            # `print` writes its line and the end of it apart: the lines come back after both.
            over = text.endswith("\n") and self._clock() - self._drawn_at >= AT_ONCE_S
            if self._open and over:
                stream.flush()
                self._draw()
            return count


def _restore(stream: Any, ours: Any, before: Any) -> None:
    if vars(stream).get("write") is not ours:
        return  # somebody shadowed it after us, and calls ours still, which passes text on
    if before is None:
        del stream.write
    else:
        stream.write = before


def _forget_all() -> None:
    for screen in list(_screens):
        screen.forget()


os.register_at_fork(after_in_child=_forget_all)
