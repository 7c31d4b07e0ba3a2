"""The result store port: where results are kept as named objects on storage that all can reach.

A store is a frozen, picklable, comparable and hashable description, such as
`FsspecStore("s3://bucket/results")`. It connects when it is first used, once per process, and with
the credentials that are found there. It knows nothing of tasks, keys or commits:
`segments` says what the objects hold, and the engine who may write which.

The rules, numbered as tests and comments name them:

- S1 An object is there as a whole or not at all, whoever dies between which two system calls.
- S2 What `write` and `create` have returned for is durable: it survives a loss of power.
- S3 Of all that `create` one name, in whatever process, exactly one gets True, if their payloads
  differ. A storage that can't do that is named in a warning when it is first asked to.
- S4 `names` lists what was written before it was called, and nothing that isn't an object: no
  unfinished writes, no folders, no markers.
- S5 Every failure is a `StoreError` that says which store could not do what with which object.
- S6 Names are relative to the store's root: parts joined by `/`, none of them empty, `.`, `..` or
  beginning with `.tmp-`. Folders need not be made. What isn't finished has names in that `remove`
  alone takes.
- S7 Faults that may pass are tried again inside, for a minute: an answer of 500, 503 or the like, a
  time-out, a connection that breaks, content that is cut off. Others are told at once. After a
  minute in vain each request is tried once, until one gets an answer.
- S8 A `create` whose acknowledgement was lost is settled by reading back: the winner gets True,
  also when the second try of its own was refused. So payloads must tell attempts apart.

All methods block, may be called from any thread, and are idempotent.
"""

import re
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

Buffer = bytes | bytearray | memoryview
"""Bytes that are written without being copied; a memoryview has to be contiguous."""

TEMPORARY = ".tmp-"
"""What no part of a name begins with but the last of an unfinished object's."""
_UNFINISHED = re.compile(r"(.*/)?\.tmp-(probe-)?[0-9a-f]{32}", re.DOTALL)

SEALED = ContextVar("SEALED", default=False)
"""Set while something is pickled for workers alone, whom it reaches unseen by others.

A store with `ship_credentials` then takes its credentials along; elsewhere none ever does.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as a listing shows it."""

    name: str
    size_bytes: int
    modified_s: float
    """When it was written, in unix seconds by the storage's clock.

    The time of the listing where the storage doesn't tell, so that nothing is taken for old.
    """


def is_unfinished(name: str) -> bool:
    """Return whether a name is of what `listing` of `TEMPORARY` shows and `remove` removes."""
    return _UNFINISHED.fullmatch(name) is not None


class ResultStore(Protocol):
    """A description of a place for objects; see the rules above."""

    @property
    def ship_credentials(self) -> bool:
        """Whether workers use the credentials of the driver, instead of their own."""
        ...

    @property
    def private(self) -> bool:
        """Whether only this user, and who may act as him, can write here.

        A storage that can't tell is not private. What is read from one that isn't may have been
        written by anybody.
        """
        ...

    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        """Put an object, joined from parts, where nobody else writes (S1, S2).

        An object of that name is replaced: a chunk may be staged twice. Names of committed objects
        must therefore not be written again with another content.

        Raises:
            StoreError: It can't be written.
        """
        ...

    def create(self, name: str, payload: bytes) -> bool:
        """Put an object unless there is one of that name; return whether it was put (S1 to S3).

        Raises:
            StoreError: It can't be written, or this storage can't create exclusively.
        """
        ...

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names of all objects that begin with a prefix (S4).

        Empty if there are none. A prefix that ends with `/`, or the empty one, asks for a folder.

        Raises:
            StoreError: The storage can't be listed.
        """
        ...

    def listing(self, prefix: str) -> list[Listed]:
        """Return what `names` does, each with its size and when it was written.

        Of the prefix `TEMPORARY` alone what isn't finished, wherever it lies: what is old was left
        by writers that were killed. Nothing where such can't be told or isn't left.

        Raises:
            StoreError: The storage can't be listed.
        """
        ...

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Buffer:
        """Return an object's content, or the part of it that was asked for, held once.

        Args:
            name: The object's name.
            offset: Where to begin. A negative one counts from the end, and means the whole object
                if that is shorter.
            length: How many bytes; None for all that follow. Only with an offset from the start.

        Raises:
            StoreError: There is no such object, or it ends before the last byte that was asked for.
                Its cause is a FileNotFoundError in the first case and an EOFError in the second.
        """
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects; those that aren't there are fine.

        Whoever reads one meanwhile gets all of it or is told that it isn't there.

        Raises:
            StoreError: One of them can't be removed; others may be gone.
        """
        ...
