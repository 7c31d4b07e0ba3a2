"""A modelled cluster: a scheduler that does one thing at a time, and workers with a slot each."""

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from fanfold.engine.pulse import beat_s
from fanfold.engine.work import Work
from fanfold.values.errors import WorkerLost
from fanfold.values.messages import Report
from fanfold.values.resources import Slots
from fanfold.values.states import StateName
from tests.benchmarks.simulation.agenda import Agenda
from tests.benchmarks.simulation.costs import Costs
from tests.benchmarks.simulation.durations import Durations
from tests.benchmarks.simulation.lines import Cores, Line

STEALS_EVERY_S = 0.1
"""How often Dask's scheduler looks for workers with too much to do; its own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """How workers die."""

    each_s: float
    """Mean life of a worker."""
    back_s: float | None = None
    """After which another one takes its place; None: never."""
    notice_s: float = 1.0
    """Until the scheduler knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How a cluster without workers grows: by the demand that its scheduler sees."""

    start_s: float
    """Until a worker that was asked for is there."""
    chunk_is_slot: bool = False
    """Each chunk that is out asks for a slot, as on Ray. Otherwise for its seconds out of
    `target_s`, as on Dask."""
    target_s: float = 5.0
    """Dask's `adaptive.target-duration`."""
    unknown_s: float = 0.5
    """What Dask takes a chunk for before one has ended."""
    every_s: float = 1.0
    known: bool = True
    """Whether the session knows how far the cluster can grow."""


@dataclass(eq=False, slots=True)
class Sent:
    """A chunk on the cluster."""

    work: Work
    ref: int
    worker: "Worker | None" = None
    began: float | None = None


@dataclass(eq=False, slots=True)
class Worker:
    """A process with one slot."""

    assigned: dict[Sent, None] = field(default_factory=dict[Sent, None])
    """What it was sent and hasn't answered, be it on its way, waiting or running."""
    waiting: deque[Sent] = field(default_factory=deque[Sent])
    running: Sent | None = None
    held: list[int] = field(default_factory=list[int])
    """Refs whose values it has."""
    alive: bool = True
    known: bool = True
    """Whether the scheduler takes it for alive."""
    busy_s: float = 0.0
    first: float = math.inf
    """When it began its first chunk."""


class Cluster:
    """What chunks are handed to. Reports go to `heard` as they arrive at the driver, and to `spoke`
    the ids of chunks that run."""

    def __init__(
        self,
        agenda: Agenda,
        costs: Costs,
        durations: Durations,
        cores: Cores,
        heard: Callable[[Report], None],
        spoke: Callable[[str], None],
        *,
        workers: int,
        bytes_each: int = 0,
        losses: Losses | None = None,
        growth: Growth | None = None,
        seed: int = 0,
    ) -> None:
        self._agenda = agenda
        self._costs = costs
        self._durations = durations
        self._cores = cores
        self._heard = heard
        self._spoke = spoke
        self._most = workers
        self._bytes_each = bytes_each
        self._losses = losses
        self._growth = growth
        self._random = random.Random(seed)
        self.line = Line(cores)
        self._out = Line(Cores(agenda))
        """The scheduler's link to the workers."""
        self._queue: deque[Sent] = deque()
        self._room: list[dict[Worker, None]] = [{} for _ in range(costs.ahead)]
        """Workers that take more, by how many chunks they have."""
        self._behind: dict[Worker, None] = {}
        """Workers that have chunks waiting behind the one that runs."""
        self.workers: list[Worker] = []
        self.alive = 0
        """Workers that the scheduler takes for alive."""
        self._starting = 0
        self._balancing = False
        self._sent: dict[int, Sent] = {}
        """What is here, by ref."""
        self._out_now = 0
        self._mean_s = growth.unknown_s if growth is not None else 0.0
        self.deaths = 0
        self.gone: set[int] = set()
        """Refs whose values died with their worker."""
        self.peak = 0
        """Most workers that lived at a time."""
        for _ in range(0 if growth is not None else workers):
            self._join()
        if growth is not None:
            self._grow(growth)

    def slots(self) -> Slots:
        """Return what a session would say."""
        growth = self._growth
        most = self.alive if growth is not None and not growth.known else self._most
        return Slots(now=self.alive, most=max(most, self.alive), grows=growth is not None)

    def lacking(self) -> str:
        """Return what a session would say."""
        return "" if self.alive else "there are no workers"

    def stuck(self, ref: int) -> bool:
        """Return whether the worker that has a chunk is gone, though nobody told."""
        sent = self._sent.get(ref)
        return sent is not None and sent.worker is not None and not sent.worker.alive

    def take(self, sent: Sent) -> None:
        """Take in a chunk from the driver."""
        self._out_now += 1
        self._sent[sent.ref] = sent
        seconds = self._costs.arrive_s + self._costs.carry_s * len(sent.work.batch)
        self.line.add(seconds, partial(self._arrived, sent))

    # The scheduler.

    def _arrived(self, sent: Sent) -> None:
        self._queue.append(sent)
        self._assign()

    def _assign(self) -> None:
        """Send chunks to workers with room, those with nothing to do first."""
        todo: list[tuple[float, Callable[[], None]]] = []
        costs = self._costs
        while self._queue:
            room = next((room for room in self._room if room), None)
            if room is None:
                break
            looked = costs.look_s * sum(map(len, self._room)) if costs.look_s else 0.0
            worker, sent = next(iter(room)), self._queue.popleft()
            self._moved(worker, len(worker.assigned) + 1)
            self._give(worker, sent)
            todo.append((costs.assign_s + looked, partial(self._leave, worker, sent)))
        if todo:
            self.line.first(todo)
        elif self._costs.steals and not self._balancing and self._unbalanced():
            self._balancing = True
            self._agenda.after(STEALS_EVERY_S, self._balance)

    def _unbalanced(self) -> bool:
        return not self._queue and bool(self._room[0]) and self._out_now > 0

    def _balance(self) -> None:
        """Let workers with nothing to do have what waits behind others' running chunks."""
        self._balancing = False
        idle = [] if self._queue else list(self._room[0])
        victims = list(islice(self._behind, len(idle)))
        todo: list[tuple[float, Callable[[], None]]] = []
        for thief, victim in zip(idle, victims, strict=False):
            sent = victim.waiting.pop()
            self._note_behind(victim)
            self._moved(victim, len(victim.assigned) - 1)
            del victim.assigned[sent]
            self._moved(thief, 1)
            self._give(thief, sent)
            todo.append((2 * self._costs.assign_s, partial(self._leave, thief, sent)))
        if todo:
            self.line.first(todo)
        self._assign()

    def _give(self, worker: Worker, sent: Sent) -> None:
        worker.assigned[sent] = None
        sent.worker = worker

    def _moved(self, worker: Worker, has: int) -> None:
        """Note that a worker is about to have so many chunks."""
        now = len(worker.assigned)
        if now < len(self._room):
            self._room[now].pop(worker, None)
        if has < len(self._room) and worker.known:
            self._room[has][worker] = None

    def _leave(self, worker: Worker, sent: Sent) -> None:
        if self._bytes_each:
            size = self._bytes_each * len(sent.work.batch)
            self._out.add(size / self._costs.bytes_per_s, partial(self._hop, worker, sent))
        else:
            self._hop(worker, sent)

    def _hop(self, worker: Worker, sent: Sent) -> None:
        self._agenda.after(self._costs.hop_s, self._reach, worker, sent)

    def _ended(self, sent: Sent, worker: Worker, report: Report, seconds: float) -> None:
        """Take in that a worker is done with a chunk; its next one may go there."""
        self._out_now -= 1
        self._sent.pop(sent.ref, None)
        self._mean_s = (self._mean_s + seconds) / 2
        if worker.known:
            self._moved(worker, len(worker.assigned) - 1)
            del worker.assigned[sent]
        self._agenda.after(self._costs.door_s, self._heard, report)
        self._assign()

    # The workers.

    def _join(self) -> None:
        worker = Worker()
        self.workers.append(worker)
        self.alive += 1
        self.peak = max(self.peak, self.alive)
        self._room[0][worker] = None
        if self._losses is not None:
            life = self._random.expovariate(1 / self._losses.each_s)
            self._agenda.after(life, self._die, worker)
        self._assign()

    def _reach(self, worker: Worker, sent: Sent) -> None:
        if worker.alive:
            worker.waiting.append(sent)
            self._begin(worker)
            self._note_behind(worker)

    def _note_behind(self, worker: Worker) -> None:
        """Keep in mind whether something waits behind what a worker runs."""
        if worker.waiting and worker.known:
            self._behind[worker] = None
        else:
            self._behind.pop(worker, None)

    def _begin(self, worker: Worker) -> None:
        if worker.running is not None or not worker.waiting:
            return
        sent = worker.running = worker.waiting.popleft()
        self._note_behind(worker)
        sent.began = self._agenda.now
        worker.first = min(worker.first, sent.began)
        costs, work = self._costs, sent.work
        reached, seconds = self._durations.reached(work.batch.spans, work.budget_s, costs.element_s)
        end = partial(self._end, worker, sent, reached)
        self._agenda.after(beat_s(work.slots), self._beat, worker, sent)
        if self._durations.sleeps:
            calls = reached * costs.element_s
            sleep = partial(self._sleep, seconds - calls, end)
            self._cores.work(costs.chunk_s + calls, sleep)
        else:
            self._cores.work(costs.chunk_s + seconds, end)

    def _beat(self, worker: Worker, sent: Sent) -> None:
        """Say that a chunk still runs, and say so again later."""
        if worker.alive and worker.running is sent:
            self.line.add(self._costs.pass_s, partial(self._tell, sent.work.id))
            self._agenda.after(beat_s(sent.work.slots), self._beat, worker, sent)

    def _tell(self, chunk: str) -> None:
        self._agenda.after(self._costs.door_s, self._spoke, chunk)

    def _sleep(self, seconds: float, then: Callable[[], None]) -> None:
        self._agenda.after(seconds, then)

    def _end(self, worker: Worker, sent: Sent, reached: int) -> None:
        if not worker.alive:
            return
        assert sent.began is not None
        took = self._agenda.now - sent.began
        worker.busy_s += took
        worker.held.append(sent.ref)
        worker.running = None
        report = Report(
            chunk=sent.work.id,
            reached=reached,
            states=((int(StateName.COMPLETED), reached),),
            seconds=max(took - self._costs.chunk_s, 1e-9),
        )
        told = partial(self._ended, sent, worker, report, took)
        self._agenda.after(self._costs.hop_s, self.line.add, self._costs.finish_s, told)
        self._begin(worker)

    # Deaths and growth.

    def _die(self, worker: Worker) -> None:
        assert self._losses is not None
        worker.alive = False
        self.deaths += 1
        self.gone.update(worker.held)
        worker.held.clear()
        self._agenda.after(self._losses.notice_s, self._missed, worker)
        # A cluster that grows asks for another one by itself.
        if self._losses.back_s is not None and self._growth is None:
            self._agenda.after(self._losses.back_s, self._join)

    def _missed(self, worker: Worker) -> None:
        """Report what a dead worker had; what had left it before is on its way home."""
        worker.known = False
        self.alive -= 1
        self._note_behind(worker)
        for room in self._room:
            room.pop(worker, None)
        for sent in worker.assigned:
            if sent.began is not None and sent is not worker.running:
                continue
            started = sent.began is not None or not self._costs.marks
            report = Report(chunk=sent.work.id, error=WorkerLost("died"), started=started)
            self._sent.pop(sent.ref, None)
            self.line.add(self._costs.finish_s, partial(self._told_lost, report))

    def _told_lost(self, report: Report) -> None:
        self._out_now -= 1
        self._agenda.after(self._costs.door_s, self._heard, report)

    def _grow(self, growth: Growth) -> None:
        """Ask for workers by the demand that is there, and look again later."""
        demand = self._out_now
        if not growth.chunk_is_slot:
            demand = min(demand, math.ceil(self._out_now * self._mean_s / growth.target_s))
        have = self.alive + self._starting
        for _ in range(min(demand, self._most) - have):
            self._starting += 1
            self._agenda.after(growth.start_s, self._started)
        self._agenda.after(growth.every_s, self._grow, growth)

    def _started(self) -> None:
        self._starting -= 1
        self._join()
