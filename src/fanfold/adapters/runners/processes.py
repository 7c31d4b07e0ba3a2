"""Runs chunks in processes of this machine: a worker may die, and takes no more than its chunk.

Workers are forks of a fork server, see there. A session's thread listens to all of them, hands the
next chunk to each that is free, and has workers made as they are needed. Values stay in files that
one worker writes and others map, so they outlive it and never pass through the driver (R4, R5).
"""

import atexit
import itertools
import os
import pickle
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from fanfold.adapters.runners import frames, parcels
from fanfold.adapters.runners import site as sites
from fanfold.adapters.runners.backlog import Backlog, Ticket
from fanfold.adapters.runners.crew import Crew, Event, Member
from fanfold.adapters.runners.frames import Kind, Order, Outcome
from fanfold.adapters.runners.parcels import Folders, Place
from fanfold.ports.runner import Chunk
from fanfold.values.cards import WithCard
from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    ResourcesUnavailable,
    SessionClosed,
    UsageError,
    WorkerLost,
)
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources, Slots, Traits

FRAME_BYTES = 64 * 1024
"""A chunk above this goes by a file, so that a frame always fits into an empty socket buffer and
the listening thread never waits for a worker."""
JOIN_TIMEOUT_S = 0.2
INTERRUPT_AGAIN_S = 0.1
"""An interrupt does nothing where the chunk has not quite begun, so it is repeated."""
INTERRUPTS = 10
"""A worker that is still at its chunk after so many, a second in all, is killed: R7 gives 2 s."""

Heard = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class ProcessTaskRunner(WithCard):
    """Runs tasks in processes: for work that computes, and for code that may crash.

    Not on Windows. A script needs no `if __name__ == "__main__"`.

    Args:
        max_workers: How many processes there may be; by default one per core.
        preload: Modules that are imported once and shared by all workers. They must not start
            threads, for the workers are forks.

    Raises:
        UsageError: `max_workers` is no whole number from 1 on, or `preload` holds no names.
    """

    max_workers: int | None = None
    preload: tuple[str, ...] = field(default=("cloudpickle", "fanfold.engine.work"), kw_only=True)

    def __post_init__(self) -> None:
        sites.check_count("max_workers", self.max_workers)
        object.__setattr__(self, "preload", _names(self.preload))

    def open(self, heard: Heard) -> "ProcessSession":
        """Start the fork server, without waiting for it.

        Raises:
            InfrastructureError: It can't be started, or not on this system.
        """
        if sys.platform == "win32":
            raise InfrastructureError(
                "Windows can't fork, which ProcessTaskRunner needs; use ThreadPoolTaskRunner."
            )
        return ProcessSession(heard, self.max_workers or sites.cores(), self.preload)


ProcessPoolTaskRunner = ProcessTaskRunner
"""The same under the name by which Prefect's users may know it."""


class ProcessSession:
    """Worker processes and what they left behind. Must be closed; at exit it closes itself."""

    traits = Traits(remote=True, interrupts=True, kills=True)
    sealed = True
    dashboard = ""

    def __init__(self, heard: Heard, most: int, preload: tuple[str, ...]) -> None:
        self._heard = heard
        self._owner = os.getpid()
        try:
            self._folders = Folders.make()
        except OSError as error:
            raise InfrastructureError(f"No place for the session's files: {error}") from error
        try:
            self._crew = Crew(self._folders, most, preload)
        except InfrastructureError:
            self._folders.remove()
            raise
        self._backlog = Backlog(self._crew.wake)
        self._orders = itertools.count(1)
        self._running: dict[Ticket, Member] = {}
        """Guarded by the backlog's lock."""
        self._unwanted: deque[Ticket] = deque()
        """To be interrupted; the listening thread takes them out."""
        self._interrupts: list[_Interrupt] = []
        """The listening thread's own."""
        self._module = ""
        self._shares: WeakValueDictionary[str, _File] = WeakValueDictionary()
        self._share_names = itertools.count()
        self._share_lock = threading.Lock()
        self._listener = threading.Thread(
            target=self._listen, name="fanfold-processes", daemon=True
        )
        self._listener.start()
        atexit.register(self.close)

    def slots(self) -> Slots:
        """Return how many workers there may be: fewer than asked for if the system refused some."""
        return Slots(now=self._crew.most, most=self._crew.most)

    def lacking(self, want: Resources) -> str:
        """Return nothing: workers are made as they are needed."""
        return ""

    def stuck(self, refs: Collection[Ticket]) -> Collection[Ticket]:
        """Return those whose worker somebody has stopped; one that is gone is told at once."""
        with self._backlog.lock:
            members = [(ticket, self._running.get(ticket)) for ticket in refs]
        return [ticket for ticket, member in members if member is not None and member.stopped]

    def share(self, key: str, payload: bytes) -> "_File":
        """Write a payload to a file that lives as long as somebody holds the result.

        Raises:
            SessionClosed: The session was closed before.
        """
        with self._share_lock:
            found = self._shares.get(key)
            if found is None:
                name = f"shared-{next(self._share_names)}"
                try:
                    found = _File(self._folders.write(name, parcels.flatten([payload])))
                except FileNotFoundError as error:
                    raise SessionClosed(f"{key} was shared with a closed session.") from error
                self._shares[key] = found
            return found

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ticket] = (),
        shared: Sequence["_File"] = (),
        *,
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Ticket:
        """Pickle and queue a chunk, and wake the thread that hands it out.

        Raises:
            SessionClosed: The session was closed before.
            ResourcesUnavailable: The chunk wants more than a slot.
        """
        sites.refuse(want, "processes")
        ticket = Ticket(
            id=chunk.id,
            work=pickle.dumps(chunk, protocol=5),
            priority=chunk.priority,
            needs=tuple(needs),
            shared=tuple(shared),
            done=done,
        )
        self._module = type(chunk).__module__
        if self._backlog.admit(ticket):
            self._crew.wake()
        return ticket

    def fetch(
        self, refs: Sequence[Ticket], timeout_s: float | None = None
    ) -> list[list[memoryview]]:
        """Return values once their chunks have ended, as views of the files that hold them.

        Raises:
            TimeoutError: They did not in time.
            ValuesLost: Some ended without, or the session was closed.
        """
        self._backlog.wait(refs, timeout_s)
        return parcels.read([_place(ticket) for ticket in refs])

    def cancel(self, refs: Collection[Ticket], *, interrupt: bool = False) -> None:
        """End those that wait, by their `done` before this returns; ask the others to stop.

        With `interrupt` these get a KeyboardInterrupt, and a second later their worker is killed.
        """
        running = self._backlog.cancel(refs)
        with self._backlog.lock:
            for ticket in running:
                member = self._running.get(ticket)
                if member is not None:
                    self._crew.stop(member.slot, member.order)
        if interrupt and running:
            self._unwanted.extend(running)
            self._crew.wake()

    def close(self) -> None:
        """End all chunks, kill all processes and remove the session's files."""
        if os.getpid() != self._owner or not self._backlog.close(running=True):
            # A forked child of the driver inherits the session, and must not end its parent's.
            return
        atexit.unregister(self.close)
        self._crew.wake()
        if threading.current_thread() is not self._listener:
            self._listener.join(JOIN_TIMEOUT_S)
        self._crew.close()
        self._folders.remove()

    def _listen(self) -> None:
        """Deal with what comes from the workers, and see that they have work."""
        while True:
            for event in self._crew.listen(INTERRUPT_AGAIN_S if self._interrupts else None):
                self._deal_with(event)
                if self._backlog.closed:
                    return
            if self._backlog.closed:
                return
            self._interrupt()
            self._hand_out()

    def _deal_with(self, event: Event) -> None:
        member = event.member
        if member is None:
            self._backlog.fail(ResourcesUnavailable(event.content))
        elif event.kind is Kind.SAID:
            self._pass_on(member, event.content)
        elif event.kind is Kind.DONE:
            self._accept(member, event.content)
        else:
            self._lose(member, event.content)

    def _hand_out(self) -> None:
        """Give a chunk to each free worker, and have more workers made for the rest."""
        failed: list[tuple[Ticket, OSError]] = []
        # Under the lock, as closing takes away what a ticket holds.
        with self._backlog.lock:
            free = self._crew.free
            while free and (ticket := self._backlog.take()) is not None:
                member = free.pop()
                try:
                    self._send(ticket, member)
                except OSError as error:
                    free.append(member)
                    failed.append((ticket, error))
            wanted = self._backlog.ready
        for ticket, cause in failed:
            report = Report(chunk=ticket.id, error=sites.translate(cause), started=False)
            self._backlog.settle(ticket, report)
        try:
            self._crew.grow(wanted, self._module)
        except InfrastructureError as error:
            self._backlog.fail(error)

    def _interrupt(self) -> None:
        """Interrupt the workers that should be by now, or kill them where that was in vain."""
        while self._unwanted:
            member = self._running.get(ticket := self._unwanted.popleft())
            known = [one.ticket for one in self._interrupts]
            if member is not None and ticket not in known:
                self._interrupts.append(_Interrupt(ticket, member))
        self._interrupts = [one for one in self._interrupts if one.member.ticket is one.ticket]
        now = time.monotonic()
        for one in self._interrupts:
            if one.due > now:
                continue
            one.due = now + INTERRUPT_AGAIN_S
            one.sent += 1
            if one.sent <= INTERRUPTS:
                self._crew.interrupt(one.member)
            else:
                self._crew.kill(one.member)

    def _send(self, ticket: Ticket, member: Member) -> None:
        number = next(self._orders)
        forget = [path for path, shared in member.mapped.items() if shared() is None]
        for path in forget:
            del member.mapped[path]
        member.mapped |= {shared.path: weakref.ref(shared) for shared in ticket.shared}
        order = Order(
            number=number,
            chunk=ticket.id,
            needs=tuple(_place(need) for need in ticket.needs),
            shared=tuple(shared.path for shared in ticket.shared),
            forget=tuple(forget),
        )
        parcel = parcels.flatten([pickle.dumps(order, protocol=5), ticket.work])
        if sum(buffer.nbytes for buffer in parcel) <= FRAME_BYTES:
            frame = frames.frame(Kind.PARCEL, parcels.pack(parcel))
        else:
            path = self._folders.write(f"order-{number}", parcel)
            frame = frames.frame(Kind.FILE, path.encode())
        member.order = number
        member.ticket = ticket
        self._running[ticket] = member
        member.send(frame)

    def _pass_on(self, member: Member, payload: bytes) -> None:
        order, message = frames.heard(payload)
        # A thread that a chunk left running may speak when its chunk is long over.
        if member.ticket is not None and member.order == order:
            self._heard(member.ticket.id, message)

    def _accept(self, member: Member, payload: bytes) -> None:
        ticket = self._take_back(member)
        if ticket is None:
            return
        if not member.doomed:
            self._crew.free.append(member)
        report, values = _open(ticket, member, payload)
        self._backlog.settle(ticket, report, _File(values) if isinstance(values, str) else values)

    def _lose(self, member: Member, how: str) -> None:
        ticket = self._take_back(member)
        if ticket is None:
            return
        for name in (str(member.order), f"order-{member.order}"):
            self._folders.discard(name)
        moment = "before it ran" if member.deaf else "while it ran"
        message = f"Worker {member.identity} {how} {moment} chunk {ticket.id}."
        cancelled = any(one.ticket is ticket for one in self._interrupts)
        error = ChunkCancelled(message) if cancelled else WorkerLost(message)
        self._backlog.settle(
            ticket,
            Report(chunk=ticket.id, worker=member.identity, error=error, started=not member.deaf),
        )

    def _take_back(self, member: Member) -> Ticket | None:
        ticket, member.ticket = member.ticket, None
        if ticket is not None:
            with self._backlog.lock:
                self._running.pop(ticket, None)
        return ticket


@dataclass(slots=True)
class _Interrupt:
    """A running chunk that should end now."""

    ticket: Ticket
    member: Member
    sent: int = 0
    """Signals sent so far."""
    due: float = 0.0
    """When to send the next, by the monotonic clock."""


class _File:
    """A file that lives as long as somebody holds this."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __del__(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)


def _names(preload: Iterable[object]) -> tuple[str, ...]:
    """Return names as a tuple: a list would neither hash nor compare equal to one."""
    names = () if isinstance(preload, str) else tuple(preload)
    known = tuple(name for name in names if isinstance(name, str))
    if isinstance(preload, str) or known != names:
        raise UsageError(f"preload takes a tuple of module names, not {preload!r}.")
    return known


def _place(ticket: Ticket) -> Place:
    values: bytes | _File = ticket.values
    return values.path if isinstance(values, _File) else values


def _open(ticket: Ticket, member: Member, payload: bytes) -> tuple[Report, Place | None]:
    try:
        outcome: Outcome = pickle.loads(payload)
        return outcome
    except Exception as error:
        # Such as an error class that only the worker has. Nothing is lost: the report tells it.
        told = sites.translate(error)
        return Report(chunk=ticket.id, worker=member.identity, error=told), None
