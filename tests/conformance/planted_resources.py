"""Bugs of workers to plant into real runners: what they hold, how they come, stop, and nest."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from fanfold.engine.work import Work
from fanfold.ports.runner import Ref, Session, Site
from fanfold.values.errors import ChunkCancelled, SessionClosed
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources
from fanfold.values.states import StateName
from tests.conformance.planted import Bug, Done
from tests.conformance.stocked import WANT


class RefusesNothing(Bug):
    """Runs whatever it is given in any slot."""

    def wanted(self, want: Resources) -> Resources:
        return PLAIN


class LacksNothing(Bug):
    """Doesn't say what nobody has."""

    def lacking(self, want: Resources) -> str:
        return self.inner.lacking(want) if want.plain else ""


class HoldsNothing(Bug):
    """Has a chunk wait for a worker that offers what it wants, and takes nothing away from it."""

    def wanted(self, want: Resources) -> Resources:
        return PLAIN if want == WANT else want


class NeedsAWorkerToBegin(Bug):
    """Keeps chunks until there is a worker, so that none has a reason to come."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._kept: dict[Ref, tuple[str, Done]] = {}

    def submit(
        self,
        chunk: Any,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Done,
    ) -> Ref:
        if self.inner.slots().now:
            return self.inner.submit(chunk, needs, shared, want=want, done=done)
        ref = object()
        self._kept[ref] = chunk.id, done
        return ref

    def cancel(self, refs: Collection[Ref], *, interrupt: bool = False) -> None:
        for ref in refs:
            if ref in self._kept:
                chunk, done = self._kept.pop(ref)
                done(Report(chunk=chunk, error=ChunkCancelled("there was no worker")))
            else:
                self.inner.cancel([ref], interrupt=interrupt)


class NeverLooks(Bug):
    """Takes a process for alive as long as it is there."""

    def stuck(self, refs: Collection[Ref]) -> Collection[Ref]:
        return ()


class TakesBusyForStuck(Bug):
    def stuck(self, refs: Collection[Ref]) -> Collection[Ref]:
        return refs


class TakesWorkWhenClosed(Bug):
    """Tells of a chunk that came too late, as if it had been there before."""

    def submit(
        self,
        chunk: Any,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Done,
    ) -> Ref:
        try:
            return self.inner.submit(chunk, needs, shared, want=want, done=done)
        except SessionClosed as error:
            done(Report(chunk=chunk.id, error=error, started=False))
            return object()


class BlamesTheMates(Bug):
    """Takes all that came after an element that overran its limit for late, too."""

    def report(self, chunk: Any, report: Report) -> Report:
        states, late = list[tuple[int, int]](), False
        for code, count in report.states:
            late = late or code == StateName.TIMED_OUT
            states.append((StateName.TIMED_OUT if late else code, count))
        return replace(report, states=tuple(states))


@dataclass(frozen=True, slots=True)
class Alone:
    """A chunk whose elements find no cluster for what they start."""

    chunk: Work

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chunk, name)

    def run(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> tuple[Report, Any]:
        return self.chunk.run(needs, shared, cast(Site, _Lonely(site)))


@dataclass(frozen=True, slots=True)
class _Lonely:
    site: Site

    def __getattr__(self, name: str) -> Any:
        return getattr(self.site, name)

    def session(self, heard: Callable[[str, bytes], None]) -> None:
        """Leave it to the element's thread."""


class NestsInTheThread(Bug):
    def sent(self, chunk: Any) -> Any:
        return Alone(chunk) if isinstance(chunk, Work) else chunk
