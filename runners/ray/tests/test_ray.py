"""What is particular to Ray; one Ray that the tests started, borrowed by every session."""

import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from runners.ray.tests import chunks
from runners.ray.tests.chunks import wait_for
from runners.ray.tests.desk import Desk

from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    SessionClosed,
    ValuesLost,
    VersionMismatch,
    WorkerLost,
)
from fanfold_ray import RayTaskRunner, words
from fanfold_ray.carrier import Letter, Waybill, carry

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def running_ray() -> Iterator[None]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    first = RayTaskRunner(address="local", init_kwargs={"num_cpus": 2}).open(lambda *_: None)
    yield
    first.close()
    assert not ray.is_initialized()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def desk(running_ray: None) -> Iterator[Desk]:
    threads = set(threading.enumerate())
    opened = Desk()
    yield opened
    opened.session.close()
    leaked = set(threading.enumerate()) - threads
    # Ray's own thread gets a Python name when it first calls back.
    assert not [thread for thread in leaked if not thread.name.startswith("Dummy")]


def test_a_description_travels_and_compares() -> None:
    runner = RayTaskRunner(address="auto", init_kwargs={"num_cpus": 2})

    copy = pickle.loads(pickle.dumps(runner))

    assert copy == runner
    assert hash(copy) == hash(runner)
    assert copy != RayTaskRunner(address="auto")


def test_an_unreachable_ray_is_told() -> None:
    with pytest.raises(InfrastructureError, match=r"127\.0\.0\.1:1"):
        RayTaskRunner(address="nonsense://127.0.0.1:1").open(lambda *_: None)


def test_values_come_back_as_the_buffers_that_they_were(desk: Desk) -> None:
    ref, report = desk.run(chunks.zeros, 5_000_000)

    (views,) = desk.session.fetch([ref])

    assert report.error is None
    assert report.worker.split("/")[1] != str(os.getpid())
    assert [view.nbytes for view in views] == [5, 5_000_000, 3, 4]
    assert bytes(views[3]) == b"last"
    assert all(view.readonly for view in views)


def test_needs_and_shared_arrive_in_order_and_apart(desk: Desk) -> None:
    first, _ = desk.run(chunks.zeros, 10)
    second, _ = desk.run(chunks.zeros, 1_000_000)
    shared = desk.session.share("words", b"1234")

    ref, _ = desk.run(chunks.echo, "given", needs=[first, second], shared=[shared])

    (views,) = desk.session.fetch([ref])
    assert pickle.loads(views[0]) == ("given", 22 + 1_000_012 + 4)


def test_users_types_are_not_unpickled_on_the_way(desk: Desk) -> None:
    ref, report = desk.run(chunks.touchy)
    dependent, _ = desk.run(chunks.echo, needs=[ref])

    values = desk.session.fetch([ref, dependent])

    assert report.error is None
    with pytest.raises(AssertionError, match="unpickled on the way"):
        pickle.loads(values[0][0])


def test_what_was_shared_is_in_no_process_twice(desk: Desk, tmp_path: Path) -> None:
    desk.warm(tmp_path, 2)
    size = 100_000_000
    shared = desk.session.share("big", bytes(size))
    again = desk.session.share("big", b"another payload under the same key")

    refs = [desk.submit(chunks.whereabouts, 0.05, shared=[shared]) for _ in range(8)]
    for _ in refs:
        assert desk.report().error is None

    seen = [pickle.loads(views[0]) for views in desk.session.fetch(refs)]
    assert again is shared
    assert len({process for process, _, _ in seen}) == 2
    assert max(private for _, private, _ in seen) < size
    assert all(read_only for _, _, read_only in seen)


def test_every_submit_is_done_once(desk: Desk) -> None:
    refs = [desk.submit(chunks.echo, number) for number in range(1_000)]

    reports = [desk.report() for _ in refs]

    assert len({report.chunk for report in reports}) == 1_000
    assert desk.news.empty()
    values = desk.session.fetch(refs)
    assert [pickle.loads(views[0])[0] for views in values] == list(range(1_000))


def test_a_short_chunk_is_heard_before_it_is_done(desk: Desk) -> None:
    desk.submit(chunks.words, [(0.0, b"%d" % number) for number in range(100)])

    news = [desk.next() for _ in range(101)]

    assert [message for kind, message in news if kind == "heard"] == [b"%d" % n for n in range(100)]
    assert news[-1][0] == "done"


def test_a_long_chunk_is_heard_while_it_runs(desk: Desk) -> None:
    said = [(0.0, b"first"), (0.7, b"second"), (0.7, b"third"), (0.05, b"last")]
    started = time.monotonic()
    desk.submit(chunks.words, said)

    news, times = [], []
    for _ in range(5):
        news.append(desk.next())
        times.append(time.monotonic() - started)

    assert [message for kind, message in news if kind == "heard"] == [one for _, one in said]
    assert news[-1][0] == "done"
    assert times[1] < times[4] - 0.2


def test_the_words_of_two_chunks_keep_their_order(desk: Desk) -> None:
    for chunk in (b"a", b"b"):
        desk.submit(chunks.words, [(0.03, chunk + b"%d" % number) for number in range(30)])

    news = [desk.next() for _ in range(62)]

    messages = [message for kind, message in news if kind == "heard"]
    for chunk in (b"a", b"b"):
        mine = [message for message in messages if message.startswith(chunk)]
        assert mine == [chunk + b"%d" % number for number in range(30)]


def test_a_report_does_not_wait_for_a_slot(desk: Desk, tmp_path: Path) -> None:
    release = tmp_path / "release"
    slow = (str(tmp_path / "started"), str(release))
    desk.submit(chunks.until_released, slow)
    wait_for(tmp_path / "started")
    fast = desk.submit(chunks.echo, "fast")
    desk.submit(chunks.until_released, (str(tmp_path / "other"), str(release)))

    first = desk.report()
    (views,) = desk.session.fetch([fast])

    assert pickle.loads(views[0])[0] == "fast"
    assert not release.exists()
    release.touch()
    assert {desk.report().error, desk.report().error, first.error} == {None}


def test_a_killed_worker_is_told_after_its_last_words(desk: Desk) -> None:
    ok, _ = desk.run(chunks.zeros, 5_000_000)
    lost = desk.submit(chunks.killed, [b"one", b"two"])
    waiting = desk.submit(chunks.echo, needs=[ok, lost])

    news = [desk.next() for _ in range(4)]

    assert news[:2] == [("heard", b"one"), ("heard", b"two")]
    killed, dependent = news[2][1], news[3][1]
    assert isinstance(killed.error, WorkerLost)
    assert isinstance(dependent.error, ValuesLost)
    assert dependent.error.lost == (1,)
    assert not dependent.started
    with pytest.raises(ValuesLost) as raised:
        desk.session.fetch([lost, ok, waiting])
    assert raised.value.lost == (0, 2)
    assert desk.run(chunks.echo, needs=[ok])[1].error is None


def test_a_chunk_that_breaks_its_promise_is_told(desk: Desk) -> None:
    broken, report = desk.run(chunks.complain, ValueError("no user's error, this one"))

    _, dependent = desk.run(chunks.echo, needs=[broken])

    assert type(report.error) is InfrastructureError
    assert "no user's error, this one" in str(report.error)
    assert report.started
    assert isinstance(dependent.error, ValuesLost)
    assert dependent.error.lost == (0,)


def test_versions_are_compared_before_the_chunk_is_read() -> None:
    bill = Waybill("session", 0, "the chunk", ("2.7", "0.0.1"), 0)

    letter, _ = carry(b"not a pickle", pickle.dumps(tuple(bill)))

    report = Letter(*pickle.loads(letter)).report
    assert isinstance(report.error, VersionMismatch)
    assert not report.started
    assert report.chunk == "the chunk"


def test_cancelled_work_stops_or_never_starts(desk: Desk, tmp_path: Path) -> None:
    started = [tmp_path / "first", tmp_path / "second"]
    running = [desk.submit(chunks.until_stopped, str(path)) for path in started]
    for path in started:
        wait_for(path)
    pending = [desk.submit(chunks.touch, str(tmp_path / "never")) for _ in range(20)]
    behind = desk.submit(chunks.touch, str(tmp_path / "never"), needs=pending[:1])

    desk.session.cancel([*pending, *running])
    desk.session.cancel(pending)

    reports = [desk.report() for _ in range(23)]
    errors = [type(report.error) for report in reports]
    assert errors.count(ChunkCancelled) == 20
    assert errors.count(ValuesLost) == 1
    assert errors.count(type(None)) == 2
    assert [bytes(views[0]) for views in desk.session.fetch(running)] == [b"stopped", b"stopped"]
    assert desk.run(chunks.echo)[1].error is None
    assert not (tmp_path / "never").exists()
    desk.session.cancel([*running, behind])
    assert desk.news.empty()


def test_a_fetch_that_takes_too_long_harms_nothing(desk: Desk, tmp_path: Path) -> None:
    release = tmp_path / "release"
    ref = desk.submit(chunks.until_released, (str(tmp_path / "started"), str(release)))

    with pytest.raises(TimeoutError):
        desk.session.fetch([ref], timeout_s=0.1)
    release.touch()

    assert desk.report().error is None
    (views,) = desk.session.fetch([ref])
    assert bytes(views[0]) == b"released"


def test_close_leaves_a_borrowed_ray_clean(running_ray: None, tmp_path: Path) -> None:
    worker = ray._private.worker.global_worker.core_worker
    held = set(worker.get_all_reference_counts())
    desk = Desk()
    desk.session.share("key", bytes(1_000_000))
    started = [tmp_path / "first", tmp_path / "second"]
    refs = [desk.submit(chunks.until_stopped, str(path)) for path in started]
    for path in started:
        wait_for(path)
    refs += [desk.submit(chunks.touch, str(tmp_path / "never")) for _ in range(10)]

    desk.session.close()
    desk.session.close()

    reports = [desk.news.get_nowait()[1] for _ in refs]
    assert {type(report.error) for report in reports} == {ChunkCancelled}
    with pytest.raises(SessionClosed):
        desk.submit(chunks.echo)
    with pytest.raises(SessionClosed):
        desk.session.share("key", b"")
    with pytest.raises(SessionClosed):
        desk.session.fetch(refs)
    refs.clear()
    deadline = time.monotonic() + 2
    while set(worker.get_all_reference_counts()) - held:
        left = {k: v for k, v in worker.get_all_reference_counts().items() if k not in held}
        assert time.monotonic() < deadline, f"references are left: {left}"
        threading.Event().wait(0.01)
    assert desk.news.empty()
    assert not (tmp_path / "never").exists()
    assert not list(words.take(""))
    assert ray.is_initialized()


def test_dropping_a_handle_frees_the_values(desk: Desk) -> None:
    worker = ray._private.worker.global_worker.core_worker
    before = set(worker.get_all_reference_counts())
    ref, _ = desk.run(chunks.zeros, 5_000_000)
    holding = set(worker.get_all_reference_counts()) - before

    del ref

    assert holding
    deadline = time.monotonic() + 2
    while set(worker.get_all_reference_counts()) & holding:
        assert time.monotonic() < deadline, "values are still held"
        threading.Event().wait(0.01)


def test_slots_are_the_cpus_of_the_cluster(desk: Desk) -> None:
    slots = desk.session.slots()

    assert (slots.now, slots.most) == (2, 2)
    assert slots.offers["cpu"] == 2
