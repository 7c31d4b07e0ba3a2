"""Reads what a program writes to a terminal, as a terminal does: enough of one for our lines."""

import io
import re

_TOKEN = re.compile(r"\x1b\[(\??\d*(?:;\d+)*)([A-Za-z])|\x1b([78D])|([\r\n])|([^\x1b\r\n]+)")


class Emulator:
    """A screen of some rows, of which those that scrolled away are kept, and a cursor."""

    def __init__(self, height: int = 24) -> None:
        self.height = height
        self.rows = [""]
        self.top = 0
        self.row = 0
        self.column = 0
        self.saved = (0, 0)

    def feed(self, text: str) -> None:
        for match in _TOKEN.finditer(text):
            number, command, escape, move, plain = match.groups()
            if plain is not None:
                self._put(plain)
            elif escape is not None:
                self._escape(escape)
            elif move == "\r":
                self.column = 0
            elif move == "\n":
                self._down()
                self.column = 0
            else:
                self._control(command, int(number) if number.isdigit() else 0)

    @property
    def shown(self) -> list[str]:
        """Every row that isn't empty, also of those that scrolled away."""
        return [row.rstrip() for row in self.rows if row.strip()]

    def _put(self, text: str) -> None:
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + text + row[self.column + len(text) :]
        self.column += len(text)

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")
        self.top = max(self.top, self.row - self.height + 1)

    def _escape(self, escape: str) -> None:
        if escape == "D":
            self._down()
        elif escape == "7":
            self.saved = (self.row - self.top, self.column)
        else:
            self.row, self.column = self.saved[0] + self.top, self.saved[1]

    def _control(self, command: str, number: int) -> None:
        if command == "A":
            self.row = max(self.top, self.row - max(1, number))
        elif command == "K":
            self.rows[self.row] = self.rows[self.row][: self.column]
        elif command == "J":
            self.rows[self.row] = self.rows[self.row][: self.column]
            for below in range(self.row + 1, len(self.rows)):
                self.rows[below] = ""
        else:
            assert command == "m", command


class Tty(io.StringIO):
    """A stream that is a terminal; "\\n" moves to the start of the next row, as on one."""

    def __init__(self, emulator: Emulator | None = None) -> None:
        super().__init__()
        self.emulator = emulator or Emulator()
        self.written: list[str] = []

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.append(text)
        self.emulator.feed(text)
        return len(text)
