"""How a chunk that waits for chunks of its own lends them what it holds.

Ray takes back the CPU of a task only while its main thread sits in `ray.get`. An element waits
elsewhere, so its slot stays taken, and a chain of waiting elements would starve on a full cluster.
So while a chunk waits, one chunk of its own at a time asks Ray only for what it wants beyond that,
and runs on the same node if it can. A chunk that was sent before, and queues for a slot of its own,
is recalled and sent again.

GPUs aren't lent: Ray shows a task those alone that it gave to it.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace

from fanfold.values.resources import Resources


class Slot:
    """What a running chunk holds. Thread-safe.

    Args:
        holds: What it asked for.
        node: Ray's id of the node where it runs.
    """

    def __init__(self, holds: Resources, node: str) -> None:
        self.node = node
        self._holds = holds
        self._lock = threading.Lock()
        self._waits = 0
        self._borrower: int | None = None
        self._offer: Callable[[], None] | None = None

    @property
    def free(self) -> bool:
        """Whether it is to be lent now."""
        return self._waits > 0 and self._borrower is None

    def offered_by(self, offer: Callable[[], None]) -> None:
        """Call something that doesn't block whenever the slot becomes free."""
        self._offer = offer

    @contextmanager
    def waiting(self) -> Generator[None, None, None]:
        """Lend it inside."""
        with self._lock:
            self._waits += 1
            offer = self._offer if self._borrower is None else None
        if offer is not None:
            offer()
        try:
            yield
        finally:
            with self._lock:
                self._waits -= 1

    def take(self, ticket: int) -> bool:
        """Lend it to a chunk, if it is free."""
        with self._lock:
            if not self.free:
                return False
            self._borrower = ticket
            return True

    def give_back(self, ticket: int) -> None:
        """Take it back if this chunk had it."""
        with self._lock:
            if self._borrower != ticket:
                return
            self._borrower = None
            offer = self._offer if self._waits else None
        if offer is not None:
            offer()

    def beyond(self, want: Resources) -> Resources:
        """Return what a chunk has to ask for that borrows it."""
        held = dict(self._holds.custom)
        custom = {name: max(0.0, amount - held.get(name, 0.0)) for name, amount in want.custom}
        return replace(
            want,
            cpu=max(0.0, want.cpu - self._holds.cpu),
            memory=max(0, want.memory - self._holds.memory),
            custom=tuple((name, amount) for name, amount in custom.items() if amount),
        )
