"""What a client knows of its cluster's workers: what each offers, and which of them are gone."""

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol
from weakref import WeakValueDictionary

from fanfold.values.resources import Slots
from fanfold_dask import herald, topics
from fanfold_dask.asking import Offer, totals
from fanfold_dask.native import NativeClient, run_on_scheduler

REFRESH_S = 5.0
"""Age after which `slots` asks for fresh figures; news keeps them right, but for a reconnect."""
ANSWER_S = 30.0
"""For a scheduler to tell of its workers; takes 2 ms."""

_RECONNECTED_S = 0.5
"""How soon after it asked in vain a client asks again that has another connection by now."""
_LOOK_S = 0.02
"""How often a client that has just reconnected asks whether the scheduler knows it by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A worker that left the cluster."""

    address: str
    keys: set[str]
    """What it was running or about to run."""
    expected: bool
    """It was retired: it handed its values over, and the scheduler has others do its work."""
    cause: str
    """What the scheduler calls it, such as `handle-worker-cleanup-1795402905.7`."""
    nanny: str
    """Address of the process that watched over it; empty without one."""
    limit: int
    """Of its memory, in bytes; 0 without one."""
    pid: int
    """Id of its process; 0 if it didn't tell."""
    when: float
    """By the scheduler's clock, in seconds since 1970."""


class Listener(Protocol):
    """Who is told of workers; on the client's event loop."""

    def worker_gone(self, gone: Gone) -> None:
        """Take note of a worker that left."""
        ...

    def workers_changed(self) -> None:
        """Look again at what the workers offer."""
        ...


class Workers:
    """One client's view, kept right by news; shared by the client's sessions.

    A client has one handler per topic, so sessions on the same borrowed client can't each have
    their own.
    """

    def __init__(self, client: NativeClient) -> None:
        self._client = client
        self._listeners: list[Listener] = []
        self._name = ""
        """Under which the scheduler is asked for news."""
        self._offers: dict[str, Offer] = {}
        self._totals: Mapping[str, float] = {}
        self._asked = 0.0
        self._told = 0.0
        """When the scheduler last told of all workers; 0 if it hasn't since somebody listens."""
        self._over: Any = None
        """The connection that it told them over."""
        self._waiting: list[tuple[str, asyncio.Event]] = []

    @property
    def offers(self) -> Mapping[str, Offer]:
        """What each worker offers, by its address; from memory."""
        return self._offers

    def now(self) -> Slots:
        """Return the slots, from memory; `most` counts what an adaptive cluster may add."""
        limit = REFRESH_S if self._over is self._client.scheduler_comm else _RECONNECTED_S
        if not self.fresh and time.monotonic() - self._asked > limit:
            self._ask()
        offers = self._offers.values()
        there = sum(offer.threads for offer in offers)
        adaptive = getattr(self._client.cluster, "_adaptive", None)
        most_workers = getattr(adaptive, "maximum", 0)
        each = max((offer.threads for offer in offers), default=1)
        growth = most_workers * each if most_workers != float("inf") else there
        most = max(there, int(growth))
        return Slots(now=there, most=most, grows=adaptive is not None, offers=self._totals)

    @property
    def fresh(self) -> bool:
        """Whether all workers were told of lately, over the connection that brings their news."""
        lately = time.monotonic() - self._told <= REFRESH_S
        return bool(self._told) and lately and self._over is self._client.scheduler_comm

    async def refresh(self) -> None:
        """Ask the scheduler for its workers, and for news of them as long as somebody listens.

        Raises:
            OSError: The scheduler can't be reached.
            TimeoutError: It doesn't answer.
        """
        self._asked = time.monotonic()
        name, told = self._name, asyncio.Event()
        if not name:
            return
        self._waiting.append((name, told))
        try:
            async with asyncio.timeout(ANSWER_S):
                while not await self._run(herald.listen, name):
                    await asyncio.sleep(_LOOK_S)
                await told.wait()
        finally:
            self._waiting.remove((name, told))
        if name != self._name:
            # Whoever listened has left meanwhile, and that may have been faster.
            await self._run(herald.leave, name)

    def add(self, listener: Listener) -> None:
        """Call a listener about every worker that dies from now on; idempotent."""
        with _lock:
            if not self._listeners:
                self._name = f"{next(_numbers)}"
                topics.hear(self._client, herald.TOPIC, self._heard)
            if listener not in self._listeners:
                self._listeners.append(listener)

    def remove(self, listener: Listener) -> str:
        """Undo `add`; return under which name the scheduler is asked for news in vain, if any."""
        with _lock:
            self._listeners.remove(listener)
            if self._listeners:
                return ""
            topics.ignore(self._client, herald.TOPIC)
            name, self._name, self._told = self._name, "", 0.0
            return name

    def _heard(self, event: tuple[float, Any]) -> None:
        when, (kind, *news) = event
        if kind == herald.ALL:
            self._heard_all(*news)
        elif kind == herald.CAME:
            address, description = news
            self._set({**self._offers, address: Offer.of(description)})
            self._changed()
        else:
            self._went(when, *news)

    def _heard_all(self, name: str, descriptions: Mapping[str, Mapping[str, Any]]) -> None:
        if name == self._name:
            self._told, self._over = time.monotonic(), self._client.scheduler_comm
            self._set({at: Offer.of(each) for at, each in descriptions.items()})
            self._changed()
        for asked_under, told in self._waiting:
            if asked_under == name:
                told.set()

    def _went(
        self,
        when: float,
        address: str,
        description: Mapping[str, Any],
        keys: Sequence[str],
        expected: bool,
        cause: str,
    ) -> None:
        offer = Offer.of(description)
        gone = Gone(
            address=address,
            keys=set(keys),
            expected=expected,
            cause=cause,
            nanny=offer.nanny,
            limit=int(offer.holds.memory),
            pid=description["pid"],
            when=when,
        )
        self._set({at: offer for at, offer in self._offers.items() if at != address})
        for listener in tuple(self._listeners):
            listener.worker_gone(gone)

    def _changed(self) -> None:
        for listener in tuple(self._listeners):
            listener.workers_changed()

    def _set(self, offers: dict[str, Offer]) -> None:
        self._offers = offers
        self._totals = totals(offers)

    def _ask(self) -> None:
        self._asked = time.monotonic()
        self._client.loop.add_callback(self._ask_again)

    async def _ask_again(self) -> None:
        # Otherwise the connection's own end is told, or the next call asks again.
        with suppress(OSError, TimeoutError):
            await self.refresh()

    async def _run(self, function: Any, name: str) -> Any:
        return await run_on_scheduler(self._client, function, self._client.id, name)


_lock = Lock()
_numbers = itertools.count(1)
_views: WeakValueDictionary[str, Workers] = WeakValueDictionary()
"""By the client's id; the sessions keep them."""


def of(client: NativeClient) -> Workers:
    """Return the view of a client, the same for all its sessions."""
    with _lock:
        view = _views.get(client.id)
        if view is None:
            view = _views[client.id] = Workers(client)
        return view
