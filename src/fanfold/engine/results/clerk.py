"""The process's clerk: gets leases for whoever waits for them, and renews those that are held."""

import heapq
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count

from fanfold.engine.results import claims
from fanfold.engine.results.claims import Claimant, Lease
from fanfold.engine.single import OnePerProcess
from fanfold.ports.results import ResultStore
from fanfold.values.ids import new_id

logger = logging.getLogger("fanfold.results")

FIRST_LOOK_S = 0.05
"""Until it is looked again whether a lease is free; twice as long each time."""
LONGEST_LOOK_S = 2.0
"""At most; and never longer than two fifths of a renewal, or expired ones would be found late."""
AT_A_TIME = 16
"""Requests for claims that are under way; as many again for renewals."""

Tell = Callable[[Lease | None, Exception | None], None]
"""Takes the lease, or why there never will be one. Neither: another one of the same holder has it,
who may go on beside itself."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Wish:
    claimant: Claimant
    owner: object
    holder: object
    tell: Tell
    pause_s: float = FIRST_LOOK_S
    under_way: bool = False
    due: int = 0
    """Which of its entries in the list of what is due counts."""
    dropped: bool = False


@dataclass(slots=True, eq=False, kw_only=True)
class _Held:
    lease: Lease
    owner: object
    holder: object
    renewing: threading.Lock = field(default_factory=threading.Lock)
    """Held while it is written: what was released must not be renewed."""
    over: bool = False
    due: int = 0


class Clerk:
    """Claims, renews and releases leases for all of a process. Thread-safe.

    Args:
        renew_s: How often leases are renewed; the same in all processes that share a store.
    """

    def __init__(self, renew_s: float) -> None:
        self._renew_s = renew_s
        self._who = f"{os.uname().nodename}/{os.getpid()}"
        self._changed = threading.Condition()
        self._wishes: dict[_Wish, None] = {}
        self._held: dict[Lease, _Held] = {}
        self._due: list[tuple[float, int, _Wish | _Held]] = []
        self._order = count()
        self._claiming = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="fanfold-claims")
        self._renewing = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="fanfold-leases")
        threading.Thread(target=self._loop, name="fanfold-clerk", daemon=True).start()

    def want(
        self,
        store: ResultStore,
        prefix: str,
        tell: Tell,
        *,
        owner: object,
        holder: object = None,
    ) -> None:
        """Get a lease, however long that takes; returns at once.

        Args:
            store: Where it is claimed.
            prefix: What is claimed.
            tell: Called once from another thread, unless the owner is closed before.
            owner: For whom; `close` lets go of all that is his.
            holder: Whoever may have the lease more than once at a time; None for nobody.
        """
        who = f"{self._who}/{new_id()}".encode()
        claimant = Claimant(store=store, prefix=prefix, who=who, renew_s=self._renew_s)
        wish = _Wish(claimant=claimant, owner=owner, holder=holder, tell=tell)
        with self._changed:
            self._wishes[wish] = None
            self._schedule(wish, 0.0)

    def hold(self, store: ResultStore, prefix: str, *, holder: object) -> Lease | None:
        """Get a lease and return it, None if the holder has it already; blocks until then.

        Raises:
            StoreError: It can't be claimed.
        """
        answers: list[tuple[Lease | None, Exception | None]] = []
        owner, told = object(), threading.Event()

        def tell(lease: Lease | None, error: Exception | None) -> None:
            answers.append((lease, error))
            told.set()

        self.want(store, prefix, tell, owner=owner, holder=holder)
        try:
            while not told.wait(0.5):  # so that what is to interrupt this thread can do so
                pass
        except BaseException:
            self.close(owner)
            raise
        return _granted(*answers[0])

    async def hold_async(self, store: ResultStore, prefix: str, *, holder: object) -> Lease | None:
        """Do as `hold` does in the running loop, whose threads stay free for who has the lease.

        Raises:
            StoreError: It can't be claimed.
        """
        import asyncio  # 10 ms, which only async code needs

        answers: list[tuple[Lease | None, Exception | None]] = []
        owner, told, loop = object(), asyncio.Event(), asyncio.get_running_loop()

        def tell(lease: Lease | None, error: Exception | None) -> None:
            answers.append((lease, error))
            try:
                loop.call_soon_threadsafe(told.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                self.close(owner)

        self.want(store, prefix, tell, owner=owner, holder=holder)
        try:
            await told.wait()
        except BaseException:  # it may have been granted already
            self.close(owner)
            raise
        return _granted(*answers[0])

    def detach(self, leases: Iterable[Lease]) -> None:
        """Let leases outlive their owner: they belong to a commit, which releases them."""
        with self._changed:
            for lease in leases:
                if lease in self._held:
                    self._held[lease].owner = None

    def release(self, leases: Iterable[Lease]) -> None:
        """Give leases back without waiting for that; one that can't be expires. Idempotent."""
        for lease in leases:
            with self._changed:
                held = self._held.pop(lease, None)
            if held is not None:
                self._claiming.submit(self._release, held)

    def close(self, owner: object) -> None:
        """Let go of all that is wanted and held for an owner, without waiting for the store."""
        with self._changed:
            for wish in [wish for wish in self._wishes if wish.owner is owner]:
                wish.dropped = True
                del self._wishes[wish]
            leases = [lease for lease, held in self._held.items() if held.owner is owner]
        self.release(leases)

    def _release(self, held: _Held) -> None:
        lease = held.lease
        with held.renewing:
            held.over = True
            try:
                lease.release()
            except Exception as error:  # others wait until it expires
                logger.warning("%s in %s isn't released: %s", lease.name, lease.store, error)
        self._wake(lease)

    def _wake(self, lease: Lease) -> None:
        """Look at once for others here who wait for what was released."""
        with self._changed:
            for wish in self._wishes:
                one = wish.claimant
                if not wish.under_way and (one.store, one.prefix) == (lease.store, lease.prefix):
                    self._schedule(wish, 0.0)

    def _schedule(self, what: _Wish | _Held, after_s: float) -> None:
        what.due = next(self._order)
        heapq.heappush(self._due, (time.monotonic() + after_s, what.due, what))
        self._changed.notify()

    def _loop(self) -> None:
        with suppress(RuntimeError):  # this process ends, and takes no new work
            self._go_round()

    def _go_round(self) -> None:
        while True:
            with self._changed:
                while (wait_s := self._until_due()) is None or wait_s > 0:
                    self._changed.wait(wait_s)
                _, due, what = heapq.heappop(self._due)
                if due != what.due:  # it was put off, or brought forward
                    continue
                if isinstance(what, _Wish):
                    if what.dropped:
                        continue
                    what.under_way = True
            if isinstance(what, _Wish):
                self._claiming.submit(self._claim, what)
            else:
                self._renewing.submit(self._renew, what)

    def _until_due(self) -> float | None:
        return self._due[0][0] - time.monotonic() if self._due else None

    def _claim(self, wish: _Wish) -> None:
        lease: Lease | None = None
        error: Exception | None = None
        try:
            if not self._has(wish):
                lease = wish.claimant.attempt()
                if lease is None:
                    self._later(wish)
                    return
        except Exception as raised:  # whoever waits decides what that means
            error = raised
        if lease is not None:
            held = _Held(lease=lease, owner=wish.owner, holder=wish.holder)
            with self._changed:
                self._held[lease] = held
                self._schedule(held, self._renew_s)
        with self._changed:
            dropped = wish.dropped
            self._wishes.pop(wish, None)
        if not dropped:
            wish.tell(lease, error)
        elif lease is not None:
            self.release([lease])

    def _has(self, wish: _Wish) -> bool:
        """Return whether who wishes has the lease already."""
        one = wish.claimant
        with self._changed:
            return wish.holder is not None and any(
                held.holder is wish.holder and lease.prefix == one.prefix
                for lease, held in self._held.items()
                if lease.store == one.store
            )

    def _later(self, wish: _Wish) -> None:
        longest = min(LONGEST_LOOK_S, 0.4 * self._renew_s)
        with self._changed:
            wish.under_way = False
            # Many that wait for the same don't look at the same time.
            self._schedule(wish, min(wish.pause_s, longest) * random.uniform(0.5, 1.0))
            wish.pause_s = min(2 * wish.pause_s, longest)

    def _renew(self, held: _Held) -> None:
        with held.renewing:
            if held.over:
                return
            try:
                held.lease.renew()
            except Exception as error:  # tried again; if that goes on, others take over
                logger.warning(
                    "%s in %s isn't renewed: %s", held.lease.name, held.lease.store, error
                )
        with self._changed:
            if held.lease in self._held:
                self._schedule(held, self._renew_s)


def _granted(lease: Lease | None, error: Exception | None) -> Lease | None:
    if error is not None:
        raise error
    return lease


@OnePerProcess
def clerk() -> Clerk:
    """Return the process's clerk, who begins on first use."""
    return Clerk(claims.RENEW_S)
