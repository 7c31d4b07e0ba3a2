"""A driver that is killed: what it had committed is never run again, the rest is."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results.segments import unpack_index

COUNT = 200
DEADLINE_S = 60


def start(runner: str, ledger: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.crashes.kept_map", runner, str(COUNT), str(ledger)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def lines(ledger: Path) -> list[str]:
    return ledger.read_text().split() if ledger.exists() else []


def committed(home: Path) -> int:
    store = FsspecStore(str(home / "results"))
    names = [name for name in store.names("tasks/") if "/index/" in name]
    return sum(len(unpack_index(store.read(name), name, None)) for name in names)


@pytest.mark.parametrize("share", [0.2, 0.9])
@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_a_run_after_a_killed_driver_repeats_only_what_was_not_committed(
    runner: str, share: float, tmp_path: Path, fanfold_home: Path
) -> None:
    ledger = tmp_path / "ledger"
    with start(runner, ledger) as driver:
        deadline = time.monotonic() + DEADLINE_S
        while len(lines(ledger)) < share * COUNT and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(driver.pid, signal.SIGKILL)
    kept = committed(fanfold_home)
    before = len(lines(ledger))

    with start(runner, ledger) as again:
        told, _ = again.communicate(timeout=DEADLINE_S)

    assert int(told) == sum(x * x for x in range(COUNT))
    assert len(lines(ledger)) - before == COUNT - kept
    assert max(Counter(lines(ledger)).values()) <= 2
