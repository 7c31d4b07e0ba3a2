"""What a session has sent and not heard the end of, and the handles that it gave out."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fanfold.values.errors import InfrastructureError, ValuesLost
from fanfold.values.messages import Report
from fanfold.values.resources import Resources
from fanfold_dask.native import NativeFuture


class Ref:
    """The handle on a chunk's values or on a shared payload; dropping the last one frees them."""

    __slots__ = ("__weakref__", "future", "natives", "never", "small")

    def __init__(self, future: NativeFuture | None, small: Sequence[bytes] = ()) -> None:
        self.future = future
        """None while no worker is there that could run the chunk."""
        self.never = False
        """It was given up before it was sent."""
        self.small = small
        """The values, once they came with the report; else empty."""
        self.natives: Sequence[NativeFuture] = ()
        """The users' own futures among the values, once the report is there."""

    def release(self) -> None:
        """Free what is kept on the cluster, though somebody may hold this."""
        self.natives = ()
        if self.future is not None:
            self.future.release()

    @property
    def gone(self) -> bool:
        """Whether Dask has lost the value, or never came to one."""
        return self.future is not None and self.future.status in ("cancelled", "error", "lost")


class Share(Ref):
    """A shared payload, kept here too, since it can't be made again from anything."""

    __slots__ = ("keys", "payload")

    def __init__(self, future: NativeFuture, payload: bytes, keys: Sequence[Any]) -> None:
        super().__init__(future)
        self.payload = payload
        self.keys = keys
        """Of the users' own futures in it."""


class Work(NamedTuple):
    """What is sent for a chunk."""

    payload: bytes
    """The pickled chunk."""
    priority: int
    want: Resources
    keys: Sequence[Any]
    """Of the users' own futures in it, whose values Dask is to move there."""


@dataclass(slots=True)
class Pending:
    """A submit whose `done` is still to be called."""

    chunk: str
    done: Callable[[Report], None]
    needs: Sequence[Ref]
    shared: Sequence[Ref]
    mark: str
    ref: Ref
    small: list[bytes]
    """Shared with the ref: filled if the values come with the report."""
    work: Work | None = None
    """Kept where it may have to be sent once more, or for the first time."""
    natives: Sequence[NativeFuture] = ()
    """The users' own futures that it was sent with."""
    workers: Sequence[str] = ()
    """Addresses of those that it was sent to alone."""
    since: float = field(default_factory=time.monotonic)
    examined: bool = False
    """Somebody finds out what its end means, and will tell: its future's end says nothing new."""
    lost: bool = False
    """Its worker is gone. Where the scheduler has run it again since, nobody wants to know."""

    @property
    def future(self) -> NativeFuture | None:
        """What Dask calls it; None while it isn't sent."""
        return self.ref.future

    @property
    def started(self) -> bool:
        """Whether it may have begun to run."""
        return self.future is not None and (not self.mark or os.path.exists(self.mark))

    @property
    def pid(self) -> int:
        """Id of the process that began to run it; 0 if that isn't known."""
        with suppress(OSError, ValueError):
            return int(Path(self.mark).read_text()) if self.mark else 0
        return 0


class Book:
    """All that is pending, by key. Thread-safe: each is taken out once, by whoever settles it."""

    def __init__(self) -> None:
        self._pending: dict[str, Pending] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._pending

    def add(self, key: str, pending: Pending) -> None:
        """Enter a submit."""
        self._pending[key] = pending

    def remove(self, key: str) -> None:
        """Strike out a submit that failed: `done` is never called."""
        self._pending.pop(key, None)

    def move(self, key: str, new: str) -> None:
        """Go on with a submit under another key."""
        pending = self._pending.pop(key, None)
        if pending is not None:
            self._pending[new] = pending

    def get(self, key: str) -> Pending | None:
        """Return a submit, if it is still pending."""
        return self._pending.get(key)

    def items(self) -> list[tuple[str, Pending]]:
        """Return everything that is pending, with its keys."""
        return list(self._pending.items())

    def examine(self, keys: Iterable[str], *, lost: bool = False) -> dict[str, Pending]:
        """Return those that are pending and nobody examines yet; the caller will settle them."""
        found: dict[str, Pending] = {}
        for key in keys:
            pending = self._pending.get(key)
            if pending is not None and not pending.examined:
                pending.examined = True
                pending.lost = lost
                found[key] = pending
        return found

    def fail(self, key: str, error: InfrastructureError) -> None:
        """Report an error, unless the chunk was reported before."""
        pending = self._pending.get(key)
        if pending is not None:
            started = not isinstance(error, ValuesLost) and pending.started
            self.settle(key, Report(chunk=pending.chunk, error=error, started=started))

    def settle(self, key: str, report: Report) -> None:
        """Call `done`, unless it was called before."""
        pending = self._pending.pop(key, None)
        if pending is None:
            return
        if pending.mark:
            Path(pending.mark).unlink(missing_ok=True)
        pending.done(report)
