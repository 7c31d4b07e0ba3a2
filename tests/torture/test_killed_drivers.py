"""Drivers that are killed at random moments: their successors repeat what wasn't committed."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from distributed import LocalCluster
from runners.dask.tests.desk import QUIET
from runners.ray.tests.heads import Head

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results.signing_keys import keyring_of
from fanfold.ports.runner import TaskRunner
from fanfold.task_runners import ThreadPoolTaskRunner
from fanfold_dask import DaskTaskRunner
from fanfold_ray import RayTaskRunner
from tests.stores.places import S3Place
from tests.torture.nursery import Nursery
from tests.torture.squares import Order
from tests.torture.trials import Trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COUNT = 400
DEADLINE_S = 60
LOOK_S = 0.002
MOST_LATE_S = 0.02
"""After the last element a driver has still to write the last index, and to end."""


def ordered(folder: Path, runner: TaskRunner, store: FsspecStore, chance: random.Random) -> Order:
    """Return an order for a map of 100 or 200 chunks, which writes at least two indexes."""
    folder.mkdir()
    return Order(
        folder=folder,
        life="killed",
        count=COUNT,
        element_s=0.002,
        chunk_size=chance.choice([2, 4]),
        store=store,
        runner=runner,
        lingers=True,
    )


def strike(pid: int, order: Order, chance: random.Random) -> None:
    """Kill a driver at a random moment: when so many elements have begun, and a little later."""
    begun, late_s = chance.randint(0, order.count), chance.uniform(0, MOST_LATE_S)
    deadline = time.monotonic() + DEADLINE_S
    while order.ledger.counts(order.life).total() < begun and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    time.sleep(late_s)
    os.kill(pid, signal.SIGKILL)


def share(nursery: Nursery, order: Order, chance: random.Random) -> float:
    """Kill a driver, have another do its work, and return what share of it was committed."""
    strike(nursery.start(order), order, chance)
    assert nursery.ended() == -signal.SIGKILL
    return Trial(order, keyring_of(order.store)).repeat(nursery) / COUNT


@pytest.mark.parametrize("seed", range(4))
def test_after_fifty_kills_over_threads_what_no_index_names_is_done_and_nothing_else(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    places = [tmp_path / str(number) for number in range(50)]

    with Nursery() as nursery:
        shares = [
            share(
                nursery,
                ordered(place, ThreadPoolTaskRunner(), FsspecStore(str(place / "results")), chance),
                chance,
            )
            for place in places
        ]

    assert any(0 < part < 1 for part in shares)


@pytest.mark.parametrize("seed", range(2))
def test_after_ten_kills_over_dask_what_no_index_names_is_done_and_nothing_else(
    seed: int, s3: S3Place, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    shares: list[float] = []
    cluster = LocalCluster(n_workers=2, **QUIET)

    with cluster, Nursery("s3fs", "distributed") as nursery:
        runner = DaskTaskRunner(address=cluster.scheduler_address)
        for number in range(10):
            order = ordered(tmp_path / str(number), runner, s3.store(str(number)), chance)
            shares.append(share(nursery, order, chance))

    assert any(0 < part < 1 for part in shares)


@pytest.mark.parametrize("seed", range(2))
def test_after_ten_kills_over_ray_what_no_index_names_is_done_and_nothing_else(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    shares: list[float] = []
    head = Head()

    try:
        with Nursery(environment=head.settings) as nursery:
            runner = RayTaskRunner(address=head.address)
            for number in range(10):
                place = tmp_path / str(number)
                store = FsspecStore(str(place / "results"))
                order = ordered(place, runner, store, chance)
                shares.append(share(nursery, order, chance))
    finally:
        head.close()

    assert any(0 < part < 1 for part in shares)
