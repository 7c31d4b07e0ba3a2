import os
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fanfold.adapters.runners import processes, threads
from fanfold.adapters.runners.inline import InlineTaskRunner
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.ports.runner import TaskRunner
from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    SessionClosed,
    UsageError,
    ValuesLost,
)
from fanfold.values.messages import Report
from tests.unit.adapters import local_chunks as chunks
from tests.unit.adapters.local_chunks import DEADLINE_S, Chunk
from tests.unit.adapters.local_desk import Desk, Pipe, opened

RUNNERS = (
    InlineTaskRunner(),
    ThreadPoolTaskRunner(max_workers=2),
    ProcessTaskRunner(max_workers=2),
)
SINGLES = (
    InlineTaskRunner(),
    ThreadPoolTaskRunner(max_workers=1),
    ProcessTaskRunner(max_workers=1),
)


@pytest.fixture(params=RUNNERS, ids=lambda runner: type(runner).__name__)
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    with opened(request.param) as desk:
        yield desk


@pytest.fixture(params=SINGLES, ids=lambda runner: type(runner).__name__)
def single(request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A desk whose session runs one chunk at a time."""
    with opened(request.param) as desk:
        yield desk


class TestEveryRunner:
    def test_each_submit_leads_to_one_report(self, desk: Desk) -> None:
        count = 2_000 if desk.session.traits.remote else 10_000

        refs = [desk.submit(Chunk(id=str(number))) for number in range(count)]
        reports = desk.wait_for_reports(count)
        desk.session.close()

        assert sorted(int(report.chunk) for report in reports) == list(range(count))
        assert len(desk.reports) == count
        assert len(set(refs)) == count

    def test_a_report_names_the_worker_and_what_it_says_arrives(self, desk: Desk) -> None:
        assert desk.run(Chunk(id="one")) == b"one"

        report = desk.wait_for_report("one")
        host, pid, start = report.worker.split("/")
        assert report.error is None
        assert host
        assert (int(pid) == os.getpid()) != desk.session.traits.remote
        assert int(start) > 0
        assert desk.messages == [("one", b"started")]

    def test_chunks_say_more_than_a_socket_holds_in_order(self, desk: Desk) -> None:
        desk.run(chunks.Talking(id="talk", count=50_000))

        said = [message for _, message in desk.messages[1:]]
        assert said == [str(number).encode() for number in range(50_000)]

    def test_higher_priority_goes_first_then_the_order_of_submits(
        self, single: Desk, pipe: Pipe
    ) -> None:
        single.submit(chunks.Blocked(id="first", pipe=pipe.path))
        single.wait_for_start("first")

        for number, priority in enumerate([0, 5, 0, 9, 5]):
            single.submit(Chunk(id=f"{priority}-{number}", priority=priority))
        pipe.release()

        order = [report.chunk for report in single.wait_for_reports(6)]
        assert order == ["first", "9-3", "5-1", "5-4", "0-0", "0-2"]

    def test_a_cancelled_pending_chunk_never_runs(self, single: Desk, pipe: Pipe) -> None:
        single.submit(chunks.Blocked(id="first", pipe=pipe.path))
        pending = single.submit(Chunk(id="pending"))
        single.wait_for_start("first")

        single.session.cancel([pending])
        single.session.cancel([pending])
        pipe.release()
        single.run(Chunk(id="last"))

        report = single.wait_for_report("pending")
        assert isinstance(report.error, ChunkCancelled)
        assert not report.started
        assert [report.chunk for report in single.wait_for_reports(3)].count("pending") == 1
        assert ("pending", b"started") not in single.messages

    def test_a_cancelled_running_chunk_sees_it_and_the_next_does_not(self, single: Desk) -> None:
        running = single.submit(chunks.UntilStopped(id="running"))
        single.wait_for_start("running")

        single.session.cancel([running])
        report = single.wait_for_report("running")
        single.session.cancel([running])

        assert report.error is None
        assert single.session.fetch([running]) == [[b"stopped"]]
        assert single.run(chunks.Stopping(id="next")) == b"False"

    @pytest.mark.parametrize(
        "error", [ValueError("odd"), SystemExit(3), KeyboardInterrupt(), MemoryError("odd")]
    )
    def test_what_a_chunk_raises_is_told(self, single: Desk, error: BaseException) -> None:
        ref = single.submit(chunks.Raising(id="bad", error=error))

        report = single.wait_for_report("bad")
        assert type(report.error) is InfrastructureError
        assert type(error).__name__ in str(report.error)
        assert str(error) in str(report.error)
        with pytest.raises(ValuesLost) as lost:
            single.session.fetch([single.submit(Chunk(id="good")), ref], DEADLINE_S)
        assert lost.value.lost == (1,)

    def test_an_error_of_our_own_tree_is_told_as_it_is(self, desk: Desk) -> None:
        desk.submit(chunks.Raising(id="bad", error=ValuesLost("gone", [2])))

        error = desk.wait_for_report("bad").error
        assert isinstance(error, ValuesLost)
        assert (error.message, error.lost) == ("gone", (2,))

    def test_fetch_gives_up_in_time_and_cancels_nothing(self, single: Desk, pipe: Pipe) -> None:
        ref = single.submit(chunks.Blocked(id="slow", pipe=pipe.path))
        single.wait_for_start("slow")

        with pytest.raises(TimeoutError):
            single.session.fetch([ref], timeout_s=0.01)
        pipe.release()

        assert single.session.fetch([ref], DEADLINE_S) == [[b""]]

    def test_a_chunk_waits_for_what_it_needs(self, single: Desk, pipe: Pipe) -> None:
        first = single.submit(chunks.Blocked(id="first", pipe=pipe.path))
        # One thread or process: if the dependent took it, nothing would ever end.
        second = single.submit(Chunk(id="second", priority=9), [first])
        third = single.submit(Chunk(id="third", priority=9), [second, first, second])
        pipe.release()

        assert single.session.fetch([third], DEADLINE_S) == [[b"third"]]
        assert [report.chunk for report in single.reports] == ["first", "second", "third"]

    def test_what_needs_lost_values_never_runs(self, desk: Desk) -> None:
        bad = desk.submit(chunks.Raising(id="bad", error=ValueError("odd")))
        ref = desk.submit(Chunk(id="0"), [desk.submit(Chunk(id="good")), bad])
        for number in range(1, 2_000):
            ref = desk.submit(Chunk(id=str(number)), [ref])

        desk.wait_for_reports(2_002)
        report = desk.wait_for_report("0")
        assert isinstance(report.error, ValuesLost)
        assert report.error.lost == (1,)
        assert not report.started
        assert isinstance(desk.wait_for_report("1999").error, ValuesLost)

    def test_share_is_idempotent_by_key(self, desk: Desk) -> None:
        one = desk.session.share("key", b"payload")
        same = desk.session.share("key", b"payload")
        empty = desk.session.share("empty", b"")

        assert one is same
        assert desk.run(chunks.Shared(id="read"), shared=[one, empty, same])[2:] == (
            b"payload  payload"
        )

    def test_closing_ends_what_waits_and_waits_for_nobody(self, single: Desk, pipe: Pipe) -> None:
        single.submit(chunks.Blocked(id="running", pipe=pipe.path))
        waiting = single.submit(Chunk(id="waiting"))
        single.wait_for_start("running")

        single.session.close()
        single.session.close()

        assert isinstance(single.wait_for_report("waiting").error, ChunkCancelled)
        with pytest.raises(ValuesLost):
            single.session.fetch([waiting], DEADLINE_S)
        with pytest.raises(SessionClosed):
            single.submit(Chunk(id="late"))
        pipe.release()
        assert len(single.wait_for_reports(2)) == 2

    def test_a_session_may_be_closed_by_a_done(self, single: Desk) -> None:
        closed = threading.Event()

        def close(report: Report) -> None:
            single.session.close()
            closed.set()

        single.session.submit(Chunk(id="last"), done=close)

        assert closed.wait(DEADLINE_S)


@pytest.mark.parametrize("runner", RUNNERS, ids=lambda runner: type(runner).__name__)
def test_a_runner_is_a_value_and_opens_again(runner: TaskRunner) -> None:
    copy = pickle.loads(pickle.dumps(runner))

    assert copy == runner
    assert hash(copy) == hash(runner)
    for one in (runner, copy):
        with opened(one) as desk:
            assert desk.run(Chunk(id="again")) == b"again"


@pytest.mark.parametrize("kind", [ThreadPoolTaskRunner, ProcessTaskRunner])
class TestOptions:
    @pytest.mark.parametrize("count", [0, -1, True, 1.5, "2"])
    def test_nonsense_is_refused(self, kind: Callable[..., TaskRunner], count: Any) -> None:
        with pytest.raises(UsageError, match=f"max_workers must be .*, not {count!r}"):
            kind(max_workers=count)

    def test_the_count_of_workers_needs_no_name(self, kind: Callable[..., TaskRunner]) -> None:
        assert kind(3) == kind(max_workers=3)
        assert kind(3) != kind(2)
        assert kind() == kind(None)


def test_names_that_users_of_prefect_know() -> None:
    assert threads.ConcurrentTaskRunner is ThreadPoolTaskRunner
    assert processes.ProcessPoolTaskRunner is ProcessTaskRunner


def test_preloads_are_names_of_modules() -> None:
    listed: Any = ["json"]

    assert ProcessTaskRunner(preload=listed) == ProcessTaskRunner(preload=("json",))
    for nonsense in ("json", (1,)):
        with pytest.raises(UsageError, match="module names"):
            ProcessTaskRunner(preload=nonsense)  # pyright: ignore[reportArgumentType]


class TestThreads:
    def test_values_are_handed_over_as_they_are_and_freed_with_their_ref(self) -> None:
        with opened(ThreadPoolTaskRunner(max_workers=2)) as desk:
            upstream = desk.submit(chunks.Large(id="large", size=10))
            ref = desk.submit(Chunk(id="dependent"), [upstream])
            ((value,),) = desk.session.fetch([upstream], DEADLINE_S)
            desk.session.fetch([ref], DEADLINE_S)
            weak = weakref.ref(value)

            # The dependent has ended, so that it must not keep what it needed.
            del value, upstream
            desk.run(Chunk(id="one"))
            desk.run(Chunk(id="two"))

            assert weak() is None

    def test_as_many_chunks_run_at_once_as_there_are_threads(self) -> None:
        together = threading.Barrier(8, timeout=DEADLINE_S)

        class Meeting(Chunk):
            def value(self, needs: Any, shared: Any, site: Any) -> bytes:
                together.wait()
                return b"met"

        with opened(ThreadPoolTaskRunner(max_workers=8)) as desk:
            refs = [desk.submit(Meeting(id=str(number))) for number in range(16)]

            assert desk.session.slots().most == 8
            assert desk.session.fetch(refs, DEADLINE_S) == [[b"met"]] * 16

    def test_running_chunks_see_the_close_and_still_report(self) -> None:
        with opened(ThreadPoolTaskRunner(max_workers=1)) as desk:
            desk.submit(chunks.UntilStopped(id="running"))
            desk.wait_for_start("running")

        assert desk.wait_for_report("running").error is None
