"""Measures on a real cluster of two workers what carrying a chunk costs whom.

Processor time is measured, of each process by itself, for it is nearly the same on a busy machine;
only latencies are read off a clock on the wall, at the fastest of some turns. What can't be told
apart from outside is divided: of the driver's time a submit gets what the dispatcher's thread uses
for it, and the scheduler's is shared out as bare tasks cost it that arrive, are sent out, and end.
"""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from types import SimpleNamespace
from typing import Any

from fanfold import flow
from fanfold.engine.chunking import FEWEST_IN_FLIGHT
from fanfold.engine.dispatch import dispatcher
from fanfold.ports.runner import Session, Site, TaskRunner, Values
from fanfold.values.messages import Report
from tests.benchmarks.elements import plus_one_task
from tests.benchmarks.grounds import SLOTS
from tests.benchmarks.simulation.costs import Costs
from tests.benchmarks.simulation.roles import Roles, Used

CHUNKS = 1_000
"""Chunks of one element each, for what a chunk costs."""
BIG, BIG_CHUNKS = 2_000_000, 20
"""Elements, and the chunks that they travel in, for what an element costs."""
READ = (100_000, 400_000)
"""Values that are read, for what that costs."""
TURNS, READ_TURNS = 40, 10
"""Of what takes milliseconds."""
WORDS, PAUSE_S = 300, 0.005
"""Of a chunk that talks."""
IDLE = 1_000
"""Workers among which the scheduler's own code chooses one, to see what a look at each costs."""
ARRIVE, ASSIGN = 0.3, 0.3
"""Shares of what a chunk costs Dask's scheduler: bare tasks that arrive while there is no worker
cost it 0.12 ms, and 0.17 ms to forget; the rest is between it and the workers, both ways."""


@dataclass(slots=True)
class Stopwatch:
    """When submits began and ended, in seconds of the thread that made them."""

    began: list[float] = field(default_factory=list[float])
    ended: list[float] = field(default_factory=list[float])

    @property
    def submit_s(self) -> float:
        """What a submit takes, and before it the decision what to submit."""
        calls = map(float.__sub__, self.ended, self.began)
        # The first ones follow each other with nothing taken in between.
        gaps = map(float.__sub__, self.began[1:FEWEST_IN_FLIGHT], self.ended)
        return median(calls) + median(gaps)


@dataclass(frozen=True)
class Timed:
    """A runner whose submits are timed."""

    runner: TaskRunner
    watch: Stopwatch

    def open(self, heard: Callable[[str, bytes], None]) -> Session:
        session: Any = self.runner.open(heard)
        submit, watch = session.submit, self.watch

        def timed(*args: Any, **options: Any) -> Any:
            watch.began.append(time.thread_time())
            ref = submit(*args, **options)
            watch.ended.append(time.thread_time())
            return ref

        session.submit = timed
        return session


def measure(roles: Roles) -> Costs:
    """Return what a cluster costs; takes some ten seconds of two cores."""
    runner, watch, size = roles.runner, Stopwatch(), BIG // BIG_CHUNKS
    warm = _mapped(runner, 1)
    for _ in range(3):
        warm()
    one = min(roles.meter(warm).wall for _ in range(TURNS))
    waits, reads = _inside(runner)
    few = roles.meter(_mapped(runner, FEWEST_IN_FLIGHT, size=1))
    many = roles.meter(_mapped(Timed(runner, watch), CHUNKS, size=1))
    chunk = many.less(few).per(CHUNKS - FEWEST_IN_FLIGHT)
    big = roles.meter(_mapped(runner, BIG, size=size)).less(few)
    element = big.less(chunk.per(1 / BIG_CHUNKS)).per(BIG)
    word = _word(roles)
    # A map of one element goes four ways; what the processors do takes the rest of its time.
    way_s = max(waits - chunk.driver - chunk.scheduler - chunk.workers, 0.0) / 4
    return Costs(
        name=roles.name,
        submit_s=watch.submit_s,
        report_s=chunk.driver - watch.submit_s,
        arrive_s=chunk.scheduler * ARRIVE,
        assign_s=chunk.scheduler * ASSIGN,
        look_s=_look_s() if roles.name == "dask" else 0.0,
        finish_s=chunk.scheduler * (1 - ARRIVE - ASSIGN),
        pass_s=word.scheduler,
        hear_s=word.driver,
        carry_s=max(element.scheduler, 0.0),
        chunk_s=chunk.workers,
        element_s=element.workers,
        pack_s=element.driver,
        read_s=_read_s(reads),
        fetch_s=_fetch_s(reads),
        flow_s=one - waits,
        # Written in `distributed.Client`; Ray sends at once.
        batch_s=0.01 if roles.name == "dask" else 0.0,
        door_s=way_s,
        hop_s=way_s,
        # Dask lets a worker of one thread have two chunks; Ray's owner sends one after another.
        ahead=2 if roles.name == "dask" else 1,
        steals=roles.name == "dask",
    )


def _read_s(seconds: dict[int, float]) -> float:
    """Return what reading a value takes, from what reading so many took."""
    (few, least), (many, most) = sorted(seconds.items())
    return max(most - least, 0.0) / (many - few)


def _fetch_s(seconds: dict[int, float]) -> float:
    """Return what it takes to fetch them, however many they are."""
    few, least = min(seconds.items())
    return max(least - _read_s(seconds) * few, 0.0)


def _inside(runner: TaskRunner) -> tuple[float, dict[int, float]]:
    """Return what a map of one element takes in a flow that runs, and reading so many values."""

    def waited(count: int) -> tuple[float, float]:
        began = time.perf_counter()
        futures = plus_one_task.map(list(range(count)))
        futures.wait()
        between = time.perf_counter()
        futures.result()
        return between - began, time.perf_counter() - between

    @flow(task_runner=runner)
    def inside() -> tuple[float, dict[int, float]]:
        waits = min(waited(1)[0] for _ in range(TURNS))
        reads = {count: min(waited(count)[1] for _ in range(READ_TURNS)) for count in READ}
        return waits, reads

    return inside()


@dataclass(frozen=True, slots=True)
class Talker:
    """A chunk that says something again and again."""

    id: str
    label: str = "talker"
    priority: int = 0

    def run(
        self, needs: Sequence[Values], shared: Sequence[Any], site: Site
    ) -> tuple[Report, Values]:
        for _ in range(WORDS):
            site.say(b"B")
            # Longer than Dask holds messages back to send some together.
            time.sleep(PAUSE_S)
        return Report(chunk=self.id, worker=site.worker), [b""]


def _word(roles: Roles) -> Used:
    """Return what a word of a chunk takes that comes alone."""
    session = roles.runner.open(dispatcher().heard)

    def talk() -> None:
        ended = threading.Semaphore(0)
        chunks = [Talker(f"talker-{uuid.uuid4()}") for _ in range(SLOTS)]
        refs = [session.submit(chunk, done=lambda _: ended.release()) for chunk in chunks]
        for _ in refs:
            ended.acquire(timeout=60)

    try:
        return roles.meter(talk).per(SLOTS * WORDS)
    finally:
        session.close()


def _mapped(runner: TaskRunner, count: int, *, size: int | None = None) -> Callable[[], None]:
    items = list(range(count))

    @flow(task_runner=runner)
    def mapped() -> None:
        plus_one_task.map(items, chunk_size=size).wait()

    return mapped


def _look_s() -> float:
    """Return what Dask's scheduler needs for each worker with room when it chooses one."""
    scheduler: Any = __import__("distributed.scheduler", fromlist=["SchedulerState"])
    running: Any = __import__("distributed.core", fromlist=["Status"]).Status.running
    idle = {
        scheduler.WorkerState(
            address=f"tcp://127.0.0.1:{number}",
            status=running,
            pid=number,
            name=str(number),
            nthreads=1,
            memory_limit=1,
            local_directory="",
            nanny=None,
            server_id=str(number),
        )
        for number in range(IDLE)
    }
    state = SimpleNamespace(validate=False, idle_task_count=idle)
    began, turns = time.thread_time(), 50
    for _ in range(turns):
        scheduler.SchedulerState.decide_worker_rootish_queuing_enabled(state)
    return (time.thread_time() - began) / turns / IDLE
