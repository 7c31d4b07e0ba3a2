"""Finds out what ended the workers of lost chunks, and what these had said last.

The boxes of this node are looked at at once. Where the worker was on another, a task without a CPU
looks there, and nobody waits for it longer than a loss is worth.
"""

import time
from dataclasses import dataclass
from typing import Any

from fanfold.values.messages import Report
from fanfold_ray import sightings
from fanfold_ray.boxes import Sighting
from fanfold_ray.failures import worker_lost
from fanfold_ray.flights import Book
from fanfold_ray.nodes import Nodes
from fanfold_ray.words import Batch

PATIENCE_S = 5.0
"""For other nodes to answer. Most need a tenth of a second, and some must start a process first."""
LOOK_S = 0.02
"""Between two looks whether they have."""


@dataclass(eq=False, slots=True, kw_only=True)
class _Inquest:
    """Lost chunks that other nodes were asked about."""

    lost: dict[int, str]
    asked: list[Any]
    until: float


class Inquests:
    """The losses of a session that aren't told yet. For one thread.

    Args:
        session: Its id.
        book: The session's flights.
        nodes: Where workers may have been.
    """

    def __init__(self, session: str, book: Book, nodes: Nodes) -> None:
        self._session = session
        self._book = book
        self._nodes = nodes
        self._open: list[_Inquest] = []

    def due_s(self) -> float | None:
        """Return in how many seconds something is to be done; None if nothing is."""
        return LOOK_S if self._open else None

    def begin(self, lost: dict[int, str]) -> None:
        """Take chunks whose workers are gone; each is reported as soon as may be.

        Args:
            lost: What Ray says of how the worker ended, by the chunk's ticket; mostly nothing.
        """
        left = self._settle(lost, sightings.here(self._session, lost))
        if left and (nodes := self._elsewhere(left)):
            asked = sightings.ask(self._session, left, nodes)
            until = time.monotonic() + PATIENCE_S
            self._open.append(_Inquest(lost=left, asked=asked, until=until))
        else:
            self._give_up(left)

    def carry_on(self) -> None:
        """Take in what other nodes have answered."""
        for one in list(self._open):
            late = time.monotonic() > one.until
            if late or sightings.answered(one.asked):
                self._open.remove(one)
                left = self._settle(one.lost, sightings.answers(one.asked, 0.0))
                self._give_up(left)

    def _elsewhere(self, lost: dict[int, str]) -> list[str]:
        """Return the nodes where the workers of lost chunks may have been."""
        flights = [self._book.get(ticket) for ticket in lost]
        where = {one.place.node if one.place else "" for one in flights if one is not None}
        alive = self._nodes.alive()
        if len(alive) == 1 and sightings.sees():
            return []  # it was just looked at
        return [node for node in alive if node in where or "" in where]

    def _settle(self, lost: dict[int, str], seen: list[Sighting]) -> dict[int, str]:
        """Report what was seen; return the rest."""
        left = dict(lost)
        for sighting in seen:
            if sighting.gone and sighting.ticket in left:
                told = left.pop(sighting.ticket)
                batch = Batch(sighting.ticket, sighting.first, sighting.messages)
                self._book.tell(batch)
                self._report(sighting.ticket, told or sighting.how, f"process {sighting.pid}")
        return left

    def _give_up(self, lost: dict[int, str]) -> None:
        for ticket, told in lost.items():
            self._report(ticket, told)

    def _report(self, ticket: int, how: str, name: str = "") -> None:
        flight = self._book.get(ticket)
        if flight is not None:
            worker = flight.place.worker if flight.place is not None else ""
            error = worker_lost(worker or name, how)
            self._book.report(ticket, Report(chunk=flight.chunk_id, worker=worker, error=error))
