"""A Ray of our own: from scripts without a guard, quietly, on loopback, and gone at the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray
from runners.ray.tests import chunks
from runners.ray.tests.chunks import wait_for
from runners.ray.tests.desk import Desk
from runners.ray.tests.heads import paths

from fanfold.values.errors import UsageError, WorkerLost
from fanfold_ray import RayTaskRunner
from fanfold_ray.addresses import answers, place

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

SCRIPT = """
import os, queue, re, sys
import psutil
from fanfold_ray import RayTaskRunner
assert "ray" not in sys.modules
from runners.ray.tests import chunks

def listening():
    mine = {child.pid for child in psutil.Process().children(recursive=True)} | {os.getpid()}
    lines = os.popen("ss -ltnpH").read().splitlines()
    pids = [set(map(int, re.findall("pid=([0-9]+)", line))) for line in lines]
    return {line.split()[3].rsplit(":", 1)[0] for line, pid in zip(lines, pids) if pid & mine}

done = queue.Queue()
first = RayTaskRunner(init_kwargs={"num_cpus": 2}).open(print)
second = RayTaskRunner().open(print)
first.close()
kept = second.submit(chunks.Work(call=chunks.whereabouts, given=0.0), done=done.put)
assert done.get(timeout=30).error is None
print("NODES", *listening())
print("SESSION", os.path.realpath("/tmp/ray/session_latest"))
if {stays}:
    second.submit(chunks.Work(call=chunks.until_stopped, given=""), done=done.put)
else:
    second.close()
    import ray
    assert not ray.is_initialized()
print("END")
"""


def run(arguments: list[str], given: str | None, folder: Path) -> str:
    """Return what a script printed; whatever it started must be gone with it."""
    places = [ROOT, ROOT / "src", ROOT / "runners/ray/src"]
    path = os.pathsep.join([*map(str, places), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, *arguments],
        input=given,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return ended.stdout


def processes_of(session: str) -> list[str]:
    """Return the command lines that name a folder of Ray."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if session in line]


@pytest.mark.parametrize("stays", [False, True], ids=["closed", "left open"])
def test_an_unguarded_script_starts_ray_and_leaves_nothing(tmp_path: Path, stays: bool) -> None:
    body = SCRIPT.replace("{stays}", str(stays))
    script = tmp_path / "script.py"
    script.write_text(body)

    # The one that closes comes as a file, the other through standard input.
    printed = run(["-"], body, tmp_path) if stays else run([str(script)], None, tmp_path)

    lines = [line.split() for line in printed.splitlines()]
    assert [line[0] for line in lines] == ["NODES", "SESSION", "END"]
    assert {node.strip("[]").removeprefix("::ffff:") for node in lines[0][1:]} == {"127.0.0.1"}
    deadline = time.monotonic() + 5
    while processes_of(lines[1][1]):
        assert time.monotonic() < deadline, processes_of(lines[1][1])
        time.sleep(0.05)


def test_a_ray_that_was_shut_down_under_a_session_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    desk = Desk("local")
    desk.submit(chunks.until_stopped, str(tmp_path / "started"))
    wait_for(tmp_path / "started")

    ray.shutdown()

    assert isinstance(desk.report().error, WorkerLost)
    desk.session.close()


LOOP = """
import asyncio, signal
from fanfold import flow, task
from fanfold_ray import RayTaskRunner

@task
def double(number):
    return number * 2

@task
async def slowly(number):
    await asyncio.sleep(0.01)
    return number * 3

@flow(task_runner=RayTaskRunner("local", {"num_cpus": 2}))
def in_a_cell():
    return sum(double.map(range(1000)).result())

@flow(task_runner=RayTaskRunner("local", {"num_cpus": 2}))
async def awaited():
    return sum(slowly.map(range(100)).result()), await slowly(5)

async def notebook():
    # As in a cell: the loop of this thread runs.
    session = RayTaskRunner("local", {"num_cpus": 2}).open(print)
    print("CELL", in_a_cell())
    print("AWAITED", *await awaited())
    session.close()

before = signal.getsignal(signal.SIGTERM)
asyncio.run(notebook())
assert signal.getsignal(signal.SIGTERM) is before
import ray
assert not ray.is_initialized()
"""

ENDED = """
import os, signal, threading, time
from pathlib import Path
from fanfold import flow, task
from fanfold_ray import RayTaskRunner

@task
def holding(folder):
    Path(folder, "began").touch()
    time.sleep(60)

@flow(task_runner=RayTaskRunner("local", {"num_cpus": 1}))
def working(folder):
    future = holding.submit(folder)
    while not Path(folder, "began").exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)
    future.wait()

try:
    working(os.getcwd())
finally:
    import ray
    print("LEFT", ray.is_initialized())
"""


def ran(body: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    settings = {**os.environ, "PYTHONPATH": paths(), "FANFOLD_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-c", body],
        capture_output=True,
        text=True,
        cwd=folder,
        env=settings,
        timeout=120,
    )


def test_flows_run_in_the_loop_of_a_notebook(tmp_path: Path) -> None:
    ended = ran(LOOP, tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["CELL 999000", "AWAITED 14850 15"]


def test_a_flow_on_ray_that_is_told_to_end_does_so_in_order(tmp_path: Path) -> None:
    ended = ran(ENDED, tmp_path)

    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert ended.stdout == "LEFT False\n"


def test_a_token_that_ray_writes_for_us_is_ours_to_read(tmp_path: Path) -> None:
    body = "from fanfold_ray import RayTaskRunner\nRayTaskRunner('local').open(print).close()\n"
    settings = {**os.environ, "PYTHONPATH": paths(), "HOME": str(tmp_path)}
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        settings.pop(name, None)

    ended = subprocess.run(
        [sys.executable, "-c", body], capture_output=True, text=True, env=settings, timeout=120
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    token = tmp_path / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600


def test_a_dashboard_that_was_asked_for_is_told_and_listens_on_loopback() -> None:
    options = {"include_dashboard": True, "num_cpus": 1}
    session = RayTaskRunner("local", options).open(lambda *_: None)
    try:
        address = session.dashboard
        where = place(address)
        assert address.startswith("http://127.0.0.1:")
        assert where is not None
        assert answers(where, 10.0) == ""
        listening = [one.laddr for one in psutil.net_connections("tcp") if one.status == "LISTEN"]
        assert {one.ip for one in listening if one.port == where.port} == {"127.0.0.1"}
    finally:
        session.close()


def test_a_dashboard_that_is_not_installed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp_cors", None)

    with pytest.raises(UsageError, match=r"pip install 'fanfold-ray\[dashboard\]'"):
        RayTaskRunner("local", {"include_dashboard": True}).open(lambda *_: None)

    assert not ray.is_initialized()
