"""The dispatcher: the thread that carries out what stories ask for, on a session of our own."""

import gc
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest

from fanfold.engine.calls import Call
from fanfold.engine.context import RunInfo
from fanfold.engine.dispatch import dispatcher
from fanfold.engine.futures import MapFuture
from fanfold.engine.run import Run
from fanfold.engine.sources import From, Given, Sources
from fanfold.engine.spec import Layout, Mapped, TaskSpec
from fanfold.ports.runner import Chunk
from fanfold.values.errors import Crashed, SessionClosed, ValuesLost, WorkerLost
from fanfold.values.ids import new_id
from fanfold.values.messages import Report
from fanfold.values.resources import PLAIN, Resources, Slots, Traits

DEADLINE_S = 5.0


class Place:
    """Where a chunk's values lie, or laid."""

    values: list[Any] | None = None


@dataclass(eq=False)
class Handed:
    """A chunk that waits for the test to run it."""

    chunk: Chunk
    needs: Sequence[Place]
    done: Callable[[Report], None]
    place: Place = field(default_factory=Place)
    worker: str = "test"

    def say(self, message: bytes) -> None:
        raise AssertionError(message)

    def stopping(self) -> bool:
        return False

    def session(self, heard: Any) -> None:
        """Carry nothing further."""

    def waiting(self) -> AbstractContextManager[None]:
        return nullcontext()

    def run(self) -> None:
        lost = [at for at, need in enumerate(self.needs) if need.values is None]
        if lost:
            self.done(Report(chunk=self.chunk.id, error=ValuesLost("gone", lost)))
            return
        report, self.place.values = self.chunk.run([n.values for n in self.needs], [], self)
        self.done(report)


class Handing:
    """A session that runs nothing by itself."""

    traits = Traits()
    dashboard = ""

    def __init__(self) -> None:
        self.handed: queue.Queue[Handed] = queue.Queue()
        self.cancelled: list[Place] = []
        self.refuses = False
        self.broken = False

    def slots(self) -> Slots:
        if self.broken:
            raise RuntimeError("slots are out of order")
        return Slots(now=2, most=2)

    def lacking(self, want: Resources) -> str:
        return ""

    def stuck(self, refs: Collection[Place]) -> Collection[Place]:
        return ()

    def share(self, key: str, payload: bytes) -> Any:
        return payload

    def submit(
        self,
        chunk: Chunk,
        needs: Sequence[Place] = (),
        shared: Sequence[Any] = (),
        *,
        want: Resources = PLAIN,
        done: Callable[[Report], None],
    ) -> Place:
        if self.refuses:
            raise SessionClosed("The cluster is gone.")
        handed = Handed(chunk, needs, done)
        self.handed.put(handed)
        return handed.place

    def fetch(self, refs: Sequence[Place], timeout_s: float | None = None) -> Sequence[Any]:
        lost = [at for at, ref in enumerate(refs) if ref.values is None]
        if lost:
            raise ValuesLost("gone", lost)
        return [ref.values for ref in refs]

    def cancel(self, refs: Collection[Place], *, interrupt: bool = False) -> None:
        self.cancelled += refs

    def close(self) -> None:
        pass

    def next(self) -> Handed:
        return self.handed.get(timeout=DEADLINE_S)


def negative(number: int) -> int:
    return -number


@pytest.fixture
def session() -> Handing:
    return Handing()


@pytest.fixture
def start(session: Handing) -> Iterator[Callable[..., Run]]:
    """Return what starts a map over items or over a run; what is left over is cancelled."""
    runs: list[weakref.ref[Run]] = []

    def started(over: Any, **options: Any) -> Run:
        column = over if isinstance(over, Run) else None
        count = column.count if column else len(over)
        source = From(run=column, indices=range(count)) if column else Given(items=over)
        spec = TaskSpec(
            fn=negative,
            layout=Layout(args=(Mapped(0),)),
            info=RunInfo(kind="Task run", id=new_id(), name="negative"),
            **options,
        )
        run = Run(Call(spec=spec, sources=Sources(columns=(source,)), count=count), session)
        dispatcher().start(run)
        runs.append(weakref.ref(run))
        return run

    yield started
    for reference in runs:
        if (run := reference()) is not None and not run.finished:
            dispatcher().cancel([run])


def ended(run: Run) -> MapFuture[Any]:
    """Wait until a run's story is told to the end."""
    with run.changed:
        assert run.changed.wait_for(lambda: run.finished, DEADLINE_S), run.states
    return MapFuture(run)


def test_chunks_go_out_and_their_values_are_read(
    session: Handing, start: Callable[..., Run]
) -> None:
    run = start(range(2))

    session.next().run()
    session.next().run()

    assert MapFuture(run).result(timeout=DEADLINE_S) == [0, -1]


class Announcing(threading.Condition):
    """Says when somebody begins to wait, who holds the lock until then."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.awaited.set()
        return super().wait(timeout)


def test_a_reader_of_one_element_is_woken_while_others_are_at_work(
    session: Handing, start: Callable[..., Run]
) -> None:
    run = start(range(2))
    run.changed = Announcing()
    found: list[int] = []
    reader = threading.Thread(target=lambda: found.append(MapFuture(run)[1].result()), daemon=True)
    _, second = session.next(), session.next()
    reader.start()
    assert run.changed.awaited.wait(DEADLINE_S)

    second.run()
    reader.join(DEADLINE_S)

    assert found == [-1]
    assert run.left == 1


def test_a_dependent_is_handed_out_with_the_places_of_what_it_needs(
    session: Handing, start: Callable[..., Run]
) -> None:
    run = start([5])
    first = session.next()
    dependent = start(run)

    first.run()
    second = session.next()

    assert second.needs == [first.place]
    second.run()
    assert MapFuture(dependent).result(timeout=DEADLINE_S) == [5]


def test_a_session_that_takes_no_chunks_any_more_ends_the_run_in_bounded_time(
    session: Handing, start: Callable[..., Run]
) -> None:
    session.refuses = True

    run = start([1])

    with pytest.raises(Crashed, match="The cluster is gone"):
        ended(run).result()


def test_a_cancel_reaches_the_chunks_in_flight(session: Handing, start: Callable[..., Run]) -> None:
    run = start([1])
    handed = session.next()

    dispatcher().cancel([run])
    handed.run()

    assert dict(ended(run).states) == {"Completed": 1}
    assert session.cancelled == [handed.place]


def test_a_fault_of_our_own_is_told_and_nobody_waits_for_ever(
    session: Handing, start: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = start([1])
    dependent = start(run)
    handed = session.next()
    session.broken = True

    with caplog.at_level(logging.ERROR, "fanfold.engine"):
        handed.run()

        for broken in (run, dependent):
            with pytest.raises(Crashed, match="slots are out of order"):
                ended(broken).result()
    assert "negative can't go on" in caplog.text


def test_values_that_are_lost_before_they_were_read_are_made_again(
    session: Handing, start: Callable[..., Run]
) -> None:
    # Given a map that is over, whose values the cluster then loses
    run = start([5])
    handed = session.next()
    handed.run()
    ended(run)
    handed.place.values = None
    futures = MapFuture(run)

    # When somebody reads them
    with pytest.raises(TimeoutError):
        futures.result(timeout=0.05)
    again = session.next()
    again.run()

    # Then they are made from what the caller gave, for it is kept until nobody can ask any more
    assert futures.result(timeout=DEADLINE_S) == [-5]


def test_values_that_a_dependent_misses_are_made_again_though_upstream_was_over(
    session: Handing, start: Callable[..., Run]
) -> None:
    run = start([5])
    handed = session.next()
    handed.run()
    ended(run)
    dependent = start(run)
    missing = session.next()
    handed.place.values = None

    missing.run()
    session.next().run()
    session.next().run()

    assert MapFuture(dependent).result(timeout=DEADLINE_S) == [5]


def test_a_lost_worker_costs_nothing_but_another_try(
    session: Handing, start: Callable[..., Run]
) -> None:
    run = start([1])
    lost = session.next()

    lost.done(Report(chunk=lost.chunk.id, error=WorkerLost("killed")))
    session.next().run()

    assert MapFuture(run).result(timeout=DEADLINE_S) == [-1]


def test_nothing_holds_a_run_that_is_over_and_that_nobody_holds(
    session: Handing, start: Callable[..., Run]
) -> None:
    run = start([1])
    dependent = start(run)
    for _ in range(2):
        handed = session.next()
        handed.run()
    ended(dependent)
    places = [weakref.ref(handed.place)]
    held = [weakref.ref(run), weakref.ref(dependent)]
    del run, dependent, handed

    # The dispatcher's thread may still be leaving the step that ended it.
    following = start([2])
    session.next().run()
    ended(following)
    gc.collect()

    assert [reference() for reference in (*held, *places)] == [None] * 3
