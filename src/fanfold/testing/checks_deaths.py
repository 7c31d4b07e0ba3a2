"""Checks of workers' deaths: what they cost, and that they are told as what they are (R10)."""

import math
from pathlib import Path
from typing import Any

import pytest

from fanfold.caching import task_input_hash
from fanfold.engine import registry
from fanfold.engine.results import object_names, segments, stored
from fanfold.engine.results.stored import Stored
from fanfold.engine.settings import HOME
from fanfold.ports.runner import TaskRunner
from fanfold.tasks import Task
from fanfold.testing import faults
from fanfold.testing.faults import Kill
from fanfold.testing.ground import Found, Ground
from fanfold.values.resources import Traits

KILLED_AT, KILLED_OF = 1_610, 2_000
POISON, POISONED = 137, 200
INFRASTRUCTURE_RETRIES = 2
PIECES = 32


class DeathChecks(Ground):
    """Checks 17 and 18."""

    def test_17_a_killed_worker_costs_only_what_was_not_committed(
        self, mortal_runner: TaskRunner, tmp_path: Path
    ) -> None:
        """After a worker's death all answers are right, and no committed element ran again.

        Committed is what indexes named at the moment of the kill.
        """
        store = tmp_path / "home" / "results"
        kill = Kill(committed_in=str(store), timeout_s=self.deadline_s)
        plan = self._plan(tmp_path, {KILLED_AT: (kill,)})
        cached = Task(faults.perform, cache_key_fn=task_input_hash)

        def mapped(traits: Traits) -> Found | None:
            if not traits.remote:
                assert not traits.kills
                return None
            return self._found(cached.map(range(KILLED_OF), plan))

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(HOME, str(store.parent))
            found = self._in_flow(mortal_runner, mapped)
        if found is None:
            return

        assert len(plan.ledger.lines("killed")) == 1
        assert found.values == list(range(KILLED_OF))
        committed = _committed(
            str(store), [n for line in plan.ledger.lines("committed") for n in line]
        )
        ran = plan.ledger.counts("ran")
        assert committed, "nothing was committed when the worker died"
        again = {x: ran[x] for x in committed if ran[x] != 1}
        assert not again, f"{len(again)} of {len(committed)} committed elements ran again"

    def test_18_a_poison_element_crashes_alone(
        self, mortal_runner: TaskRunner, tmp_path: Path
    ) -> None:
        """An element that always kills its worker is found at the cost of a few workers."""
        most = 1 + INFRASTRUCTURE_RETRIES + math.ceil(math.log(POISONED, PIECES))
        # One more than it may cost, so that a runner that never gives up is told too.
        plan = self._plan(tmp_path, {POISON: (Kill(),) * (most + 1)})

        def mapped(traits: Traits) -> Found | None:
            if not traits.remote:
                assert not traits.kills
                return None
            return self._found(Task(faults.perform).map(range(POISONED), plan))

        found = self._in_flow(mortal_runner, mapped)
        if found is None:
            return

        states, values = dict(enumerate(found.states)), dict(enumerate(found.values))
        values.pop(POISON)
        assert len(plan.ledger.lines("killed")) <= most
        assert states.pop(POISON) == "Crashed"
        assert set(states.values()) == {"Completed"}
        assert values == {x: x for x in range(POISONED) if x != POISON}


def _committed(folder: str, names: list[str]) -> list[Any]:
    """Return the values that some indexes of a result store name."""
    store = registry.result_store(folder)
    return stored.load_all(
        [
            Stored(
                store=store,
                segment=object_names.untimed(segment),
                offset=record.offset,
                length=record.length,
                digest=record.digest,
                codec=record.codec,
            )
            for name in names
            for index in [segments.unpack_index(store.read(name), name, None)]
            for segment, records in index.records().items()
            for record in records
        ]
    )
