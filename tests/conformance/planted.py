"""Bugs to plant into real runners: each breaks one promise of the port, as a plug-in might."""

import itertools
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from fanfold.engine import wire
from fanfold.engine.work import Work
from fanfold.ports.runner import Ref, Session, Site, TaskRunner
from fanfold.values.errors import ChunkCancelled, InfrastructureError, WorkerLost
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources, Traits
from fanfold.values.states import StateName

Done = Callable[[Report], None]
SOME = 500
"""A bug that strikes now and then does so at each so-manieth submit."""


class Bug:
    """A real session, passed through."""

    def __init__(self, inner: Session) -> None:
        self.inner = inner

    @property
    def traits(self) -> Traits:
        return self.inner.traits

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def submit(
        self,
        chunk: Any,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Done,
    ) -> Ref:
        needs = self.needed(chunk, needs)
        report = self.told(chunk, done)
        asked = self.wanted(want)
        return self.inner.submit(self.sent(chunk), needs, shared, want=asked, done=report)

    def wanted(self, want: Resources) -> Resources:
        """Return the resources that are asked for."""
        return want

    def needed(self, chunk: Any, needs: Sequence[Ref]) -> Sequence[Ref]:
        """Return the needs that are handed on."""
        return needs

    def sent(self, chunk: Any) -> Any:
        """Return the chunk that is handed on."""
        return chunk

    def told(self, chunk: Any, done: Done) -> Done:
        """Return what is called with the report."""
        return lambda report: done(self.report(chunk, report))

    def report(self, chunk: Any, report: Report) -> Report:
        """Return the report that is passed on."""
        return report


class DeclaresLess(Bug):
    @property
    def traits(self) -> Traits:
        return replace(self.inner.traits, kills=False)


@dataclass(frozen=True, slots=True)
class Planted:
    """A real runner whose sessions have a bug."""

    inner: TaskRunner
    bug: type[Bug]

    def open(self, heard: Callable[[str, bytes], None]) -> Any:
        """Open a session with the bug in it."""
        return self.bug(self.inner.open(heard))


class NoBug(Bug):
    """For bugs that are the runner's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Singular(Planted):
    """Compares equal to nothing but itself."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class RunsInSubmit(Bug):
    """Waits for the first chunk of a session, as for a worker that is just being started.

    Spares chunks of elements: what these start is submitted by the thread that would wait here.
    """

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._numbers = itertools.count()

    def submit(
        self,
        chunk: Any,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Done,
    ) -> Ref:
        ended = threading.Event()

        def told(report: Report) -> None:
            done(report)
            ended.set()

        ref = self.inner.submit(chunk, needs, shared, want=want, done=told)
        if next(self._numbers) == 0 and not isinstance(chunk, Work):
            ended.wait()
        return ref


class _NowAndThen(Bug):
    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._numbers = itertools.count(1)

    def strikes(self) -> bool:
        return next(self._numbers) % SOME == 0


class DropsADone(_NowAndThen):
    def told(self, chunk: Any, done: Done) -> Done:
        return (lambda report: None) if self.strikes() else done


class TellsTwice(_NowAndThen):
    def told(self, chunk: Any, done: Done) -> Done:
        def twice(report: Report) -> None:
            done(report)
            done(report)

        return twice if self.strikes() else done


class DiesOfAnExit(Bug):
    """Takes a SystemExit in user code for the end of the worker."""

    def report(self, chunk: Any, report: Report) -> Report:
        if any(code == StateName.CRASHED for code, _ in report.states):
            return Report(chunk=report.chunk, error=InfrastructureError("the worker exited"))
        return report


@dataclass(frozen=True, slots=True)
class Turned:
    """A chunk whose values come in the wrong order."""

    chunk: Work

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chunk, name)

    def run(self, needs: Sequence[Any], shared: Sequence[Any], site: Site) -> tuple[Report, Any]:
        report, values = self.chunk.run(needs, shared, site)
        return report, values[::-1]


class TurnsValues(Bug):
    def sent(self, chunk: Any) -> Any:
        return Turned(chunk) if isinstance(chunk, Work) else chunk


class TurnsNeeds(Bug):
    """Spares chunks of many elements, which would find the wrong number of values."""

    def needed(self, chunk: Any, needs: Sequence[Ref]) -> Sequence[Ref]:
        single = isinstance(chunk, Work) and len(chunk.batch) == 1
        return needs[::-1] if single else needs


class ComputesAgain(Bug):
    """Makes values anew for each element that needs them."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._made: dict[Ref, tuple[Any, Sequence[Ref], Sequence[Ref]]] = {}

    def submit(
        self,
        chunk: Any,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Done,
    ) -> Ref:
        for need in needs if isinstance(chunk, Work) else ():
            again = threading.Event()
            self.inner.submit(*self._made[need], done=lambda report, end=again: end.set())
            again.wait()
        ref = self.inner.submit(chunk, needs, shared, want=want, done=done)
        self._made[ref] = chunk, needs, shared
        return ref


class LooksInside(Bug):
    """Unpickles arguments in the driver, as a scheduler would that walks what it carries."""

    def sent(self, chunk: Any) -> Any:
        if isinstance(chunk, Work) and isinstance(chunk.inputs, bytes):
            pickle.loads(chunk.inputs)
        return chunk


class FailsDependents(Bug):
    """Lets nothing run that needs a chunk in which an element failed."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._ids: dict[Ref, str] = {}
        self._failed: set[str] = set()

    def submit(
        self,
        chunk: Any,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Done,
    ) -> Ref:
        doomed = any(self._ids[need] in self._failed for need in needs)

        def told(report: Report) -> None:
            if any(code == StateName.FAILED for code, _ in report.states):
                self._failed.add(report.chunk)
            if doomed:
                report = Report(chunk=report.chunk, error=InfrastructureError("a need failed"))
            done(report)

        ref = self.inner.submit(chunk, needs, shared, want=want, done=told)
        self._ids[ref] = chunk.id
        return ref


class PicklesTheTask(Bug):
    """Makes a new copy of the task for each chunk."""

    def sent(self, chunk: Any) -> Any:
        if isinstance(chunk, Work) and isinstance(chunk.spec, bytes):
            return replace(chunk, spec=wire.dump_function("the task", pickle.loads(chunk.spec)))
        return chunk


class RepeatsAfterADeath(Bug):
    """Runs all chunks again that were done when a worker died."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._ended: list[Any] = []
        self._died = False

    def submit(
        self,
        chunk: Any,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Done,
    ) -> Ref:
        if self._died:
            self._died = False
            for ended in list(self._ended):
                again = threading.Event()
                self.inner.submit(ended, done=lambda report, end=again: end.set())
                again.wait()
        return super().submit(chunk, needs, shared, want=want, done=done)

    def report(self, chunk: Any, report: Report) -> Report:
        if isinstance(report.error, WorkerLost):
            self._died = True
        elif report.error is None:
            self._ended.append(chunk)
        return report


class HidesDeaths(Bug):
    """Tells the death of a worker as a cancellation, once the chunk is down to one element."""

    def report(self, chunk: Any, report: Report) -> Report:
        if isinstance(report.error, WorkerLost) and len(chunk.batch) == 1:
            return replace(report, error=ChunkCancelled("the chunk is gone"))
        return report


class FailsTheChunk(Bug):
    """Lets a whole chunk fail for a result that can't be pickled."""

    def report(self, chunk: Any, report: Report) -> Report:
        failures = [detail.failure for detail in report.details.values()]
        if any(failure and failure.kind.endswith("NotPicklable") for failure in failures):
            return Report(chunk=report.chunk, error=InfrastructureError("it can't be pickled"))
        return report


class LeavesAProcess(Bug):
    left: ClassVar[list[subprocess.Popen[bytes]]] = []

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        waiting = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        self.left.append(subprocess.Popen(waiting, stdin=subprocess.PIPE))


class LeavesAThread(Bug):
    end: ClassVar[threading.Event] = threading.Event()

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        threading.Thread(target=self.end.wait, name="fanfold-left", daemon=True).start()


class SharesTwice(Bug):
    """Doesn't know a key again."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._numbers = itertools.count()

    def share(self, key: str, payload: bytes) -> Ref:
        return self.inner.share(f"{key}-{next(self._numbers)}", payload)


class SubmitsTwice(Bug):
    """Has large chunks carried out by two workers, for the case that one is slow."""

    def submit(
        self,
        chunk: Any,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Done,
    ) -> Ref:
        if chunk.label == "same" and not needs:
            copied = threading.Event()
            self.inner.submit(chunk, needs, shared, want=want, done=lambda report: copied.set())
            copied.wait()
        return super().submit(chunk, needs, shared, want=want, done=done)


class LosesTheWords(Bug):
    """Keeps nothing of an exception that doesn't travel."""

    def report(self, chunk: Any, report: Report) -> Report:
        details = {
            at: replace(detail, failure=replace(detail.failure, kind="Exception", message=""))
            if detail.failure is not None and detail.failure.error is None
            else detail
            for at, detail in report.details.items()
        }
        return replace(report, details=details)


class BringsAllHome(Bug):
    """Fetches values as soon as they are there, to have them at hand."""

    def __init__(self, inner: Session) -> None:
        super().__init__(inner)
        self._refs: dict[str, Ref] = {}
        self._home: list[bytes] = []

    def submit(
        self,
        chunk: Any,
        needs: Sequence[Ref] = (),
        shared: Sequence[Ref] = (),
        *,
        want: Resources = PLAIN,
        done: Done,
    ) -> Ref:
        known = threading.Event()

        def told(report: Report) -> None:
            known.wait()
            if report.error is None:
                (values,) = self.inner.fetch([ref])
                self._home += [bytes(buffer) for buffer in values]
            done(report)

        ref = self.inner.submit(chunk, needs, shared, want=want, done=told)
        known.set()
        return ref
