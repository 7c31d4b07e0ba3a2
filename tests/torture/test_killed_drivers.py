"""Drivers that are killed at random moments: their successors repeat what wasn't committed."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from tests.torture.nursery import Nursery
from tests.torture.squares import Order
from tests.torture.trials import Trial

pytestmark = pytest.mark.slow

COUNT = 400
KILLS = 50
DEADLINE_S = 60
LOOK_S = 0.002
MOST_LATE_S = 0.02
"""After the last element a driver has still to write the last index, and to end."""


def strike(pid: int, order: Order, chance: random.Random) -> None:
    """Kill a driver at a random moment: when so many elements have begun, and a little later."""
    begun, late_s = chance.randint(0, order.count), chance.uniform(0, MOST_LATE_S)
    deadline = time.monotonic() + DEADLINE_S
    while order.ledger.counts(order.life).total() < begun and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    time.sleep(late_s)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("seed", range(4))
def test_after_fifty_kills_each_successor_runs_what_no_index_names_and_nothing_else(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    shares: list[float] = []

    with Nursery() as nursery:
        for number in range(KILLS):
            folder = tmp_path / str(number)
            folder.mkdir()
            order = Order(
                folder=folder,
                life="killed",
                count=COUNT,
                element_s=0.002,
                chunk_size=chance.choice([1, 2, 4]),
                store=FsspecStore(str(folder / "results")),
                lingers=True,
            )
            strike(nursery.start(order), order, chance)
            assert nursery.ended() == -signal.SIGKILL
            shares.append(Trial(order).repeat(nursery) / COUNT)

    assert any(0 < share < 1 for share in shares)
