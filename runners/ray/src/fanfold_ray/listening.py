"""The listener: a session's thread that tells what becomes of its chunks.

It takes words of chunks that run long, and reports chunks that failed or that sent words ahead, for
these must be heard first. It ends chunks that are to be interrupted, looks into losses, and keeps
the picture of the cluster fresh. No lock is held during a call to Ray.
"""

import contextlib
import threading
import time
from typing import Protocol

import ray
from ray.exceptions import GetTimeoutError, RayError, TaskCancelledError

from fanfold.values.errors import ValuesLost, WorkerLost
from fanfold.values.messages import Report
from fanfold_ray import words
from fanfold_ray.buffers import Missing
from fanfold_ray.connection import Link
from fanfold_ray.failures import how_lost, translate, worker_lost
from fanfold_ray.flights import Book, Flight, Held
from fanfold_ray.inquests import Inquests
from fanfold_ray.interrupts import Interrupts
from fanfold_ray.nodes import AGE_S, Nodes
from fanfold_ray.site import Letter
from fanfold_ray.words import Place

STOP_S = 8.0
"""For the thread to come to its end: longer than the head may take for an answer."""
NODE_GRACE_S = 5.0
"""From a node's death until what ran there is given up: mostly Ray tells it by itself."""

Came = Letter | BaseException
"""What came home from a chunk, or what Ray says became of it."""


class Recaller(Protocol):
    """Takes chunks back that wait for a slot, and sends them again without one."""

    def recall(self) -> None:
        """Do so where it is time for it; called whenever the listener wakes."""
        ...

    def send_again(self, flight: Flight) -> None:
        """Send a chunk that came back."""
        ...


class Listener:
    """See above. Its methods may be called from any thread, Ray's own too.

    Args:
        session: Its id.
        book: The session's flights.
        nodes: The picture of the cluster.
        link: The connection.
        recaller: Of a session whose chunks may be recalled.
    """

    def __init__(
        self,
        session: str,
        book: Book,
        nodes: Nodes,
        link: Link,
        recaller: "Recaller | None" = None,
    ) -> None:
        self._session = session
        self._book = book
        self._nodes = nodes
        self._link = link
        self._recaller = recaller
        self._interrupts = Interrupts(session, book, nodes)
        self._inquests = Inquests(session, book, nodes)
        self._came: list[tuple[int, Came]] = []
        self._unwanted: list[int] = []
        self._woken = False
        self._stopped = False
        self._node_deaths: dict[str, float] = {}
        self._wake = threading.Condition()
        self._thread = threading.Thread(
            target=self._listen, name="fanfold-ray-listener", daemon=True
        )
        self._thread.start()

    def take(self, ticket: int, came: Came) -> None:
        """Deal with what came home from a chunk."""
        with self._wake:
            self._came.append((ticket, came))
            self._wake.notify()

    def interrupt(self, ticket: int) -> None:
        """End a running chunk."""
        with self._wake:
            self._unwanted.append(ticket)
            self._wake.notify()

    def wake(self) -> None:
        """Have it look around now."""
        with self._wake:
            self._woken = True
            self._wake.notify()

    def stop(self) -> None:
        """End the thread, and wait for that, but not for a head that doesn't answer."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._thread.join(STOP_S)

    def _listen(self) -> None:
        while not self._stopped:
            came, woken = self._next()
            if self._link.broken():
                self._set_aside(came)
                continue
            if not ray.is_initialized():
                self._abandon()
                return
            try:
                self._look_after(came, woken)
            except Exception:
                # Nothing is lost: if Ray was let go of meanwhile, its connection tells the rest.
                if not self._link.broken():
                    raise
        if not self._link.broken() and ray.is_initialized():
            with contextlib.suppress(RayError):
                words.drop(self._session)

    def _set_aside(self, came: list[tuple[int, Came]]) -> None:
        """Leave what failed for later: mostly the connection tells of it, anew or lost for good."""
        self._settle_all([one for one in came if isinstance(one[1], Letter)])
        with self._wake:
            self._came = [one for one in came if not isinstance(one[1], Letter)] + self._came
            if not self._stopped:
                self._wake.wait(words.INTERVAL_S)

    def _look_after(self, came: list[tuple[int, Came]], woken: bool) -> None:
        if came or self._book.oldest_s() > words.INTERVAL_S:
            self._take_words()
        self._settle_all(came)
        self._interrupts.carry_on()
        self._inquests.carry_on()
        if self._recaller is not None:
            self._recaller.recall()
        if self._nodes.old and (woken or self._book.oldest_s() > AGE_S):
            self._look_around()

    def _next(self) -> tuple[list[tuple[int, Came]], bool]:
        """Wait until there is something to do; return what came home, and whether it was woken."""
        with self._wake:
            if not (self._came or self._unwanted or self._woken or self._stopped):
                # It sleeps for good while nothing is out.
                pauses = [words.INTERVAL_S] if len(self._book) else []
                dues = (self._interrupts.due_s(), self._inquests.due_s())
                pauses += [due for due in dues if due is not None]
                self._wake.wait(min(pauses, default=None))
            came, self._came = self._came, []
            unwanted, self._unwanted = self._unwanted, []
            woken, self._woken = self._woken, False
        for ticket in unwanted:
            self._interrupts.add(ticket)
        return came, woken

    def _abandon(self) -> None:
        """Report all that is out: Ray's thread ended and will tell of nothing more."""
        for flight in self._book.out():
            error = WorkerLost("Ray was shut down in this process while the chunk was out")
            self._book.report(flight.ticket, Report(chunk=flight.chunk_id, error=error))

    def _take_words(self) -> None:
        # While the head node is away, what it holds is taken at the next look.
        with contextlib.suppress(RayError):
            for found in words.take(self._session):
                if isinstance(found, Place):
                    self._book.locate(found)
                else:
                    self._book.tell(found)

    def _settle_all(self, came: list[tuple[int, Came]]) -> None:
        lost: dict[int, str] = {}
        for ticket, what in came:
            if isinstance(what, Letter):
                self._book.tell(words.Batch(ticket, what.first, what.messages))
                self._book.report(ticket, what.report)
            elif (flight := self._book.get(ticket)) is not None:
                self._fail(flight, what, lost)
        if lost:
            self._inquests.begin(lost)

    def _fail(self, flight: Flight, error: BaseException, lost: dict[int, str]) -> None:
        """Report a chunk whose task failed, or put it among those whose worker was lost."""
        wanted = flight.recalled and not flight.cancelled
        if wanted and self._recaller is not None and _is_cancel(error):
            self._recaller.send_again(flight)
            return
        meaning = translate(
            error,
            ["" if one.reference is None else one.reference.hex() for one in flight.needs],
            [place for place, need in enumerate(flight.needs) if need.missing],
            cancelled=flight.cancelled,
        )
        held = flight.values()
        if held is not None and held.reference is not None:
            # Asked for once, or Ray logs the failure as an error that nobody handled.
            is_lost(held)
        if isinstance(meaning, WorkerLost):
            lost[flight.ticket] = how_lost(error)
            return
        # What lost its inputs never ran. Of all else we can't be sure.
        started = not isinstance(meaning, ValuesLost)
        report = Report(chunk=flight.chunk_id, error=meaning, started=started)
        self._book.report(flight.ticket, report)

    def _look_around(self) -> None:
        """Look at the cluster again, and give up what ran on nodes that are dead.

        Ray tells of a task when the connection to its worker breaks, but the worker of a dead node
        may live on, or be as frozen as its node.
        """
        try:
            self._nodes.refresh()
        except RayError:
            # The head node is away: what was true is the best guess until the next look.
            return
        now = time.monotonic()
        dead = self._nodes.dead
        for flight in self._book.out():
            if flight.report is None or flight.place is None or flight.place.node not in dead:
                continue
            node, worker = flight.place.node, flight.place.worker
            if now - self._node_deaths.setdefault(node, now) > NODE_GRACE_S:
                ray.cancel(flight.report, force=True, recursive=False)
                error = worker_lost(worker, f"was lost with its node ({dead[node]})")
                report = Report(chunk=flight.chunk_id, worker=worker, error=error)
                self._book.report(flight.ticket, report)


def is_lost(held: Held) -> bool:
    """Return whether it is certain that there are no values."""
    try:
        return isinstance(ray.get(held.reference, timeout=0), Missing)
    except GetTimeoutError:
        return False
    except RayError as error:
        # It leads to frames that lead to it and to the reference, which would live on for a while.
        error.__traceback__ = None
        return True


def _is_cancel(error: BaseException) -> bool:
    cause = getattr(error, "cause", None)
    return isinstance(error, TaskCancelledError) or isinstance(cause, TaskCancelledError)
