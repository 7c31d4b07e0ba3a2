"""Dask's event topics, joined and left without traces."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from distributed import Scheduler

from fanfold_dask import herald
from fanfold_dask.native import NativeClient

Handler = Callable[[tuple[float, Any]], Any]
"""Called on the client's event loop with the scheduler's time and the message."""

_IN_FLIGHT_S = 1.0
"""How long events may still arrive after leaving; they take 2 to 10 ms."""

_BATCH_S = 0.1
"""Ten times as long as a client holds back messages to send them together."""


def join(client: NativeClient, topic: str, handler: Handler) -> None:
    """Hear a topic; a client has one handler per topic."""
    client.subscribe_topic(topic, handler)


def leave(client: NativeClient, topic: str) -> None:
    """Undo `join`, also for a client that was closed meanwhile or has lost its scheduler."""
    if client.status == "running":
        # A client that goes while it is subscribed makes the scheduler log an error.
        client.unsubscribe_topic(topic)
    ignore(client, topic)


def hear(client: NativeClient, topic: str, handler: Handler) -> None:
    """Hear what arrives of a topic that the scheduler itself is told of in another way."""
    client._event_handlers[topic] = handler


def ignore(client: NativeClient, topic: str) -> None:
    """Undo `hear`."""
    handlers = client._event_handlers
    if client.status != "running":
        handlers.pop(topic, None)
        return
    # Dask keeps the handler for ever, and logs an error for an event without one.
    ignoring = handlers[topic] = _Ignore()
    clear = partial(_clear, handlers, topic, ignoring)
    client.loop.add_callback(client.loop.call_later, _IN_FLIGHT_S, clear)


async def forget(topic: str, client: str, name: str, dask_scheduler: Scheduler) -> None:
    """Drop what the scheduler keeps of a session that was closed; run on the scheduler.

    Args:
        topic: Which it has left.
        client: Id of its client.
        name: Under which the client was told of workers, if the session was its last.
        dask_scheduler: Given by Dask.
    """
    if name:
        herald.leave(client, name, dask_scheduler)
    known = dask_scheduler._broker._topics  # pyright: ignore[reportPrivateUsage]
    deadline = time.monotonic() + _IN_FLIGHT_S
    # Joining and leaving go another, slower way than this call, and would make the topic anew.
    await asyncio.sleep(_BATCH_S)
    while client in known[topic].subscribers and time.monotonic() < deadline:
        await asyncio.sleep(_BATCH_S)
    known.pop(topic, None)


class _Ignore:
    """Hears what arrives after one leaving; a later one has its own, and its own time."""

    def __call__(self, event: tuple[float, Any]) -> None:
        return None


def _clear(handlers: dict[str, Handler], topic: str, ignoring: _Ignore) -> None:
    # Unless the topic was joined, or joined and left, again meanwhile.
    if handlers.get(topic) is ignoring:
        del handlers[topic]
