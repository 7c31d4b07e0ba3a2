"""A box per worker process: a small file on its node that says what it is at, and outlives it.

A process that dies takes along whatever it did not send. So each worker keeps a file mapped into
its memory, in the folder of Ray's session: which chunk it runs, and what that has said last. To
write there costs a microsecond and needs no lock of the interpreter's, and the system keeps what
was written whatever ends the process. After a death somebody on the same node reads it.

The owner holds an advisory lock on its file, which the system frees at its death. That tells a box
of a dead process from that of a living one, also if another process got the same id.
"""

import contextlib
import fcntl
import mmap
import os
import signal
import struct
import time
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import psutil

from fanfold.values import deaths
from fanfold_ray import traces
from fanfold_ray.innards import session_folder

CAPACITY_BYTES = 64 * 1024
"""Of a file. What doesn't fit drives out all that was there before, so the last words are kept."""
FORGOTTEN_S = 600.0
"""A dead process's box is removed by the next process that starts on the node after this time, if
nobody has asked for it: its driver died too."""
STOP_S = 0.1
"""For a process to be stopped after it was sent the signal: the system needs microseconds."""

_MAGIC = 0x66616E01
_HEADER = struct.Struct("10Q")
_WORDS = _HEADER.size // 8
_MAGIC_AT, _PID, _SESSION, _, _TICKET, _FIRST, _USED, _EXIT, _KILLS, _ = range(_WORDS)
_LENGTH = struct.Struct("I")
_BY_SIGNAL = 0x1000


class Sighting(NamedTuple):
    """What a box says of a chunk. Travels."""

    ticket: int
    pid: int
    stopped: bool
    """The process exists, and somebody has stopped it (SIGSTOP)."""
    gone: bool
    """The process has ended while it was at the chunk."""
    how: str
    """How it ended, such as "ended with exit code 3"; empty if it hasn't."""
    first: int
    """How many messages went before those that are here."""
    messages: list[bytes]
    """What a process that is gone has said last."""


class Box:
    """The box of this process. One thread at a time, but for `exits`."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._path = path
        self._file = file
        self._map = mmap.mmap(file.fileno(), CAPACITY_BYTES)
        self._words = memoryview(self._map).cast("Q")
        self._at = _HEADER.size
        self._words[_PID] = os.getpid()
        self._words[_KILLS] = deaths.kills_for_memory()
        self._words[_MAGIC_AT] = _MAGIC

    @classmethod
    def make(cls) -> "Box | None":
        """Make this process's box; None if its node has no place for it."""
        try:
            folder = _folder()
            folder.mkdir(exist_ok=True)
            _sweep(folder)
            path = folder / f"{os.getpid()}-{time.time_ns()}"
            # Kept open: closing any descriptor of the file would free the lock.
            file = open(path, "x+b", buffering=0)  # noqa: SIM115
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(CAPACITY_BYTES)
            return cls(file, path)
        except OSError:
            return None

    def begin(self, session: str, ticket: int) -> None:
        """Say which chunk runs now."""
        words = self._words
        words[_TICKET] = 0
        self._at = _HEADER.size
        words[_FIRST] = words[_USED] = 0
        high, low = int(session[:16], 16), int(session[16:], 16)
        words[_SESSION], words[_SESSION + 1] = high, low
        # Last, for from here on a reader takes the rest for this chunk's.
        words[_TICKET] = ticket + 1

    def end(self) -> None:
        """Say that none runs."""
        self._words[_TICKET] = 0

    def note(self, number: int, message: bytes) -> None:
        """Write down what the chunk said as its message of that number, from 0."""
        after = self._at + _LENGTH.size + len(message)
        if after > CAPACITY_BYTES:
            self._words[_USED] = 0
            self._words[_FIRST] = number
            self._at = _HEADER.size
            after = self._at + _LENGTH.size + len(message)
            if after > CAPACITY_BYTES:
                self._words[_FIRST] = number + 1
                return
        start = self._at + _LENGTH.size
        _LENGTH.pack_into(self._map, self._at, len(message))
        self._map[start:after] = message
        self._at = after
        self._words[_USED] = after - _HEADER.size

    def exits(self, code: int) -> None:
        """Say that this process is about to end: with an exit code, or minus a signal's number."""
        # A fork of this process shares the file, and its end is nobody's business.
        if self._words[_PID] == os.getpid():
            self._words[_EXIT] = (code & 0xFF) + 1 if code >= 0 else _BY_SIGNAL - code

    def remove(self) -> None:
        """Remove the file; at a proper end of the process."""
        if self._words[_PID] == os.getpid():
            self._path.unlink(missing_ok=True)


def look(session: str, tickets: Collection[int]) -> list[Sighting]:
    """Return what the boxes of this node say of chunks that run, or ran when their process died.

    The box of a dead process is removed: it is read once.
    """
    found: list[Sighting] = []
    for path, words, file in _boxes(session, tickets):
        gone = not _owned(file)
        pid = words[_PID]
        if gone:
            how = traces.fate(_logs(), pid, _said(words[_EXIT]), kills=words[_KILLS])
            messages = _messages(file, words[_USED])
            path.unlink(missing_ok=True)
        else:
            how, messages = "", []
        found.append(
            Sighting(
                ticket=words[_TICKET] - 1,
                pid=pid,
                stopped=not gone and _stopped(pid),
                gone=gone,
                how=how,
                first=words[_FIRST],
                messages=messages,
            )
        )
    return found


def kill(session: str, tickets: Collection[int]) -> list[int]:
    """Kill the processes of this node that run these chunks; return the chunks' tickets.

    A process is stopped before the last look at its box, for it might come to its chunk's end, and
    go on with one of somebody else, between look and kill.
    """
    killed: list[int] = []
    for _, words, file in _boxes(session, tickets):
        if not _owned(file):
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            _stop(words[_PID])
            now = _header(file)
            same = now is not None and now[: _TICKET + 1] == words[: _TICKET + 1]
            os.kill(words[_PID], signal.SIGKILL if same else signal.SIGCONT)
            if same:
                killed.append(words[_TICKET] - 1)
    return killed


def _boxes(
    session: str, tickets: Collection[int]
) -> Generator[tuple[Path, tuple[int, ...], IO[bytes]], None, None]:
    wanted = (int(session[:16], 16), int(session[16:], 16))
    for path, file in _files(_folder()):
        words = _header(file)
        if words is None or words[_SESSION : _SESSION + 2] != wanted:
            continue
        if words[_TICKET] - 1 in tickets:
            yield path, words, file


def _files(folder: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            # Its process may just have removed it. Our own must not be opened: see `_owned`.
            if path.name.startswith(f"{os.getpid()}-"):
                continue
            with contextlib.suppress(OSError), open(path, "r+b", buffering=0) as file:
                yield path, file


def _header(file: IO[bytes]) -> tuple[int, ...] | None:
    data = os.pread(file.fileno(), _HEADER.size, 0)
    if len(data) < _HEADER.size:
        return None
    words = _HEADER.unpack(data)
    return words if words[_MAGIC_AT] == _MAGIC else None


def _owned(file: IO[bytes]) -> bool:
    """Return whether the box's process lives.

    Locks of this kind belong to processes: they aren't inherited by forks, and a process that
    closes any descriptor of the file loses its own.
    """
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.lockf(file, fcntl.LOCK_UN)
    return False


def _said(word: int) -> int | None:
    """Return how a process said that it would end, as `Box.exits` was told."""
    if word == 0:
        return None
    return _BY_SIGNAL - word if word > _BY_SIGNAL else word - 1


def _messages(file: IO[bytes], used: int) -> list[bytes]:
    data = os.pread(file.fileno(), min(used, CAPACITY_BYTES), _HEADER.size)
    messages: list[bytes] = []
    at = 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + length
        messages.append(data[at - length : at])
    return messages


def _stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + STOP_S
    while not _stopped(pid) and time.monotonic() < deadline:
        time.sleep(0.001)


def _stopped(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    return False


def _sweep(folder: Path) -> None:
    """Remove what dead processes have left long ago."""
    before = time.time() - FORGOTTEN_S
    for path, file in _files(folder):
        if os.fstat(file.fileno()).st_mtime < before and not _owned(file):
            path.unlink(missing_ok=True)


def _folder() -> Path:
    return session_folder() / "fanfold"


def _logs() -> Path:
    return session_folder() / "logs"
