"""A Ray of our own: from scripts without a guard, quietly, on loopback, and gone at the end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from runners.ray.tests import chunks
from runners.ray.tests.chunks import wait_for
from runners.ray.tests.desk import Desk

from fanfold.values.errors import WorkerLost

ROOT = Path(__file__).parents[3]

SCRIPT = """
import os, queue, sys
from fanfold_ray import RayTaskRunner
assert "ray" not in sys.modules
from runners.ray.tests import chunks

def listening(lines):
    return {line.split()[3].rsplit(":", 1)[0] for line in lines if "pid=" in line}

before = os.popen("ss -ltnpH").read().splitlines()
done = queue.Queue()
first = RayTaskRunner(init_kwargs={"num_cpus": 2}).open(print)
second = RayTaskRunner().open(print)
first.close()
kept = second.submit(chunks.Work(call=chunks.whereabouts, given=0.0), done=done.put)
assert done.get(timeout=30).error is None
print("NODES", *listening(set(os.popen("ss -ltnpH").read().splitlines()) - set(before)))
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
