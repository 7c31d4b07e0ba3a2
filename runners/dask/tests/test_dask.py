"""What is particular to Dask: own clusters and borrowed ones, dead workers, clean leaving."""

import os
import pickle
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, LocalCluster
from runners.dask.tests import chunks
from runners.dask.tests.chunks import Call

from fanfold.ports.runner import Ref, Session
from fanfold.values import versions
from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    SessionClosed,
    ValuesLost,
    VersionMismatch,
    WorkerLost,
)
from fanfold.values.messages import Report
from fanfold.values.resources import Traits
from fanfold_dask import DaskTaskRunner

DEADLINE_S = 20.0

OWN = DaskTaskRunner(cluster_kwargs={"n_workers": 2})
LONE = DaskTaskRunner(cluster_kwargs={"n_workers": 1})


class Driver:
    """A session, and what came home over it."""

    def __init__(self, runner: DaskTaskRunner) -> None:
        self.said: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.reports: queue.Queue[Report] = queue.Queue()
        self.session: Session = runner.open(lambda chunk, message: self.said.put((chunk, message)))

    def submit(self, chunk: Call, needs: Sequence[Ref] = (), shared: Sequence[Ref] = ()) -> Ref:
        return self.session.submit(chunk, needs, shared, done=self.reports.put)

    def report(self) -> Report:
        return self.reports.get(timeout=DEADLINE_S)

    def run(self, chunk: Call, needs: Sequence[Ref] = (), shared: Sequence[Ref] = ()) -> Ref:
        ref = self.submit(chunk, needs, shared)
        report = self.report()
        assert report.error is None
        assert report.chunk == chunk.id
        return ref

    def value(self, ref: Ref) -> list[bytes]:
        return [bytes(part) for part in self.session.fetch([ref], DEADLINE_S)[0]]

    def pid(self) -> int:
        """Return the process id that a `stay` says."""
        return int(self.said.get(timeout=DEADLINE_S)[1])


@contextmanager
def opened(runner: DaskTaskRunner) -> Iterator[Driver]:
    driver = Driver(runner)
    try:
        yield driver
    finally:
        driver.session.close()


@pytest.fixture(scope="module")
def own() -> Iterator[Driver]:
    with opened(OWN) as driver:
        yield driver


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=50,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["own", "borrowed"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    if request.param == "own":
        yield request.getfixturevalue("own")
    else:
        with opened(DaskTaskRunner(client=request.getfixturevalue("client"))) as driver:
            yield driver


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "It didn't happen in time."
        threading.Event().wait(0.01)


def runs(folder: Path, name: str) -> int:
    return len(list(folder.glob(f"{name}.*")))


def kill_and_wait(pid: int) -> None:
    process = psutil.Process(pid)
    process.kill()
    process.wait(DEADLINE_S)


def test_values_move_from_chunk_to_chunk_and_home_unjoined(driver: Driver) -> None:
    first = driver.run(Call(id="first", act=chunks.give, arguments=(b"a", b"", b"c" * 100_000)))
    second = driver.run(Call(id="second", act=chunks.give, arguments=(b"d",)))
    shared = driver.session.share("letters", b"e")

    joined = driver.run(Call(id="joined", act=chunks.join), [first, second], [shared])

    assert driver.value(first) == [b"a", b"", b"c" * 100_000]
    assert driver.value(joined) == [b"a", b"", b"c" * 100_000, b"d", b"e"]


def test_values_are_never_unpickled_unasked(driver: Driver) -> None:
    jealous = driver.run(Call(id="jealous", act=chunks.give_jealous))

    passed_on = driver.run(Call(id="passed on", act=chunks.join), [jealous])

    (part,) = driver.value(passed_on)
    with pytest.raises(AssertionError, match="nobody asked"):
        pickle.loads(part)


def test_each_of_many_fast_chunks_is_reported_once(driver: Driver) -> None:
    names = {f"fast {number}" for number in range(200)}

    refs = [driver.submit(Call(id=name, act=chunks.give, arguments=(1,))) for name in names]

    assert sorted(driver.report().chunk for _ in refs) == sorted(names)
    assert driver.reports.empty()


def test_what_a_chunk_says_comes_in_order_and_before_its_report(driver: Driver) -> None:
    driver.run(Call(id="talker", act=chunks.say, arguments=(100,)))

    said = [driver.said.get_nowait() for _ in range(100)]
    assert said == [("talker", str(number).encode()) for number in range(100)]


def test_a_long_report_comes_home_beside_the_events(driver: Driver) -> None:
    long = ("x" * 1_000_000,)

    driver.submit(Call(id="long", act=chunks.give, arguments=(1,), warnings=long))

    assert driver.report().warnings == long


def test_asking_whether_to_stop_takes_under_a_microsecond(driver: Driver) -> None:
    ref = driver.run(Call(id="asker", act=chunks.time_stopping, arguments=(100_000,)))

    assert pickle.loads(driver.value(ref)[0]) < 1e-6


def test_a_cancelled_running_chunk_sees_it_and_a_pending_one_never_starts(
    driver: Driver, tmp_path: Path
) -> None:
    running = [
        driver.submit(Call(id=name, act=chunks.stay, arguments=(str(tmp_path), name, DEADLINE_S)))
        for name in ("running 0", "running 1")
    ]
    for _ in running:
        driver.pid()
    pending = driver.submit(
        Call(id="pending", act=chunks.note, arguments=(str(tmp_path), "pending"))
    )

    driver.session.cancel([*running, pending])
    driver.session.cancel([*running, pending])

    errors = [driver.report().error for _ in range(3)]
    assert {type(error) for error in errors} == {ChunkCancelled}
    until(lambda: len(list(tmp_path.glob("*-stopped"))) == 2)
    driver.run(Call(id="after", act=chunks.give, arguments=(1,)))
    assert runs(tmp_path, "pending") == 0
    assert driver.reports.empty()


def test_a_fetch_that_takes_too_long_cancels_nothing(driver: Driver, tmp_path: Path) -> None:
    ref = driver.submit(Call(id="slow", act=chunks.stay, arguments=(str(tmp_path), "slow", 0.5)))

    with pytest.raises(TimeoutError):
        driver.session.fetch([ref], 0.05)

    assert driver.value(ref) == [b"slow"]
    assert driver.report().error is None
    assert driver.pid()


def test_what_is_shared_is_one_object_per_worker(driver: Driver) -> None:
    shared = driver.session.share("big", bytes(10_000_000))
    assert driver.session.share("big", b"not looked at") is shared

    refs = [driver.run(Call(id=f"look {n}", act=chunks.see), (), [shared]) for n in range(20)]

    seen = {driver.value(ref)[0] for ref in refs}
    assert len({look.split()[0] for look in seen}) == len(seen)


def test_slots_and_traits(own: Driver, client: Client) -> None:
    with opened(DaskTaskRunner(client=client)) as borrowed:
        assert borrowed.session.traits == Traits(remote=True, recovers=True, reruns=True)
        assert (borrowed.session.slots().now, borrowed.session.slots().most) == (2, 2)
    assert own.session.traits == Traits(remote=True, recovers=True)
    assert own.session.slots().most == 2


def test_dropping_the_last_ref_frees_the_values(client: Client) -> None:
    with opened(DaskTaskRunner(client=client)) as driver:
        ref = driver.run(Call(id="dropped", act=chunks.give, arguments=(b"value",)))
        assert len(client.run_on_scheduler(task_names)) == 1

        del ref

        until(lambda: client.run_on_scheduler(task_names) == [])


def test_a_dead_worker_is_told_with_what_never_started_and_costs_nothing_else(
    own: Driver, tmp_path: Path
) -> None:
    shared = own.session.share("shared before", b"shared")
    finished = [
        own.run(Call(id=f"finished {n}", act=chunks.give, arguments=(n,))) for n in range(8)
    ]
    names = [f"stay {number}" for number in range(4)]
    for name in names:
        own.submit(Call(id=name, act=chunks.stay, arguments=(str(tmp_path), name, DEADLINE_S)))
    victims = [own.pid(), own.pid()]

    for pid in victims:
        os.kill(pid, signal.SIGKILL)

    reports = {report.chunk: report for report in (own.report() for _ in names)}
    assert {type(report.error) for report in reports.values()} == {WorkerLost}
    started = {name for name, report in reports.items() if report.started}
    assert started == {name for name in names if runs(tmp_path, name)}
    assert len(started) < len(names)
    assert [own.value(ref) for ref in finished] == [[pickle.dumps(n)] for n in range(8)]
    joined = own.run(Call(id="joined after", act=chunks.join), finished[:1], [shared])
    assert own.value(joined)[-1] == b"shared"
    until(lambda: own.session.slots().now == 2)


def test_a_dead_worker_of_a_borrowed_cluster_is_told_and_its_chunk_stopped(
    client: Client, tmp_path: Path
) -> None:
    with opened(DaskTaskRunner(client=client)) as driver:
        arguments = (str(tmp_path), "killer", DEADLINE_S)
        driver.submit(Call(id="killer", act=chunks.stay, arguments=arguments))

        os.kill(driver.pid(), signal.SIGKILL)

        report = driver.report()
        assert isinstance(report.error, WorkerLost)
        assert report.started
        until(lambda: driver.session.slots().now == 2)
        # If the scheduler was faster and runs it again, it hears of the cancel.
        until(lambda: client.run_on_scheduler(task_names) == [])
        assert runs(tmp_path, "killer") <= 2
        assert driver.reports.empty()


def test_a_borrowed_client_is_clean_after_close(client: Client, tmp_path: Path) -> None:
    heard: queue.Queue[Any] = queue.Queue()
    client.subscribe_topic("all", heard.put)
    topics_before = set(client.run_on_scheduler(topic_names))
    driver, other = Driver(DaskTaskRunner(client=client)), Driver(DaskTaskRunner(client=client))
    kept = driver.run(Call(id="kept", act=chunks.give, arguments=(1,), label="my_task"))
    driver.session.share("key", b"shared")
    arguments = (str(tmp_path), "running", DEADLINE_S)
    driver.submit(Call(id="running", act=chunks.stay, arguments=arguments))
    driver.pid()
    assert "my_task" in client.run_on_scheduler(group_names)

    driver.session.close()
    driver.session.close()

    assert isinstance(driver.report().error, ChunkCancelled)
    with pytest.raises(SessionClosed):
        driver.submit(Call(id="late", act=chunks.give))
    until(lambda: (tmp_path / "running-stopped").exists())
    del kept
    until(lambda: client.run_on_scheduler(task_names) == [])
    other.run(Call(id="other", act=chunks.give, arguments=(1,)))
    other.session.close()
    allowed = topics_before | {"all", client.id}
    until(lambda: set(client.run_on_scheduler(topic_names)) <= allowed)
    client.log_event("all", {"action": "mine"})
    until(lambda: not heard.empty() and heard.get()[1] == {"action": "mine"})
    client.unsubscribe_topic("all")
    assert client.submit(abs, -1).result(DEADLINE_S) == 1


def test_a_session_that_is_closed_at_once_leaves_no_topic(client: Client) -> None:
    topics_before = set(client.run_on_scheduler(topic_names)) | {"all", client.id}

    Driver(DaskTaskRunner(client=client)).session.close()

    until(lambda: set(client.run_on_scheduler(topic_names)) <= topics_before)


def test_a_chunk_may_come_again_over_another_session(client: Client) -> None:
    with (
        opened(DaskTaskRunner(client=client)) as first,
        opened(DaskTaskRunner(client=client)) as second,
    ):
        kept = first.run(Call(id="same", act=chunks.give, arguments=(b"first",)))
        again = second.run(Call(id="same", act=chunks.give, arguments=(b"second",)))

        assert first.value(kept) == [b"first"]
        assert second.value(again) == [b"second"]


def test_a_session_at_an_address_leaves_the_cluster_alive(client: Client) -> None:
    runner = DaskTaskRunner(address=client.scheduler.address)

    with opened(runner) as driver:
        driver.run(Call(id="there", act=chunks.give, arguments=(1,)))

    assert client.submit(abs, -2).result(DEADLINE_S) == 2


def test_nothing_at_an_address_is_told() -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "300ms"}),
        pytest.raises(InfrastructureError, match="Connecting to Dask"),
    ):
        DaskTaskRunner(address="tcp://127.0.0.1:1").open(lambda chunk, message: None)


def test_an_own_cluster_that_cannot_start_says_why() -> None:
    kwargs = {"n_workers": 1, "no_such_argument": 1}
    with pytest.raises(InfrastructureError, match="no_such_argument"):
        DaskTaskRunner(cluster_kwargs=kwargs).open(lambda chunk, message: None)


def test_a_worker_of_another_version_refuses_the_chunk(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, _ = versions.fingerprint()
    driver = Driver(DaskTaskRunner(client=client))
    driver.session.close()
    monkeypatch.setattr(versions, "fingerprint", lambda: (python, "0.0.0"))

    with opened(DaskTaskRunner(client=client)) as driver:
        driver.submit(Call(id="newer", act=chunks.give))

        report = driver.report()
        assert isinstance(report.error, VersionMismatch)
        assert "0.0.0 here" in str(report.error)


def test_values_lost_with_all_they_were_made_from_are_told(tmp_path: Path) -> None:
    with opened(LONE) as driver:
        shared = driver.session.share("code", b"code")
        lost = driver.run(Call(id="lost", act=chunks.join), (), [shared])
        arguments = (str(tmp_path), "killer", DEADLINE_S)
        driver.submit(Call(id="killer", act=chunks.stay, arguments=arguments))
        kill_and_wait(driver.pid())
        assert isinstance(driver.report().error, WorkerLost)

        with pytest.raises(ValuesLost) as caught:
            driver.session.fetch([lost], DEADLINE_S)
        driver.submit(Call(id="needy", act=chunks.join), [lost])
        needy = driver.report()
        again = driver.run(Call(id="again", act=chunks.join), (), [shared])

        assert caught.value.lost == (0,)
        assert isinstance(needy.error, ValuesLost)
        assert needy.error.lost == (0,)
        assert not needy.started
        assert driver.value(again) == [b"code"]
        assert driver.session.slots().most == 1


def test_an_own_cluster_is_gone_after_close_though_a_chunk_runs(tmp_path: Path) -> None:
    driver = Driver(LONE)
    driver.submit(Call(id="busy", act=chunks.stay, arguments=(str(tmp_path), "busy", 60.0)))
    worker = psutil.Process(driver.pid())
    keeper = worker.parent()
    assert keeper is not None
    processes = [keeper, *keeper.children(recursive=True)]
    start = time.monotonic()

    driver.session.close()

    assert time.monotonic() - start < 5
    assert isinstance(driver.report().error, ChunkCancelled)
    _, alive = psutil.wait_procs(processes, 1)
    # Multiprocessing's tracker of semaphores is nobody's child by now, and may wait for its reaper.
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_an_own_cluster_whose_keeper_dies_fails_what_is_pending(tmp_path: Path) -> None:
    with opened(LONE) as driver:
        driver.submit(Call(id="busy", act=chunks.stay, arguments=(str(tmp_path), "busy", 60.0)))
        worker = psutil.Process(driver.pid())
        keeper = worker.parent()
        assert keeper is not None

        kill_and_wait(keeper.pid)

        assert isinstance(driver.report().error, InfrastructureError)
        worker.wait(DEADLINE_S)


def test_a_session_outlives_a_broken_connection(client: Client, tmp_path: Path) -> None:
    with opened(DaskTaskRunner(client=client)) as driver:
        arguments = (str(tmp_path), "cut off", DEADLINE_S)
        driver.submit(Call(id="cut off", act=chunks.stay, arguments=arguments))
        driver.pid()

        client.loop.add_callback(client.scheduler_comm.comm.abort)

        assert isinstance(driver.report().error, ChunkCancelled)
        for number in range(3):
            driver.run(Call(id=f"after {number}", act=chunks.give, arguments=(number,)))
        driver.run(Call(id="talker", act=chunks.say, arguments=(1,)))
        assert driver.said.get(timeout=DEADLINE_S) == ("talker", b"0")


def test_an_adaptive_cluster_grows_from_no_workers() -> None:
    with (
        LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=50,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        opened(DaskTaskRunner(client=client)) as driver,
    ):
        cluster.adapt(minimum=0, maximum=2, interval="50ms")
        slots = driver.session.slots()
        assert (slots.now, slots.most) == (0, 2)

        shared = driver.session.share("code", b"code")
        ref = driver.run(Call(id="first", act=chunks.join), (), [shared])

        assert driver.value(ref) == [b"code"]


def test_a_client_closed_under_a_session_ends_what_is_pending(
    client: Client, tmp_path: Path
) -> None:
    brief = Client(client.scheduler.address, set_as_default=False)
    with opened(DaskTaskRunner(client=brief)) as driver:
        arguments = (str(tmp_path), "orphan", DEADLINE_S)
        ref = driver.submit(Call(id="orphan", act=chunks.stay, arguments=arguments))
        driver.pid()

        brief.close()

        assert isinstance(driver.report().error, ChunkCancelled)
        with pytest.raises(SessionClosed):
            driver.submit(Call(id="late", act=chunks.give))
        with pytest.raises(InfrastructureError):
            driver.session.fetch([ref], DEADLINE_S)


def test_a_closed_client_is_refused(client: Client) -> None:
    closed = Client(client.scheduler.address, set_as_default=False)
    closed.close()

    with pytest.raises(InfrastructureError):
        DaskTaskRunner(client=closed).open(lambda chunk, message: None)


SCRIPT = """
import os, queue, signal, sys
from fanfold_dask import DaskTaskRunner
from runners.dask.tests import chunks
from runners.dask.tests.chunks import Call

assert "distributed" not in sys.modules
reports, said = queue.Queue(), queue.Queue()
session = DaskTaskRunner(cluster_kwargs={"n_workers": 1}).open(lambda *message: said.put(message))
session.submit(Call(id="dies", act=chunks.stay, arguments=(sys.argv[1], "dies", 60.0)),
               done=reports.put)
worker = int(said.get(timeout=20)[1])
os.kill(worker, signal.SIGKILL)
print(type(reports.get(timeout=20).error).__name__)
ref = session.submit(Call(id="lives", act=chunks.give, arguments=(b"value",)), done=reports.put)
print(reports.get(timeout=20).error, bytes(session.fetch([ref])[0][0]), flush=True)
if "die" in sys.argv:
    session.submit(Call(id="again", act=chunks.stay, arguments=(sys.argv[1], "again", 60.0)),
                   done=reports.put)
    print(int(said.get(timeout=20)[1]), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
session.close()
"""


def script(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    top = str(Path(__file__).parents[3])
    return subprocess.run(
        [sys.executable, *command],
        input=given,
        env=os.environ | {"PYTHONPATH": top},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_unguarded_script_needs_no_guard_even_when_a_worker_restarts(tmp_path: Path) -> None:
    file = tmp_path / "unguarded.py"
    file.write_text(textwrap.dedent(SCRIPT))

    ended = script(str(file), str(tmp_path))

    assert ended.stdout == "WorkerLost\nNone b'value'\n", ended.stderr
    assert ended.returncode == 0


def test_a_script_from_standard_input_whose_driver_is_killed_leaves_no_cluster(
    tmp_path: Path,
) -> None:
    ended = script("-", str(tmp_path), "die", given=SCRIPT)

    *lines, pid = ended.stdout.splitlines()
    assert lines == ["WorkerLost", "None b'value'"], ended.stderr
    assert ended.returncode == -signal.SIGKILL
    until(lambda: not psutil.pid_exists(int(pid)))


def test_descriptions_pickle_compare_and_take_one_way_to_a_cluster(client: Client) -> None:
    at = DaskTaskRunner(address="tcp://127.0.0.1:8786")

    assert pickle.loads(pickle.dumps(at)) == at
    assert pickle.loads(pickle.dumps(OWN)) == OWN
    assert hash(pickle.loads(pickle.dumps(OWN))) == hash(OWN)
    assert at != OWN
    assert DaskTaskRunner(client=client) == DaskTaskRunner(client=client)
    with pytest.raises(TypeError, match="address="):
        pickle.dumps(DaskTaskRunner(client=client))
    with pytest.raises(ValueError, match="address and cluster_kwargs"):
        DaskTaskRunner(address="tcp://127.0.0.1:8786", cluster_kwargs={"n_workers": 1})


def task_names(dask_scheduler: Any) -> list[str]:
    return sorted(map(str, dask_scheduler.tasks))


def topic_names(dask_scheduler: Any) -> list[str]:
    return sorted(dask_scheduler._broker._topics)


def group_names(dask_scheduler: Any) -> list[str]:
    return sorted(dask_scheduler.task_prefixes)
