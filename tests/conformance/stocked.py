"""Threads with a few seats to ask for, for bugs in what no runner of this machine can do.

A chunk that wants more seats than are free waits for them in its thread. There are no threads, as
far as anybody is told, before there is some work.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.ports.runner import Chunk, Ref, Session, Site
from fanfold.values.errors import ChunkCancelled, ResourcesUnavailable
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources, Slots, Traits

SEAT = "seat"
SEATS = 2
WANT = Resources.of({SEAT: 1})
HONOURED = Traits(honours=frozenset({"custom"}))


@dataclass(frozen=True, slots=True)
class StockedTaskRunner:
    max_workers: int = 4
    grows: bool = False
    """Whether it begins with nothing."""

    def open(self, heard: Callable[[str, bytes], None]) -> Any:
        return StockedSession(ThreadPoolTaskRunner(self.max_workers).open(heard), self.grows)


class StockedSession:
    traits = HONOURED

    def __init__(self, inner: Session, grows: bool) -> None:
        self.inner = inner
        self.grows = grows
        self.empty = grows
        self.seats = Seats()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def slots(self) -> Slots:
        most = self.inner.slots().most
        now = 0 if self.empty else most
        return Slots(now=now, most=most, grows=self.grows, offers={SEAT: SEATS})

    def lacking(self, want: Resources) -> str:
        if want.beyond(self.traits.honours) or any(
            name != SEAT or amount > SEATS for name, amount in want.custom
        ):
            return f"no thread offers {want}"
        return "there are no threads" if self.empty else ""

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Ref:
        if beyond := want.beyond(self.traits.honours):
            raise ResourcesUnavailable(f"threads have no {', '.join(beyond)}")
        self.empty = False
        there = all(name == SEAT for name, _ in want.custom)
        wanted = int(sum(amount for _, amount in want.custom)) if there else SEATS + 1
        seated = Seated(chunk, self.seats, wanted) if wanted else chunk
        return self.inner.submit(seated, needs, shared, done=done)


class Seats:
    def __init__(self) -> None:
        self._free = SEATS
        self._news = threading.Condition()

    def take(self, wanted: int, site: Site) -> bool:
        """Wait for some; return False if the chunk is to stop first."""
        with self._news:
            while self._free < wanted:
                if site.stopping():
                    return False
                self._news.wait(0.01)
            self._free -= wanted
        return True

    def leave(self, wanted: int) -> None:
        with self._news:
            self._free += wanted
            self._news.notify_all()


@dataclass(frozen=True, slots=True)
class Seated:
    """A chunk that holds some seats while it runs."""

    chunk: Chunk
    seats: Seats
    wanted: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chunk, name)

    def run(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> tuple[Report, Any]:
        if not self.seats.take(self.wanted, site):
            error = ChunkCancelled("It was cancelled while it waited for a seat.")
            return Report(chunk=self.chunk.id, error=error, started=False), []
        try:
            return self.chunk.run(needs, shared, site)
        finally:
            self.seats.leave(self.wanted)
