"""The client of a worker's own, which all that runs there shares: nested sessions and users' code.

Dask has one too, for the first who asks. But its way there isn't meant for threads: while one of
them connects the client, the next is given it as it is, and finds it neither open nor closed. And
it may be one that a task has opened for itself, and closes when it likes.
"""

import threading
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from distributed import Client, Worker
from distributed.utils import in_async_call

from fanfold_dask.failures import translate
from fanfold_dask.native import NativeClient

NAME = "worker"
"""By which Dask chooses the worker's certificates."""
_OURS = f"Client-{NAME}-"
"""How ids begin of clients that were made for a worker."""
_CLOSED = frozenset({"closing", "closed"})

Timeout = float | str | timedelta | None
"""In seconds, or as Dask reads it, such as "30s"."""

_lock = threading.RLock()
_all: WeakKeyDictionary[Worker, NativeClient] = WeakKeyDictionary()


def of(worker: Worker, timeout: Timeout = None) -> NativeClient:
    """Return a worker's own client, connected; the same for as long as it is. Thread-safe.

    On the worker's event loop nothing can be waited for: there it is Dask's, and may be about to
    connect.

    Args:
        worker: Of this process.
        timeout: For a connection that has to be made.

    Raises:
        InfrastructureError: The scheduler can't be reached.
    """
    dask_worker: Any = worker
    try:
        if in_async_call(dask_worker.loop):
            return dask_worker._get_client(timeout)
        with _lock:
            client = _all.get(worker) or _of_dask(dask_worker)
            if client is None or client.status in _CLOSED:
                client = _connected(dask_worker, timeout)
            _all[worker] = client
            return client
    except Exception as error:
        # Nothing is lost: it is told as what it means.
        raise translate(error, "Connecting a client inside a task") from error


def made_for_worker(client: NativeClient) -> bool:
    """Return whether a client is a worker's, rather than one that a task has opened for itself."""
    return client.id.startswith(_OURS)


def _of_dask(dask_worker: Any) -> NativeClient | None:
    """Return the client that Dask has made for a worker already, if it is connected."""
    client = dask_worker._client
    fits = client is not None and client.status == "running" and made_for_worker(client)
    return client if fits else None


def _connected(dask_worker: Any, timeout: Timeout) -> NativeClient:
    given: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
    client = Client(
        dask_worker.scheduler,
        loop=dask_worker.loop,
        security=dask_worker.security,
        direct_to_workers=True,
        name=NAME,
        **given,
    )
    # The worker closes them when it ends, if it has one itself.
    Worker._initialized_clients.add(client)  # pyright: ignore[reportPrivateUsage]
    dask_worker._client = dask_worker._client or client
    return client
