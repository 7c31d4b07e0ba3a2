"""The chunks that a local session has not ended: which are ready, which wait for what they need.

A `Ticket` is one submit, and the `Ref` that the engine holds. A session holds a ticket only until
its chunk has ended; from then on its values live just as long as somebody holds the ticket (R11).
"""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    SessionClosed,
    ValuesLost,
)
from fanfold.values.messages import Report

Done = Callable[[Report], None]


class Stage(Enum):
    """Where a ticket is."""

    WAITING = 1
    """Set by `Ticket`: some needs have not ended. READY or ENDED comes next."""
    READY = 2
    """Set by the backlog once all needs are there. RUNNING or ENDED comes next."""
    RUNNING = 3
    """Set by `Backlog.take`. ENDED comes next."""
    ENDED = 4
    """Set by `settle`, `cancel`, `close`, `fail` or the loss of a need. Final."""


PENDING = frozenset({Stage.WAITING, Stage.READY})


@dataclass(slots=True, weakref_slot=True, kw_only=True, eq=False, repr=False)
class Ticket:
    """One submitted chunk; hashed by identity. Only its backlog changes it."""

    id: str
    """Id of the chunk."""
    work: Any
    """The chunk, or its pickle; None once the ticket has ended."""
    priority: int
    needs: "tuple[Ticket, ...]"
    shared: tuple[Any, ...]
    done: Done
    values: Any = None
    """What the session keeps of the chunk's values: themselves, or the place where they lie."""
    lost: bool = False
    """Ended without values."""
    stop: bool = False
    """Somebody cancelled it."""
    stage: Stage = Stage.WAITING
    unmet: int = 0
    dependents: "list[Ticket]" = field(default_factory=list)


class Backlog:
    """Orders tickets by priority, then by submission; thread-safe but for `take`.

    Every `done` is called outside of the lock, by the thread whose call ended the ticket.

    Args:
        released: Called with the lock held when a ticket that waited for others became ready.
    """

    def __init__(self, released: Callable[[], None]) -> None:
        self.lock = threading.Lock()
        self.ready = 0
        """How many tickets could start now."""
        self.closed = False
        self._released = released
        self._queue: list[tuple[int, int, Ticket]] = []
        self._numbers = itertools.count()
        self._unended: set[Ticket] = set()
        self._ended = threading.Condition(self.lock)
        self._readers = 0

    def admit(self, ticket: Ticket) -> bool:
        """Take in a ticket and return whether it is ready; False if it waits, or ended at once.

        Raises:
            SessionClosed: The backlog was closed before.
        """
        ended: list[tuple[Done, Report]] = []
        with self.lock:
            if self.closed:
                raise SessionClosed(f"Chunk {ticket.id} was submitted to a closed session.")
            self._unended.add(ticket)
            for need in ticket.needs:
                if need.stage is not Stage.ENDED:
                    need.dependents.append(ticket)
                    ticket.unmet += 1
            if any(need.lost for need in ticket.needs):
                ended = self._end(ticket, _starved(ticket))
            elif not ticket.unmet:
                self._push(ticket)
            ready = ticket.stage is Stage.READY
        _tell(ended)
        return ready

    def take(self) -> Ticket | None:
        """Return the ticket to run next, which then counts as running; call with the lock held."""
        while self._queue:
            ticket = heapq.heappop(self._queue)[2]
            if ticket.stage is Stage.READY:
                ticket.stage = Stage.RUNNING
                self.ready -= 1
                return ticket
        return None

    def settle(self, ticket: Ticket, report: Report, values: Any = None) -> None:
        """End a ticket; does nothing if it has ended before (R6)."""
        with self.lock:
            ended = self._end(ticket, report, values)
        _tell(ended)

    def cancel(self, tickets: Collection[Ticket]) -> list[Ticket]:
        """End those that wait, mark those that run, and return the latter (R7)."""
        ended: list[tuple[Done, Report]] = []
        running: list[Ticket] = []
        with self.lock:
            for ticket in tickets:
                ticket.stop = True
                if ticket.stage in PENDING:
                    ended += self._end(ticket, _cancelled(ticket))
                elif ticket.stage is Stage.RUNNING:
                    running.append(ticket)
        _tell(ended)
        return running

    def close(self, *, running: bool) -> bool:
        """Refuse new tickets, end those that wait and mark or end those that run.

        Args:
            running: End those that run too; otherwise they end by `settle` when they are through.

        Returns:
            False if it was closed before.
        """
        ended: list[tuple[Done, Report]] = []
        with self.lock:
            if self.closed:
                return False
            self.closed = True
            for ticket in list(self._unended):
                ticket.stop = True
                if running or ticket.stage in PENDING:
                    ended += self._end(ticket, _cancelled(ticket))
        _tell(ended)
        return True

    def fail(self, error: InfrastructureError) -> None:
        """End every ticket that waits, for nothing is left that could run it."""
        ended: list[tuple[Done, Report]] = []
        with self.lock:
            for ticket in list(self._unended):
                if ticket.stage in PENDING:
                    report = Report(chunk=ticket.id, error=error, started=False)
                    ended += self._end(ticket, report)
        _tell(ended)

    def wait(self, tickets: Sequence[Ticket], timeout_s: float | None) -> None:
        """Block until all have ended with values.

        Raises:
            TimeoutError: They did not in time.
            ValuesLost: Some ended without.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self.lock:
            self._readers += 1
            try:
                for position, ticket in enumerate(tickets):
                    while ticket.stage is not Stage.ENDED:
                        left = None if until is None else until - time.monotonic()
                        if left is not None and left <= 0:
                            raise TimeoutError(
                                f"{len(tickets) - position} of {len(tickets)} chunks were not "
                                f"through after {timeout_s} seconds."
                            )
                        self._ended.wait(left)
            finally:
                self._readers -= 1
        lost = [position for position, ticket in enumerate(tickets) if ticket.lost]
        if lost:
            raise ValuesLost(f"{len(lost)} of {len(tickets)} chunks have no values.", lost)

    def _push(self, ticket: Ticket) -> None:
        self.ready += 1
        ticket.stage = Stage.READY
        heapq.heappush(self._queue, (-ticket.priority, next(self._numbers), ticket))

    def _end(self, ticket: Ticket, report: Report, values: Any = None) -> list[tuple[Done, Report]]:
        """End a ticket and all that can't run without it; return whom to tell what."""
        told: list[tuple[Done, Report]] = []
        released = False
        # A list and no recursion: a chain of dependents may be longer than Python's stack.
        ending = [(ticket, report, values)]
        for one, its_report, its_values in ending:
            if one.stage is Stage.ENDED:
                continue
            self.ready -= one.stage is Stage.READY
            self._unended.discard(one)
            told.append((one.done, its_report))
            for dependent in _retire(one, its_report, its_values):
                dependent.unmet -= 1
                if dependent.stage is not Stage.WAITING:
                    continue
                if one.lost:
                    ending.append((dependent, _starved(dependent), None))
                elif not dependent.unmet:
                    self._push(dependent)
                    released = True
        if self._readers:
            self._ended.notify_all()
        if released:
            self._released()
        return told


def _retire(ticket: Ticket, report: Report, values: Any) -> list[Ticket]:
    """Mark a ticket as ended, let go of all but its values, and return its dependents."""
    ticket.stage = Stage.ENDED
    ticket.lost = report.error is not None
    ticket.values = None if ticket.lost else values
    dependents, ticket.dependents = ticket.dependents, []
    # The holder of a ticket holds its values, and must not hold its inputs as well.
    ticket.work, ticket.needs, ticket.shared, ticket.done = None, (), (), _nobody
    return dependents


def _tell(ended: list[tuple[Done, Report]]) -> None:
    for done, report in ended:
        done(report)


def _nobody(report: Report) -> None:
    """Stand in for the `done` of a ticket that has ended."""


def _cancelled(ticket: Ticket) -> Report:
    error = ChunkCancelled(f"Chunk {ticket.id} was cancelled.")
    return Report(chunk=ticket.id, error=error, started=ticket.stage is Stage.RUNNING)


def _starved(ticket: Ticket) -> Report:
    lost = [position for position, need in enumerate(ticket.needs) if need.lost]
    message = f"Chunk {ticket.id} needs values of {len(lost)} chunks that ended without any."
    return Report(chunk=ticket.id, error=ValuesLost(message, lost), started=False)
