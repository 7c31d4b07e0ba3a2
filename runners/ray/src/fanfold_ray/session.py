"""The driver's end: submit chunks to Ray and hear what becomes of them.

Three threads meet here. The engine's threads call the methods. Ray's own thread tells of finished
tasks; a chunk that came to its end is reported right there. All else is the listener's. No lock is
held during a call to Ray: Ray's thread may be waiting for it.
"""

import atexit
import contextlib
import functools
import pickle
import threading
import uuid
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from itertools import count
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from fanfold.ports.runner import Chunk, Values
from fanfold.values.errors import (
    ChunkCancelled,
    ClusterLost,
    InfrastructureError,
    SessionClosed,
    ValuesLost,
)
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources, Slots, Traits
from fanfold_ray import innards, references, sending, sightings, start, words
from fanfold_ray.addresses import masked
from fanfold_ray.buffers import Buffers, Missing
from fanfold_ray.carrier import versions
from fanfold_ray.connection import Link
from fanfold_ray.flights import Book, Flight, Held, Parcel
from fanfold_ray.listening import Came, Listener, Recaller, is_lost
from fanfold_ray.nodes import Nodes
from fanfold_ray.site import Letter, Waybill

LOOK_S = 3.0
"""For other nodes to say whether a process of theirs is stopped."""

_TRAITS = Traits(
    remote=True,
    interrupts=True,
    kills=True,
    honours=frozenset({"cpu", "gpu", "memory", "custom", "native"}),
)


def open_session(
    address: str | None,
    init_kwargs: Mapping[str, Any],
    heard: Callable[[str, bytes], None],
    head_timeout_s: float,
) -> "RaySession":
    """Join or start Ray and return a session on it.

    Raises:
        UsageError: Ray can't take these arguments.
        InfrastructureError: Ray can't be reached or started.
    """
    connection = start.join(address, init_kwargs, head_timeout_s)
    leave = functools.partial(start.leave, connection)
    try:
        session = RaySession(leave, heard, connection)
    except RayError as error:
        leave()
        raise InfrastructureError(f"Ray at {connection.name} can't be asked: {error}") from error
    connection.add(session)
    # Before Ray's own handler, which was registered earlier: what is still open when the process
    # exits must not call a Ray that is gone.
    atexit.register(session.close)
    return session


class RaySession:
    """A live connection to Ray. Thread-safe.

    Args:
        leave: Undoes the connection, at the end.
        heard: Told what chunks say.
        link: The connection.
    """

    def __init__(
        self, leave: Callable[[], None], heard: Callable[[str, bytes], None], link: Link
    ) -> None:
        self._leave = leave
        self._link = link
        self._id = uuid.uuid4().hex
        self._tickets = count()
        self._shared: dict[str, Held] = {}
        self._held: weakref.WeakSet[Held] = weakref.WeakSet()
        self._sharing = threading.Lock()
        self._entering = threading.Lock()
        self._closed = False
        self._nodes = Nodes()
        self._book = Book(heard, self._over)
        self._listener = Listener(self._id, self._book, self._nodes, link, self._recaller())

    @property
    def traits(self) -> Traits:
        """What Ray can do."""
        return _TRAITS

    @property
    def sealed(self) -> bool:
        """Whether Ray uses TLS, or this is a Ray of this machine alone."""
        return innards.sealed()

    @property
    def dashboard(self) -> str:
        """Address of Ray's dashboard; empty if it has none."""
        address = masked(innards.dashboard() or self._link.dashboard)
        return f"http://{address}" if address else ""

    def slots(self) -> Slots:
        """Return the number of CPUs of the cluster, as it was some seconds ago at most."""
        if self._nodes.old:
            self._listener.wake()
        return self._nodes.slots

    def lacking(self, want: Resources) -> str:
        """Return why no node could ever run such a chunk, in words; from memory."""
        lacking = self._nodes.lacking(want)
        if lacking and self._nodes.old:
            self._listener.wake()
        return lacking

    def stuck(self, refs: Collection[Held]) -> Collection[Held]:
        """Return those whose process is stopped or gone; blocks for 3 s at most."""
        if not self._link.there:
            return []
        mine = {held.ticket: held for held in refs if held.session == self._id}
        flights = [flight for flight in map(self._book.get, mine) if flight is not None]
        seen = {one.ticket: one for one in sightings.here(self._id, mine)}
        elsewhere = [flight for flight in flights if flight.ticket not in seen]
        # Of what hasn't said where it is, most wait for a slot.
        places = {one.ticket: one.place.node for one in elsewhere if one.place is not None}
        asked = sightings.ask(self._id, places, set(places.values()) & set(self._nodes.alive()))
        seen |= {one.ticket: one for one in sightings.answers(asked, LOOK_S)}
        stuck = {ticket for ticket, one in seen.items() if one.stopped or one.gone}
        stuck |= {ticket for ticket, node in places.items() if node in self._nodes.dead}
        for flight in flights:
            flight.stuck = flight.ticket in stuck
        return [mine[ticket] for ticket in stuck]

    def share(self, key: str, payload: bytes) -> Held:
        """Put a payload into the cluster's shared memory; idempotent by key.

        Raises:
            SessionClosed: The session was closed before.
            ClusterLost: The cluster is gone for good.
        """
        with self._sharing:
            self._refuse_if_closed()
            if key not in self._shared:
                self._shared[key] = Held(reference=None, payload=payload)
            with self._link.calling() as there:
                if there:
                    _given(self._shared[key])
            return self._shared[key]

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Held] = (),
        shared: Sequence[Held] = (),
        *,
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Held:
        """Hand a chunk to Ray; 0.1 ms.

        Raises:
            SessionClosed: The session was closed before.
            ResourcesUnavailable: Ray refuses such amounts or names for everybody.
            ClusterLost: The cluster is gone for good.
        """
        self._refuse_if_closed()
        held = Held(reference=None, session=self._id, ticket=next(self._tickets))
        flight = Flight(
            ticket=held.ticket,
            chunk_id=chunk.id,
            done=done,
            values=weakref.ref(held),
            needs=needs,
        )
        with self._link.calling() as there:
            try:
                if there:
                    flight.parcel = self._parcel(held.ticket, chunk, needs, shared, want)
                    held.reference = self._hand_over(flight)
            except Exception:
                # Nothing is lost: if the connection has ended just now, it is held back too.
                if not self._link.broken():
                    raise
            self._held.add(held)
            if held.reference is None:
                # It is reported as cancelled once Ray is there again, or lost with the rest.
                held.missing = True
                self._book.enter(flight)
        if held.missing:
            self._catch_up()
        return held

    def fetch(self, refs: Sequence[Held], timeout_s: float | None = None) -> Sequence[Values]:
        """Bring values here, as read-only views on Ray's shared memory.

        Raises:
            SessionClosed: The session was closed before.
            TimeoutError: Not all came in time.
            ValuesLost: Some are gone. Ray knows it of a frozen node after a minute.
            ClusterLost: The cluster is gone for good.
        """
        self._refuse_if_closed()
        gone = [place for place, held in enumerate(refs) if held.reference is None]
        if gone:
            raise ValuesLost(f"{len(gone)} of {len(refs)} values are gone", gone)
        try:
            got = ray.get([held.reference for held in refs], timeout=timeout_s)
        except GetTimeoutError as error:
            raise TimeoutError(f"{len(refs)} values did not come in {timeout_s} s") from error
        except (RayError, ConnectionError, ValueError) as error:
            # The latter two are a client's whose connection has ended.
            self._refuse_if_closed()
            lost = [place for place, held in enumerate(refs) if is_lost(held)]
            raise ValuesLost(
                f"{len(lost)} of {len(refs)} values are gone: {error}", lost
            ) from error
        lost = [place for place, one in enumerate(got) if isinstance(one, Missing)]
        if lost:
            raise ValuesLost(
                f"{len(lost)} of {len(refs)} values don't exist: {got[lost[0]].why}", lost
            )
        return [buffers.views for buffers in got]

    def cancel(self, refs: Collection[Held], *, interrupt: bool = False) -> None:
        """Keep pending chunks from starting and show running ones that they should stop.

        With `interrupt` an exception ends the running element, and if it goes on in spite of that
        its process is killed a second later. So is one that was seen stopped, or its slot would be
        lost.
        """
        for held in refs:
            flight = self._book.get(held.ticket) if held.session == self._id else None
            if flight is None:
                continue
            if not flight.cancelled:
                flight.cancelled = True
                self._cancel(flight)
            if interrupt or flight.stuck:
                self._listener.interrupt(flight.ticket)

    def close(self) -> None:
        """Report what is out as cancelled, and stop Ray if we started it; idempotent."""
        with self._sharing, self._entering:
            if self._closed:
                return
            self._closed = True
            flights = self._book.out()
            self._shared.clear()
        atexit.unregister(self.close)
        for flight in flights:
            error = ChunkCancelled("The session was closed before the chunk was done")
            self._book.report(flight.ticket, Report(chunk=flight.chunk_id, error=error))
            self._cancel(flight)
        self._listener.stop()
        references.forget()
        for held in list(self._held):
            # A user may hold futures of a flow that is over; their values end with the session.
            held.reference = None
        self._leave()

    # For the connection.

    def values_gone(self) -> None:
        """Forget all references: what they refer to is gone."""
        for flight in self._book.out():
            flight.report = None
        for held in [*self._held, *self._shared.values()]:
            held.reference, held.missing = None, held.payload is None

    def restarted(self) -> None:
        """Report what was forgotten or held back as cancelled; new work finds a cluster again."""
        for flight in self._book.out():
            if flight.report is None:
                error = ChunkCancelled("Ray was started anew while the chunk was out")
                report = Report(chunk=flight.chunk_id, error=error, started=False)
                self._book.report(flight.ticket, report)

    def lost(self, error: ClusterLost) -> None:
        """Report what is out with the error; nothing will ever work again."""
        self.values_gone()
        for flight in self._book.out():
            self._book.report(flight.ticket, Report(chunk=flight.chunk_id, error=error))

    def _catch_up(self) -> None:
        """Take in what the connection told just before a chunk was held back."""
        try:
            self._link.refuse_if_lost()
        except ClusterLost as error:
            self.lost(error)
        if self._link.there:
            self.restarted()

    def _cancel(self, flight: Flight) -> None:
        """Ask Ray to cancel a chunk, unless somebody has called `ray.shutdown`."""
        with contextlib.suppress(ClusterLost), self._link.calling() as there:
            if there and flight.report is not None and ray.is_initialized():
                ray.cancel(flight.report, recursive=False)

    # What a nested session does otherwise.

    def _waybill(self, ticket: int, chunk_id: str, needs: int, want: Resources) -> Waybill:
        return Waybill(
            session=self._id,
            ticket=ticket,
            chunk_id=chunk_id,
            versions=versions(),
            needs=needs,
            cpu=want.cpu,
            memory=want.memory,
            custom=want.custom,
        )

    def _dispatched(self, flight: Flight) -> tuple[Any, Any]:
        """Submit a chunk's task; return the references to its report and its values."""
        parcel, flight.parcel = flight.parcel, None
        assert parcel is not None
        return sending.send(parcel)

    def _over(self, ticket: int) -> None:
        """Take in that a flight is over; must not block."""

    def _recaller(self) -> Recaller | None:
        return None

    def _parcel(
        self,
        ticket: int,
        chunk: Chunk,
        needs: Sequence[Held],
        shared: Sequence[Held],
        want: Resources,
    ) -> Parcel:
        work: bytes | Buffers = pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL)
        if inside := references.marked_in([work]):
            work = Buffers([work], inside)
        bill = pickle.dumps(tuple(self._waybill(ticket, chunk.id, len(needs), want)))
        inputs = map(_given, (*needs, *shared))
        return Parcel(label=chunk.label, want=want, arguments=(work, bill, *inputs))

    def _hand_over(self, flight: Flight) -> Any:
        """Send a chunk, or send it again; return the reference to its values.

        Raises:
            SessionClosed: The session was closed meanwhile.
        """
        flight.report, values = self._dispatched(flight)
        with self._entering:
            late = self._closed
            first = not late and self._book.enter(flight)
        if late:
            ray.cancel(flight.report, recursive=False)
            self._refuse_if_closed()
        if first:
            self._listener.wake()
        flight.report.future().add_done_callback(functools.partial(self._landed, flight.ticket))
        return values

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SessionClosed("The session on Ray was closed; open another one")
        self._link.refuse_if_lost()

    def _landed(self, ticket: int, future: "Future[bytes]") -> None:
        """Called by Ray's thread when a task has ended; must not call Ray."""
        came = _read(future)
        if isinstance(came, Letter) and came.first == 0:
            self._book.tell(words.Batch(ticket, came.first, came.messages))
            self._book.report(ticket, came.report)
        else:
            self._listener.take(ticket, came)


def _given(held: Held) -> Any:
    """Return what stands for values, or for what is shared, among a task's arguments."""
    if held.reference is None and held.payload is not None:
        buffers = Buffers([held.payload], references.marked_in([held.payload]))
        held.reference = ray.put(buffers)
    return Missing("they are gone") if held.reference is None else held.reference


def _read(future: "Future[bytes]") -> Came:
    error = future.exception()
    if error is not None:
        return error
    try:
        letter: Letter = pickle.loads(future.result())
    except Exception as unreadable:
        # Nothing is lost: it becomes the chunk's report.
        return unreadable
    return letter
