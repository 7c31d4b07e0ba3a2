"""Sends a session's chunks and payloads to Dask, or holds them until a worker is there for them."""

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fanfold.values import versions
from fanfold.values.errors import ChunkCancelled, ValuesLost
from fanfold.values.resources import PLAIN
from fanfold_dask import asking, natives
from fanfold_dask.asking import Place
from fanfold_dask.carrier import Errand, run_chunk
from fanfold_dask.failures import translate
from fanfold_dask.holds import Amount
from fanfold_dask.native import NativeClient, NativeFuture, call
from fanfold_dask.pending import Book, Pending, Ref, Share, Work
from fanfold_dask.workers import Workers

SCATTER_TIMEOUT_S = 5.0
"""For a worker to take a shared payload, unless it is stopped."""

_ANYWHERE = Place(Amount(), {}, None)


class Sender:
    """Sends what one session is given; used by one thread at a time.

    Args:
        client: The session's.
        topic: What its chunks tell their news under.
        book: What is pending.
        workers: The client's view of its cluster.
        ended: Called with the key and future of a chunk that has ended, in Dask's callback thread.
    """

    def __init__(
        self,
        client: NativeClient,
        topic: str,
        book: Book,
        workers: Workers,
        ended: Callable[[str, NativeFuture], None],
    ) -> None:
        self.held: dict[str, Pending] = {}
        """For which there are workers, but none has enough; or whose needs are held."""
        self._client = client
        self._topic = topic
        self._book = book
        self._workers = workers
        self._ended = ended
        self._bound: dict[str, Pending] = {}
        """Sent to some workers alone."""
        self._errands: dict[Amount, bytes] = {}

    def begin(self, key: str, pending: Pending, work: Work) -> None:
        """Send a chunk, or hold it."""
        if not self._sent(key, pending, work):
            pending.work = work
            self.held[key] = pending

    def waits(self) -> bool:
        """Return whether something may be sent once there are other workers."""
        for key in list(self._bound):
            if key not in self._book:
                self._bound.pop(key, None)
        return bool(self.held or self._bound)

    def send_held(self) -> None:
        """Send what can be by now; what never can is told."""
        for key, pending in list(self._bound.items()):
            if not (pending.examined or self._workers.offers.keys() & set(pending.workers)):
                # None of them is left, and it never began, or somebody would find out what its
                # end means.
                self._move(key, pending)
        moved = True
        while moved:
            moved = False
            for key, pending in list(self.held.items()):
                try:
                    assert pending.work is not None
                    if key in self._book and not self._sent(key, pending, pending.work):
                        continue
                except Exception as error:
                    # Nothing is lost: it becomes the report.
                    self.give_up(key, translate(error, f"Submitting chunk {pending.chunk}"))
                self.held.pop(key, None)
                moved = True

    def give_up(self, key: str, error: Any) -> None:
        """Tell that what is held is never sent."""
        pending = self.held.pop(key, None)
        if pending is not None:
            pending.ref.never = True
            self._book.fail(key, error)

    def unsend(self, refs: Sequence[Ref]) -> None:
        """Give up those among the refs that were never sent, and what needs them."""
        unsent = {id(ref) for ref in refs if ref.future is None}
        for key, pending in list(self.held.items()):
            if id(pending.ref) in unsent:
                self.give_up(key, ChunkCancelled("It was cancelled before it was sent."))
        if unsent:
            self.send_held()

    def send_again(self, key: str, pending: Pending) -> bool:
        """Send a chunk whose futures have no values without them; return whether that is so.

        It then asks for them where it runs, and whichever of its elements is called with one that
        has none fails by that.
        """
        spoilt = any(future.status in ("error", "cancelled", "lost") for future in pending.natives)
        if not spoilt or pending.work is None:
            return False
        pending.work = pending.work._replace(keys=())
        self._move(key, pending)
        return True

    def _move(self, key: str, pending: Pending) -> None:
        """Send a chunk again under another key, for Dask would find the first one known."""
        if pending.work is None or key not in self._book:
            return
        before = pending.future
        again = f"{key}-again"
        self._book.move(key, again)
        self._bound.pop(key, None)
        self.begin(again, pending, pending.work)
        if before is not None:
            self._client.loop.add_callback(self._client.cancel, [before], asynchronous=True)

    def _sent(self, key: str, pending: Pending, work: Work) -> bool:
        """Submit a chunk natively; return whether there is a worker for it, now or some time."""
        refs = (*pending.needs, *pending.shared)
        if any(ref.future is None for ref in refs):
            lost = [at for at, ref in enumerate(pending.needs) if ref.never]
            if lost:
                raise ValuesLost(f"Chunk {pending.chunk} needs what was never sent.", lost)
            return False
        want = work.want
        plain = want is PLAIN or want.plain
        place = _ANYWHERE if plain else asking.place(want, self._workers.offers)
        if place is None:
            return False
        self._scatter_again(pending.shared)
        pending.natives = natives.held(self._client, work.keys)
        pending.workers = place.workers or ()
        if pending.workers:
            self._bound[key] = pending
        # Kept only where it may have to be sent again.
        pending.work = work if work.keys or pending.workers else None
        pending.ref.future = future = self._client.submit(
            run_chunk,
            self._errand(place.amount),
            pending.mark,
            pending.chunk,
            len(pending.needs),
            pickle.dumps(work.keys) if work.keys else b"",
            work.payload,
            *(ref.future for ref in pending.needs),
            *pending.natives,
            *(ref.future for ref in pending.shared),
            key=key,
            pure=False,
            retries=0,
            priority=work.priority,
            resources=place.resources or None,
            workers=place.workers,
        )
        future.add_done_callback(partial(self._ended, key))
        return True

    def _errand(self, amount: Amount) -> bytes:
        """Return what a chunk is told of its session."""
        errand = self._errands.get(amount)
        if errand is None:
            held = (amount.cpu, amount.memory)
            told = Errand(self._topic, self._client.id, versions.fingerprint(), held)
            errand = self._errands[amount] = pickle.dumps(tuple(told))
        return errand

    def scatter(self, payload: bytes) -> NativeFuture:
        """Put a payload onto some worker; others get it from there when they need it."""
        try:
            if self._workers.now().now:
                # Dask copies bytes once more than views of them: 50 ms for 100 MB.
                view = memoryview(payload)
                scattering = self._client.scatter(view, hash=False, asynchronous=True)
                return call(self._client, scattering, SCATTER_TIMEOUT_S)
        except TimeoutError:
            # The last worker left just now, or is stopped.
            pass
        except Exception as error:
            # Nothing is lost: it is told as what it means.
            raise translate(error, "Sharing a payload") from error
        # Scattering waits for a worker, which a cluster that grows on demand doesn't start for it.
        return self._client.submit(bytes, payload, pure=False, retries=0, priority=1_000_000)

    def _scatter_again(self, shared: Sequence[Ref]) -> None:
        """Replace payloads that died with the only worker that had them."""
        for share in shared:
            if isinstance(share, Share) and share.gone:
                share.future = self.scatter(share.payload)
