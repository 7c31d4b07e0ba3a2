"""The chunks of a session that are out, and the one place where each is told of."""

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fanfold.values.messages import Report
from fanfold.values.resources import Resources
from fanfold_ray.words import Batch, Place


@dataclass(eq=False, slots=True, weakref_slot=True, kw_only=True)
class Held:
    """A handle on values; while it lives, so do they. Ray's own can't be referred to weakly."""

    reference: Any
    session: str = ""
    ticket: int = -1
    missing: bool = False
    """Known to have no values."""
    payload: bytes | None = None
    """What was shared, to be put there again on a Ray that was started anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What a chunk was submitted with, for it may have to be submitted again."""

    label: str
    want: Resources
    arguments: tuple[Any, ...]


@dataclass(eq=False, slots=True, kw_only=True)
class Flight:
    """A chunk that was submitted and not reported."""

    ticket: int
    chunk_id: str
    done: Callable[[Report], None]
    values: "weakref.ref[Held]"
    needs: Sequence[Held]
    parcel: Parcel | None = None
    """Only of a chunk that may be recalled."""
    report: Any = None
    """Ray's reference to the report."""
    cancelled: bool = False
    recalled: bool = False
    """Wanted back if it was still waiting for a slot."""
    stuck: bool = False
    """Its process was seen stopped."""
    place: Place | None = None
    """Where it runs, once it has said so: after 0.2 s."""
    heard: int = 0
    began: float = field(default_factory=time.monotonic)


class Book:
    """All flights of a session by ticket. Thread-safe.

    Args:
        heard: Told what chunks say.
        over: Told of each flight that is over, by its ticket; must not block.
    """

    def __init__(
        self, heard: Callable[[str, bytes], None], over: Callable[[int], None] | None = None
    ) -> None:
        self._heard = heard
        self._over = over
        self._flights: dict[int, Flight] = {}
        self._telling = threading.Lock()

    def __len__(self) -> int:
        return len(self._flights)

    def enter(self, flight: Flight) -> bool:
        """Note a chunk that is out; return whether it is the only one."""
        self._flights[flight.ticket] = flight
        return len(self._flights) == 1

    def get(self, ticket: int) -> Flight | None:
        """Return a flight, None if it was reported."""
        return self._flights.get(ticket)

    def out(self) -> list[Flight]:
        """Return all flights, the oldest first."""
        return list(self._flights.copy().values())

    def oldest_s(self) -> float:
        """Return for how long the oldest has been out; 0 if none is."""
        oldest = next(iter(self._flights.copy().values()), None)
        return 0.0 if oldest is None else time.monotonic() - oldest.began

    def tell(self, batch: Batch) -> None:
        """Pass on what was not heard before, in order."""
        with self._telling:
            flight = self._flights.get(batch.ticket)
            if flight is None:
                return
            for message in batch.messages[max(0, flight.heard - batch.first) :]:
                self._heard(flight.chunk_id, message)
            flight.heard = max(flight.heard, batch.first + len(batch.messages))

    def locate(self, place: Place) -> None:
        """Note where a chunk runs."""
        flight = self._flights.get(place.ticket)
        if flight is not None:
            flight.place = place

    def report(self, ticket: int, report: Report) -> None:
        """Call a chunk's `done`, once."""
        flight = self._flights.pop(ticket, None)
        if flight is None:
            return
        held = flight.values()
        if held is not None and report.error is not None:
            held.missing = True
        if self._over is not None:
            self._over(ticket)
        flight.done(report)
