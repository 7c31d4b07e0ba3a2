"""Clusters of our own: how they start, lose workers, and end."""

import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import dask
import psutil
import pytest
from dask.system import CPU_COUNT
from distributed import Scheduler, Security, Worker
from runners.dask.tests import certificates, chunks
from runners.dask.tests.chunks import Call
from runners.dask.tests.desk import (
    DEADLINE_S,
    LONE,
    Driver,
    kill_and_wait,
    opened,
    runs,
    until,
    warned,
)

from fanfold import flow, task
from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
    UsageError,
    ValuesLost,
    WorkerLost,
)
from fanfold_dask import DaskTaskRunner


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


def test_an_own_cluster_that_cannot_start_says_why() -> None:
    kwargs = {"n_workers": 1, "no_such_argument": 1}
    with pytest.raises(InfrastructureError, match="no_such_argument"):
        DaskTaskRunner(cluster_kwargs=kwargs).open(lambda chunk, message: None)


def test_workers_come_when_there_is_work_and_go_when_there_is_none() -> None:
    adapt = {"minimum": 0, "maximum": 2, "interval": "50ms", "wait_count": 2}

    with opened(DaskTaskRunner(adapt_kwargs=adapt)) as driver:
        slots = driver.session.slots()
        assert (slots.now, slots.most, slots.grows) == (0, 2, True)
        shared = driver.session.share("code", b"code")
        ref = driver.run(Call(id="first", act=chunks.join), (), [shared])
        assert driver.value(ref) == [b"code"]
        assert driver.session.slots().now

        del ref
        driver.session.client.run_on_scheduler(forget_payloads)
        until(lambda: driver.session.slots().now == 0)
        driver.run(Call(id="again", act=chunks.give, arguments=(1,)))

        assert driver.session.slots().most == 2


def test_an_adaptive_cluster_begins_with_as_many_workers_as_it_always_has() -> None:
    with opened(DaskTaskRunner(adapt_kwargs={"minimum": 1})) as driver:
        slots = driver.session.slots()

        assert (slots.now, slots.grows) == (1, True)
        assert slots.most == CPU_COUNT  # unbounded, it would start a process for each pending chunk


def test_a_flow_completes_on_an_adaptive_cluster_without_workers() -> None:
    @task
    def double(x: int) -> int:
        return 2 * x

    @flow(task_runner=DaskTaskRunner(adapt_kwargs={"minimum": 0, "interval": "50ms"}))
    def doubled() -> list[int]:
        return double.map(double.map(range(1_000))).result()

    assert doubled() == [4 * x for x in range(1_000)]


def test_its_dashboard_is_served_on_this_machine_alone_where_dask_can_make_one() -> None:
    with opened(LONE) as driver, opened(LONE) as other:
        addresses = {driver.session.dashboard, other.session.dashboard}

        if find_spec("bokeh") is None:
            assert addresses == {""}
            return
        assert len(addresses) == 2
        for address in addresses:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/status", address)
        with ThreadPoolExecutor(3) as several:
            for page in several.map(read, [driver.session.dashboard] * 3):
                assert "Dask" in page
                assert "bokeh" in page
        assert "bokeh" in read(driver.session.dashboard.replace("status", "workers"))
        assert "ok" in read(other.session.dashboard.replace("status", "health"))
        driver.run(Call(id="still there", act=chunks.give, arguments=(1,)))


def test_a_dashboard_that_is_not_wanted_is_not_there() -> None:
    runner = DaskTaskRunner(cluster_kwargs={"n_workers": 1, "dashboard_address": None})

    with opened(runner) as driver:
        assert driver.session.dashboard == ""


def test_it_lets_in_none_but_those_with_its_certificates(tmp_path: Path) -> None:
    security = Security(**certificates.make(tmp_path))
    runner = DaskTaskRunner(cluster_kwargs={"n_workers": 1, "security": security})

    with opened(runner) as driver:
        assert driver.value(driver.run(Call(id="there", act=chunks.give, arguments=(b"v",)))) == [
            b"v"
        ]
        address = driver.session.client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        for other in (address, address.replace("tls", "tcp")):
            with pytest.raises(InfrastructureError, match="certificates"):
                DaskTaskRunner(address=other, client_kwargs={"timeout": 1}).open(unheard)


def test_it_makes_its_own_certificates_where_it_can() -> None:
    runner = DaskTaskRunner(cluster_kwargs={"n_workers": 1, "security": True})

    if find_spec("cryptography") is None:
        with pytest.raises(UsageError, match="cryptography"):
            runner.open(unheard)
        return
    with opened(runner) as driver:
        driver.run(Call(id="there", act=chunks.give, arguments=(1,)))
        assert driver.session.client.scheduler.address.startswith("tls://")


def test_dasks_report_is_written_at_the_end(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    runner = DaskTaskRunner(cluster_kwargs={"n_workers": 1}, performance_report_path=str(report))

    if find_spec("bokeh") is None:
        with pytest.raises(UsageError, match="bokeh"):
            runner.open(unheard)
        return
    with opened(runner) as driver:
        driver.run(Call(id="there", act=chunks.give, arguments=(1,), label="reported"))
        assert not report.exists()

    assert "<html" in report.read_text()
    assert "reported" in report.read_text()


def test_a_report_that_cannot_be_written_does_not_spoil_the_run(tmp_path: Path) -> None:
    runner = DaskTaskRunner(
        cluster_kwargs={"processes": False, "n_workers": 1}, performance_report_path=str(tmp_path)
    )

    with warned() as records, opened(runner) as driver:
        driver.run(Call(id="there", act=chunks.give, arguments=(1,)))

    assert any("wasn't written" in each.getMessage() for each in records)


def test_values_lost_with_all_they_were_made_from_are_told(tmp_path: Path) -> None:
    with opened(LONE) as driver:
        shared = driver.session.share("code", b"code" * 10_000)  # too much to come with a report
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
        assert driver.value(again) == [b"code" * 10_000]
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


def test_a_flow_that_loses_its_cluster_is_crashed_with_the_reason() -> None:
    @task
    def keeper() -> int:
        parent = psutil.Process().parent()
        assert parent is not None
        return parent.pid

    @flow(task_runner=LONE)
    def doomed() -> int:
        kill_and_wait(keeper.submit().result())
        return keeper.submit().result()

    state = doomed(return_state=True)

    assert state.is_crashed()
    assert state.message.startswith("CrashedWithCluster: keeper")


def test_workers_that_only_one_process_could_reach_are_refused() -> None:
    kwargs = {"n_workers": 1, "worker_class": Worker}
    with pytest.raises(InfrastructureError, match="protocol='tcp://'"):
        DaskTaskRunner(cluster_kwargs=kwargs).open(unheard)


def unheard(chunk: str, message: bytes) -> None:
    """Nothing is said."""


def read(address: str) -> str:
    with urlopen(address, timeout=DEADLINE_S) as answer:
        return answer.read().decode()


def forget_payloads(dask_scheduler: Scheduler) -> None:
    """Drop what sessions share, which else keeps a worker."""
    keys = list(dask_scheduler.tasks)
    for client in list(dask_scheduler.clients):
        dask_scheduler.client_releases_keys(keys, client, "test")


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


@task
def pid_of_worker(_: int) -> int:
    return os.getpid()


def test_a_worker_that_dask_has_given_up_is_replaced() -> None:
    """It does where none has taken a dead one's place after so long; here none ever has."""

    @flow(task_runner=DaskTaskRunner(cluster_kwargs={"n_workers": 1}))
    def around() -> tuple[list[int], list[int]]:
        before = pid_of_worker.map(range(2)).result()
        kill_and_wait(before[0])
        return before, pid_of_worker.map(range(2)).result()

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "10ms"}):
        before, after = around()

    assert not {*before} & {*after}
