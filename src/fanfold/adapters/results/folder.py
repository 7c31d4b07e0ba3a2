"""Results in a folder of this machine, or in one that is mounted on it.

It is handled with system calls, for fsspec writes local files neither whole nor durably nor
exclusively. What a crash leaves behind are files that begin with `.tmp-`; they are no objects.
Where only the owner may write to the root, nobody else may to what is made below it, whatever the
umask says.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import FileIO
from uuid import uuid4

from fanfold.adapters.results.privacy import OTHERS_WRITE, Unclaimed, only_ours
from fanfold.adapters.results.probing import Creation
from fanfold.ports.results import TEMPORARY, Buffer, Listed, is_unfinished

_WRITE_BUFFER_BYTES = 1 << 20
"""Joins small parts; bigger ones are written as they are."""
_READ_BYTES = 1 << 30
"""One system call gives at most 2 GiB."""
_LIVED_IN_BYTES = 1 << 20
"""More is read into a buffer that can be written to, so that an array can live in it."""
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems say that have no hard links, such as those of memory cards."""


class Folder:
    """A connected folder; see `fanfold.ports.results` for what its methods do.

    Args:
        root: Its absolute path.
        told: What warnings call it.
    """

    def __init__(self, root: str, told: Callable[[], str]) -> None:
        self._root = root
        self._without_links = Creation(self, told, None)
        self._linked = True
        """As far as is known."""
        self._durable: set[str] = set()

    @property
    def private(self) -> bool:
        """Whether nobody but this user may write to the folder, or put another in its place.

        Where others could make it first, as in /tmp, it is made.
        """
        try:
            return only_ours(self._root)
        except Unclaimed:
            with suppress(Unclaimed, OSError):
                self._make(self._root)
                return only_ours(self._root)
            return False

    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        path = os.path.join(self._root, name)
        temporary, staged = self._stage(path, parts)
        try:
            os.replace(temporary, path)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(temporary)
            if not (isinstance(error, FileNotFoundError) and _is_file(path, staged)):
                raise
            # NFS has repeated a request whose answer was lost, and didn't find the file any more.
        _synchronise(os.path.dirname(path))

    def create(self, name: str, payload: bytes) -> bool:
        if self._linked:
            try:
                return self._link_new(name, payload)
            except NotImplementedError:
                self._linked = False
        return self._without_links.create(name, payload)

    def put_new(self, name: str, payload: bytes) -> None:
        if not self._link_new(name, payload):
            raise FileExistsError(f"{name} is there")

    def _link_new(self, name: str, payload: bytes) -> bool:
        """Put a file if there is none of that name; return whether it was put."""
        path = os.path.join(self._root, name)
        temporary, staged = self._stage(path, [payload])
        try:
            os.link(temporary, path)
        except FileExistsError:
            # NFS repeats a request whose answer was lost, and then finds its own link.
            if not _is_file(path, staged):
                return False
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise NotImplementedError("this file system has no hard links") from error
            raise
        finally:
            with suppress(OSError):  # what has become of the name is told above
                os.unlink(temporary)
        _synchronise(os.path.dirname(path))
        return True

    def names(self, prefix: str) -> Iterator[str]:
        for name, _ in self._found(prefix):
            yield name

    def listing(self, prefix: str) -> Iterator[Listed]:
        for name, entry in self._found(prefix, unfinished=prefix == TEMPORARY):
            with suppress(FileNotFoundError):  # removed meanwhile
                found = entry.stat()
                yield Listed(name=name, size_bytes=found.st_size, modified_s=found.st_mtime)

    def read(self, name: str, offset: int, length: int | None) -> Buffer:
        with self._opened(os.path.join(self._root, name)) as file:
            size = os.fstat(file.fileno()).st_size
            start = max(0, size + offset) if offset < 0 else offset
            if start > size:
                raise EOFError(f"it ends before byte {start}")
            file.seek(start)
            wanted = max(0, size - start if length is None else min(length, size - start))
            if wanted <= _LIVED_IN_BYTES:
                return file.read(wanted) or b""
            content, filled = bytearray(wanted), 0
            view = memoryview(content)
            while filled < wanted and (more := file.readinto(view[filled : filled + _READ_BYTES])):
                filled += more
            return view[:filled]

    def remove(self, names: Sequence[str]) -> None:
        folders: set[str] = set()
        for name in names:
            _unlink(os.path.join(self._root, name))
            folder = os.path.dirname(name)
            while folder and folder not in folders:
                folders.add(folder)
                folder = os.path.dirname(folder)
        for folder in sorted(folders, reverse=True):
            with suppress(OSError):  # something is in it
                os.rmdir(os.path.join(self._root, folder))

    def _found(
        self, prefix: str, *, unfinished: bool = False
    ) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
        asked = prefix.rpartition("/")[0]
        pending = [asked]
        while pending:
            folder = pending.pop()
            for entry in self._entries(folder, asked=folder == asked):
                name = f"{folder}/{entry.name}" if folder else entry.name
                ours = entry.name.startswith(TEMPORARY)
                if entry.is_dir():
                    leads = unfinished or name.startswith(prefix) or prefix.startswith(name)
                    if leads and not ours:
                        pending.append(name)
                elif is_unfinished(name) if unfinished else name.startswith(prefix) and not ours:
                    yield name, entry

    def _opened(self, path: str) -> FileIO:
        try:
            return FileIO(path)
        except (IsADirectoryError, NotADirectoryError) as error:
            if not os.path.isdir(self._root):
                raise
            raise FileNotFoundError(errno.ENOENT, "there is no such object", path) from error

    def _entries(self, folder: str, *, asked: bool) -> "list[os.DirEntry[str]]":
        """Return what is in a folder; nothing where it is none."""
        path = os.path.join(self._root, folder)
        try:
            with os.scandir(path) as entries:
                return list(entries)
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            if not os.path.isdir(self._root):
                raise
            return []  # for it is below an object
        except PermissionError:
            # A file system has folders of its own at its root, such as lost+found.
            if asked or "/" in folder or os.stat(path).st_uid == os.geteuid():
                raise
            return []

    def _stage(self, path: str, parts: Sequence[Buffer]) -> tuple[str, os.stat_result]:
        """Write a durable file that nobody sees into the folder of a path; return it."""
        folder = os.path.dirname(path)
        temporary = os.path.join(folder, TEMPORARY + uuid4().hex)
        descriptor = self._open(folder, temporary)
        try:
            with open(descriptor, "wb", buffering=_WRITE_BUFFER_BYTES) as file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
                return temporary, os.fstat(file.fileno())
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _open(self, folder: str, path: str) -> int:
        """Make a file, and the folders above it where they are missing."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        for last in (False, False, True):
            try:
                self._make(folder)
                return os.open(path, flags, 0o666 & ~self._kept_from_others)
            except FileNotFoundError:
                # The folder or one above it was made before, and somebody has removed it since.
                self._durable.clear()
                if last:
                    raise
        raise AssertionError("the last try returns or raises")

    def _make(self, folder: str) -> None:
        """Make a folder and its parents, and make them durable once per process.

        Up to the root also those that exist: whoever made them may not have come to that yet.
        """
        if folder in self._durable:
            return
        parent = os.path.dirname(folder)
        inside = len(folder) > len(self._root)
        if inside or not os.path.isdir(folder):
            if parent != folder:
                self._make(parent)
            with suppress(FileExistsError):
                os.mkdir(folder, 0o777 & ~self._kept_from_others)
            _synchronise(parent)
        self._durable.add(folder)

    @property
    def _kept_from_others(self) -> int:
        """The bits of a mode that what is made here must not have.

        None where the root is meant to be shared; then it is as the umask says.
        """
        with suppress(FileNotFoundError):
            if os.stat(self._root).st_mode & OTHERS_WRITE:
                return 0
        return OTHERS_WRITE


def _is_file(path: str, wanted: os.stat_result) -> bool:
    """Return whether a path leads to a file that is known by what was told of it."""
    try:
        return os.path.samestat(os.stat(path), wanted)
    except OSError:
        return False


def _unlink(path: str) -> None:
    """Remove a file, if there is one."""
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        pass
    except PermissionError:
        if not os.path.isdir(path):  # of which some systems say so
            raise


def _synchronise(folder: str) -> None:
    """Make a folder's entries durable, where that can be asked for."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems know this for files only, and have no entries to lose.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
