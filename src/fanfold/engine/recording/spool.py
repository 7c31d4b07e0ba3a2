"""Keeps batches in a file of this machine until the history takes them: the local journal.

A journal is a text file, a line for each batch: a checksum of the rest, its length, and JSON. Only
the process that holds a lock on the file touches it; the lock ends with the process, so whoever
finds a journal without one delivers it. The name begins with a digest of the history's URL: no
journal goes to another history, and no password to the disk.

A line is in the journal once it is on the disk. A crash may leave the beginning of another one,
and disks may lose more: lines that aren't whole are passed over.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from fanfold.engine.recording import codec
from fanfold.values.facts import Batch
from fanfold.values.ids import new_id

FOLDER = "history-journal"
SUFFIX = ".journal"
_HEAD = 18
"""Characters before a line's JSON: checksum and length, 8 hex digits each, and a space after."""
_READ_BYTES = 1 << 20
_BINARY: int = getattr(os, "O_BINARY", 0)

logger = logging.getLogger("fanfold.history")

_ours: set[Path] = set()
"""Journals that this process holds: its own lock wouldn't keep it from opening one again, and by
closing that it would lose the lock."""
_ours_lock = threading.Lock()


class Spool:
    """A journal; made when the first batch is kept. For one thread.

    Args:
        folder: The journals' folder.
        url: Of the history that it is for.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._digest = digest(url)
        self._home_was_there = folder.parent.exists()
        self._file = -1
        self._end = 0
        """Up to where the file is known to be whole."""
        self._read_to = 0
        self._torn = False
        self.path: Path | None = None

    @property
    def gone(self) -> bool:
        """Whether the folder in which all is kept was removed since."""
        return self._home_was_there and not self._folder.parent.exists()

    def append(self, batch: Batch) -> None:
        """Write a batch; when it returns, the batch survives a loss of power.

        Raises:
            OSError: It isn't written; another try may succeed.
        """
        if self._file < 0 or self.gone or os.fstat(self._file).st_nlink == 0:
            self._create()
        if self._torn:
            os.ftruncate(self._file, self._end)
        line = memoryview(framed(codec.write(batch)))
        self._torn = True  # until it is all there; also what a failed fsync leaves isn't to be had
        os.lseek(self._file, self._end, os.SEEK_SET)
        written = 0
        while written < len(line):
            written += os.write(self._file, line[written:])
        os.fsync(self._file)
        self._end += len(line)
        self._torn = False

    def first(self) -> Batch | None:
        """Return the first batch that wasn't dropped yet; None if there is no more.

        Raises:
            OSError: It can't be read.
            ValueError: It can't be understood: a newer version wrote it.
        """
        for start, line in self._lines():
            text = unframed(line)
            if text is not None:
                self._read_to = start
                return codec.read(text)
            self._read_to = start + len(line) + 1
            logger.warning("A line of %s is damaged; what it held about runs is lost", self.path)
        return None

    def drop_first(self) -> None:
        """Pass the first batch over from now on, in this process.

        The file is left as it is: who delivers it again after a crash is told `again`.
        """
        for start, line in self._lines():
            if unframed(line) is not None:
                self._read_to = start + len(line) + 1
                return

    def remove(self) -> None:
        """Delete the journal, for all of it is delivered; the next batch makes a new one."""
        path = self.path
        for _ in range(2):  # open files can't be deleted on Windows; elsewhere once is enough
            if path is not None:
                with suppress(OSError):  # as good as deleted: delivered again it changes nothing
                    path.unlink()
            self.close()

    def close(self) -> None:
        """Let go of the journal, so that whoever comes next may deliver it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self.path is not None:
            with _ours_lock:
                _ours.discard(self.path)
            self.path = None

    def forget(self) -> None:
        """Close it in a forked child; the parent's lock isn't touched by that."""
        if self._file >= 0:
            with suppress(OSError):
                os.close(self._file)
            self._file = -1

    def _create(self) -> None:
        if self.gone:
            raise FileNotFoundError(f"{self._folder.parent} was removed")
        self.close()
        self._folder.mkdir(mode=0o700, parents=not self._home_was_there, exist_ok=True)
        path = self._folder / f"{self._digest}-{new_id()}{SUFFIX}"
        with _ours_lock:
            _ours.add(path)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
        try:
            if not _hold(path, file):  # somebody took it for one that was left
                raise FileExistsError(f"{path} was taken by another process")
            _sync_folder(self._folder)
        except OSError:
            os.close(file)
            with _ours_lock:
                _ours.discard(path)
            raise
        self._file, self.path = file, path
        self._end = self._read_to = 0
        self._torn = False
        self._home_was_there = True

    def _adopt(self, path: Path, file: int) -> None:
        self.path, self._file = path, file
        self._end = os.fstat(file).st_size

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield lines from the first that wasn't dropped, with where they start."""
        start, rest = self._read_to, b""
        while self._file >= 0:
            # By the file's one descriptor: closing another one would end the lock.
            at = start + len(rest)
            os.lseek(self._file, at, os.SEEK_SET)
            read = os.read(self._file, min(_READ_BYTES, max(0, self._end - at)))
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                yield start, line
                start += len(line) + 1


def found(folder: Path, url: str) -> list[Spool]:
    """Return journals for a history that nobody holds any more; they are held by this process now.

    Whoever calls this closes or removes each of them.
    """
    spools: list[Spool] = []
    try:
        paths = sorted(folder.glob(f"{digest(url)}-*{SUFFIX}"))
    except OSError:
        return []
    for path in paths:
        with _ours_lock:
            if path in _ours:
                continue
            _ours.add(path)
        spool = _taken(folder, url, path)
        if spool is None:
            with _ours_lock:
                _ours.discard(path)
        else:
            spools.append(spool)
    return spools


def forget() -> None:
    """Forget what the parent holds, in a forked child."""
    global _ours_lock
    _ours_lock = threading.Lock()
    _ours.clear()


def digest(url: str) -> str:
    """Return what stands for a URL in the names of journals."""
    return hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def framed(text: str) -> bytes:
    """Return a text as a line with its checksum."""
    body = text.encode("ascii")
    rest = b"%08x %s" % (len(body), body)
    return b"%08x %s\n" % (crc32(rest), rest)


def unframed(line: bytes) -> bytes | None:
    """Return the text of a line without its end; None if it isn't whole."""
    with suppress(ValueError):
        if int(line[:8], 16) == crc32(line[9:]) and int(line[9:17], 16) == len(line) - _HEAD:
            return line[_HEAD:]
    return None


def _taken(folder: Path, url: str, path: Path) -> Spool | None:
    """Return a journal if nobody held it; None if somebody does, or it is gone."""
    try:
        file = os.open(path, os.O_RDWR | _BINARY)
    except OSError:
        return None
    if not _hold(path, file):
        os.close(file)
        return None
    spool = Spool(folder, url)
    spool._adopt(path, file)  # pyright: ignore[reportPrivateUsage]
    return spool


def _hold(path: Path, file: int) -> bool:
    """Lock an open journal; return whether that worked, and it is still the one at the path."""
    try:
        _lock(file)
        # Whoever held it may have deleted it before we had the lock.
        return os.path.samestat(os.stat(path), os.fstat(file))
    except OSError:
        return False


def _lock(file: int) -> None:
    """Lock a file until it is closed, or this process ends.

    Raises:
        OSError: Another process has it.
    """
    if os.name == "nt":
        import msvcrt

        # A byte that nothing is written to: locked bytes can't be read there.
        os.lseek(file, 1 << 40, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # pyright: ignore
    else:
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    """Have a new file's name on the disk; where folders can't be opened there is no need."""
    with suppress(PermissionError, IsADirectoryError):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
