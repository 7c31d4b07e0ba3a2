"""Bugs of time to plant into real runners: what is cancelled, waits, or holds others up."""

import itertools
import threading
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

from fanfold.engine.work import Work
from fanfold.ports.runner import Ref, Session, Site
from fanfold.testing.chunks import Heeding, Talking
from fanfold.values.errors import ChunkCancelled, InfrastructureError
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources
from fanfold.values.states import StateName
from tests.conformance.planted import Bug, Done

GIL_LOOPS = 10_000_000
"""Take some 0.2 s."""


class _Cancels(Bug):
    """Knows the chunks behind its refs."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self.chunks: dict[Ref, Any] = {}
        self.dones: dict[Ref, Done] = {}
        self.ended: set[str] = set()

    def submit(
        self,
        chunk: Any,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Done,
    ) -> Ref:
        def told(report: Report) -> None:
            self.ended.add(report.chunk)
            done(report)

        ref = super().submit(chunk, needs, shared, want=want, done=told)
        self.chunks[ref], self.dones[ref] = chunk, done
        return ref


class CancelsNoneThatWait(_Cancels):
    """Doesn't find what waits, and asks only those to stop that look whether they should."""

    def cancel(self, refs: Collection[Ref], *, interrupt: bool = False) -> None:
        found = [ref for ref in refs if not isinstance(self.chunks[ref], Talking)]
        self.inner.cancel(found, interrupt=interrupt)


class InterruptsNobody(Bug):
    """Leaves it to the chunk to look whether it should stop."""

    def cancel(self, refs: Collection[Ref], *, interrupt: bool = False) -> None:
        self.inner.cancel(refs)


class StopsNobody(_Cancels):
    """Tells of a cancellation what goes on running; until it is cancelled twice."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self.once: set[Ref] = set()

    def cancel(self, refs: Collection[Ref], *, interrupt: bool = False) -> None:
        first = {ref for ref in refs if isinstance(self.chunks[ref], Heeding)} - self.once
        self.once |= first
        self.inner.cancel([ref for ref in refs if ref not in first], interrupt=interrupt)


class TellsOfEachCancel(_Cancels):
    """Has a word to say to whoever cancels what is over."""

    def cancel(self, refs: Collection[Ref], *, interrupt: bool = False) -> None:
        over = [ref for ref in refs if self.chunks[ref].id in self.ended]
        self.inner.cancel(refs, interrupt=interrupt)
        for ref in over:
            error = ChunkCancelled("it was cancelled")
            self.dones[ref](Report(chunk=self.chunks[ref].id, error=error))


class ReportsInOrder(Bug):
    """Tells of a chunk that ran once all that were submitted before it are over."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._lock = threading.RLock()
        self._open: deque[str] = deque()
        self._held: dict[str, tuple[Done, Report]] = {}

    def submit(
        self,
        chunk: Any,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Done,
    ) -> Ref:
        with self._lock:
            self._open.append(chunk.id)
        try:
            return super().submit(chunk, needs, shared, want=want, done=done)
        except InfrastructureError:
            with self._lock:
                self._open.remove(chunk.id)
            raise

    def told(self, chunk: Any, done: Done) -> Done:
        def held(report: Report) -> None:
            with self._lock:
                if isinstance(report.error, ChunkCancelled):
                    self._open.remove(chunk.id)
                    done(report)
                    return
                self._held[chunk.id] = done, report
                while self._open and self._open[0] in self._held:
                    tell, its_report = self._held.pop(self._open.popleft())
                    tell(its_report)

        return held


class GivesUpForAll(Bug):
    """Cancels what a fetch has waited for in vain."""

    def fetch(self, refs: Sequence[Ref], timeout_s: float | None = None) -> Sequence[Any]:
        try:
            return self.inner.fetch(refs, timeout_s)
        except TimeoutError:
            self.inner.cancel(refs)
            raise


@dataclass(frozen=True, slots=True)
class Holding:
    """A chunk that keeps its slot while its elements wait for what they have started."""

    chunk: Work

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chunk, name)

    def run(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> tuple[Report, Any]:
        return self.chunk.run(needs, shared, cast(Site, _Grasping(site)))


@dataclass(frozen=True, slots=True)
class _Grasping:
    site: Site

    def __getattr__(self, name: str) -> Any:
        return getattr(self.site, name)

    def waiting(self) -> AbstractContextManager[None]:
        return nullcontext()


class HoldsItsSlot(Bug):
    def sent(self, chunk: Any) -> Any:
        return Holding(chunk) if isinstance(chunk, Work) else chunk


@dataclass(frozen=True, slots=True)
class Hurried:
    """An async chunk that is told to stop all the time."""

    chunk: Work

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chunk, name)

    def run(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> tuple[Report, Any]:
        return self.chunk.run(needs, shared, cast(Site, _Urging(site)))


@dataclass(frozen=True, slots=True)
class _Urging:
    site: Site

    def __getattr__(self, name: str) -> Any:
        return getattr(self.site, name)

    def stopping(self) -> bool:
        return True


class EndsAfterOneElement(Bug):
    def sent(self, chunk: Any) -> Any:
        spec = getattr(chunk, "spec", None)
        return Hurried(chunk) if getattr(spec, "is_async", False) else chunk


class HoldsTheGil(Bug):
    """Takes its time over the first chunk of a session, in C code."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._numbers = itertools.count()

    def sent(self, chunk: Any) -> Any:
        if chunk.label == "same" and next(self._numbers) == 0:
            sum(range(GIL_LOOPS))
        return chunk


@dataclass(frozen=True, slots=True)
class Lingering:
    """A chunk that holds its slot until its failed elements are due again."""

    chunk: Work
    end: ClassVar[threading.Event] = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chunk, name)

    def run(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> tuple[Report, Any]:
        report, values = self.chunk.run(needs, shared, site)
        delays = [detail.again_in_s or 0.0 for detail in report.details.values()]
        self.end.wait(max(delays, default=0.0))
        return report, values


class WaitsInTheSlot(Bug):
    def sent(self, chunk: Any) -> Any:
        return Lingering(chunk) if isinstance(chunk, Work) else chunk


@dataclass(frozen=True, slots=True)
class Reticent:
    """A chunk whose messages are kept until it is over."""

    chunk: Work

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chunk, name)

    def run(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> tuple[Report, Any]:
        keeping = _Keeping(site, [])
        report, values = self.chunk.run(needs, shared, cast(Site, keeping))
        for message in keeping.messages:
            site.say(message)
        return report, values


@dataclass(frozen=True, slots=True)
class _Keeping:
    site: Site
    messages: list[bytes]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.site, name)

    def say(self, message: bytes) -> None:
        self.messages.append(message)


class SaysItAtTheEnd(Bug):
    def sent(self, chunk: Any) -> Any:
        return Reticent(chunk) if isinstance(chunk, Work) and chunk.label == "telling" else chunk


class HasNoLimits(Bug):
    """Takes what overran its limit for done."""

    def report(self, chunk: Any, report: Report) -> Report:
        states = tuple(
            (StateName.COMPLETED if code == StateName.TIMED_OUT else code, count)
            for code, count in report.states
        )
        return replace(report, states=states)
