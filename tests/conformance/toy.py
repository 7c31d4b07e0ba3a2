"""A runner over a pool of the standard library, written from the port's docstrings alone."""

import os
import socket
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from fanfold.ports.runner import Chunk, Ref, Values
from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    ResourcesUnavailable,
    SessionClosed,
    ValuesLost,
)
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources, Slots, Traits

WORKER = f"{socket.gethostname()}/{os.getpid()}/{time.time_ns()}"


@dataclass(frozen=True, slots=True)
class ToyTaskRunner:
    threads: int = 4

    def open(self, heard: Callable[[str, bytes], None]) -> "ToySession":
        return ToySession(heard, self.threads)


@dataclass(eq=False)
class Trip:
    """One submit: the handle on its values, and its chunk's site."""

    chunk: str
    heard: Callable[[str, bytes], None]
    stop: bool = False
    worker: str = WORKER
    future: Future[tuple[Report, Values]] = field(default_factory=Future)

    def say(self, message: bytes) -> None:
        self.heard(self.chunk, message)

    def stopping(self) -> bool:
        return self.stop

    def session(self, heard: Callable[[str, bytes], None]) -> None:
        return None

    def waiting(self) -> AbstractContextManager[None]:
        return nullcontext()


class ToySession:
    traits = Traits()
    sealed = True
    dashboard = ""

    def __init__(self, heard: Callable[[str, bytes], None], most: int) -> None:
        self._heard, self._most, self._closed = heard, most, False
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="fanfold-toy")
        self._trips: WeakSet[Trip] = WeakSet()

    def slots(self) -> Slots:
        return Slots(now=self._most, most=self._most)

    def lacking(self, want: Resources) -> str:
        return ""

    def stuck(self, refs: Collection[Ref]) -> Collection[Ref]:
        return ()

    def share(self, key: str, payload: bytes) -> Ref:
        return payload

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Ref:
        if beyond := want.beyond(self.traits.honours):
            raise ResourcesUnavailable(f"These threads hold no {', '.join(beyond)} for anybody.")
        if self._closed:
            raise SessionClosed("This session was closed before.")
        trip = Trip(chunk.id, self._heard)
        # Needed chunks were submitted before, so their turn in the queue came before, too.
        trip.future = self._pool.submit(
            lambda: chunk.run(self.fetch(needs), shared, trip),  # type: ignore[arg-type]
        )
        self._trips.add(trip)
        trip.future.add_done_callback(lambda future: done(told(chunk.id, future)))
        return trip

    def fetch(self, refs: Sequence[Ref], timeout_s: float | None = None) -> Sequence[Values]:
        futures: list[Future[Any]] = [ref.future for ref in refs]
        if wait([one for one in futures if not one.cancelled()], timeout_s).not_done:
            raise TimeoutError(f"Not all of {len(refs)} chunks were over in {timeout_s} s.")
        lost = [at for at, one in enumerate(futures) if one.cancelled() or one.exception()]
        if lost:
            raise ValuesLost(f"{len(lost)} chunks ended without values.", lost)
        return [one.result()[1] for one in futures]

    def cancel(self, refs: Collection[Ref], *, interrupt: bool = False) -> None:
        for ref in refs:
            ref.stop = True
            ref.future.cancel()

    def close(self) -> None:
        self._closed = True
        self.cancel(list(self._trips))
        self._pool.shutdown(wait=False)


def told(chunk: str, future: Future[tuple[Report, Values]]) -> Report:
    """Return what became of a chunk that is over."""
    if future.cancelled():
        return Report(chunk=chunk, error=ChunkCancelled("It was cancelled."), started=False)
    error = future.exception()
    if error is None:
        return future.result()[0]
    if not isinstance(error, InfrastructureError):
        error = InfrastructureError(f"{type(error).__name__}: {error}")
    return Report(chunk=chunk, worker=WORKER, error=error)
