"""The driver's end: submit chunks to Ray and hear what becomes of them.

Three threads meet here. The engine's threads call the methods. Ray's own thread tells of finished
tasks; a chunk that came to its end is reported right there. The listener, one thread per session,
takes words of chunks that run long, and reports chunks that failed or that sent words ahead, for
these must be heard first. No lock is held during a call to Ray: Ray's thread may be waiting for it.
"""

import atexit
import contextlib
import functools
import pickle
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from fanfold.ports.runner import Chunk, Values
from fanfold.values.errors import ChunkCancelled, SessionClosed, ValuesLost, WorkerLost
from fanfold.values.messages import Report
from fanfold.values.resources import Slots, Traits
from fanfold_ray import start, words
from fanfold_ray.buffers import Buffers, Missing
from fanfold_ray.carrier import Letter, Waybill, carry, versions
from fanfold_ray.failures import translate

SLOTS_AGE_S = 5.0
"""How old the number of slots may be before it is asked for again."""

_TRAITS = Traits(remote=True, interrupts=True, kills=True)

# Made once: each call of `ray.remote` makes another function to export. The worker finds `carry`
# by its name, for it is a function of an installed module.
_CARRIER = ray.remote(num_returns=2, num_cpus=1, max_retries=0)(carry)


@functools.lru_cache(maxsize=1024)
def _carrier(label: str) -> Any:
    return _CARRIER.options(name=label)


@dataclass(eq=False, slots=True, weakref_slot=True, kw_only=True)
class Held:
    """A handle on values; while it lives, so do they. Ray's own can't be referred to weakly."""

    reference: Any
    session: str = ""
    ticket: int = -1
    missing: bool = False
    """Known to have no values."""


@dataclass(eq=False, slots=True, kw_only=True)
class _Flight:
    """A chunk that was submitted and not reported."""

    chunk_id: str
    done: Callable[[Report], None]
    report: Any
    values: "weakref.ref[Held]"
    needs: Sequence[Held]
    cancelled: bool = False
    heard: int = 0
    began: float = field(default_factory=time.monotonic)


def open_session(
    address: str | None, init_kwargs: Mapping[str, Any], heard: Callable[[str, bytes], None]
) -> "RaySession":
    """Join or start Ray and return a session on it.

    Raises:
        InfrastructureError: Ray can't be reached or started.
    """
    return RaySession(start.join(address, init_kwargs), heard)


class RaySession:
    """A live connection to Ray. Thread-safe."""

    def __init__(self, leave: Callable[[], None], heard: Callable[[str, bytes], None]) -> None:
        self._leave = leave
        self._heard = heard
        self._id = uuid.uuid4().hex
        self._tickets = count()
        self._flights: dict[int, _Flight] = {}
        self._waiting: list[tuple[int, Letter | BaseException]] = []
        self._shared: dict[str, Held] = {}
        self._held: weakref.WeakSet[Held] = weakref.WeakSet()
        self._sharing = threading.Lock()
        self._closed = False
        self._slots = _count_slots()
        self._slots_asked = False
        self._slots_until = time.monotonic() + SLOTS_AGE_S
        self._wake = threading.Condition()
        self._telling = threading.Lock()
        self._listener = threading.Thread(
            target=self._listen, name="fanfold-ray-listener", daemon=True
        )
        self._listener.start()
        # Before Ray's own handler, which was registered earlier: what is still open when the
        # process exits must not call a Ray that is gone.
        atexit.register(self.close)

    @property
    def traits(self) -> Traits:
        """What Ray can do."""
        return _TRAITS

    def slots(self) -> Slots:
        """Return the number of CPUs of the cluster, not older than asked for in the background."""
        if time.monotonic() > self._slots_until and not self._slots_asked:
            with self._wake:
                self._slots_asked = True
                self._wake.notify()
        return self._slots

    def share(self, key: str, payload: bytes) -> Held:
        """Put a payload into the cluster's shared memory; idempotent by key.

        Raises:
            SessionClosed: The session was closed before.
        """
        with self._sharing:
            self._refuse_if_closed()
            if key not in self._shared:
                self._shared[key] = Held(reference=ray.put(Buffers([payload])))
            return self._shared[key]

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Held] = (),
        shared: Sequence[Held] = (),
        *,
        done: Callable[[Report], None],
    ) -> Held:
        """Hand a chunk to Ray; 0.1 ms.

        Raises:
            SessionClosed: The session was closed before.
        """
        self._refuse_if_closed()
        ticket = next(self._tickets)
        bill = Waybill(self._id, ticket, chunk.id, versions(), len(needs))
        report, values = _carrier(chunk.label).remote(
            pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL),
            pickle.dumps(tuple(bill)),
            *(held.reference for held in (*needs, *shared)),
        )
        held = Held(reference=values, session=self._id, ticket=ticket)
        self._held.add(held)
        flight = _Flight(
            chunk_id=chunk.id, done=done, report=report, values=weakref.ref(held), needs=needs
        )
        with self._wake:
            late = self._closed
            if not late:
                self._flights[ticket] = flight
                if len(self._flights) == 1:
                    # The listener sleeps for good while nothing is out.
                    self._wake.notify()
        if late:
            ray.cancel(report)
            self._refuse_if_closed()
        report.future().add_done_callback(functools.partial(self._landed, ticket))
        return held

    def fetch(self, refs: Sequence[Held], timeout_s: float | None = None) -> Sequence[Values]:
        """Bring values here, as read-only views on Ray's shared memory.

        Raises:
            SessionClosed: The session was closed before.
            TimeoutError: Not all came in time.
            ValuesLost: Some are gone.
        """
        self._refuse_if_closed()
        references = [held.reference for held in refs]
        try:
            got = ray.get(references, timeout=timeout_s)
        except GetTimeoutError as error:
            raise TimeoutError(f"{len(refs)} values did not come in {timeout_s} s") from error
        except RayError as error:
            lost = [place for place, one in enumerate(references) if _is_lost(one)]
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
        """Keep pending chunks from starting and show running ones that they should stop."""
        for held in refs:
            flight = self._flights.get(held.ticket) if held.session == self._id else None
            if flight is not None and not flight.cancelled:
                flight.cancelled = True
                ray.cancel(flight.report)

    def close(self) -> None:
        """Report what is out as cancelled, and stop Ray if we started it; idempotent."""
        with self._sharing, self._wake:
            if self._closed:
                return
            self._closed = True
            flights = list(self._flights.items())
            self._shared.clear()
            self._wake.notify()
        atexit.unregister(self.close)
        # Somebody may have called `ray.shutdown`; then there is nothing left to cancel.
        alive = ray.is_initialized()
        for ticket, flight in flights:
            if alive:
                ray.cancel(flight.report)
            error = ChunkCancelled("The session was closed before the chunk was done")
            self._report(ticket, Report(chunk=flight.chunk_id, error=error))
        self._listener.join()
        for held in list(self._held):
            # A user may hold futures of a flow that is over; their values end with the session.
            held.reference = None
        self._leave()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise SessionClosed("The session on Ray was closed; open another one")

    def _landed(self, ticket: int, future: "Future[bytes]") -> None:
        """Called by Ray's thread when a task has ended; must not call Ray."""
        letter = _read(future)
        if isinstance(letter, Letter) and letter.first == 0:
            self._settle(ticket, letter)
            return
        with self._wake:
            self._waiting.append((ticket, letter))
            self._wake.notify()

    def _listen(self) -> None:
        while not self._closed:
            with self._wake:
                if not (self._waiting or self._slots_asked or self._closed):
                    self._wake.wait(words.INTERVAL_S if self._flights else None)
                waiting, self._waiting = self._waiting, []
            if not ray.is_initialized():
                self._abandon()
                return
            if waiting or self._may_have_words():
                self._take_words()
            for ticket, letter in waiting:
                self._settle(ticket, letter)
            if self._slots_asked:
                self._refresh_slots()
        self._drop_words()

    def _abandon(self) -> None:
        """Report all that is out: Ray's thread ended and will tell of nothing more."""
        for ticket, flight in self._flights.copy().items():
            error = WorkerLost("Ray was shut down in this process while the chunk was out")
            self._report(ticket, Report(chunk=flight.chunk_id, error=error))

    def _refresh_slots(self) -> None:
        try:
            self._slots = _count_slots()
        except RayError:
            # The head node is away: what was true is the best guess until the next question.
            return
        finally:
            self._slots_until = time.monotonic() + SLOTS_AGE_S
            self._slots_asked = False

    def _may_have_words(self) -> bool:
        oldest = next(iter(self._flights.copy().values()), None)
        return oldest is not None and time.monotonic() - oldest.began > words.INTERVAL_S

    def _take_words(self) -> None:
        try:
            for batch in words.take(self._id):
                self._tell(batch)
        except RayError:
            # The head node is away; what it holds is taken at the next look.
            return

    def _drop_words(self) -> None:
        with contextlib.suppress(RayError):
            if ray.is_initialized():
                words.drop(self._id)

    def _settle(self, ticket: int, letter: Letter | BaseException) -> None:
        """Pass on what came home from a chunk, or what Ray says became of it."""
        if isinstance(letter, Letter):
            self._tell(words.Batch(ticket, letter.first, letter.messages))
            self._report(ticket, letter.report)
            return
        flight = self._flights.get(ticket)
        if flight is None:
            return
        error = translate(
            letter,
            [need.reference.hex() for need in flight.needs],
            [place for place, need in enumerate(flight.needs) if need.missing],
            cancelled=flight.cancelled,
        )
        held = flight.values()
        if held is not None and held.reference is not None:
            # Asked for once, or Ray logs the failure as an error that nobody handled.
            _is_lost(held.reference)
        # What lost its inputs never ran. Of all else we can't be sure.
        started = not isinstance(error, ValuesLost)
        self._report(ticket, Report(chunk=flight.chunk_id, error=error, started=started))

    def _tell(self, batch: words.Batch) -> None:
        """Pass on what was not heard before, in order."""
        with self._telling:
            flight = self._flights.get(batch.ticket)
            if flight is None:
                return
            for message in batch.messages[max(0, flight.heard - batch.first) :]:
                self._heard(flight.chunk_id, message)
            flight.heard = max(flight.heard, batch.first + len(batch.messages))

    def _report(self, ticket: int, report: Report) -> None:
        """Call a chunk's `done`, once."""
        flight = self._flights.pop(ticket, None)
        if flight is None:
            return
        held = flight.values()
        if held is not None and report.error is not None:
            held.missing = True
        flight.done(report)


def _read(future: "Future[bytes]") -> Letter | BaseException:
    error = future.exception()
    if error is not None:
        return error
    try:
        letter: Letter = pickle.loads(future.result())
    except Exception as unreadable:
        # Nothing is lost: it becomes the chunk's report.
        return unreadable
    return letter


def _is_lost(reference: Any) -> bool:
    try:
        return isinstance(ray.get(reference, timeout=0), Missing)
    except GetTimeoutError:
        return False
    except RayError:
        return True


def _count_slots() -> Slots:
    offers = ray.cluster_resources()
    cpus = int(offers.get("CPU", 0))
    return Slots(now=cpus, most=cpus, offers=offers)
