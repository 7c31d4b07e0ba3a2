"""What a client knows of its cluster's workers: what each offers, and which of them are gone."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol
from weakref import WeakValueDictionary

from fanfold.values.resources import Slots
from fanfold_dask import topics
from fanfold_dask.asking import Offer, totals
from fanfold_dask.native import NativeClient

REFRESH_S = 5.0
"""Age after which `slots` asks for fresh figures; events keep them right, but for a reconnect."""

_TOPIC = "all"


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
    """Address of the process that watched over it; empty without one, or if it isn't known."""
    limit: int
    """Of its memory, in bytes; 0 without one."""
    name: str
    """As its reports call the process, `host/pid/start`; empty if it never reported anything."""
    when: float
    """By the scheduler's clock, in seconds since 1970."""

    @property
    def pid(self) -> int:
        """Id of its process; 0 if that isn't known."""
        return int(self.name.split("/")[1]) if self.name else 0


class Listener(Protocol):
    """Who is told of workers; on the client's event loop."""

    def worker_gone(self, gone: Gone) -> None:
        """Take note of a worker that left."""
        ...

    def workers_changed(self) -> None:
        """Look again at what the workers offer."""
        ...


class Workers:
    """One client's view, kept fresh by events; shared by the client's sessions.

    A client has one handler per topic, so sessions on the same borrowed client can't each
    subscribe; and the user's own handler must be heard as before.
    """

    def __init__(self, client: NativeClient) -> None:
        self.names: dict[str, str] = {}
        """What the processes call themselves, by the workers' addresses."""
        self._client = client
        self._listeners: list[Listener] = []
        self._offers: dict[str, Offer] = {}
        self._totals: Mapping[str, float] = {}
        self._asked = 0.0
        self._before: Callable[[Any], Any] | None = None

    @property
    def offers(self) -> Mapping[str, Offer]:
        """What each worker offers, by its address; from memory."""
        return self._offers

    def now(self) -> Slots:
        """Return the slots, from memory; `most` counts what an adaptive cluster may add."""
        if time.monotonic() - self._asked > REFRESH_S:
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
        """Whether events have kept it right since it was last asked for."""
        return bool(self._listeners) and time.monotonic() - self._asked <= REFRESH_S

    async def refresh(self) -> None:
        """Ask the scheduler for its workers."""
        self._asked = time.monotonic()
        identity = await self._client.scheduler.identity()
        self._set({at: Offer.of(worker) for at, worker in identity["workers"].items()})
        for listener in tuple(self._listeners):
            listener.workers_changed()

    def add(self, listener: Listener) -> None:
        """Call a listener about every worker that dies from now on; idempotent."""
        with _lock:
            before = topics.join(self._client, _TOPIC, self._heard)
            if before != self._heard:
                self._before = before
            if listener not in self._listeners:
                self._listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """Undo `add`; what the client had subscribed before is as it was."""
        with _lock:
            self._listeners.remove(listener)
            if not self._listeners:
                topics.leave(self._client, _TOPIC, self._before)

    def _heard(self, event: tuple[float, Any]) -> Any:
        message = event[1]
        action = message.get("action") if isinstance(message, dict) else None
        if action == "add-worker":
            self._ask()
        elif action == "remove-worker":
            self._forget(event[0], message)
        return self._before(event) if self._before is not None else None

    def _forget(self, when: float, message: Mapping[str, Any]) -> None:
        address = message["worker"]
        offer = self._offers.get(address)
        gone = Gone(
            address=address,
            keys=set(message["processing-tasks"]),
            expected=message["expected"],
            cause=message["stimulus_id"],
            nanny=offer.nanny if offer is not None else "",
            limit=int(offer.holds.memory) if offer is not None else 0,
            name=self.names.pop(address, ""),
            when=when,
        )
        self._set({at: offer for at, offer in self._offers.items() if at != address})
        for listener in tuple(self._listeners):
            listener.worker_gone(gone)

    def _set(self, offers: dict[str, Offer]) -> None:
        self._offers = offers
        self._totals = totals(offers)

    def _ask(self) -> None:
        self._asked = time.monotonic()
        self._client.loop.add_callback(self.refresh)


_lock = Lock()
_views: WeakValueDictionary[str, Workers] = WeakValueDictionary()
"""By the client's id; the sessions keep them."""


def of(client: NativeClient) -> Workers:
    """Return the view of a client, the same for all its sessions."""
    with _lock:
        view = _views.get(client.id)
        if view is None:
            view = _views[client.id] = Workers(client)
        return view
