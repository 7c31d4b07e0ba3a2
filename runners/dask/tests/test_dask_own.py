"""Clusters of our own: how they start, lose workers, and end."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from runners.dask.tests import chunks
from runners.dask.tests.chunks import Call
from runners.dask.tests.desk import (
    DEADLINE_S,
    LONE,
    Driver,
    kill_and_wait,
    opened,
    runs,
    until,
)

from fanfold.values.errors import (
    ChunkCancelled,
    InfrastructureError,
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
