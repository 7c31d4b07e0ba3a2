"""Heads that end, stop and come back, under a process that is connected to them.

By default Ray ends such a process: at once where its node's daemon ends, after a minute where the
head does. So each test runs a program of its own, and asks how that ended.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from runners.ray.tests.heads import Head, Program, paths

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

FLOW = """
import os, time
from pathlib import Path
from fanfold import flow, task
from fanfold_ray import RayTaskRunner

@task
def number(given):
    return given, os.getpid()

@task
def held(folder):
    Path(folder, f"began-{{os.getpid()}}-{{time.time()}}").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.05)
    return "held"

@task
def more(pair):
    return pair[0] + 1

@flow(task_runner=RayTaskRunner({address}, {kwargs}, head_timeout_seconds={timeout}))
def working():
    first = number.map(range(1000))
    first.wait()
    future = held.submit({folder!r})
    while not list(Path({folder!r}).glob("began-*")):
        time.sleep(0.02)
    step("out")
    return future.result(), sum(more.map(first).result()), len(number.map(range(9)).result())

state = working(return_state=True)
print("STATE", state.name, str(state.message)[:300], flush=True)
if state.is_completed():
    print("VALUE", *state.result())
step("over")
{after}
print("END")
"""
AGAIN = """
@flow(task_runner=RayTaskRunner("local", {"num_cpus": 2}))
def again():
    return number.submit(5).result()[0]
print("AGAIN", again())
"""


def program(
    folder: Path, address: str | None, settings: dict[str, str], **given: object
) -> Program:
    words = {"kwargs": {}, "timeout": 60, "after": "", **given}
    body = FLOW.format(address=repr(address), folder=str(folder), **words)
    return Program(body, {**settings, "FANFOLD_HOME": str(folder / "home")})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("killed", ["gcs_server", "raylet"])
def test_a_flow_whose_own_ray_ends_is_crashed_with_the_reason(folder: Path, killed: str) -> None:
    settings = {**os.environ, "PYTHONPATH": paths(), "HOME": str(folder)}
    run = program(folder, "local", settings, kwargs={"num_cpus": 2}, after=AGAIN)
    try:
        run.step("out")
        run.go_on()
        for one in psutil.Process(run.pid).children(recursive=True):
            if one.name() == killed:
                one.kill()
        run.step("over")
        run.go_on()
        out, _ = run.end()
    finally:
        run.close()

    assert run.told["STATE"].startswith("Crashed CrashedWithCluster: held: Ray at ")
    assert "is lost" in run.told["STATE"]
    assert "AGAIN 5" in out
    assert out.endswith("END\n")


@pytest.fixture(params=["head", "client server"])
def head(request: pytest.FixtureRequest) -> Iterator[tuple[Head, str]]:
    client = request.param != "head"
    started = Head(client=client)
    yield started, started.client_address if client else started.address
    started.close()


def test_a_flow_whose_head_never_comes_back_is_crashed_in_time(
    head: tuple[Head, str], folder: Path
) -> None:
    started, address = head
    run = program(folder, address, started.settings, timeout=15)
    try:
        run.step("out")
        run.go_on()
        started.kill()
        killed = time.monotonic()
        run.step("over")
        took_s = time.monotonic() - killed
        run.go_on()
        out, _ = run.end()
    finally:
        run.close()

    assert run.told["STATE"].startswith("Crashed CrashedWithCluster: held: Ray at ")
    assert "is lost" in run.told["STATE"]
    assert took_s < 60
    assert out.endswith("END\n")


def test_a_flow_goes_on_when_its_head_was_started_anew(
    head: tuple[Head, str], folder: Path
) -> None:
    started, address = head
    run = program(folder, address, started.settings, timeout=150)
    try:
        run.step("out")
        run.go_on()
        started.kill()
        (folder / "go").touch()
        started.start()
        run.step("over")
        run.go_on()
        out, _ = run.end()
    finally:
        run.close()

    assert run.told["STATE"].startswith("Completed")
    assert run.told["VALUE"] == "held 500500 9"
    assert len(list(folder.glob("began-*"))) == 2
    assert out.endswith("END\n")


def test_nobody_notices_a_head_that_comes_back_with_its_memory(folder: Path) -> None:
    storage = folder / "storage"
    storage.mkdir()
    started = Head(RAY_gcs_storage="rocksdb", RAY_gcs_storage_path=str(storage))
    run = program(folder, started.address, started.settings)
    try:
        run.step("out")
        run.go_on()
        (process,) = started.processes("gcs_server")
        command, environment = process.cmdline(), process.environ()
        process.kill()
        process.wait(10)
        quiet = subprocess.DEVNULL
        anew = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
        (folder / "go").touch()
        run.step("over")
        run.go_on()
        out, errors = run.end()
        anew.kill()
        anew.wait()
    finally:
        run.close()
        started.close()

    assert run.told["STATE"].startswith("Completed")
    assert run.told["VALUE"] == "held 500500 9"
    assert len(list(folder.glob("began-*"))) == 1
    assert "Connecting again" not in errors
    assert out.endswith("END\n")
