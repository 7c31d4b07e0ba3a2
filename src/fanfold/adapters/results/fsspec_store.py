"""Results on any storage that fsspec reaches: a folder, memory, S3, GCS, Azure and others.

A folder on this machine is a `file://` or a plain path; `memory://` is the in-memory store, shared
by the threads of one process.
"""

import os
import platform
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fanfold.adapters.results import addresses, credentials, schemes
from fanfold.adapters.results.faults import advice, denied
from fanfold.adapters.results.folder import Folder
from fanfold.adapters.results.remote import Remote
from fanfold.adapters.results.s3 import S3
from fanfold.ports.results import SEALED, TEMPORARY, Buffer, Listed, is_unfinished
from fanfold.values.errors import StoreError
from fanfold.values.secrets import hide

_S3 = frozenset({"s3", "s3a"})
_AGAIN_S = 30.0
"""After a refusal a process connects again at most so often, to find other credentials."""


@dataclass(frozen=True, slots=True)
class FsspecStore:
    """A result store at an fsspec URL; see `fanfold.ports.results.ResultStore` for the contract.

    Args:
        url: Where the root is, such as `s3://bucket/results`. A folder's path is made absolute
            here, as workers have other working directories.
        options: Keyword arguments for the file system, such as `{"endpoint_url": ...}`. A text such
            as `"env:MY_SECRET"` or `"file:/run/secrets/token"` stands for what that variable or
            file holds in the process that connects. Secrets that are written out are known to this
            process alone.
        ship_credentials: Whether workers get the credentials that this process has found, instead
            of finding their own. They travel over loopback or TLS; elsewhere it is refused.

    Raises:
        UnknownStorage: Nothing is installed for such a URL; says what to install.
        UsageError: The URL is misspelt; says how to write it.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    ship_credentials: bool = field(default=False, kw_only=True)
    held: Mapping[str, Any] = field(
        default_factory=dict, init=False, repr=False, compare=False, hash=False
    )
    """Secrets that were written out."""
    travelled: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether it was unpickled."""
    mark: str = field(default="", init=False, repr=False, compare=False)
    """Which secrets were written out, for copies without them; drawn, so it tells nothing else."""

    def __post_init__(self) -> None:
        url, passwords = addresses.settled(self.url)
        options, held = credentials.divided(credentials.joined(self.options or {}, passwords))
        object.__setattr__(self, "url", url)
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "held", held)
        if held:
            plain = _plain_identity(self)
            mark = _marks.setdefault((plain, credentials.frozen(held)), uuid4().hex)
            object.__setattr__(self, "mark", mark)
            _came[plain, mark] = credentials.joined(options, held)
            _last_mark[plain] = mark

    def __str__(self) -> str:
        """Return the URL without a user that may be in it."""
        return addresses.shown(self.url)

    def __reduce__(self) -> tuple[Any, ...]:
        shipped = _shipped(self) if self.ship_credentials and SEALED.get() else None
        return _travelled, (self.url, self.options, self.ship_credentials, shipped, self.mark)

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
            return sorted(set(place.names(prefix)))  # some list twice what is written meanwhile

    def listing(self, prefix: str) -> list[Listed]:
        with self._telling("list", prefix + "*", _folders(prefix)) as place:
            listed = {one.name: one for one in place.listing(prefix)}
            return [listed[name] for name in sorted(listed)]

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
        checked = [_folders(name) if is_unfinished(name) else [name] for name in names]
        with self._telling("remove", told, list(chain.from_iterable(checked))) as place:
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
            yield _connected(self)
        except Exception as error:
            if denied(error):
                _reconsider(self)
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
            raise StoreError(
                f"Store {self} could not {operation} {told}: "
                f"{reason.rstrip('.')}{notes}{self._next_step(error)}"
            ) from error

    def _next_step(self, error: Exception) -> str:
        """Return what to do next, as the end of what is said."""
        step = schemes.advice(self.url) if isinstance(error, ImportError) else advice(error)
        own = denied(error) or isinstance(error, LookupError)
        if own and self.travelled and not self.ship_credentials:
            step += (
                f" Workers use their own credentials for the storage, and so does this one on "
                f"{platform.node()}. FsspecStore(..., ship_credentials=True) sends them the "
                "driver's."
            )
        return f". {step.strip()}" if step else ""


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


@dataclass(frozen=True, slots=True)
class _Connected:
    place: _Place
    options: Any
    """What it was made with, frozen."""
    since_s: float = field(default_factory=time.monotonic)


_places: dict[Any, _Connected] = {}
_came: dict[Any, Mapping[str, Any]] = {}
"""Options with credentials that were shipped here or written out here, for copies without them."""
_marks: dict[Any, str] = {}
"""Of the secrets that were written out here."""
_last_mark: dict[Any, str] = {}
"""Of those that were written out last for what is the same without them: copies from processes
that have written out their own use them too."""
_inherited: list[Any] = []
"""File systems of the process that this one was forked from, never to be collected here."""
_connecting = threading.Lock()


def _after_fork() -> None:
    global _connecting
    _places.clear()  # a forked process makes its own connections
    _connecting = threading.Lock()


def _let_go(system: Any, close: Callable[[Any], None] | None, process: int) -> None:
    """Part with the file system of a place that nobody uses any more."""
    if os.getpid() != process:
        # When it is collected it closes connections of the parent, which would hear no more of
        # them.
        _inherited.append(system)
    elif close is not None:
        close(system)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _connected(store: FsspecStore) -> _Place:
    """Return the place that a store describes; one for the process."""
    identity = _identity(store)
    found = _places.get(identity)
    if found is None:
        with _connecting:
            found = _places.get(identity)
            if found is None:
                found = _places[identity] = _connect(store)
    return found.place


def _connect(store: FsspecStore) -> _Connected:
    full = _full_options(store)
    made_with = credentials.frozen(full)
    options = {"use_listings_cache": False, "skip_instance_cache": True, **full}
    try:
        system, root = fsspec.core.url_to_fs(store.url, **options)
        place = _place(store, system, root)
    except FileNotFoundError as error:
        # Not to be taken for an object that isn't there.
        raise OSError(f"it can't be connected to: {error}") from error
    except TypeError as error:
        raise credentials.unknown_option(error) from None
    if not isinstance(place, Folder):
        close = S3.close if isinstance(place, S3) else None
        weakref.finalize(place, _let_go, system, close, os.getpid()).atexit = False
    return _Connected(place, made_with)


def _place(store: FsspecStore, system: Any, root: str) -> _Place:
    if isinstance(system, LocalFileSystem):
        return Folder(root, store.__str__)
    if _S3.intersection(system.protocol):
        return S3(system, root, store.__str__)
    return Remote(system, root.rstrip("/"), store.__str__)


def _reconsider(store: FsspecStore) -> None:
    """Have a store that was refused connect anew if other credentials may be found by that."""
    identity = _identity(store)
    found = _places.get(identity)
    if found is None:
        return
    with suppress(Exception):  # what is named can't be found: that shall be told next time
        same = credentials.frozen(_full_options(store)) == found.options
        if same and time.monotonic() - found.since_s < _AGAIN_S:
            return
    _places.pop(identity, None)


def _identity(store: FsspecStore) -> Any:
    return store.url, credentials.frozen(_used(store))


def _plain_identity(store: FsspecStore) -> Any:
    return store.url, credentials.frozen(store.options)


def _used(store: FsspecStore) -> Mapping[str, Any]:
    """Return a store's options with the secrets that are known here for it."""
    if store.travelled:
        plain = _plain_identity(store)
        came = _came.get((plain, store.mark))
        if came is None and store.mark:
            came = _came.get((plain, _last_mark.get(plain)))
        if came is not None:
            return came
    return credentials.joined(store.options, store.held)


def _full_options(store: FsspecStore) -> dict[str, Any]:
    """Return what a store's file system is made with, secrets and all."""
    return credentials.resolved(_used(store))


def _shipped(store: FsspecStore) -> dict[str, Any]:
    """Return a store's options as they are here, with the credentials that are found here."""
    place = _connected(store)
    options = _full_options(store)
    if isinstance(place, S3):
        return place.shipped(options)
    if isinstance(place, Remote) and not place.private and options == store.options:
        raise StoreError(
            f"{store} has no credentials in its options that could be sent to workers. Name them "
            "there, such as 'env:MY_SECRET', or leave out ship_credentials."
        )
    return options


def _travelled(
    url: str,
    options: Mapping[str, Any],
    ship_credentials: bool,
    shipped: dict[str, Any] | None,
    mark: str,
) -> FsspecStore:
    """Return a store that was pickled; what was shipped counts for all that are equal to it."""
    store = object.__new__(FsspecStore)
    values = (url, options, ship_credentials, {}, True, mark)
    for name, value in zip(FsspecStore.__slots__, values, strict=True):
        object.__setattr__(store, name, value)
    if shipped is not None:
        hide(shipped)
        key = _plain_identity(store), mark
        came = _came.get(key)
        if came != shipped:
            if came is not None:
                _places.pop(_identity(store), None)
            _came[key] = shipped
    return store


def _folders(prefix: str) -> list[str]:
    """Return the folder that a prefix is in, as a name to check; none for the root."""
    folder = prefix.rpartition("/")[0]
    return [folder] if folder else []


def _check_name(name: str) -> None:
    for part in name.split("/"):
        if part in ("", ".", "..") or part.startswith(TEMPORARY):
            raise ValueError(f"{part!r} can't be a part of an object's name")
