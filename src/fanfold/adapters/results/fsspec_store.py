"""Results on any storage that fsspec reaches: a folder, memory, S3, GCS, Azure and others.

A folder on this machine (`file://` or a plain path) is handled with system calls, for fsspec writes
local files neither whole nor durably nor exclusively. Everything else goes through fsspec, whose
`mode="create"` is the exclusive one, where the implementation has it.
`memory://` is the in-memory store, shared by the threads of one process.

What a crash leaves behind in a folder are files that begin with `.tmp-`; they are never listed.
"""

import errno
import inspect
import os
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol
from uuid import uuid4

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from fanfold.ports.results import Buffer
from fanfold.values.errors import StoreError

_TEMPORARY = ".tmp-"
_WRITE_BUFFER_BYTES = 1 << 20
"""Joins small parts; bigger ones are written as they are."""


@dataclass(frozen=True, slots=True)
class FsspecStore:
    """A result store at an fsspec URL; see `fanfold.ports.results.ResultStore` for the contract.

    Args:
        url: Where the root is, such as `s3://bucket/results`. A plain path is made absolute here,
            as workers have other working directories.
        options: Keyword arguments for the file system. They travel with the store to the workers,
            so leave out secrets: each process finds its own credentials.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    def __post_init__(self) -> None:
        if "://" not in self.url and "::" not in self.url:
            object.__setattr__(self, "url", os.path.abspath(os.path.expanduser(self.url)))

    def __str__(self) -> str:
        """Return the URL without a user or password that may be in it."""
        scheme, separator, rest = self.url.partition("://")
        host, slash, path = rest.partition("/")
        return scheme + separator + host.rpartition("@")[2] + slash + path

    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        with self._telling("write", name, name) as place:
            place.write(name, parts)

    def create(self, name: str, payload: bytes) -> bool:
        with self._telling("create", name, name) as place:
            return place.create(name, payload)

    def names(self, prefix: str) -> list[str]:
        folder = prefix.rpartition("/")[0]
        with self._telling("list", prefix + "*", folder or None) as place:
            return sorted(name for name in place.names(folder) if name.startswith(prefix))

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._telling("read", name, name) as place:
            content = place.read(name, offset, length)
            short = len(content) != length if length is not None else offset > 0 and not content
            if short:
                raise EOFError(f"it ends before byte {offset + (length or 1)}")
            return content

    @contextmanager
    def _telling(
        self, operation: str, told: str, name: str | None
    ) -> Generator["_Place", None, None]:
        """Turn whatever an implementation raises into an error that says what failed.

        Not only OSErrors: some raise exceptions of the client library that they use. None is lost,
        for each is the cause of the StoreError.
        """
        try:
            if name is not None:
                _check_name(name)
            yield _connect(self, os.getpid())
        except Exception as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise StoreError(f"Store {self} could not {operation} {told}: {reason}") from error


class _Place(Protocol):
    """A connected store; names are checked and errors native."""

    def write(self, name: str, parts: Sequence[Buffer]) -> None: ...

    def create(self, name: str, payload: bytes) -> bool: ...

    def names(self, folder: str) -> Iterator[str]: ...

    def read(self, name: str, offset: int, length: int | None) -> bytes: ...


@lru_cache(maxsize=64)
def _connect(store: FsspecStore, process: int) -> _Place:
    """Return the place that a store describes; a forked process makes its own connections."""
    options = {"use_listings_cache": False, **store.options}
    system, root = fsspec.core.url_to_fs(store.url, **options)
    if isinstance(system, LocalFileSystem):
        return _Folder(root)
    return _Remote(system, root.rstrip("/"))


def _check_name(name: str) -> None:
    for part in name.split("/"):
        if part in ("", ".", "..") or part.startswith(_TEMPORARY):
            raise ValueError(f"{part!r} can't be a part of an object's name")


class _Folder:
    """A folder of this machine, or one that is mounted on it."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._durable: set[str] = set()

    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        path = os.path.join(self._root, name)
        temporary = self._stage(path, parts)
        try:
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        _synchronise(os.path.dirname(path))

    def create(self, name: str, payload: bytes) -> bool:
        path = os.path.join(self._root, name)
        temporary = self._stage(path, [payload])
        try:
            try:
                os.link(temporary, path)
            except FileExistsError:
                # NFS repeats a request whose answer was lost, and then finds its own link.
                if os.stat(temporary).st_nlink < 2:
                    return False
            _synchronise(os.path.dirname(path))
            return True
        finally:
            os.unlink(temporary)

    def names(self, folder: str) -> Iterator[str]:
        pending = [folder]
        while pending:
            folder = pending.pop()
            for entry in _entries(os.path.join(self._root, folder)):
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir():
                    pending.append(name)
                elif not entry.name.startswith(_TEMPORARY):
                    yield name

    def read(self, name: str, offset: int, length: int | None) -> bytes:
        with open(os.path.join(self._root, name), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            start = max(0, size + offset) if offset < 0 else offset
            if start > size:
                raise EOFError(f"it ends before byte {start}")
            file.seek(start)
            wanted = max(0, size - start if length is None else min(length, size - start))
            content = file.read(wanted) or b""
            # One read call gives at most 2 GiB.
            while len(content) < wanted and (more := file.read(wanted - len(content))):
                content += more
            return content

    def _stage(self, path: str, parts: Sequence[Buffer]) -> str:
        """Write a durable file that nobody sees into the folder of a path; return its path."""
        folder = os.path.dirname(path)
        temporary = os.path.join(folder, _TEMPORARY + uuid4().hex)
        try:
            self._make(folder)
            file = open(temporary, "xb", buffering=_WRITE_BUFFER_BYTES)  # noqa: SIM115
        except FileNotFoundError:
            # The folder or one above it was made before, and somebody has removed it since.
            self._durable.clear()
            self._make(folder)
            file = open(temporary, "xb", buffering=_WRITE_BUFFER_BYTES)  # noqa: SIM115
        try:
            with file:
                file.writelines(parts)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            os.unlink(temporary)
            raise
        return temporary

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
                os.mkdir(folder)
            _synchronise(parent)
        self._durable.add(folder)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


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


class _Remote:
    """Everything that isn't a folder: put and get of whole objects are the storage's own."""

    def __init__(self, system: Any, root: str) -> None:
        self._system = system
        self._root = root
        self._exclusive = _creates(system)
        # fsspec's memory looks whether an object is there and then puts it, in two steps.
        self._one_by_one = _memory_lock if isinstance(system, MemoryFileSystem) else _NoLock()

    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        self._system.pipe_file(f"{self._root}/{name}", b"".join(parts))

    def create(self, name: str, payload: bytes) -> bool:
        if not self._exclusive:
            kind = type(self._system).__name__
            raise NotImplementedError(f"fsspec's {kind} can't create an object exclusively")
        path = f"{self._root}/{name}"
        try:
            with self._one_by_one:
                self._system.pipe_file(path, payload, mode="create")
        except OSError:
            # Not every implementation turns a failed condition into a FileExistsError.
            if self._system.exists(path):
                return False
            raise
        return True

    def names(self, folder: str) -> Iterator[str]:
        path = f"{self._root}/{folder}" if folder else self._root
        # Some implementations keep listings whatever their options say.
        self._system.invalidate_cache()
        start = len(self._root) + 1
        for found in self._system.find(path):
            yield found[start:]

    def read(self, name: str, offset: int, length: int | None) -> bytes:
        path = f"{self._root}/{name}"
        if length == 0:
            # An empty range can't be asked for, but whether the object is that long can.
            if self._system.size(path) < offset:
                raise EOFError(f"it ends before byte {offset}")
            return b""
        if offset < 0:
            offset = -min(-offset, self._system.size(path))
            if not offset:
                return b""
        end = None if length is None else offset + length
        return self._system.cat_file(path, start=offset or None, end=end)


class _NoLock:
    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


_memory_lock = threading.Lock()


def _creates(system: Any) -> bool:
    """Return whether an implementation has its own exclusive mode, not fsspec's look-then-put."""
    name, general = "pipe_file", fsspec.AbstractFileSystem
    if isinstance(system, AsyncFileSystem):
        name, general = "_pipe_file", AsyncFileSystem
    method = getattr(type(system), name)
    return method is not getattr(general, name) and "mode" in inspect.signature(method).parameters
