"""SIGTERM and Ctrl-C while a flow runs: it ends in order, at once, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fanfold.engine.signals import EXIT_CODE, Terminated, cancellable, terminable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")

DEADLINE_S = 20.0
PATIENCE_S = 5.0
"""From the signal to the end, on a machine that is busy; idle it takes a fraction of a second."""
PROGRAM = """
import asyncio, sys, threading, time
from pathlib import Path
from fanfold import flow, task, runtime

folder, way, runner = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def note(name):
    return lambda owner, run, state: (folder / name).write_text(state.name)

@task
def waits(seconds):
    (folder / "began").touch()
    time.sleep(seconds)

@task
async def waits_later(seconds):
    (folder / "began").touch()
    await asyncio.sleep(seconds)

@flow(on_crashed=[note("inner")])
def inner():
    waits(60)

@flow(on_crashed=[note("crashed")], on_failure=[note("failed")], task_runner=runner, retries=1,
      retry_delay_seconds=60)
def plain():
    try:
        if way == "submit":
            waits.submit(60).result()
        elif way == "map":
            waits.map([60] * 4).result()
        elif way == "settle":
            waits.submit(60)
        elif way == "direct":
            waits(60, return_state=True)
        elif way == "subflow":
            inner()
        elif way == "sleep":
            (folder / "began").touch()
            raise ValueError("no")
    finally:
        (folder / "finally").touch()

@flow(on_crashed=[note("crashed")], on_failure=[note("failed")], task_runner=runner)
async def later():
    try:
        if way == "async direct":
            await waits_later(60)
        elif way == "async settle":
            waits.submit(60)
        elif way == "async future":
            await waits.submit(60)
    finally:
        (folder / "finally").touch()

if way == "sleep":
    from fanfold.engine.stopping import Stop

    waits_really = Stop.wait

    def wait(stop, seconds):
        (folder / "sleeping").touch()
        waits_really(stop, seconds)

    Stop.wait = wait

asyncio.run(later()) if way.startswith("async") else plain()
"""


def ended(folder: Path, way: str, runner: str, number: signal.Signals) -> tuple[int, float, str]:
    """Run the program, signal it once it works; return its exit code, how long it took, stderr."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, program, folder, way, runner],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + DEADLINE_S
    while not (folder / "began").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    if way in ("settle", "async settle", "sleep"):
        # Nothing of the flow's own code is left to run, which could be interrupted as well.
        while not (folder / ("sleeping" if way == "sleep" else "finally")).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    began = time.monotonic()
    # As a terminal does, and as an operating system does that stops a service.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    try:
        _, stderr = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    took = time.monotonic() - began
    while _group_lives(process.pid):
        assert time.monotonic() < deadline + DEADLINE_S, "processes are left"
        time.sleep(0.01)
    return process.returncode, took, stderr


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("way", "runner"),
    [
        *(("submit", "threads"), ("submit", "processes"), ("map", "processes")),
        *(("settle", "threads"), ("direct", "threads"), ("subflow", "threads")),
        *(("sleep", "threads"), ("async direct", "threads"), ("async settle", "threads")),
        *(("async future", "processes"),),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_flow_that_is_told_to_end_crashes_in_order_and_leaves_no_process(
    tmp_path: Path, way: str, runner: str, number: signal.Signals
) -> None:
    code, took, stderr = ended(tmp_path, way, runner, number)

    assert (tmp_path / "crashed").read_text() == "Crashed", stderr
    assert (tmp_path / "finally").exists()
    assert not (tmp_path / "failed").exists()
    if way == "subflow":
        assert (tmp_path / "inner").read_text() == "Crashed"
    if number == signal.SIGTERM:
        assert code == EXIT_CODE == 143, stderr
        assert "Traceback" not in stderr
    else:
        assert code == -signal.SIGINT, stderr
        assert stderr.rstrip().endswith("KeyboardInterrupt")
        assert stderr.count("Traceback") == (2 if way.startswith("async") else 1)
    assert "Crashed in" in stderr
    assert took < PATIENCE_S


def test_sigterm_is_left_alone_where_somebody_else_handles_it() -> None:
    def theirs(*_: Any) -> None: ...

    before = signal.signal(signal.SIGTERM, theirs)
    try:
        with terminable():
            assert signal.getsignal(signal.SIGTERM) is theirs
        with cancellable() as meant:
            assert signal.getsignal(signal.SIGTERM) is theirs
            error = ValueError()
            assert meant(error) is error
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_strikes_once_and_is_as_before_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), terminable(), terminable():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
