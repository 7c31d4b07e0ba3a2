"""Runs chunks on threads of the driver's own process: nothing is pickled, values stay objects."""

import itertools
import threading
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from fanfold.adapters.runners import site as sites
from fanfold.adapters.runners.backlog import Backlog, Ticket
from fanfold.ports.runner import Chunk, Values
from fanfold.values.cards import WithCard
from fanfold.values.errors import ResourcesUnavailable, SessionClosed
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources, Slots, Traits

THREADS_PER_CORE = 8
MOST_THREADS_BY_DEFAULT = 32

Heard = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class ThreadPoolTaskRunner(WithCard):
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
        most: How many threads may run at once.
    """

    traits = Traits()
    sealed = True
    dashboard = ""

    def __init__(self, heard: Heard, most: int) -> None:
        self._heard = heard
        self._most = most
        self._waiting = 0
        """Threads whose elements wait for others, and count for none meanwhile."""
        self._backlog = Backlog(self._summon)
        self._work = threading.Condition(self._backlog.lock)
        self._names = itertools.count()
        self._started = 0
        self._idle = 0
        self._shared: WeakValueDictionary[str, _Shared] = WeakValueDictionary()

    def slots(self) -> Slots:
        """Return how many threads there may be."""
        return Slots(now=self._most, most=self._most)

    def lacking(self, want: Resources) -> str:
        """Return nothing: there are always threads."""
        return ""

    def stuck(self, refs: Collection[Ticket]) -> Collection[Ticket]:
        """Return none: a thread stops and goes with this process alone."""
        return ()

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
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Ticket:
        """Queue a chunk, and start a thread for it if all are busy and there may be more.

        Raises:
            SessionClosed: The session was closed before.
            ResourcesUnavailable: The chunk wants more than a slot.
        """
        sites.refuse(want, "threads")
        return self.queue(chunk, self._heard, needs, shared, done)

    def queue(
        self,
        chunk: Chunk,
        heard: Heard,
        needs: Sequence[Ticket],
        shared: Sequence["_Shared"],
        done: Callable[[Report], None],
    ) -> Ticket:
        """Queue a chunk whose words somebody in particular hears."""
        ticket = Ticket(
            id=chunk.id,
            work=(chunk, heard),
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

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Let another thread run while the calling one waits."""
        with self._backlog.lock:
            self._waiting += 1
            self._summon()
        try:
            yield
        finally:
            with self._backlog.lock:
                self._waiting -= 1

    def _summon(self) -> None:
        """See that each ready chunk finds a thread; called with the lock held."""
        ready = self._backlog.ready
        # A thread counts as idle until it has woken, so a few more than needed may be woken and
        # find nothing; the other way round a chunk would wait for nobody.
        self._work.notify(min(ready, self._idle))
        for _ in range(min(ready - self._idle, self._most + self._waiting - self._started)):
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
            while not self._superfluous():
                if (ticket := self._backlog.take()) is not None or self._backlog.closed:
                    return ticket
                self._idle += 1
                self._work.wait()
                self._idle -= 1
            self._started -= 1
            return None

    def _superfluous(self) -> bool:
        """Return whether the calling thread stood in for one that waits no more."""
        return self._started > self._most + self._waiting

    def _run(self, ticket: Ticket) -> None:
        needs = [need.values for need in ticket.needs]
        shared = [share.payload for share in ticket.shared]
        chunk, heard = ticket.work
        site = _ThreadSite(ticket, heard, self)
        report, values = sites.carry_out(
            ticket.id, site.worker, lambda: chunk.run(needs, shared, site)
        )
        self._backlog.settle(ticket, report, values)


class _Shared:
    """A shared payload; lives as long as somebody holds it."""

    def __init__(self, payload: bytes) -> None:
        self.payload: Any = payload


class _NestedSession:
    """What a running chunk starts, on the threads of the session that it runs on itself."""

    traits = Traits()
    sealed = True
    dashboard = ""

    def __init__(self, pool: ThreadSession, heard: Heard) -> None:
        self._pool = pool
        self._heard = heard
        self._tickets: WeakSet[Ticket] = WeakSet()
        self._closed = False
        self.slots = pool.slots
        self.share = pool.share
        self.lacking = pool.lacking
        self.stuck = pool.stuck
        self.fetch = pool.fetch
        self.cancel = pool.cancel

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ticket] = (),
        shared: Sequence[_Shared] = (),
        *,
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Ticket:
        """Queue a chunk beside those of the pool's other users."""
        sites.refuse(want, "threads")
        if self._closed:
            raise SessionClosed(f"Chunk {chunk.id} was submitted to a closed session.")
        ticket = self._pool.queue(chunk, self._heard, needs, shared, done)
        self._tickets.add(ticket)
        return ticket

    def close(self) -> None:
        """End what waits and ask what runs to stop; the pool goes on."""
        self._closed = True
        self._pool.cancel(list(self._tickets))


class _ThreadSite:
    """What a running chunk sees of its session."""

    __slots__ = ("_heard", "_pool", "_ticket", "waiting", "worker")

    def __init__(self, ticket: Ticket, heard: Heard, pool: ThreadSession) -> None:
        self.worker = sites.identity()
        self._ticket = ticket
        self._heard = heard
        self._pool = pool
        self.waiting = pool.waiting

    def say(self, message: bytes) -> None:
        """Hand the message over at once."""
        self._heard(self._ticket.id, message)

    def stopping(self) -> bool:
        """Return whether the chunk was cancelled."""
        return self._ticket.stop

    def session(self, heard: Heard) -> _NestedSession:
        """Return a session on the same threads."""
        return _NestedSession(self._pool, heard)
