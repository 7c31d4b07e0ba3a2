"""Ends running chunks, by ever stronger means until their flights are over."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import ray
from ray.exceptions import RayError

from fanfold_ray import sightings, words
from fanfold_ray.flights import Book, Flight
from fanfold_ray.nodes import Nodes

BEGIN_S = 0.02
"""What waited for a slot is over by then, and needs no order."""
AGAIN_S = 0.3
"""A signal does nothing where the chunk has not quite begun, so it is repeated."""
FORCE_S = 1.0
"""For the exception to end the element; then its process ends. R7 gives 2 s."""
KILL_S = 1.3
"""For Ray to end the process. A worker whose C code holds the interpreter's lock answers nobody
once it was sent a signal: its end comes from outside."""
KILL_AGAIN_S = 2.0
KILLS = 3


@dataclass(eq=False, slots=True)
class _Interrupt:
    flight: Flight
    began: float = field(default_factory=time.monotonic)
    step: int = 0


class Interrupts:
    """The chunks that are to end now. For one thread.

    Args:
        session: Its id.
        book: The session's flights.
        nodes: Where workers may be.
    """

    def __init__(self, session: str, book: Book, nodes: Nodes) -> None:
        self._session = session
        self._book = book
        self._nodes = nodes
        self._all: dict[int, _Interrupt] = {}
        kills = (KILL_S + KILL_AGAIN_S * times for times in range(KILLS))
        self._steps: list[tuple[float, Callable[[Flight], None]]] = [
            (BEGIN_S, self._order),
            (AGAIN_S, self._cancel),
            (FORCE_S, self._force),
            *((at, self._kill) for at in kills),
        ]

    def add(self, ticket: int) -> None:
        """Begin to end a chunk; once is enough."""
        flight = self._book.get(ticket)
        if flight is not None:
            self._all.setdefault(ticket, _Interrupt(flight))

    def due_s(self) -> float | None:
        """Return in how many seconds something is to be done; None if nothing is."""
        now = time.monotonic()
        left = [
            one.began + self._steps[one.step][0] - now
            for one in self._all.values()
            if one.step < len(self._steps)
        ]
        return max(0.0, min(left)) if left else None

    def carry_on(self) -> None:
        """Do what is due."""
        for ticket, one in list(self._all.items()):
            if self._book.get(ticket) is None:
                del self._all[ticket]
                # Its order would lie there until the session ends.
                with contextlib.suppress(RayError):
                    words.take_back(self._session, ticket)
                continue
            while (
                one.step < len(self._steps)
                and time.monotonic() >= one.began + self._steps[one.step][0]
            ):
                self._steps[one.step][1](one.flight)
                one.step += 1

    def _order(self, flight: Flight) -> None:
        # While the head node is away the stronger means remain.
        with contextlib.suppress(RayError):
            words.give_order(self._session, flight.ticket, words.INTERRUPT)
        self._cancel(flight)

    def _cancel(self, flight: Flight, *, force: bool = False) -> None:
        # Without a report it went down with the Ray that it was on.
        if flight.report is not None:
            ray.cancel(flight.report, force=force, recursive=False)

    def _force(self, flight: Flight) -> None:
        self._cancel(flight, force=True)

    def _kill(self, flight: Flight) -> None:
        nodes = [flight.place.node] if flight.place is not None else self._nodes.alive()
        sightings.kill(self._session, flight.ticket, nodes)
