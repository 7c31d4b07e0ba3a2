"""Finds out what became of chunks that bring no report themselves, and tells it."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from distributed import KilledWorker

from fanfold.values.errors import ChunkCancelled, InfrastructureError, WorkerLost
from fanfold_dask import connection
from fanfold_dask.cluster import OwnCluster
from fanfold_dask.ends import Ends
from fanfold_dask.failures import translate
from fanfold_dask.native import NativeClient, NativeFuture
from fanfold_dask.pending import Book, Pending
from fanfold_dask.workers import Gone

_CUT_OFF = "scheduler-connection-lost"
"""Why Dask cancels the futures of a client whose connection broke."""


class Fates:
    """Tells the fates of one session's chunks. Thread-safe.

    Args:
        client: The session's.
        book: What is pending.
        cluster: Ours, where it is.
        reconnected: Called when a broken connection is back, before anything is told.
    """

    def __init__(
        self,
        client: NativeClient,
        book: Book,
        cluster: OwnCluster | None,
        reconnected: Callable[[], None],
    ) -> None:
        self._client = client
        self._book = book
        self._cluster = cluster
        self._reconnected = reconnected
        self._ends = Ends(client)
        self._cut: set[str] = set()
        self._lock = threading.Lock()

    def worker_gone(self, gone: Gone) -> None:
        """Tell which chunks ended with a worker; on the client's event loop.

        What a borrowed cluster's retired worker had is run elsewhere by the scheduler.
        """
        if gone.expected and self._cluster is None:
            return
        ended = self._book.examine(gone.keys, lost=True)
        if ended:
            self._client.loop.add_callback(self._tell_ended, gone, ended)

    def ended(self, key: str, future: NativeFuture) -> None:
        """See to a future that has no value; in Dask's callback thread."""
        pending = self._book.get(key)
        if pending is None or pending.examined:
            return
        error = failure(future)
        if self._client.status != "running" or getattr(error, "reason", "") == _CUT_OFF:
            self._wait_for_connection(key)
        elif isinstance(error, KilledWorker) and error.task == key:
            # The scheduler tells of its death too, but that may be lost, or late.
            self._client.loop.add_callback(self._killed, key, error)
        else:
            needs = [ref.future.key for ref in pending.needs if ref.future is not None]
            refs = (*pending.needs, *pending.shared)
            lost = [ref.future.key for ref in refs if ref.future is not None and ref.gone]
            self._book.fail(key, translate(error, f"Chunk {pending.chunk}", needs, lost))

    def _killed(self, key: str, error: KilledWorker) -> None:
        worker: Any = error.last_worker
        self.worker_gone(
            Gone(
                address=worker.address,
                keys={key},
                expected=False,
                cause="",
                nanny=worker.nanny or "",
                limit=worker.memory_limit or 0,
                pid=worker.pid,
                when=0.0,
            )
        )

    async def _tell_ended(self, gone: Gone, ended: dict[str, Pending]) -> None:
        if self._client.status == "running":
            futures = [one.future for one in ended.values() if one.future is not None]
            # A scheduler that isn't ours, or that has retired the worker, is about to run them on
            # the next one.
            if futures and (self._cluster is None or gone.expected):
                # If that fails, the connection broke, and the scheduler drops them by itself.
                with suppress(Exception):
                    await self._client.cancel(futures, asynchronous=True)
        if gone.expected:
            self._fail(ended, lambda one: ChunkCancelled(f"The worker of {one.chunk} was retired."))
            return
        pid = next((one.pid for one in ended.values() if one.pid), gone.pid)
        try:
            told = await self._ends.of(gone, pid)
        except Exception as error:
            # Nothing is lost: that the worker is gone is told all the same.
            told = f"is gone; what ended it isn't known: {type(error).__name__}: {error}"
        process = f"Worker process {pid}" if pid else "The worker process"
        self._fail(ended, lambda one: WorkerLost(f"{process} {told}; it had chunk {one.chunk}."))

    def _fail(
        self, ended: dict[str, Pending], error: Callable[[Pending], InfrastructureError]
    ) -> None:
        for key, pending in ended.items():
            self._book.fail(key, error(pending))

    def _wait_for_connection(self, key: str) -> None:
        """Let a thread tell of it, for the event loop may end meanwhile."""
        self._book.examine([key])
        with self._lock:
            waits = bool(self._cut)
            self._cut.add(key)
        if not waits:
            name = "fanfold-dask-reconnect"
            threading.Thread(target=self._tell_cut, name=name, daemon=True).start()

    def _tell_cut(self) -> None:
        error = connection.outcome(self._client, self._cluster)
        back = self._client.status == "running"
        if back:
            # If it breaks again meanwhile, the next futures tell of that.
            with suppress(Exception):
                self._reconnected()
        with self._lock:
            cut, self._cut = self._cut, set()
        for key in cut if back else [key for key, _ in self._book.items()]:
            self._book.fail(key, error)


def failure(future: NativeFuture) -> BaseException:
    """Return why a future that ended has no value, without a trip to the event loop."""
    # Future.exception() waits for the loop, which may just have ended with its client.
    error: BaseException | None = future._state.exception
    return error or CancelledError(f"Dask calls it {future.status}")
