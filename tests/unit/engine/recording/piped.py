"""A history whose leases are words in a named pipe: what the helper does with them is heard."""

import os
import select
from pathlib import Path

from fanfold.adapters.history.memory import MemoryHistory
from fanfold.values.errors import HistoryUnavailable

RENEWAL_S = 0.2


class Piped(MemoryHistory):
    """Renews by writing to a pipe; while a file `<pipe>.out` is there, it can't be reached."""

    def __init__(self, url: str) -> None:
        super().__init__(url, renewal_s=RENEWAL_S)
        self._pipe = url.partition(":")[2]

    def renew(self, owner: str) -> None:
        self._say(f"renew {owner} by {os.getpid()} in {os.getsid(0)}\n")

    def abandon(self, owner: str) -> None:
        self._say(f"abandon {owner}\n")

    def _say(self, words: str) -> None:
        if Path(self._pipe + ".out").exists():
            words = f"could not {words}"
        file = os.open(self._pipe, os.O_WRONLY)
        os.write(file, words.encode())
        os.close(file)
        if words.startswith("could not"):
            raise HistoryUnavailable("It is out")


class Ear:
    """The other end of the pipe."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.url = f"piped:{path}"
        self._out = Path(f"{path}.out")
        # For both, so that it never looks as if nobody wrote to it any more.
        self._file = os.open(path, os.O_RDWR)
        self._rest = b""

    def word(self, timeout_s: float = 20.0) -> str:
        """Return the next line."""
        while b"\n" not in self._rest:
            readable, _, _ = select.select([self._file], [], [], timeout_s)
            assert readable, "nothing was heard in time"
            self._rest += os.read(self._file, 4096)
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def until(self, beginning: str) -> str:
        """Return the next line that begins so."""
        while not (word := self.word()).startswith(beginning):
            pass
        return word

    def out(self, is_out: bool) -> None:
        """Say whether the history can't be reached."""
        if is_out:
            self._out.touch()
        else:
            self._out.unlink()

    def close(self) -> None:
        os.close(self._file)
