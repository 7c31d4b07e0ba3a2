"""The live connection to a Dask cluster: the native calls, and whom they are told to."""

import itertools
import pickle
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any
from weakref import WeakSet

from fanfold.ports.runner import Chunk, Values
from fanfold.values.errors import (
    ChunkCancelled,
    ClusterLost,
    ResourcesUnavailable,
    SessionClosed,
    ValuesLost,
    WorkerLost,
)
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources, Slots, Traits
from fanfold_dask import asking, connection, natives, topics, workers
from fanfold_dask.addresses import exposed, masked
from fanfold_dask.carrier import REPORT, Parcel, read_report
from fanfold_dask.cluster import FIXED, Growth, OwnCluster
from fanfold_dask.failures import translate
from fanfold_dask.fates import Fates
from fanfold_dask.gathering import bring
from fanfold_dask.native import NativeClient, NativeFuture, call
from fanfold_dask.pending import Book, Pending, Ref, Share, Work
from fanfold_dask.sending import Sender
from fanfold_dask.standstill import look
from fanfold_dask.withdrawing import withdraw
from fanfold_dask.workers import Gone

OPEN_TIMEOUT_S = 30.0
"""For the first answer of a scheduler; a warm one takes 2 ms."""
LOOK_TIMEOUT_S = 6.0
"""For a look at what is stopped; takes 10 ms where nothing is."""
UNANSWERED_S = 120.0
"""A scheduler that hasn't answered any look for so long is given up, though its connection stands:
its process or its machine is stopped, or the network between is gone without a word."""
HELD_LOOK_S = 0.02
"""How often who fetches the values of a chunk looks whether it was sent."""
CLOSE_TIMEOUT_S = 1.0
"""For workers to hear that pending work isn't wanted any more."""

_HONOURED = frozenset({"cpu", "gpu", "memory", "custom"})


class DaskSession:
    """A session on one client. Reports come by event; failures by the futures themselves.

    Args:
        client: Live, and made without asynchronous=True.
        heard: As for `DaskTaskRunner.open`.
        cluster: Ours, where there is one.
        growth: What its cluster can grow to.
        dashboard: Address of the cluster's web page, or nothing.
        release: Ends what was made for the session; called once, as the last thing of its close.
    """

    def __init__(
        self,
        client: NativeClient,
        heard: Callable[[str, bytes], None],
        *,
        cluster: OwnCluster | None = None,
        growth: Growth = FIXED,
        dashboard: str = "",
        release: Callable[[], None] | None = None,
    ) -> None:
        self.client = client
        self.dashboard = dashboard
        self._client = client
        self._heard = heard
        self._cluster = cluster
        self._growth = growth
        self._release = release
        self._id = uuid.uuid4().hex[:12]
        self._topic = f"fanfold-{self._id}"
        self._numbers = itertools.count()
        self._book = Book()
        self._shares: dict[str, Share] = {}
        self._refs: WeakSet[Ref] = WeakSet()
        self._lock = threading.Lock()
        self._closed = False
        self._lost: ClusterLost | None = None
        self._unanswered = 0.0
        """When the scheduler was first asked in vain; 0 if it answers."""
        # For what takes a round trip to a worker; Dask's own callback thread serves everybody.
        self._fetchers = ThreadPoolExecutor(2, thread_name_prefix="fanfold-dask")
        self._workers = workers.of(client)
        self._sender = Sender(client, self._topic, self._book, self._workers, self._ended)
        self._fates = Fates(client, self._book, cluster, self._reconnected)
        natives.open_home(self._topic, client)
        self._listen()
        try:
            if not self._workers.fresh:
                call(client, self._workers.refresh(), OPEN_TIMEOUT_S)
        except BaseException:
            self._leave()
            raise

    @property
    def traits(self) -> Traits:
        """What Dask can do; a cluster of somebody else runs a dead worker's tasks again."""
        reruns = self._cluster is None
        return Traits(remote=True, recovers=True, reruns=reruns, honours=_HONOURED)

    @property
    def sealed(self) -> bool:
        """Whether the scheduler is reached, and listens, by TLS or on this machine alone."""
        scheduler = self._client.scheduler
        listens: Any = self._client.scheduler_info().get("address")
        reached: Any = scheduler.address if scheduler is not None else None
        return bool(listens and reached) and not (exposed(listens) or exposed(reached))

    def slots(self) -> Slots:
        """Return the slots there are, from memory."""
        slots = self._workers.now()
        most = max(slots.most, self._growth.most)
        return replace(slots, most=most, grows=slots.grows or self._growth.grows)

    def lacking(self, want: Resources) -> str:
        """Return why no worker could ever run such a chunk, in words; from memory."""
        # `now` sees to it that what is remembered doesn't grow old.
        self._workers.now()
        scheduler = self._client.scheduler
        address = masked(scheduler.address) if scheduler is not None else "the scheduler"
        return asking.lacking(want, self._workers.offers, address)

    def stuck(self, refs: Collection[Ref]) -> Collection[Ref]:
        """Return those whose worker's process is stopped or gone; takes at most 6 s.

        Chunks that wait for values on such a worker are told at once as ValuesLost.
        """
        mine = {ref.future.key: ref for ref in refs if ref.future is not None}
        began = time.monotonic()
        try:
            looking = look(self._client, self._book, [key for key in mine if key in self._book])
            found = call(self._client, looking, LOOK_TIMEOUT_S)
        except TimeoutError:
            self._unanswered = self._unanswered or began
            if time.monotonic() - self._unanswered > UNANSWERED_S:
                self._give_up()
            return ()
        except Exception:
            # Nothing is lost: what isn't known isn't stuck, and the engine will ask again.
            return ()
        self._unanswered = 0.0
        for share in found.shares:
            with self._lock, suppress(Exception):
                # If it fails, the next submit that needs it tries again, and tells.
                share.future = self._sender.scatter(share.payload)
        for key, error in found.told.items():
            self._book.fail(key, error)
        return [mine[key] for key in found.stuck]

    def _give_up(self) -> None:
        """Tell that nothing will come home, since the scheduler stays silent."""
        told = f"The Dask scheduler hasn't answered for {UNANSWERED_S:g} s."
        self._lost = ClusterLost(told)
        for key, _ in self._book.items():
            self._book.fail(key, self._lost)

    def share(self, key: str, payload: bytes) -> Ref:
        """Scatter a payload to one worker in 2 ms; others get it from there when they need it."""
        with self._lock:
            self._refuse_if_closed()
            if key not in self._shares:
                keys = _movable(payload)
                self._shares[key] = Share(self._sender.scatter(payload), payload, keys)
            return self._shares[key]

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Ref:
        """Hand a chunk to the scheduler; takes 0.2 ms."""
        if want.native is not None:
            raise ResourcesUnavailable(f"Dask doesn't know what {want.native} is.")
        number = next(self._numbers)
        # With number and session, for a chunk may be submitted again, and Dask would find the key
        # known. The number first: Dask's dashboard takes the words before it as the task's name.
        key = f"{chunk.label}-{number}-{self._id}-{chunk.id}"
        mark = str(self._cluster.marks / str(number)) if self._cluster is not None else ""
        small: list[bytes] = []
        ref = Ref(None, small)
        pending = Pending(chunk.id, done, needs, shared, mark, ref, small)
        # As bytes: Dask walks lists for keys, and its scheduler unpickles.
        payload = pickle.dumps(chunk, protocol=pickle.HIGHEST_PROTOCOL)
        keys = _movable(payload)
        if natives.pickled():
            shares = (share for share in shared if isinstance(share, Share))
            keys = list({*keys, *(key for share in shares for key in share.keys)})
        # One at a time, so that none slips past a close.
        with self._lock:
            self._refuse_if_closed()
            self._book.add(key, pending)
            try:
                self._sender.begin(key, pending, Work(payload, chunk.priority, want, keys))
            except ValuesLost as error:
                self._book.fail(key, error)
            except Exception as error:
                # Nothing is lost: the caller gets it, and `done` is never called.
                self._book.remove(key)
                raise translate(error, f"Submitting chunk {chunk.id}") from error
        self._refs.add(ref)
        return ref

    def fetch(self, refs: Sequence[Ref], timeout_s: float | None = None) -> Sequence[Values]:
        """Return values, gathered where they didn't come with their reports."""
        if self._closed or not all(ref.small for ref in refs):
            self._refuse_if_closed()
        gathered = iter(self._gather(refs, timeout_s))
        return [list(ref.small) if ref.small else next(gathered) for ref in refs]

    def _gather(self, refs: Sequence[Ref], timeout_s: float | None) -> list[Values]:
        """Gather values, straight from the workers where the cluster is our own."""
        far = [at for at, ref in enumerate(refs) if not ref.small]
        if not far:
            return []
        until = None if timeout_s is None else time.monotonic() + timeout_s
        futures = [self._sent(refs, at, until) for at in far]
        try:
            direct = self._cluster is not None or bool(self._client.direct_to_workers)
            bringing = bring(self._client, futures, direct=direct)
            left = None if until is None else max(0.0, until - time.monotonic())
            parcels: list[Parcel] = call(self._client, bringing, left)
        except TimeoutError:
            raise
        except ValuesLost as error:
            raise ValuesLost(error.message, [far[at] for at in error.lost]) from error
        except Exception as error:
            # Nothing is lost: it is told as what it means.
            broken = self._client.status != "running"
            ended = connection.outcome(self._client, self._cluster, until) if broken else None
            if isinstance(ended, ClusterLost):
                raise ended from error
            lost = [at for at in far if refs[at].gone]
            if lost:
                raise ValuesLost(f"{len(lost)} values are gone from Dask: {error}", lost) from error
            raise translate(error, "Fetching values") from error
        return [list(parcel.parts) for parcel in parcels]

    def cancel(self, refs: Collection[Ref], *, interrupt: bool = False) -> None:
        """Have Dask cancel what hasn't ended; `done` is called when the workers know, in 10 ms.

        Dask can't interrupt what runs, as the traits say: `interrupt` adds nothing.
        """
        if self._sender.held:
            with self._lock:
                self._sender.unsend(list(refs))
        examined = self._book.examine(ref.future.key for ref in refs if ref.future is not None)
        if examined:
            self._client.loop.add_callback(self._withdraw, examined)

    def close(self) -> None:
        """Cancel what is pending, and leave a borrowed cluster as it was, or end our own."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        left = self._book.items()
        if self._cluster is None and self._client.status == "running":
            with suppress(TimeoutError):
                call(self._client, self._withdraw(dict(left)), CLOSE_TIMEOUT_S)
        for key, _ in left:
            self._book.fail(key, ChunkCancelled("The session was closed before the chunk ended."))
        self._sender.held.clear()
        self._shares.clear()
        for ref in list(self._refs):
            # A user may hold futures of a flow that is over; their values end with the session.
            ref.release()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._leave()
        if self._release is not None:
            self._release()

    # What is told of workers, on the client's event loop.

    def worker_gone(self, gone: Gone) -> None:
        """Tell which chunks ended with a worker."""
        self._fates.worker_gone(gone)

    def workers_changed(self) -> None:
        """Send what no worker had enough for, if one has now."""
        if not self._closed and self._sender.waits():
            self._fetchers.submit(self._send_held)

    def _send_held(self) -> None:
        with self._lock:
            if not self._closed:
                self._sender.send_held()

    def _sent(self, refs: Sequence[Ref], at: int, until: float | None) -> NativeFuture:
        """Wait until one of some chunks is sent and return what Dask calls it."""
        while refs[at].future is None:
            if refs[at].never:
                raise ValuesLost("A chunk was never sent.", [at])
            if until is not None and time.monotonic() > until:
                raise TimeoutError("A chunk still waits for a worker that has what it wants.")
            self._refuse_if_closed()
            time.sleep(HELD_LOOK_S)
        return refs[at].future

    async def _withdraw(self, pending: dict[str, Pending]) -> None:
        futures = [one.future for one in pending.values() if one.future is not None]
        try:
            if futures and self._client.status == "running":
                await withdraw(self._client, futures)
        except (OSError, TimeoutError):
            # Nothing is lost: the connection's end is told by itself, and Dask's own way is left.
            await self._client.cancel(futures, asynchronous=True)
        finally:
            for key in pending:
                self._book.fail(key, ChunkCancelled("The chunk was cancelled."))

    # What comes home.

    def _heard_event(self, event: tuple[float, Any]) -> None:
        """Pass on a report or a saying; on the client's event loop."""
        kind, name, message, *more = event[1]
        if kind != REPORT:
            self._heard(name, message)
        elif (pending := self._book.get(name)) is not None and not pending.lost:
            small, keys = more
            # Read before it is taken: if that fails, the future's end still leads to `done`.
            report: Report = pickle.loads(message)
            if small is not None:
                pending.small.append(small)
            if keys:
                pending.ref.natives = natives.held(self._client, pickle.loads(keys))
            self._book.settle(name, report)

    def _ended(self, key: str, future: NativeFuture) -> None:
        """See to a future's end; in Dask's callback thread, after the report's event if any."""
        pending = self._book.get(key)
        if pending is None or pending.lost:
            return
        if future.status == "finished":
            self._fetchers.submit(self._fetch_report, key, future)
        elif pending.natives and self._client.status == "running" and not pending.examined:
            self._fetchers.submit(self._send_again, key, future)
        else:
            self._fates.ended(key, future)

    def _send_again(self, key: str, future: NativeFuture) -> None:
        """Send a chunk again if it is a user's future that failed it."""
        pending = self._book.get(key)
        with self._lock:
            again = pending is not None and not self._closed and self._try_again(key, pending)
        if not again:
            self._fates.ended(key, future)

    def _try_again(self, key: str, pending: Pending) -> bool:
        try:
            return self._sender.send_again(key, pending)
        except Exception as error:
            # Nothing is lost: it becomes the report.
            told = translate(error, f"Submitting chunk {pending.chunk} again")
            self._book.settle(key, Report(chunk=pending.chunk, error=told, started=False))
            return True

    def _fetch_report(self, key: str, future: NativeFuture) -> None:
        """Fetch a report that is too long for an event, or whose event was lost."""
        try:
            # Events are lost when the client had to reconnect; then it must join topics again.
            with self._lock:
                self._refuse_if_closed()
                self._listen()
            holders = self._client.who_has([future])[key]
            found = self._client.run(read_report, key, workers=list(holders)[:1], on_error="ignore")
            told = next((one for one in found.values() if one is not None), None)
            if told is None:
                raise WorkerLost(f"The report of {key} is gone with its worker.")
            pending = self._book.get(key)
            if pending is not None and told[1]:
                pending.ref.natives = natives.held(self._client, pickle.loads(told[1]))
            self._book.settle(key, pickle.loads(told[0]))
        except Exception as error:
            # Nothing is lost: it becomes the report.
            self._book.fail(key, translate(error, f"Fetching the report of {key}"))

    def _listen(self) -> None:
        topics.join(self._client, self._topic, self._heard_event)
        self._workers.add(self)

    def _reconnected(self) -> None:
        with self._lock:
            self._refuse_if_closed()
            self._listen()
        call(self._client, self._workers.refresh(), OPEN_TIMEOUT_S)

    def _leave(self) -> None:
        name = self._workers.remove(self)
        topics.leave(self._client, self._topic)
        if self._cluster is None and self._client.status == "running":
            forgetting = self._client._run_on_scheduler(
                topics.forget, self._topic, self._client.id, name, wait=False
            )
            # If it doesn't answer there is nothing to be clean.
            with suppress(TimeoutError, OSError):
                call(self._client, forgetting, CLOSE_TIMEOUT_S)

    def _refuse_if_closed(self) -> None:
        if not self._closed:
            if self._lost is not None:
                raise self._lost
            if self._client.status == "running":
                return
            lost = connection.lost(self._client, self._cluster)
            if lost is not None:
                raise lost
            if self._client.status == "connecting":
                return
        raise SessionClosed("The session on Dask was closed before.")


def _movable(payload: bytes) -> list[Any]:
    """Return the keys of users' futures in a payload whose values Dask is to move with it.

    Tuples name the parts of collections, which are to stay where they are.
    """
    return [key for key in natives.marked_in([payload]) if isinstance(key, str)]
