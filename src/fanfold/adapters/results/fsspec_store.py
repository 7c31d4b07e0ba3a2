"""Results on any storage that fsspec reaches: a folder, memory, S3, GCS, Azure and others.

A folder on this machine is a `file://` or a plain path; `memory://` is the in-memory store, shared
by the threads of one process.
"""

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fanfold.adapters.results.faults import advice
from fanfold.adapters.results.folder import TEMPORARY, Folder
from fanfold.adapters.results.remote import Remote
from fanfold.adapters.results.s3 import S3
from fanfold.ports.results import Buffer, Listed
from fanfold.values.errors import StoreError


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

    @property
    def private(self) -> bool:
        with self._telling("reach", "its root") as place:
            return place.private

    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        with self._telling("write", name, [name]) as place:
            place.write(name, parts)

    def create(self, name: str, payload: bytes) -> bool:
        with self._telling("create", name, [name]) as place:
            return place.create(name, payload)

    def names(self, prefix: str) -> list[str]:
        with self._telling("list", prefix + "*", _folders(prefix)) as place:
            return sorted(place.names(prefix))

    def listing(self, prefix: str) -> list[Listed]:
        with self._telling("list", prefix + "*", _folders(prefix)) as place:
            return sorted(place.listing(prefix), key=lambda one: one.name)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Buffer:
        with self._telling("read", name, [name]) as place:
            content = place.read(name, offset, length)
            short = len(content) != length if length is not None else offset > 0 and not content
            if short:
                raise EOFError(f"it ends before byte {offset + (length or 1)}")
            return content

    def remove(self, names: Sequence[str]) -> None:
        if not names:
            return
        told = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        with self._telling("remove", told, names) as place:
            place.remove(names)

    @contextmanager
    def _telling(
        self, operation: str, told: str, names: Sequence[str] = ()
    ) -> Generator["_Place", None, None]:
        """Turn whatever an implementation raises into an error that says what failed.

        Not only OSErrors: some raise exceptions of the client library that they use. None is lost,
        for each is the cause of the StoreError.
        """
        try:
            for name in names:
                _check_name(name)
            yield _connect(self, os.getpid())
        except Exception as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
            next_step = advice(error)
            end = f". {next_step}" if next_step else ""
            raise StoreError(
                f"Store {self} could not {operation} {told}: {reason}{notes}{end}"
            ) from error


class _Place(Protocol):
    """A connected store; names are checked and errors native."""

    @property
    def private(self) -> bool: ...

    def write(self, name: str, parts: Sequence[Buffer]) -> None: ...

    def create(self, name: str, payload: bytes) -> bool: ...

    def names(self, prefix: str) -> Iterator[str]: ...

    def listing(self, prefix: str) -> Iterator[Listed]: ...

    def read(self, name: str, offset: int, length: int | None) -> Buffer: ...

    def remove(self, names: Sequence[str]) -> None: ...


@lru_cache(maxsize=64)
def _connect(store: FsspecStore, process: int) -> _Place:
    """Return the place that a store describes; a forked process makes its own connections."""
    options = {"use_listings_cache": False, "skip_instance_cache": True, **store.options}
    system, root = fsspec.core.url_to_fs(store.url, **options)
    if isinstance(system, LocalFileSystem):
        return Folder(root)
    if "s3" in system.protocol:
        return S3(system, root, store.__str__)
    return Remote(system, root.rstrip("/"), store.__str__)


def _folders(prefix: str) -> list[str]:
    """Return the folder that a prefix is in, as a name to check; none for the root."""
    folder = prefix.rpartition("/")[0]
    return [folder] if folder else []


def _check_name(name: str) -> None:
    for part in name.split("/"):
        if part in ("", ".", "..") or part.startswith(TEMPORARY):
            raise ValueError(f"{part!r} can't be a part of an object's name")
