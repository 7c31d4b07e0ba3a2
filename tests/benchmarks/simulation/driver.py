"""The driver of a modelled cluster: a real run with its real story, one thing at a time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from fanfold.engine.calls import Call
from fanfold.engine.chunking import Limits
from fanfold.engine.context import RunInfo
from fanfold.engine.drive import Story
from fanfold.engine.effects import Drop, Event, Look, Publish, Submit, Wait
from fanfold.engine.run import Run
from fanfold.engine.sources import Given, Sources
from fanfold.engine.spec import Layout, TaskSpec
from fanfold.engine.story import story
from fanfold.ports.runner import Session
from fanfold.values.messages import Report
from fanfold.values.resources import Traits
from tests.benchmarks.simulation.agenda import Agenda, Entry
from tests.benchmarks.simulation.cluster import Cluster, Sent
from tests.benchmarks.simulation.costs import Costs
from tests.benchmarks.simulation.lines import Cores, Line

LOOK_S = 0.1
"""Until a cluster has looked after silent chunks."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A session as far as a run looks at it."""

    traits: Traits = field(default_factory=lambda: Traits(remote=True))


class Driver:
    """Carries out what the story of one map asks for, and says what that costs."""

    def __init__(
        self,
        agenda: Agenda,
        costs: Costs,
        cores: Cores,
        items: Sequence[Any],
        limits: Limits,
        *,
        bytes_each: int = 0,
        fetches: bool = False,
    ) -> None:
        self._agenda = agenda
        self._costs = costs
        self.line = Line(cores)
        self._link = Line(Cores(agenda))
        self._bytes_each = bytes_each
        self._fetches = fetches
        info = RunInfo(kind="Task run", id="map", name="map")
        call = Call(
            spec=TaskSpec(fn=len, layout=Layout(), info=info),
            sources=Sources(columns=(Given(items=items),)),
            count=len(items),
            limits=limits,
        )
        self.run = Run(call, cast(Session, Connection()))
        self.cluster: Cluster | None = None
        self._story: Story | None = None
        self._timer: Entry | None = None
        self._due: float | None = None
        self._next = 0.0
        """When the client sends what it holds back, or would send at once."""
        self._held = False
        self._refs = 0
        self.submits = 0
        self.copies = 0
        """Chunks whose elements came home in a copy."""
        self.published = 0
        """Elements that became final, counted each time that they did."""
        self.thinking_s = 0.0
        """What the real decisions took, on the machine that this runs on."""
        self.most_out = 0

    def begin(self, cluster: Cluster) -> None:
        """Start the map on a cluster."""
        self.cluster = cluster
        self._open()
        self._step({})

    def heard(self, report: Report) -> None:
        """Take in a report when all before it are done."""
        self.line.add(self._costs.report_s, partial(self._step, {"report": report}))

    def spoke(self, chunk: str) -> None:
        """Take in that a chunk runs."""
        speaks = partial(self.run.flights.speaks, chunk, self._agenda.now)
        self.line.add(self._costs.hear_s, speaks)

    def over(self) -> bool:
        """Return whether the map is."""
        return self.run.finished

    def _open(self) -> None:
        self._story = story(self.run)
        next(self._story)
        self.run.finished = False

    def _step(self, what: dict[str, Any]) -> None:
        """Let the run hear something; what it hands out leaves one after another."""
        assert self.cluster is not None
        if self._story is None:
            return
        cluster = self.cluster
        answer: Any = Event(
            now=self._agenda.now, slots=cluster.slots(), lacking=cluster.lacking(), **what
        )
        todo: list[tuple[float, Callable[[], None]]] = []
        began = time.perf_counter()
        try:
            while True:
                effect = self._story.send(answer)
                answer = None
                if isinstance(effect, Wait):
                    self._wait(effect.until)
                    break
                if isinstance(effect, Submit):
                    answer = self._refs
                    todo.append(self._sending(effect, answer))
                elif isinstance(effect, Publish):
                    self.published += sum(stop - start for start, stop in effect.spans)
                elif isinstance(effect, Look):
                    self._look(effect)
                elif isinstance(effect, Drop):
                    self.copies += len(effect.refs)
        except StopIteration:
            self._story = None
        self.thinking_s += time.perf_counter() - began
        self.most_out = max(self.most_out, len(self.run.flights))
        if todo:
            self.line.first(todo)
        if self._story is None:
            self._end()

    def _sending(self, effect: Submit, ref: int) -> tuple[float, Callable[[], None]]:
        self._refs += 1
        self.submits += 1
        seconds = self._costs.submit_s + self._costs.pack_s * len(effect.work.batch)
        return seconds, partial(self._send, Sent(effect.work, ref))

    def _send(self, sent: Sent) -> None:
        if self._bytes_each:
            size = self._bytes_each * len(sent.work.batch)
            self._link.add(size / self._costs.bytes_per_s, partial(self._leave, sent))
        else:
            self._leave(sent)

    def _leave(self, sent: Sent) -> None:
        assert self.cluster is not None
        late = self._held_back_s() + self._costs.door_s
        self._agenda.after(late, self.cluster.take, sent)

    def _held_back_s(self) -> float:
        """Return how long a message waits for others to go with it."""
        now, batch_s = self._agenda.now, self._costs.batch_s
        if self._held and now >= self._next:
            self._held = False
            self._next += batch_s
        if now >= self._next:
            self._next = now + batch_s
            return 0.0
        self._held = True
        return self._next - now

    def _look(self, effect: Look) -> None:
        """Ask the cluster for chunks whose process is gone."""
        assert self.cluster is not None
        stuck = [one for one, ref in effect.chunks.items() if self.cluster.stuck(ref)]
        looked = partial(self._step, {"looked": (list(effect.chunks), stuck)})
        self._agenda.after(LOOK_S, self.line.add, 0.0, looked)

    def _wait(self, until: float | None) -> None:
        if until == self._due:
            return
        self._due = until
        if self._timer is not None:
            self._timer.drop()
            self._timer = None
        if until is not None:
            # A little more than nothing, as on any clock: a sum of floats may come out too small.
            left = max(1e-6, until - self._agenda.now)
            self._timer = self._agenda.after(left, self._ring)

    def _ring(self) -> None:
        self._due = self._timer = None
        self.line.add(0.0, partial(self._step, {}))

    def _end(self) -> None:
        """End, or have values made again that a reader would miss."""
        assert self.cluster is not None
        gone = self.cluster.gone if self._fetches else set[int]()
        lost = [ref for ref in sorted(gone) if self.run.locations.holds(ref)]
        gone.clear()
        if lost:
            self._open()
            self.line.add(0.0, partial(self._step, {"lost": lost}))
        else:
            self.run.finished = True
