"""What a client knows of its cluster's workers: how many slots there are, and who died."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from fanfold.values.resources import Slots
from fanfold_dask import topics
from fanfold_dask.native import NativeClient

REFRESH_S = 5.0
"""Age after which `slots` asks for fresh figures; events keep them right, but for a reconnect."""

_TOPIC = "all"

Lost = Callable[[set[str]], None]
"""Called on the event loop with the keys that a dead worker was running or about to run."""


class Workers:
    """One client's view, kept fresh by events; shared by the client's sessions.

    A client has one handler per topic, so sessions on the same borrowed client can't each
    subscribe; and the user's own handler must be heard as before.
    """

    def __init__(self, client: NativeClient) -> None:
        self._client = client
        self._listeners: list[Lost] = []
        self._slots: dict[str, int] = {}
        self._offers: dict[str, float] = {}
        self._asked = 0.0
        self._before: Callable[[Any], Any] | None = None

    def now(self) -> Slots:
        """Return the slots, from memory; `most` counts what an adaptive cluster may add."""
        if time.monotonic() - self._asked > REFRESH_S:
            self._ask()
        there = sum(self._slots.values())
        adaptive = getattr(self._client.cluster, "_adaptive", None)
        most_workers = getattr(adaptive, "maximum", 0)
        each = max(self._slots.values(), default=1)
        growth = most_workers * each if most_workers != float("inf") else there
        return Slots(now=there, most=max(there, int(growth)), offers=self._offers)

    async def refresh(self) -> None:
        """Ask the scheduler for its workers."""
        self._asked = time.monotonic()
        identity = await self._client.scheduler.identity()
        found = identity["workers"]
        self._slots = {address: worker["nthreads"] for address, worker in found.items()}
        offers: dict[str, float] = {}
        for worker in found.values():
            for name, amount in worker["resources"].items():
                offers[name] = offers.get(name, 0.0) + amount
        self._offers = offers

    def add(self, listener: Lost) -> None:
        """Call a listener about every worker that dies from now on; idempotent."""
        with _lock:
            before = topics.join(self._client, _TOPIC, self._heard)
            if before != self._heard:
                self._before = before
            if listener not in self._listeners:
                self._listeners.append(listener)

    def remove(self, listener: Lost) -> None:
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
            self._slots.pop(message["worker"], None)
            # A worker that is retired hands its work over; nothing is lost with it.
            if not message["expected"]:
                for listener in tuple(self._listeners):
                    listener(set(message["processing-tasks"]))
        return self._before(event) if self._before is not None else None

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
