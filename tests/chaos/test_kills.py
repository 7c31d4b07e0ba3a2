"""Workers that are killed one after another in the midst of a map."""

from collections.abc import Callable

import pytest

from fanfold.ports.runner import TaskRunner
from fanfold.testing.ledger import Ledger
from fanfold_dask import DaskTaskRunner
from fanfold_ray import RayTaskRunner
from tests.chaos.striking import Striker, kill, schedule
from tests.chaos.works import Works

pytestmark = pytest.mark.slow

WORKERS = 4
ELEMENT_S = 0.01
ON_DASK = DaskTaskRunner(cluster_kwargs={"n_workers": WORKERS, "threads_per_worker": 1})
ON_RAY = RayTaskRunner(address="local", init_kwargs={"num_cpus": WORKERS})


@pytest.mark.parametrize("kept", [False, True], ids=["not kept", "kept"])
@pytest.mark.parametrize(
    ("runner", "count", "kills"), [(ON_DASK, 5_000, 30), (ON_RAY, 1_500, 15)], ids=["dask", "ray"]
)
def test_a_map_survives_workers_that_are_killed_all_the_time(
    runner: TaskRunner,
    count: int,
    kills: int,
    kept: bool,
    ledger: Ledger,
    tell: Callable[[str], None],
) -> None:
    works = Works(count=count, seconds=ELEMENT_S, kept=kept, ledger=ledger)
    striker = Striker(ledger, schedule(count, kills, count), kill)

    with striker.striking():
        found = works.run(runner)

    assert len(striker.struck) == kills
    tell(f"{type(runner).__name__}: {works.check(found, kills)}")
