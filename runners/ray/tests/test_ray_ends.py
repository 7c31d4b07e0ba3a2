"""How running chunks end before their time: interrupted, killed, or with their process."""

import os
import pickle
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runners.ray.tests import chunks
from runners.ray.tests.chunks import wait_for
from runners.ray.tests.desk import Desk
from runners.ray.tests.ground import running_ray

from fanfold.values.errors import ChunkCancelled, WorkerLost

SOON_S = 2.0


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    with running_ray(num_cpus=2):
        yield


@pytest.fixture
def desk() -> Iterator[Desk]:
    opened = Desk()
    yield opened
    opened.session.close()


def wait_until_stuck(desk: Desk, every: list[Any], wanted: list[Any]) -> None:
    """Wait until just these are stuck: a signal takes some microseconds to arrive."""
    ends = time.monotonic() + SOON_S
    while list(desk.session.stuck(every)) != wanted:
        assert time.monotonic() < ends, f"{len(wanted)} chunks never came to be stuck"


@pytest.mark.parametrize("stopped_before", [False, True])
def test_an_interrupt_wakes_a_sleeper(desk: Desk, tmp_path: Path, stopped_before: bool) -> None:
    noted = tmp_path / "noted"
    ref = desk.submit(chunks.asleep, str(noted))
    wait_for(tmp_path / "noted-began")

    if stopped_before:
        desk.session.cancel([ref])
    began = time.monotonic()
    desk.session.cancel([ref], interrupt=True)
    error = desk.report().error

    assert isinstance(error, ChunkCancelled)
    assert time.monotonic() - began < SOON_S
    # An exception, so that `finally` blocks ran; and the process lives on.
    assert noted.read_text() == "KeyboardInterrupt"


def test_a_stop_alone_lets_the_element_go_on(desk: Desk, tmp_path: Path) -> None:
    release = tmp_path / "release"
    ref = desk.submit(chunks.until_released, (str(tmp_path / "started"), str(release)))
    wait_for(tmp_path / "started")

    desk.session.cancel([ref])
    desk.session.cancel([ref])
    _, report = desk.run(chunks.echo)
    release.touch()

    assert report.error is None
    assert desk.report().error is None
    (views,) = desk.session.fetch([ref])
    assert bytes(views[0]) == b"released"


@pytest.mark.parametrize("stopped_before", [False, True])
def test_c_code_that_holds_the_lock_is_killed(
    desk: Desk, tmp_path: Path, stopped_before: bool
) -> None:
    ref = desk.submit(chunks.holding, str(tmp_path / "began"))
    wait_for(tmp_path / "began")

    if stopped_before:
        desk.session.cancel([ref])
    began = time.monotonic()
    desk.session.cancel([ref], interrupt=True)
    error = desk.report().error

    assert isinstance(error, ChunkCancelled)
    assert time.monotonic() - began < SOON_S
    assert desk.run(chunks.echo)[1].error is None


def test_a_stopped_process_is_stuck_until_it_goes_on(desk: Desk, tmp_path: Path) -> None:
    started = [tmp_path / "first", tmp_path / "second"]
    running = [desk.submit(chunks.until_stopped, str(path)) for path in started]
    for path in started:
        wait_for(path)
    pending = desk.submit(chunks.echo)
    every = [*running, pending]
    assert desk.session.stuck(every) == []

    pid = int(started[1].read_text())
    os.kill(pid, signal.SIGSTOP)
    wait_until_stuck(desk, every, [running[1]])
    os.kill(pid, signal.SIGCONT)
    wait_until_stuck(desk, every, [])

    desk.session.cancel(running)
    for _ in every:
        assert desk.report().error is None


@pytest.mark.parametrize("seen", [False, True], ids=["by an interrupt", "once it was seen"])
def test_a_stopped_process_is_ended(desk: Desk, tmp_path: Path, seen: bool) -> None:
    ref = desk.submit(chunks.until_stopped, str(tmp_path / "started"))
    wait_for(tmp_path / "started")
    os.kill(int((tmp_path / "started").read_text()), signal.SIGSTOP)
    if seen:
        wait_until_stuck(desk, [ref], [ref])

    began = time.monotonic()
    desk.session.cancel([ref], interrupt=not seen)
    error = desk.report().error

    assert isinstance(error, ChunkCancelled)
    assert time.monotonic() - began < SOON_S


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("SIGKILL", "was killed without a trace, as signal 9 (SIGKILL) does"),
        ("SIGSEGV", "was killed by signal 11 (SIGSEGV)"),
        ("SIGABRT", "was killed by signal 6 (SIGABRT)"),
        ("SIGTERM", "was killed by signal 15 (SIGTERM)"),
        ("3", "ended with exit code 3"),
    ],
)
def test_a_loss_is_told_with_its_cause(desk: Desk, how: str, told: str) -> None:
    _, report = desk.run(chunks.ended, how)

    assert isinstance(report.error, WorkerLost)
    assert told in str(report.error)


def test_the_last_words_survive_a_sudden_death(desk: Desk) -> None:
    desk.submit(chunks.last_words, (50, 100))

    news = [desk.next() for _ in range(51)]

    said = [int(message) for kind, message in news if kind == "heard"]
    assert said == list(range(50))
    assert isinstance(news[-1][1].error, WorkerLost)


def test_of_many_words_the_last_survive(desk: Desk) -> None:
    """A box has room for some 60; those that it lost were not put into the table yet."""
    desk.submit(chunks.last_words, (1_000, 1_000))

    said: list[int] = []
    while (news := desk.next())[0] == "heard":
        said.append(int(news[1]))

    assert said[-1] == 999
    assert said == sorted(said)
    assert isinstance(news[1].error, WorkerLost)


def test_a_flood_neither_blocks_nor_fills_the_memory(desk: Desk) -> None:
    count, size = 100_000, 500
    quiet, _ = desk.run(chunks.flooding, (1, size))
    flooding = desk.submit(chunks.flooding, (count, size))

    said = 0
    while (news := desk.next())[0] == "heard":
        assert int(news[1]) == said
        said += 1

    assert news[1].error is None
    assert said == count
    before, after = (pickle.loads(v[0]) for v in desk.session.fetch([quiet, flooding]))
    assert after[0] < 0.5, f"the slowest of them took {after[0]} s"
    assert after[1] - before[1] < count * size
