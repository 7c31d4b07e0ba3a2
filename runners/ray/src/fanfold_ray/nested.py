"""A session inside a chunk: what a running element starts runs on the same Ray."""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

from fanfold.values.errors import SessionClosed
from fanfold.values.resources import Resources
from fanfold_ray import sending, words
from fanfold_ray.connection import Inside
from fanfold_ray.flights import Flight
from fanfold_ray.lending import Slot
from fanfold_ray.session import RaySession
from fanfold_ray.site import Waybill

RECALL_S = 0.5
"""For a recalled chunk to come back. One that doesn't runs already, so another one is recalled."""


def open_nested(slot: Slot, heard: Callable[[str, bytes], None]) -> "NestedSession":
    """Return a session on the Ray that this worker belongs to.

    Args:
        slot: What the running chunk holds.
        heard: Told what chunks say.
    """
    return NestedSession(slot, heard)


class NestedSession(RaySession):
    """A session whose chunks may borrow the slot of the chunk that has opened it."""

    def __init__(self, slot: Slot, heard: Callable[[str, bytes], None]) -> None:
        self._slot = slot
        self._recalled: Flight | None = None
        self._recalled_at = 0.0
        self._unheard: deque[Flight] = deque()
        """Cancelled, though the order of their recall may have them go on."""
        super().__init__(_stay, heard, Inside())
        slot.offered_by(self._listener.wake)

    def recall(self) -> None:
        """Take the youngest chunk back that may still wait for a slot, if ours is free for it."""
        self._cancel_after_all()
        last = self._recalled
        if not self._slot.free or self._may_come_back(last):
            return
        for flight in reversed(self._book.out()):
            if flight.place is None and not (flight.recalled or flight.cancelled):
                self._recalled, self._recalled_at = flight, time.monotonic()
                # While the head node is away, nothing new starts anyhow.
                with contextlib.suppress(RayError):
                    words.give_order(self._id, flight.ticket, words.RECALL)
                    flight.recalled = True
                    ray.cancel(flight.report, recursive=False)
                if flight.cancelled:
                    # Just now, by another thread that didn't see the recall.
                    self._unheard.append(flight)
                return

    def send_again(self, flight: Flight) -> None:
        """Send a chunk that came back, on our slot if that is still free."""
        if flight is self._recalled:
            self._recalled = None
        flight.recalled = False
        with contextlib.suppress(RayError):
            words.take_back(self._id, flight.ticket)
        with contextlib.suppress(SessionClosed):
            values = self._hand_over(flight)
            held = flight.values()
            if held is not None:
                held.reference = values
            if flight.cancelled:
                ray.cancel(flight.report, recursive=False)

    def close(self) -> None:
        """Report what is out as cancelled; idempotent."""
        super().close()
        # The listener has come to its end, and with it went all orders.
        while self._unheard:
            super()._cancel(self._unheard.popleft())

    def _cancel(self, flight: Flight) -> None:
        super()._cancel(flight)
        if flight.recalled:
            self._unheard.append(flight)
            self._listener.wake()

    def _cancel_after_all(self) -> None:
        """Cancel again what was recalled before: by that order it takes a signal for a recall."""
        # While the head node is away, it is tried at each look.
        with contextlib.suppress(RayError):
            while self._unheard:
                flight = self._unheard[0]
                # Not one to interrupt it, given meanwhile.
                if words.order(self._id, flight.ticket) == words.RECALL:
                    words.take_back(self._id, flight.ticket)
                super()._cancel(flight)
                self._unheard.popleft()

    def _may_come_back(self, flight: Flight | None) -> bool:
        return (
            flight is not None
            and self._book.get(flight.ticket) is flight
            and flight.place is None
            and time.monotonic() - self._recalled_at < RECALL_S
        )

    def _waybill(self, ticket: int, chunk_id: str, needs: int, want: Resources) -> Waybill:
        return super()._waybill(ticket, chunk_id, needs, want)._replace(nested=True)

    def _dispatched(self, flight: Flight) -> tuple[Any, Any]:
        parcel = flight.parcel
        assert parcel is not None
        if self._slot.take(flight.ticket):
            return sending.send(parcel, self._slot.beyond(parcel.want), self._slot.node)
        return sending.send(parcel)

    def _over(self, ticket: int) -> None:
        self._slot.give_back(ticket)
        if self._slot.free:
            self._listener.wake()

    def _recaller(self) -> "NestedSession":
        return self


def _stay() -> None:
    """Leave Ray as it is: the worker belongs to it."""
