"""Results on whatever fsspec reaches: put and get of whole objects are the storage's own.

`mode="create"` is fsspec's exclusive mode, where the implementation has one.
"""

import inspect
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from fanfold.ports.results import Buffer, Listed

_CLOCKS = ("LastModified", "last_modified", "updated", "mtime", "created")
"""Under which file systems tell when an object was written, the best first."""
_memory_lock = threading.Lock()


class Remote:
    """A connected file system of fsspec."""

    def __init__(self, system: Any, root: str) -> None:
        self._system = system
        self._root = root
        self._exclusive = _creates(system)
        self.private = isinstance(system, MemoryFileSystem)
        """Memory alone is nobody else's."""
        # fsspec's memory looks whether an object is there and then puts it, in two steps.
        self._one_by_one = _memory_lock if self.private else nullcontext()

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

    def names(self, prefix: str) -> Iterator[str]:
        for name, _ in self._found(prefix):
            yield name

    def listing(self, prefix: str) -> Iterator[Listed]:
        now_s = time.time()
        for name, info in self._found(prefix):
            yield Listed(name=name, size_bytes=info["size"], modified_s=_clock(info, now_s))

    def read(self, name: str, offset: int, length: int | None) -> Buffer:
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

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self._system.rm_file(f"{self._root}/{name}")

    def _found(self, prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        folder = prefix.rpartition("/")[0]
        path = f"{self._root}/{folder}" if folder else self._root
        # Some implementations keep listings whatever their options say.
        self._system.invalidate_cache()
        start = len(self._root) + 1
        for found, info in self._system.find(path, detail=True).items():
            if found.startswith(prefix, start):
                yield found[start:], info


def _clock(info: Mapping[str, Any], now_s: float) -> float:
    """Return when an object was written, as its file system tells."""
    told = next((info[key] for key in _CLOCKS if info.get(key) is not None), now_s)
    if isinstance(told, str):
        told = datetime.fromisoformat(told)
    return told.timestamp() if isinstance(told, datetime) else float(told)


def _creates(system: Any) -> bool:
    """Return whether an implementation has its own exclusive mode, not fsspec's look-then-put."""
    name, general = "pipe_file", fsspec.AbstractFileSystem
    if isinstance(system, AsyncFileSystem):
        name, general = "_pipe_file", AsyncFileSystem
    method = getattr(type(system), name)
    return method is not getattr(general, name) and "mode" in inspect.signature(method).parameters
