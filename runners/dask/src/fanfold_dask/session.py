"""The live connection to a Dask cluster: the native calls, and whom they are told to."""

import itertools
import os
import pickle
import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

from distributed import Client

from fanfold.ports.runner import Chunk, Values
from fanfold.values import versions
from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    SessionClosed,
    UsageError,
    ValuesLost,
    WorkerLost,
)
from fanfold.values.messages import Report
from fanfold.values.resources import Slots, Traits
from fanfold_dask import topics, workers
from fanfold_dask.carrier import REPORT, Parcel, read_report, run_chunk
from fanfold_dask.cluster import Boot, OwnCluster
from fanfold_dask.failures import translate
from fanfold_dask.native import NativeClient, NativeFuture, call

OPEN_TIMEOUT_S = 30.0
"""For the first answer of a scheduler; a warm one takes 2 ms."""

_GONE = ("cancelled", "error", "lost")

_checked: WeakSet[Client] = WeakSet()
"""Clients whose scheduler was found to run our versions."""


class Ref:
    """The handle on a chunk's values or on a shared payload; dropping the last one frees them."""

    __slots__ = ("__weakref__", "future", "small")

    def __init__(self, future: NativeFuture, small: Sequence[bytes] = ()) -> None:
        self.future = future
        self.small = small
        """The values, once they came with the report; else empty."""


class Share(Ref):
    """A shared payload, kept here too, since it can't be made again from anything."""

    __slots__ = ("payload",)

    def __init__(self, future: NativeFuture, payload: bytes) -> None:
        super().__init__(future)
        self.payload = payload


@dataclass(slots=True)
class Pending:
    """A submit whose `done` is still to be called."""

    chunk: str
    done: Callable[[Report], None]
    needs: Sequence[Ref]
    shared: Sequence[Ref]
    mark: str
    future: NativeFuture | None = None
    small: list[bytes] = field(default_factory=list)
    """Shared with the ref: filled if the values come with the report."""


class DaskSession:
    """A session on one client. Reports come by event; failures by the futures themselves."""

    def __init__(
        self,
        client: NativeClient,
        heard: Callable[[str, bytes], None],
        *,
        own_client: bool = False,
        cluster: OwnCluster | None = None,
    ) -> None:
        self._client = client
        self._heard = heard
        self._own_client = own_client
        self._cluster = cluster
        # A worker of our own that died comes back.
        self._most = 0 if cluster is None else cluster.slots
        self._id = uuid.uuid4().hex[:12]
        self._topic = f"fanfold-{self._id}"
        self._errand = pickle.dumps((self._topic, versions.fingerprint()))
        self._numbers = itertools.count()
        self._pending: dict[str, Pending] = {}
        self._shares: dict[str, Share] = {}
        self._refs: WeakSet[Ref] = WeakSet()
        self._lock = threading.Lock()
        self._closed = False
        # For what takes a round trip to a worker; Dask's own callback thread serves everybody.
        self._fetchers = ThreadPoolExecutor(2, thread_name_prefix="fanfold-dask")
        self._workers = workers.of(client)
        self._listen()
        call(client, self._workers.refresh(), OPEN_TIMEOUT_S)

    @property
    def traits(self) -> Traits:
        """What Dask can do; a cluster of somebody else runs a dead worker's tasks again."""
        return Traits(remote=True, recovers=True, reruns=self._cluster is None)

    def slots(self) -> Slots:
        """Return the slots there are, from memory."""
        slots = self._workers.now()
        return replace(slots, most=max(slots.most, self._most))

    def share(self, key: str, payload: bytes) -> Ref:
        """Scatter a payload to one worker in 2 ms; others get it from there when they need it."""
        with self._lock:
            self._refuse_if_closed()
            if key not in self._shares:
                self._shares[key] = Share(self._scatter(payload), payload)
            return self._shares[key]

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        done: Callable[[Report], None],
    ) -> Ref:
        """Hand a chunk to the scheduler; takes 0.2 ms."""
        number = next(self._numbers)
        # With number and session, for a chunk may be submitted again, and Dask would find the key
        # known. The number first: Dask's dashboard takes the words before it as the task's name.
        key = f"{chunk.label}-{number}-{self._id}-{chunk.id}"
        mark = str(self._cluster.marks / str(number)) if self._cluster is not None else ""
        pending = Pending(chunk.id, done, needs, shared, mark)
        # One at a time, so that none slips past a close.
        with self._lock:
            self._refuse_if_closed()
            self._scatter_again(shared)
            self._pending[key] = pending
            try:
                future = pending.future = self._send(key, pending, chunk)
            except Exception as error:
                # Nothing is lost: the caller gets it, and `done` is never called.
                self._pending.pop(key, None)
                raise translate(error, f"Submitting chunk {chunk.id}") from error
        future.add_done_callback(partial(self._ended, key))
        ref = Ref(future, pending.small)
        self._refs.add(ref)
        return ref

    def fetch(self, refs: Sequence[Ref], timeout_s: float | None = None) -> Sequence[Values]:
        """Return values, gathered where they didn't come with their reports."""
        self._refuse_if_closed()
        gathered = iter(self._gather(refs, timeout_s))
        return [list(ref.small) if ref.small else next(gathered) for ref in refs]

    def _gather(self, refs: Sequence[Ref], timeout_s: float | None) -> list[Values]:
        """Gather values, straight from the workers where the cluster is our own."""
        far = [at for at, ref in enumerate(refs) if not ref.small]
        futures = [refs[at].future for at in far]
        if not futures:
            return []
        try:
            # Not cancelled when time is up: Dask joins concurrent gathers into one.
            gathering = self._client.gather(futures, asynchronous=True)
            parcels: list[Parcel] = call(self._client, gathering, timeout_s)
        except TimeoutError:
            raise
        except Exception as error:
            # Nothing is lost: it is told as what it means.
            lost = [at for at in far if refs[at].future.status in _GONE]
            if lost:
                raise ValuesLost(f"{len(lost)} values are gone from Dask: {error}", lost) from error
            raise translate(error, "Fetching values") from error
        return [list(parcel.parts) for parcel in parcels]

    def cancel(self, refs: Collection[Ref], *, interrupt: bool = False) -> None:
        """Have Dask cancel what hasn't ended; each future's failure then leads to `done`.

        Dask can't interrupt what runs, as the traits say: `interrupt` adds nothing.
        """
        wanted = {ref.future.key for ref in refs}
        self._drop([key for key in wanted if key in self._pending])

    def close(self) -> None:
        """Cancel what is pending, and leave a borrowed cluster as it was, or end our own."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        left = list(self._pending)
        if self._cluster is None:
            self._drop(left)
        for key in left:
            self._fail(key, ChunkCancelled("The session was closed before the chunk ended."))
        self._shares.clear()
        for ref in list(self._refs):
            # A user may hold futures of a flow that is over; their values end with the session.
            ref.future.release()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._leave()
        if self._own_client:
            self._client.close()
        if self._cluster is not None:
            self._cluster.end()

    def _send(self, key: str, pending: Pending, chunk: Chunk) -> NativeFuture:
        return self._client.submit(
            run_chunk,
            self._errand,
            pending.mark,
            chunk.id,
            len(pending.needs),
            # As bytes: Dask walks lists for keys, and its scheduler unpickles.
            pickle.dumps(chunk, protocol=pickle.HIGHEST_PROTOCOL),
            *(ref.future for ref in (*pending.needs, *pending.shared)),
            key=key,
            pure=False,
            retries=0,
            priority=chunk.priority,
        )

    def _heard_event(self, event: tuple[float, Any]) -> None:
        """Pass on a report or a saying; on the client's event loop."""
        kind, name, message, small = event[1]
        if kind != REPORT:
            self._heard(name, message)
        elif name in self._pending:
            if small is not None:
                self._pending[name].small.append(small)
            # Read before it is taken: if that fails, the future's end still leads to `done`.
            self._settle(name, pickle.loads(message))

    def _worker_lost(self, processing: set[str]) -> None:
        """Tell which chunks died with a worker; on the client's event loop."""
        again: list[NativeFuture] = []
        for key in processing & self._pending.keys():
            pending = self._pending[key]
            if self._cluster is None and pending.future is not None:
                again.append(pending.future)
            self._fail(key, WorkerLost(f"The worker that had chunk {pending.chunk} died."))
        if again:
            # The scheduler of a borrowed cluster is about to run them on the next worker.
            self._client.loop.add_callback(self._client.cancel, again, asynchronous=True)

    def _ended(self, key: str, future: NativeFuture) -> None:
        """See to a future's end; in Dask's callback thread, after the report's event if any."""
        pending = self._pending.get(key)
        if pending is None:
            return
        if future.status == "finished":
            self._fetchers.submit(self._fetch_report, key, future)
            return
        refs = (*pending.needs, *pending.shared)
        self._fail(
            key,
            translate(
                _failure(future),
                f"Chunk {pending.chunk}",
                [ref.future.key for ref in pending.needs],
                [ref.future.key for ref in refs if ref.future.status in _GONE],
            ),
        )

    def _fetch_report(self, key: str, future: NativeFuture) -> None:
        """Fetch a report that is too long for an event, or whose event was lost."""
        try:
            # Events are lost when the client had to reconnect; then it must join topics again.
            with self._lock:
                self._refuse_if_closed()
                self._listen()
            holders = self._client.who_has([future])[key]
            found = self._client.run(read_report, key, workers=list(holders)[:1], on_error="ignore")
            report = next((message for message in found.values() if message is not None), None)
            if report is None:
                raise WorkerLost(f"The report of {key} is gone with its worker.")
            self._settle(key, pickle.loads(report))
        except Exception as error:
            # Nothing is lost: it becomes the report.
            self._fail(key, translate(error, f"Fetching the report of {key}"))

    def _fail(self, key: str, error: InfrastructureError) -> None:
        pending = self._pending.get(key)
        if pending is not None:
            started = not isinstance(error, ValuesLost) and (
                not pending.mark or os.path.exists(pending.mark)
            )
            self._settle(key, Report(chunk=pending.chunk, error=error, started=started))

    def _settle(self, key: str, report: Report) -> None:
        """Call `done`, unless it was called before."""
        pending = self._pending.pop(key, None)
        if pending is None:
            return
        if pending.mark:
            Path(pending.mark).unlink(missing_ok=True)
        pending.done(report)

    def _drop(self, keys: Sequence[str]) -> None:
        pending = [self._pending.get(key) for key in keys]
        futures = [one.future for one in pending if one is not None and one.future is not None]
        if futures and self._client.status == "running":
            self._client.cancel(futures)

    def _scatter(self, payload: bytes) -> NativeFuture:
        try:
            if self.slots().now:
                return self._client.scatter(payload, hash=False)
        except TimeoutError:
            # The last worker left just now.
            pass
        except Exception as error:
            # Nothing is lost: it is told as what it means.
            raise translate(error, "Sharing a payload") from error
        # Scattering waits for a worker, which a cluster that grows on demand doesn't start for it.
        return self._client.submit(bytes, payload, pure=False, retries=0, priority=1_000_000)

    def _scatter_again(self, shared: Sequence[Ref]) -> None:
        """Replace payloads that died with the only worker that had them."""
        for share in shared:
            if isinstance(share, Share) and share.future.status in _GONE:
                share.future = self._scatter(share.payload)

    def _listen(self) -> None:
        topics.join(self._client, self._topic, self._heard_event)
        self._workers.add(self._worker_lost)

    def _leave(self) -> None:
        self._workers.remove(self._worker_lost)
        topics.leave(self._client, self._topic)
        if self._cluster is None and self._client.status == "running":
            self._client.run_on_scheduler(topics.forget, self._topic, self._client.id, wait=False)

    def _refuse_if_closed(self) -> None:
        if self._closed or self._client.status not in ("running", "connecting"):
            raise SessionClosed("The session on Dask was closed before.")


def _failure(future: NativeFuture) -> BaseException:
    """Return why a future that ended has no value, without a trip to the event loop."""
    # Future.exception() waits for the loop, which may just have ended with its client.
    error: BaseException | None = future._state.exception
    return error or CancelledError(f"Dask calls it {future.status}")


def open_own(boot: Boot, heard: Callable[[str, bytes], None]) -> DaskSession:
    """Open a session on a cluster of our own that is starting.

    Raises:
        InfrastructureError: It didn't start; nothing is left of it.
    """
    cluster = boot.ready()
    try:
        client = _connect(cluster.address, direct=True)
        return _open(client, heard, own_client=True, cluster=cluster)
    except BaseException:
        cluster.end()
        raise


def open_at(address: str, heard: Callable[[str, bytes], None]) -> DaskSession:
    """Open a session on somebody else's cluster.

    Raises:
        InfrastructureError: It can't be reached, or runs other versions.
    """
    client = _connect(address, direct=None)
    try:
        _check(client)
        return _open(client, heard, own_client=True)
    except BaseException:
        client.close()
        raise


def open_on(client: NativeClient, heard: Callable[[str, bytes], None]) -> DaskSession:
    """Open a session on a client that somebody else closes; takes 2 ms on a warm one.

    Raises:
        UsageError: The client is asynchronous.
        InfrastructureError: It is closed, or its cluster runs other versions.
    """
    if client.asynchronous:
        raise UsageError("DaskTaskRunner needs a client that was made without asynchronous=True.")
    _check(client)
    return _open(client, heard)


def _open(
    client: NativeClient,
    heard: Callable[[str, bytes], None],
    *,
    own_client: bool = False,
    cluster: OwnCluster | None = None,
) -> DaskSession:
    try:
        return DaskSession(client, heard, own_client=own_client, cluster=cluster)
    except Exception as error:
        # Nothing is lost: it is told as what it means.
        raise translate(error, "Opening a session on Dask") from error


def _connect(address: str, *, direct: bool | None) -> NativeClient:
    try:
        return Client(address, set_as_default=False, direct_to_workers=direct)
    except (OSError, ValueError) as error:
        raise translate(error, f"Connecting to Dask at {address}") from error


def _check(client: NativeClient) -> None:
    """Refuse a scheduler that can't read what we send; workers are checked chunk by chunk."""
    if client in _checked:
        return
    try:
        theirs = client.run_on_scheduler(versions.fingerprint)
    except Exception as error:
        # Nothing is lost: it is told as what it means.
        raise translate(error, "Asking the scheduler for its versions") from error
    versions.check(versions.fingerprint(), theirs, client.scheduler.address)
    _checked.add(client)
