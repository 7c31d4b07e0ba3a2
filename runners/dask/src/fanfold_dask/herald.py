"""What tells clients of the workers that come and go: a plug-in of the scheduler.

Dask's own news of a worker is its address. Whoever asks for more may be too late: once a worker is
gone, nobody knows any longer which process it was, and who watched over it. Nor would the answer
come in order with the news. So all that a client needs to know comes in one stream: the workers
that are there, when it asks for them, and then each that comes or goes. The plug-in is there for as
long as any client listens.
"""

import time
from typing import Any

from distributed import Scheduler, SchedulerPlugin

TOPIC = "fanfold-workers"

ALL, CAME, WENT = range(3)
"""The kinds of news: (ALL, the name that was asked under, descriptions by address), (CAME, address,
description) and (WENT, address, description, keys that it was running or about to run, whether that
was expected, what the scheduler calls the cause)."""

Description = dict[str, Any]
"""Of a worker: what it offers, its nanny's address, and its process's id."""


class Herald(SchedulerPlugin):
    """Tells the clients of one scheduler of its workers; on its event loop."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._there = {at: _described(worker) for at, worker in scheduler.workers.items()}
        self._listening: dict[str, set[str]] = {}
        """Under which names each client listens."""

    def listen(self, client: str, name: str) -> None:
        """Tell a client of all workers, and of each that comes or goes from now on."""
        self._listening.setdefault(client, set()).add(name)
        self._scheduler.subscribe_topic(TOPIC, client)
        news = (time.time(), (ALL, name, dict(self._there)))
        # Not as an event for all: the others know, and the scheduler would remember it.
        self._scheduler.send_all(
            {client: [{"op": "event", "topic": TOPIC, "event": news}]}, worker_msgs={}
        )

    def leave(self, client: str, name: str) -> None:
        """Undo `listen`, also if it comes before that under another name."""
        names = self._listening.get(client, set())
        names.discard(name)
        if not names:
            self.remove_client(self._scheduler, client)

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Forget a client, and go if nobody listens any more."""
        self._listening.pop(client, None)
        scheduler.unsubscribe_topic(TOPIC, client)
        if not self._listening:
            scheduler.plugins.pop(TOPIC, None)
            scheduler._broker._topics.pop(TOPIC, None)  # pyright: ignore[reportPrivateUsage]

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Tell of a worker that has come, before it is given anything to do."""
        description = self._there[worker] = _described(scheduler.workers[worker])
        scheduler.log_event(TOPIC, (CAME, worker, description))

    def log_event(self, topic: str, msg: Any) -> None:
        """Tell of a worker that is gone: here alone Dask tells what it was running."""
        if topic != "all" or not isinstance(msg, dict) or msg.get("action") != "remove-worker":
            return
        address = msg["worker"]
        description = self._there.pop(address, None)
        if description is not None:
            keys = [key for key in msg["processing-tasks"] if isinstance(key, str)]
            news = (WENT, address, description, keys, msg["expected"], msg["stimulus_id"])
            self._scheduler.log_event(TOPIC, news)


def listen(client: str, name: str, dask_scheduler: Scheduler) -> bool:
    """Have a client told of workers; return whether the scheduler knows it, for it may not yet.

    Args:
        client: Its id.
        name: It listens until it leaves under the same name. Calls may overtake each other.
        dask_scheduler: Given by Dask.
    """
    if client not in dask_scheduler.clients:
        return False
    herald: Any = dask_scheduler.plugins.get(TOPIC)
    if herald is None:
        herald = Herald(dask_scheduler)
        dask_scheduler.add_plugin(herald, name=TOPIC)
    herald.listen(client, name)
    return True


def leave(client: str, name: str, dask_scheduler: Scheduler) -> None:
    """Let a client not be told of workers any more, unless it listens under another name."""
    herald: Any = dask_scheduler.plugins.get(TOPIC)
    if herald is not None:
        herald.leave(client, name)


def _described(worker: Any) -> Description:
    return {
        "nthreads": worker.nthreads,
        "memory_limit": worker.memory_limit,
        "resources": dict(worker.resources),
        "nanny": worker.nanny or "",
        "pid": worker.pid,
    }
