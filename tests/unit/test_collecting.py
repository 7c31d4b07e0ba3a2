"""Garbage is collected beside maps that run: nothing that lasts is lost, and nothing fails."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from fanfold import flow, task
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.cache_policies import INPUTS
from fanfold.engine.results import caring, garbage, inventory
from fanfold.engine.results.garbage import Wishes
from fanfold.task_runners import ThreadPoolTaskRunner

COUNT = 300
ROUNDS = 5
ran: list[int] = []


@task(cache_policy=INPUTS)
def lasting(x: int, salt: int = 0) -> int:
    ran.append(x)
    return x + salt


@task(cache_policy=INPUTS, cache_expiration=timedelta(microseconds=1))
def fleeting(x: int) -> int:
    return -x


@flow(task_runner=ThreadPoolTaskRunner(max_workers=4))
def work(rounds: int) -> list[int]:
    sums: list[int] = []
    for salt in range(rounds):
        kept, gone = lasting.map(range(COUNT), salt=salt), fleeting.map(range(COUNT))
        again = lasting.with_options(refresh_cache=True).map(range(0, COUNT, 7), salt=salt)
        calls = [lasting(x, salt) for x in range(0, COUNT, 50)]
        assert again.result() == [x + salt for x in range(0, COUNT, 7)]
        assert calls == [x + salt for x in range(0, COUNT, 50)]
        assert gone.result() == [-x for x in range(COUNT)]
        sums.append(sum(kept.result()))
    return sums


@contextmanager
def collecting(store: FsspecStore, **wishes: float) -> Iterator[list[int]]:
    """Collect garbage over and over in another thread; yield how many results went each time."""
    over, counts, failures = threading.Event(), list[int](), list[BaseException]()

    def collect() -> None:
        try:
            while not over.is_set():
                there = inventory.taken(store, None)
                now = caring.storage_now(store)
                verdicts = garbage.judged(there, Wishes(now=now, **wishes))  # type: ignore[arg-type]
                caring.carry_out(store, None, verdicts, [])
                counts.append(sum(sum(each.results.values()) for each in verdicts))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join(60)
    assert not failures, failures


@pytest.fixture
def store(tmp_path: Path) -> FsspecStore:
    ran.clear()
    return FsspecStore(str(tmp_path / "results"))


EXPECTED = [sum(range(COUNT)) + salt * COUNT for salt in range(ROUNDS)]


def test_what_lasts_is_found_again_though_garbage_was_collected_all_the_time(
    store: FsspecStore,
) -> None:
    with collecting(store) as counts:
        assert work.with_options(result_storage=store)(ROUNDS) == EXPECTED
    ran.clear()

    assert [
        sum(lasting.with_options(result_storage=store).map(range(COUNT), salt=salt).result())
        for salt in range(ROUNDS)
    ] == EXPECTED
    assert ran == []
    assert sum(counts) >= COUNT, "nothing was collected meanwhile"


def test_results_that_go_while_maps_use_them_are_made_anew(store: FsspecStore) -> None:
    with collecting(store, before_s=float("inf"), grace_s=3_600.0) as counts:
        for _ in range(2):
            assert work.with_options(result_storage=store)(ROUNDS) == EXPECTED

    assert sum(counts) >= COUNT, "nothing was collected meanwhile"
