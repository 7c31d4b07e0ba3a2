"""Runs chunks on threads of the driver's own process: nothing is pickled, values stay objects."""

import itertools
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from fanfold.adapters.runners import site as sites
from fanfold.adapters.runners.backlog import Backlog, Ticket
from fanfold.ports.runner import Chunk, Values
from fanfold.values.errors import ResourcesUnavailable
from fanfold.values.messages import Report
from fanfold.values.resources import Slots, Traits

THREADS_PER_CORE = 8
MOST_THREADS_BY_DEFAULT = 32

Heard = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class ThreadPoolTaskRunner:
    """Runs tasks on threads: for work that waits, or that releases the GIL.

    Args:
        max_workers: How many chunks run at once. By default 8 per core and at most 32: threads
            pay where elements wait for something, and then more of them than cores are wanted;
            elements that compute share the cores, and 16 threads cost them 3 % against one.

    Raises:
        UsageError: `max_workers` is no whole number from 1 on.
    """

    max_workers: int | None = None

    def __post_init__(self) -> None:
        sites.check_count("max_workers", self.max_workers)

    def open(self, heard: Heard) -> "ThreadSession":
        """Return a session that starts threads as chunks come in."""
        default = min(MOST_THREADS_BY_DEFAULT, THREADS_PER_CORE * sites.cores())
        return ThreadSession(heard, self.max_workers or default)


ConcurrentTaskRunner = ThreadPoolTaskRunner
"""The same under the name by which Prefect's users may know it."""


class ThreadSession:
    """A pool of daemon threads, so that a chunk that never returns can't keep Python from exiting.

    Args:
        heard: As the port says.
        most: How many threads there may be.
    """

    traits = Traits()

    def __init__(self, heard: Heard, most: int) -> None:
        self._heard = heard
        self._most = most
        self._backlog = Backlog(self._summon)
        self._work = threading.Condition(self._backlog.lock)
        self._names = itertools.count()
        self._started = 0
        self._idle = 0
        self._shared: WeakValueDictionary[str, _Shared] = WeakValueDictionary()

    def slots(self) -> Slots:
        """Return how many threads there may be."""
        return Slots(now=self._most, most=self._most)

    def share(self, key: str, payload: bytes) -> "_Shared":
        """Keep a payload for as long as somebody holds the result."""
        with self._backlog.lock:
            return self._shared.setdefault(key, _Shared(payload))

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ticket] = (),
        shared: Sequence["_Shared"] = (),
        *,
        done: Callable[[Report], None],
    ) -> Ticket:
        """Queue a chunk, and start a thread for it if all are busy and there may be more.

        Raises:
            SessionClosed: The session was closed before.
        """
        ticket = Ticket(
            id=chunk.id,
            work=chunk,
            priority=chunk.priority,
            needs=tuple(needs),
            shared=tuple(shared),
            done=done,
        )
        if self._backlog.admit(ticket):
            with self._backlog.lock:
                self._summon()
            if not self._started:
                self._backlog.fail(ResourcesUnavailable("No thread can be started."))
        return ticket

    def fetch(self, refs: Sequence[Ticket], timeout_s: float | None = None) -> list[Values]:
        """Return values once their chunks have ended.

        Raises:
            TimeoutError: They did not in time.
            ValuesLost: Some ended without.
        """
        self._backlog.wait(refs, timeout_s)
        return [ticket.values for ticket in refs]

    def cancel(self, refs: Collection[Ticket], *, interrupt: bool = False) -> None:
        """End those that wait, by their `done` before this returns; ask the others to stop.

        A thread can't be interrupted from outside, as the traits say: `interrupt` adds nothing.
        """
        self._backlog.cancel(refs)

    def close(self) -> None:
        """End what waits and ask what runs to stop; its `done` follows when it has."""
        self._backlog.close(running=False)
        with self._backlog.lock:
            self._work.notify_all()

    def _summon(self) -> None:
        """See that each ready chunk finds a thread; called with the lock held."""
        ready = self._backlog.ready
        # A thread counts as idle until it has woken, so a few more than needed may be woken and
        # find nothing; the other way round a chunk would wait for nobody.
        self._work.notify(min(ready, self._idle))
        for _ in range(min(ready - self._idle, self._most - self._started)):
            name = f"fanfold-{next(self._names)}"
            try:
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            except RuntimeError:
                # The machine has no room for more; the chunk waits for those that run.
                return
            self._started += 1

    def _serve(self) -> None:
        """Run chunks, one after the other, until the session is closed."""
        while (ticket := self._next()) is not None:
            self._run(ticket)
            # While it waits, a thread must not keep the last chunk's values alive.
            del ticket

    def _next(self) -> Ticket | None:
        with self._backlog.lock:
            while (ticket := self._backlog.take()) is None and not self._backlog.closed:
                self._idle += 1
                self._work.wait()
                self._idle -= 1
            return ticket

    def _run(self, ticket: Ticket) -> None:
        needs = [need.values for need in ticket.needs]
        shared = [share.payload for share in ticket.shared]
        site = _ThreadSite(ticket, self._heard)
        chunk: Chunk = ticket.work
        report, values = sites.carry_out(
            ticket.id, site.worker, lambda: chunk.run(needs, shared, site)
        )
        self._backlog.settle(ticket, report, values)


class _Shared:
    """A shared payload; lives as long as somebody holds it."""

    def __init__(self, payload: bytes) -> None:
        self.payload: Any = payload


class _ThreadSite:
    """What a running chunk sees of its session."""

    __slots__ = ("_heard", "_ticket", "worker")

    def __init__(self, ticket: Ticket, heard: Heard) -> None:
        self.worker = sites.identity()
        self._ticket = ticket
        self._heard = heard

    def say(self, message: bytes) -> None:
        """Hand the message over at once."""
        self._heard(self._ticket.id, message)

    def stopping(self) -> bool:
        """Return whether the chunk was cancelled."""
        return self._ticket.stop
