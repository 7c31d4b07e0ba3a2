"""Workers whose process is stopped: they keep their connections, and answer nobody."""

import os
import queue
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from runners.dask.tests import chunks
from runners.dask.tests.chunks import Call
from runners.dask.tests.desk import DEADLINE_S, Driver, opened, runs, until
from runners.dask.tests.pairs import PAIRS, pair_borrowed

from fanfold.ports.runner import Ref
from fanfold.values.errors import ChunkCancelled, ValuesLost
from fanfold.values.messages import Report
from fanfold_dask import DaskTaskRunner

LARGE = b"x" * 10_000
"""Too much to come home with a report."""


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    """Two workers with a thread each, for one test."""
    with PAIRS[request.param](tmp_path) as driver:
        yield driver


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        yield
    finally:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)


def staying(driver: Driver, folder: Path, name: str) -> tuple[Ref, int]:
    """Return a chunk that runs until it is told to stop, and its process."""
    call = Call(id=name, act=chunks.stay, arguments=(str(folder), name, 60.0))
    return driver.submit(call), driver.pid()


def holding(driver: Driver) -> dict[int, Ref]:
    """Return a chunk with large values on each of two workers, by process."""
    found: dict[int, Ref] = {}
    while len(found) < 2:
        pair = [
            driver.submit(Call(id=f"held {time.time_ns()}", act=chunks.hold, arguments=(LARGE,)))
            for _ in range(4)
        ]
        pids = {driver.report().chunk: int(driver.said.get(timeout=DEADLINE_S)[1]) for _ in pair}
        found |= {int(driver.value(ref)[1]): ref for ref in pair}
        assert set(pids.values()) <= set(found)
    return found


def test_only_what_is_on_a_stopped_worker_is_stuck(pair: Driver, tmp_path: Path) -> None:
    ran = [staying(pair, tmp_path, f"runs {n}") for n in range(2)]
    queued = [
        pair.submit(Call(id=f"queued {n}", act=chunks.note, arguments=(str(tmp_path), f"{n}")))
        for n in range(4)
    ]
    assert list(pair.session.stuck([ref for ref, _ in ran] + queued)) == []

    with frozen(ran[0][1]):
        began = time.monotonic()
        stuck = list(pair.session.stuck([ref for ref, _ in ran] + queued))

        assert time.monotonic() - began < 5
        assert ran[0][0] in stuck
        assert ran[1][0] not in stuck
        assert 0 < len(stuck) < 6

        pair.session.cancel([*stuck, ran[1][0]])
        reports = [pair.report() for _ in range(6)]
        cancelled = [report for report in reports if isinstance(report.error, ChunkCancelled)]
        assert len(cancelled) == len(stuck) + 1
        assert sum(report.error is None for report in reports) == 6 - len(cancelled)
        # What is sent now avoids it.
        for number in range(8):
            pair.run(Call(id=f"after {number}", act=chunks.give, arguments=(number,)))
        began = time.monotonic()
        pair.session.close()
        assert time.monotonic() - began < 5


def test_values_on_a_stopped_worker_are_lost_and_others_come(pair: Driver) -> None:
    held = holding(pair)
    pid, other = held

    with frozen(pid):
        began = time.monotonic()
        with pytest.raises(ValuesLost) as caught:
            pair.session.fetch([held[other], held[pid]], 60)

        assert time.monotonic() - began < 8
        assert caught.value.lost == (1,)
        assert pair.value(held[other])[0] == LARGE
    assert pair.value(held[pid])[0] == LARGE


def test_a_chunk_that_needs_such_values_is_told_and_goes_on_with_others(pair: Driver) -> None:
    held = holding(pair)
    pid, other = held
    shared = [pair.session.share(f"{n}", LARGE + bytes([n])) for n in range(4)]

    with frozen(pid):
        # Dask sends it to where its need is; from then on that worker is known.
        first = pair.submit(Call(id="first", act=chunks.join), [held[pid]])
        until(lambda: list(pair.session.stuck([first])) == [first])
        needy = pair.submit(Call(id="needy", act=chunks.join), [held[other], held[pid]])
        sharing = [
            pair.submit(Call(id=f"sharing {n}", act=chunks.join), (), [shared[n]]) for n in range(4)
        ]
        told: dict[str, Report] = {}
        while len(told) < 5:
            assert list(pair.session.stuck([needy, *sharing])) == []
            with suppress(queue.Empty):
                report = pair.reports.get(timeout=0.1)
                told[report.chunk] = report

        error = told["needy"].error
        assert isinstance(error, ValuesLost)
        assert error.lost == (1,)
        errors = [told[f"sharing {n}"].error for n in range(4)]
        assert {type(error) for error in errors} == {type(None), ChunkCancelled}
        for number in range(4):
            chunk = Call(id=f"again {number}", act=chunks.join)
            again = pair.run(chunk, [held[other]], [shared[number]])
            assert pair.value(again)[-1] == LARGE + bytes([number])
        pair.session.cancel([first])
        assert isinstance(pair.report().error, ChunkCancelled)


def test_an_own_cluster_with_a_stopped_worker_is_gone_after_close(tmp_path: Path) -> None:
    with opened(DaskTaskRunner(cluster_kwargs={"n_workers": 2})) as driver:
        _, pid = staying(driver, tmp_path, "runs")
        keeper = psutil.Process(pid).parent()
        assert keeper is not None
        processes = [keeper, *keeper.children(recursive=True)]
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()

        driver.session.close()

        assert time.monotonic() - began < 5
        assert isinstance(driver.report().error, ChunkCancelled)
        _, alive = psutil.wait_procs(processes, 1)
        assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []


def test_a_worker_that_is_busy_in_c_is_not_stuck(tmp_path: Path) -> None:
    with pair_borrowed(tmp_path) as driver:
        ref = driver.submit(Call(id="busy", act=chunks.hog, arguments=(3.0,)))
        pid = driver.pid()
        began = time.monotonic()

        stuck = driver.session.stuck([ref])

        assert list(stuck) == []
        assert time.monotonic() - began < 5
        assert psutil.pid_exists(pid)
        assert driver.report().error is None
        assert runs(tmp_path, "nothing") == 0
