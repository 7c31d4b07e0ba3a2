"""Plays the stories of runs in one thread: the clock is a number, the cluster a dictionary.

What the dispatcher does with effects is done here by hand, so that a test can let anything happen
in any order: it brings chunks home, loses workers and values, and lets time pass.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fanfold.engine.calls import Call
from fanfold.engine.chunking import Limits
from fanfold.engine.context import RunInfo
from fanfold.engine.effects import (
    Claim,
    Commit,
    Drop,
    Event,
    Look,
    Publish,
    Release,
    Submit,
    Wait,
)
from fanfold.engine.inputs import Column, Literal
from fanfold.engine.patience import Patience
from fanfold.engine.results.claims import Lease
from fanfold.engine.run import Run
from fanfold.engine.sources import From, Given, Sources
from fanfold.engine.spec import CacheSpec, Layout, TaskSpec
from fanfold.engine.story import story
from fanfold.engine.work import Work
from fanfold.values.errors import ChunkCancelled, InfrastructureError, ValuesLost, WorkerLost
from fanfold.values.messages import Detail, Failure, Report
from fanfold.values.resources import Slots, Traits
from fanfold.values.states import StateName

C, F, R = StateName.COMPLETED, StateName.FAILED, StateName.AWAITING_RETRY
MOST_EFFECTS = 20_000
"""A story that asks for more in one go runs in circles."""


@dataclass
class Stage:
    """A session as far as stories look at it."""

    slots_most: int = 2
    traits: Traits = field(default_factory=Traits)

    def slots(self) -> Slots:
        return Slots(now=self.slots_most, most=self.slots_most)


@dataclass(eq=False, repr=False)
class Sent:
    """A chunk that a story handed out."""

    run: Run
    work: Work
    needs: list[int]
    ref: int

    def __repr__(self) -> str:
        return f"<{self.work.id} of {self.indices} needs {self.needs} makes {self.ref}>"

    @property
    def indices(self) -> list[int]:
        return list(self.work.batch.indices())


class Rehearsal:
    """The dispatcher and the cluster of some runs."""

    def __init__(self, slots: int = 2) -> None:
        self.now = 100.0
        self.stage = Stage(slots)
        self.air: list[Sent] = []
        """What was handed out and did not come home, in that order."""
        self.sent: list[Sent] = []
        self.values: dict[int, list[str]] = {}
        """What is on the cluster, by ref."""
        self.published: list[tuple[Run, list[tuple[int, int]]]] = []
        self.commits: list[tuple[Run, Commit]] = []
        self.claimed: list[bytes] = []
        self.released: list[Lease] = []
        self.due: dict[Run, float | None] = {}
        self.lacking = ""
        """What the cluster's workers lack."""
        self.stuck: set[int] = set()
        """Refs of chunks whose process is stopped, as the cluster sees when it looks."""
        self.looks = 0
        self.dropped: list[int] = []
        self._stories: dict[Run, Any] = {}
        self._news: deque[tuple[Run, dict[str, Any]]] = deque()

    def map(
        self,
        name: str,
        sources: Sources,
        count: int,
        *,
        patience: Patience | None = None,
        cache: CacheSpec | None = None,
        **limits: Any,
    ) -> Run:
        """Make a run and start it."""
        info = RunInfo(kind="Task run", id=name, name=name)
        call = Call(
            spec=TaskSpec(fn=len, layout=Layout(), info=info, cache=cache),
            sources=sources,
            count=count,
            limits=Limits(**limits),
            patience=patience or Patience(),
        )
        run = Run(call, self.stage)  # type: ignore[arg-type]
        self.tell(run)
        return run

    def over_items(self, name: str, items: Sequence[Any], **limits: Any) -> Run:
        """Start a map over a caller's items."""
        return self.map(name, Sources(columns=(Given(items=items),)), len(items), **limits)

    def over_runs(self, name: str, *runs: Run, **limits: Any) -> Run:
        """Start a map over the elements of other runs, in step."""
        columns = tuple(From(run=run, indices=range(run.count)) for run in runs)
        return self.map(name, Sources(columns=columns), runs[0].count, **limits)

    def tell(self, run: Run, **what: Any) -> None:
        """Let a run hear something, and all runs what follows from it."""
        self._news.append((run, what))
        while self._news:
            self._step(*self._news.popleft())

    def pass_time(self, seconds: float) -> None:
        """Let time pass; timers that are due by then ring at their own time."""
        end = self.now + seconds
        while (ringing := self._first_due(end)) is not None:
            run, at = ringing
            self.now = max(self.now, at)
            self.tell(run)
        self.now = end

    def home(self, sent: Sent, *states: StateName, **report: Any) -> None:
        """Bring a chunk home: with these states of its first elements, or with all Completed."""
        reached = states or (C,) * len(sent.work.batch)
        self.land(sent)
        rows = zip(self.rows(sent), reached, strict=False)
        self.values[sent.ref] = [row if state is C else "nothing" for row, state in rows]
        report.setdefault("seconds", 0.01 * len(reached))
        report.setdefault("details", {})
        for position, state in enumerate(reached):
            if state is F:
                report["details"].setdefault(position, failed())
        self.tell(sent.run, report=told(sent, reached, **report))

    def lose(
        self, sent: Sent, error: InfrastructureError | None = None, started: bool = True
    ) -> None:
        """Let the infrastructure fail under a chunk."""
        self.land(sent)
        error = error or WorkerLost("killed by signal 9")
        self.tell(sent.run, report=Report(chunk=sent.work.id, error=error, started=started))

    def forget(self, ref: int) -> None:
        """Let the cluster lose values, unnoticed."""
        self.values.pop(ref, None)

    def usable(self, sent: Sent) -> bool:
        """Return whether a chunk finds what it needs."""
        return all(need in self.values for need in sent.needs)

    def find_lost(self, sent: Sent) -> None:
        """Let a chunk report which of its needs are gone."""
        lost = [at for at, need in enumerate(sent.needs) if need not in self.values]
        self.lose(sent, ValuesLost("gone", lost))

    def all_home(self, run: Run | None = None) -> None:
        """Bring chunks home until none is in the air and no timer is set."""
        while True:
            for sent in [s for s in self.air if run in (None, s.run)]:
                if sent not in self.air:
                    continue
                if self.usable(sent):
                    self.home(sent)
                else:
                    self.find_lost(sent)
            if any(run in (None, s.run) for s in self.air):
                continue
            times = [at for at in self.due.values() if at is not None]
            if run is not None or not times:
                return
            self.pass_time(max(0.0, min(times) - self.now))

    def cancel(self, run: Run) -> None:
        """Cancel a run as the dispatcher does; what is in the air stays there."""
        self.tell(run, cancel=True)

    def cancelled(self, sent: Sent) -> None:
        """Let a pending chunk end as cancelled."""
        self.lose(sent, ChunkCancelled("never started"), started=False)

    def results(self, run: Run) -> list[str | None]:
        """Return the values where the run says that they are; None where there is none."""
        found: list[str | None] = [None] * run.count
        for stretch in run.locations.find(0, run.count):
            values = self.values.get(stretch.ref, [])
            for offset in range(stretch.count):
                if run.states[stretch.first + offset] == C:
                    found[stretch.first + offset] = values[stretch.slot + offset]
        return found

    def land(self, sent: Sent) -> None:
        """Take a chunk out of the air."""
        if sent in self.air:
            self.air.remove(sent)

    def rows(self, sent: Sent) -> list[str]:
        """Do a chunk's work: a value says how it was made."""
        inputs = sent.work.inputs
        assert not isinstance(inputs, bytes)
        columns = [self._column(column, sent.needs) for column in inputs.columns]
        fills = [",".join(self._column(taken, sent.needs)) for taken in inputs.fills.values()]
        count = len(sent.work.batch)
        assert all(len(column) == count for column in columns)
        return [
            f"{sent.run.name}({' '.join([*(c[at] for c in columns), *fills])})"
            for at in range(count)
        ]

    def _column(self, column: Column, needs: Sequence[int]) -> list[str]:
        if isinstance(column, Literal):
            return [str(item) for item in column.items]
        values = [
            self.values[needs[piece.need]][piece.slot + offset]
            for piece in column.pieces
            for offset in range(piece.count)
        ]
        for place in sorted(column.failures):
            values.insert(place, f"!{column.failures[place].kind}")
        return values

    def _first_due(self, end: float) -> tuple[Run, float] | None:
        times = [(at, run) for run, at in self.due.items() if at is not None and at <= end]
        if not times:
            return None
        at, run = min(times, key=lambda pair: pair[0])
        return run, at

    def _step(self, run: Run, what: dict[str, Any]) -> None:
        if run not in self._stories:
            if run.finished and "lost" not in what:
                return
            self._stories[run] = story(run)
            next(self._stories[run])
            run.finished = False
            for upstream in run.upstream:
                if run not in upstream.dependents:
                    upstream.dependents.append(run)
        answer: Any = Event(now=self.now, slots=self.stage.slots(), lacking=self.lacking, **what)
        try:
            for _ in range(MOST_EFFECTS):
                effect = self._stories[run].send(answer)
                if isinstance(effect, Wait):
                    self.due[run] = effect.until
                    return
                answer = self._perform(run, effect)
        except StopIteration:
            del self._stories[run]
            self.due.pop(run, None)
            run.finished = True
            self._release(run)
            return
        raise AssertionError(f"The story of {run.name} runs in circles")

    def _release(self, run: Run) -> None:
        """Let a run go of its upstream once nobody can need its values made again."""
        if run.dependents or not run.finished:
            return
        upstreams = run.upstream
        run.release()
        for upstream in upstreams:
            if run in upstream.dependents:
                upstream.dependents.remove(run)
                self._release(upstream)

    def _perform(self, run: Run, effect: Any) -> Any:
        if isinstance(effect, Submit):
            ref = len(self.sent)
            self.sent.append(Sent(run, effect.work, effect.needs, ref))
            self.air.append(self.sent[-1])
            return ref
        if isinstance(effect, Publish):
            self.published.append((run, effect.spans))
            self._news += [(other, {"arrived": (run, effect.spans)}) for other in run.dependents]
        elif isinstance(effect, Commit):
            self.commits.append((run, effect))
        elif isinstance(effect, Claim):
            self.claimed += effect.keys
        elif isinstance(effect, Release):
            self.released += effect.leases
        elif isinstance(effect, Look):
            self.looks += 1
            stuck = [one for one, ref in effect.chunks.items() if ref in self.stuck]
            self._news.append((run, {"looked": (list(effect.chunks), stuck)}))
        elif isinstance(effect, Drop):
            self.dropped += effect.refs
        else:
            self._news += [(upstream, {"lost": effect.refs}) for upstream in run.upstream]
        return None


def told(sent: Sent, states: Iterable[StateName], **report: Any) -> Report:
    """Return the report of a chunk whose first elements came to these states."""
    reached = list(states)
    lengths = tuple((int(state), 1) for state in reached)
    return Report(chunk=sent.work.id, reached=len(reached), states=lengths, **report)


def failed(kind: str = "ValueError", message: str = "no", attempts: int = 1) -> Detail:
    """Return the detail of an element that raised."""
    return Detail(attempts=attempts, failure=Failure(kind=kind, message=message, traceback=""))


def again(seconds: float, attempts: int = 1) -> Detail:
    """Return the detail of an element that is to be tried again."""
    return Detail(
        attempts=attempts,
        again_in_s=seconds,
        failure=Failure(kind="ValueError", message="not yet", traceback=""),
    )


def labels(run: Run) -> list[str]:
    """Return the names of the states of a run's elements."""
    return [StateName(code).label for code in run.states]
