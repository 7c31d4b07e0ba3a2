"""Workers that are stopped for a while in the midst of a map, and then go on as if nothing was."""

from collections.abc import Callable

import pytest

from fanfold.engine import settings
from fanfold.ports.runner import TaskRunner
from fanfold.testing.ledger import Ledger
from fanfold_dask import DaskTaskRunner
from fanfold_ray import RayTaskRunner
from tests.chaos.striking import Stopper, Striker, schedule
from tests.chaos.works import Works

pytestmark = pytest.mark.slow

WORKERS = 4
STOPS, STOPPED_S = 3, 20.0
SILENCE_S = 3.0
"""Instead of a minute, so that the stops last long enough to be seen."""
COUNT, ELEMENT_S = 2_500, 0.02
ON_DASK = DaskTaskRunner(cluster_kwargs={"n_workers": WORKERS, "threads_per_worker": 1})
ON_RAY = RayTaskRunner(address="local", init_kwargs={"num_cpus": WORKERS})


@pytest.mark.parametrize("kept", [False, True], ids=["not kept", "kept"])
@pytest.mark.parametrize("runner", [ON_DASK, ON_RAY], ids=["dask", "ray"])
def test_a_map_does_not_wait_for_workers_that_are_stopped(
    runner: TaskRunner, kept: bool, ledger: Ledger, tell: Callable[[str], None]
) -> None:
    works = Works(count=COUNT, seconds=ELEMENT_S, kept=kept, ledger=ledger)

    with (
        settings.temporary({"cluster.silence_seconds": SILENCE_S}),
        Stopper(STOPPED_S).stopping() as stopper,
        Striker(ledger, schedule(STOPS, STOPS, COUNT), stopper.stop).striking() as striker,
    ):
        found = works.run(runner)

    assert len(striker.struck) == STOPS
    tell(f"{type(runner).__name__}: {works.check(found, STOPS)}")
