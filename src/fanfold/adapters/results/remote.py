"""Results on whatever fsspec reaches: put and get of whole objects are the storage's own.

`mode="create"` is fsspec's exclusive mode, where the implementation has one.
"""

import errno
import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from fanfold.adapters.results.faults import refused_condition
from fanfold.adapters.results.probing import Creation
from fanfold.adapters.results.reaching import Reach
from fanfold.ports.results import TEMPORARY, Buffer, Listed, is_unfinished

T = TypeVar("T")
_CLOCKS = ("LastModified", "last_modified", "updated", "mtime", "created")
"""Under which file systems tell when an object was written, the best first."""
_memory_lock = threading.Lock()


def _after_fork() -> None:
    global _memory_lock
    _memory_lock = threading.Lock()  # whoever held it isn't here


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Remote:
    """A connected file system of fsspec.

    Args:
        system: The file system.
        root: The path of the root there.
        told: What warnings call it.
    """

    def __init__(self, system: Any, root: str, told: Callable[[], str]) -> None:
        self._system = system
        self._root = root
        self._moved = _grows(system)
        self.reach = Reach(told)
        self.private = isinstance(system, MemoryFileSystem)
        """Memory alone is nobody else's."""
        self._creation = Creation(self, told, True if self.private else None)
        # fsspec's memory looks whether an object is there and then puts it, in two steps.
        self._one_by_one = _memory_lock if self.private else nullcontext()

    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        payload = b"".join(parts)
        put = self._replace if self._moved else self._system.pipe_file
        self._put(lambda path: put(path, payload), name)

    def put_new(self, name: str, payload: bytes) -> None:
        if not _creates(self._system):
            raise NotImplementedError(f"fsspec's {type(self._system).__name__} can't do that")

        def put(path: str) -> None:
            with self._one_by_one:
                self._system.pipe_file(path, payload, mode="create")

        try:
            self._put(put, name)
        except OSError as error:
            # Not every implementation turns a failed condition into a FileExistsError.
            if refused_condition(error) or not self._system.exists(self._path(name)):
                raise
            raise FileExistsError(str(error)) from error

    def create(self, name: str, payload: bytes) -> bool:
        return self._creation.create(name, payload)

    def names(self, prefix: str) -> Iterator[str]:
        for name, _ in self._found(prefix):
            yield name

    def listing(self, prefix: str) -> Iterator[Listed]:
        now_s = time.time()
        unfinished = prefix == TEMPORARY
        if unfinished and not self._moved:
            return
        for name, info in self._found("" if unfinished else prefix, unfinished=unfinished):
            yield Listed(name=name, size_bytes=info["size"], modified_s=_clock(info, now_s))

    def read(self, name: str, offset: int, length: int | None) -> Buffer:
        return self._ask(lambda path: self._read(path, offset, length), name)

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self._ask(self._system.rm_file, name)

    def _replace(self, path: str, payload: bytes) -> None:
        """Put an object that nobody sees before it is whole."""
        temporary = f"{_parent(path)}/{TEMPORARY}{uuid4().hex}"
        try:
            self._system.pipe_file(temporary, payload)
            try:
                self._system.mv(temporary, path)
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
                self._system.rm_file(path)  # not every server renames onto what is there
                self._system.mv(temporary, path)
        except BaseException:
            with suppress(Exception):
                self._system.rm_file(temporary)
            raise

    def _read(self, path: str, offset: int, length: int | None) -> Buffer:
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
        content = self._system.cat_file(path, start=offset or None, end=end)
        if length is not None and len(content) < length:
            size = self._system.size(path)
            if size >= offset + length:
                raise ConnectionError(f"only {len(content)} of {length} bytes came")
        return content

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _ask(self, do: Callable[[str], T], name: str) -> T:
        """Do something with a path, again where that fails by what may pass."""
        path = self._path(name)
        return self.reach.ask(lambda: do(path))

    def _put(self, put: Callable[[str], None], name: str) -> None:
        try:
            self._ask(put, name)
        except FileNotFoundError:
            # Some have folders, and make none by themselves.
            self._ask(lambda path: self._system.makedirs(_parent(path), exist_ok=True), name)
            self._ask(put, name)

    def _find(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._system.find(path, detail=True)
        if not found:
            # Some find nothing where they can't connect, so this is no answer.
            raise FileNotFoundError(path)
        return found

    def _found(
        self, prefix: str, *, unfinished: bool = False
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        folder = prefix.rpartition("/")[0]
        # Some implementations keep listings whatever their options say.
        self._system.invalidate_cache()
        start = len(self._root) + 1
        everything: dict[str, Any] = {}
        with suppress(FileNotFoundError):
            everything = self._ask(self._find, folder)
        for found, info in everything.items():
            name = found[start:]
            hidden = name.rpartition("/")[2].startswith(TEMPORARY)
            if is_unfinished(name) if unfinished else name.startswith(prefix) and not hidden:
                yield name, info


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _clock(info: Mapping[str, Any], now_s: float) -> float:
    """Return when an object was written, as its file system tells."""
    told = next((info[key] for key in _CLOCKS if info.get(key) is not None), now_s)
    if isinstance(told, str):
        told = datetime.fromisoformat(told)
    return told.timestamp() if isinstance(told, datetime) else float(told)


def _creates(system: Any) -> bool:
    """Return whether an implementation has its own exclusive mode, not fsspec's look-then-put."""
    put = _own(system, "pipe_file")
    return put is not None and "mode" in inspect.signature(put).parameters


def _grows(system: Any) -> bool:
    """Return whether an object is there before it is whole, where it could be moved into place.

    So it is where an implementation leaves it to fsspec to open a file, write to it and close it.
    """
    while isinstance(system, DirFileSystem):
        system = system.fs
    moves = type(system).mv is not fsspec.AbstractFileSystem.mv
    return moves and _own(system, "pipe_file") is None


def _own(system: Any, name: str) -> Callable[..., Any] | None:
    """Return a method of an implementation, if it isn't fsspec's general one."""
    general: type = fsspec.AbstractFileSystem
    if isinstance(system, AsyncFileSystem):
        name, general = f"_{name}", AsyncFileSystem
    method = getattr(type(system), name)
    return None if method is getattr(general, name) else method
