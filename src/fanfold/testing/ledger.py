"""What really happened, noted by whoever did it: files that driver and workers share.

Counts that come home with values can't tell that something ran twice or in the wrong process; a
line that was appended on the spot can. All this works between processes of one machine only.
"""

import os
import select
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOOK_S = 0.01
"""How often somebody who waits looks again."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A file to which any process appends lines of words; travels as its folder's path."""

    folder: str

    def note(self, *words: object) -> None:
        """Append a line; a line is there as a whole or not at all, even if the writer dies next."""
        line = " ".join(map(str, words)).encode() + b"\n"
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def lines(self, first: str) -> list[list[str]]:
        """Return the lines that begin with a word, without it, in the order they were noted."""
        if not os.path.exists(self._file):
            return []
        noted = (line.split() for line in Path(self._file).read_text().splitlines())
        return [words[1:] for words in noted if words[0] == first]

    def counts(self, first: str) -> Counter[int]:
        """Return how often each number follows a word."""
        return Counter(int(words[0]) for words in self.lines(first))

    def claim(self, name: str) -> int:
        """Return how often a name was claimed before, by any process."""
        times = 0
        while True:
            try:
                mark = os.path.join(self.folder, f"{name}.{times}")
                os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                times += 1
            else:
                return times

    @property
    def _file(self) -> str:
        return os.path.join(self.folder, "ledger")


@dataclass(frozen=True, slots=True)
class Gate:
    """A named pipe that workers wait at until the driver opens it."""

    path: str

    def wait(self, timeout_s: float) -> bool:
        """Block until the gate is open; return False if it isn't in time."""
        # For writing too: a pipe without a writer looks readable, since it is at its end.
        descriptor = os.open(self.path, os.O_RDWR)
        try:
            return bool(select.select([descriptor], [], [], timeout_s)[0])
        finally:
            os.close(descriptor)

    @contextmanager
    def kept(self) -> Generator["Latch", None, None]:
        """Make the gate, shut; at the end it is open for good."""
        os.mkfifo(self.path)
        # What is in the pipe is gone once nobody has it open.
        descriptor = os.open(self.path, os.O_RDWR)
        latch = Latch(descriptor)
        try:
            yield latch
        finally:
            latch.open()
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Latch:
    """The driver's hold on a gate."""

    descriptor: int

    def open(self) -> None:
        """Let all pass who wait, and all who come while the gate is kept."""
        os.write(self.descriptor, b".")


def pause() -> None:
    """Let a moment pass before the next look: nothing tells of a new line in a ledger."""
    threading.Event().wait(LOOK_S)
