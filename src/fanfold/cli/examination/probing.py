"""Tries a result storage with objects of its own, and leaves nothing behind.

Imported by workers, so it imports little.
"""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from fanfold.ports.results import ResultStore
from fanfold.values.errors import StoreError

FOLDER = "doctor-"
"""What names of the objects begin with."""
CONTENT = b"Left by fanfold doctor, which takes it away again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """How it went."""

    failure: str = ""
    """What couldn't be done, as a sentence; empty if all went well."""
    seconds: float = 0.0
    clock_s: tuple[float, float, float] | None = None
    """Time here before a write, the storage's own, and here after it; None if it doesn't tell."""


def try_store(store: ResultStore, name: str, left: str = "") -> Tried:
    """Write, read back, create exclusively, list and delete; never raises for what a store does.

    Args:
        store: The storage.
        name: Of a folder that nobody else uses; it is gone afterwards.
        left: Name of an object that another process has left, to be found here; empty for none.
    """
    began = time.monotonic()
    try:
        with leaving(store, FOLDER + name) as folder:
            clock_s = _tried(store, folder)
            if left:
                _find(store, left)
        return Tried(seconds=time.monotonic() - began, clock_s=clock_s)
    except StoreError as error:
        return Tried(failure=str(error))
    except Exception as error:  # a storage's library may raise anything: it is what is looked for
        return Tried(failure=f"{type(error).__name__}: {error}")


@contextmanager
def leaving(store: ResultStore, folder: str) -> Generator[str]:
    """Let objects be written below a folder; they and the folders made for it go afterwards."""
    root = _folder(store)
    made = _missing(os.path.join(root, folder)) if root else []

    def clear() -> None:
        store.remove(store.names(f"{folder}/"))
        for path in made:
            with suppress(OSError):  # somebody else uses it by now, or it was never made
                os.rmdir(path)

    try:
        yield folder
    except BaseException:
        with suppress(StoreError):  # what went wrong first says more
            clear()
        raise
    clear()


def _tried(store: ResultStore, folder: str) -> tuple[float, float, float] | None:
    written, created = f"{folder}/written", f"{folder}/created"
    before_s = time.time()
    store.write(written, [CONTENT])
    after_s = time.time()
    told_s = next((one.modified_s for one in store.listing(written)), None)
    if store.read(written) != CONTENT:
        raise StoreError(f"{store} gave back something else than was written.")
    if not store.create(created, CONTENT) or store.create(created, b"another"):
        raise StoreError(
            f"{store} doesn't create objects exclusively: two runs could both commit one result."
        )
    if store.names(f"{folder}/") != sorted([written, created]):
        raise StoreError(f"{store} doesn't list what was written.")
    return None if told_s is None else (before_s, told_s, after_s)


def _find(store: ResultStore, left: str) -> None:
    try:
        found = store.read(left)
    except StoreError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise StoreError(
            f"{store} here isn't the one that the driver writes to: what it wrote isn't there."
        ) from error
    if found != CONTENT:
        raise StoreError(f"What the driver wrote to {store} reads differently here.")


def _folder(store: ResultStore) -> str:
    """Return the folder of this machine that a store is; empty if it is none."""
    url = getattr(store, "url", "")
    path = url.removeprefix("file://")
    return "" if "://" in path or "::" in path else path


def _missing(path: str) -> list[str]:
    """Return the folders on a path that aren't there, the deepest first."""
    missing: list[str] = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing
