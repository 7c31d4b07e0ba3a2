"""Checks of what work may ask of a cluster: refused, told, held, and brought in by growing (R1)."""

from pathlib import Path
from typing import Any

from fanfold.engine import settings
from fanfold.engine.context import current
from fanfold.engine.futures import TaskFuture
from fanfold.ports.runner import Session, TaskRunner
from fanfold.tasks import Task
from fanfold.testing import faults
from fanfold.testing.chunks import BEGAN, Echo, Gated
from fanfold.testing.desk import opened
from fanfold.testing.faults import Plan
from fanfold.testing.ground import Ground, Stock
from fanfold.testing.ledger import Gate
from fanfold.values.errors import ChunkCancelled, ResourcesUnavailable
from fanfold.values.resources import PLAIN, Resources, Traits

UNHEARD_OF = "unheard-of"
TOO_MUCH = {"cpu": 1e6, "gpu": 1e6, "memory": float(1 << 60), UNHEARD_OF: 1.0}
"""What no cluster has, by the names that users have for it."""
PATIENCE_S = 3.0
"""For a worker that never comes."""
TOLD_S = 10.0
"""More than that, with some seconds for a busy machine."""
PER_SEAT = 4
GROWN = 200


class ResourceChecks(Ground):
    """Checks 11, 12 and 33."""

    def test_11_what_cannot_be_held_is_refused_at_once(self, runner: TaskRunner) -> None:
        """A submit raises for what the runner holds for nobody; what is only scarce waits."""
        wants = {name: Resources.of({name: amount}) for name, amount in TOO_MUCH.items()}

        with opened(runner, self.deadline_s) as desk:
            desk.run(Echo(id="first"))
            honoured = desk.session.traits.honours
            if "native" not in honoured:
                wants["native"] = Resources(native="what another runner knows")
            refused: set[str] = set()
            for name, want in wants.items():
                try:
                    ref = desk.submit(Echo(id=name), want=want)
                except ResourcesUnavailable:
                    refused.add(name)
                else:
                    assert name in desk.session.lacking(want), f"nothing is said of {name}"
                    desk.session.cancel([ref])
            desk.run(Echo(id="last"))
            enough = desk.session.lacking(PLAIN)
            desk.wait_for_all()

        assert enough == "", f"something is missing for a plain chunk: {enough}"
        assert refused == {name for name in wants if _field(name) not in honoured}
        errors = {mine[0].chunk: type(mine[0].error) for mine in desk.reports}
        waited = dict.fromkeys(wants.keys() - refused, ChunkCancelled)
        nothing = type(None)
        assert errors == {"first": nothing, "last": nothing, **waited}

    def test_11_what_no_worker_has_is_told_in_time(
        self, runner: TaskRunner, growing_runner: TaskRunner | None
    ) -> None:
        """A call that asks for it is refused in words; it waits where workers may still come."""

        def asking(traits: Traits) -> dict[str, str]:
            with settings.temporary({"cluster.timeout_seconds": PATIENCE_S}):
                asked = {name: _asked(name) for name in TOO_MUCH}
            return {name: self._told(name, found) for name, found in asked.items()}

        for each in (runner, growing_runner):
            said = self._in_flow(each, asking) if each is not None else {}
            mute = [name for name, words in said.items() if name not in words]
            assert not mute, f"what is said doesn't name {mute}: {said}"

    def test_12_what_is_held_limits_how_many_run(
        self, runner: TaskRunner, stock: Stock | None, tmp_path: Path
    ) -> None:
        """As many chunks run at once as there is of what they want, though slots are free."""
        if stock is None:
            assert not self.pinned(runner, borrowed=self.borrows).honours
            return
        gate = Gate(str(tmp_path / "gate"))

        with gate.kept() as latch, opened(stock.runner, self.deadline_s) as desk:
            desk.run(Echo(id="first"))
            assert desk.session.slots().now > stock.most, "there are no slots to spare"
            assert desk.session.lacking(stock.want) == ""
            names = [f"wanting-{number}" for number in range(stock.most + 1)]
            for name in names:
                chunk = Gated(id=name, gate=gate, timeout_s=self.deadline_s)
                desk.submit(chunk, want=stock.want)
            desk.wait(lambda: len(self._begun(desk.heard)) >= stock.most, "a word of the chunks")
            # It goes past the one that waits, so that had every chance to begin.
            desk.run(Echo(id="plain"))
            begun = self._begun(desk.heard)
            latch.open()
            desk.wait_for_all()

        assert len(begun) == stock.most, f"these hold what there is for {stock.most}: {begun}"
        assert self._begun(desk.heard) == set(names)
        assert [mine[0].error for mine in desk.reports] == [None] * len(desk.reports)

        plan = self._plan(tmp_path)
        count = PER_SEAT * (stock.most + 1)
        assert self._in_flow(stock.runner, lambda traits: self._seated(stock, plan, count)) == [
            *range(count)
        ]
        assert _most_inside(plan) == stock.most

    def test_33_a_cluster_grows_from_nothing(
        self, runner: TaskRunner, growing_runner: TaskRunner | None
    ) -> None:
        """Work that finds no worker brings some in, and comes to its end."""
        if growing_runner is None:
            assert not self.manners(runner).grows
            return

        def growing(traits: Traits) -> list[int]:
            session = _session()
            slots, words = session.slots(), session.lacking(PLAIN)
            assert (slots.now, slots.grows) == (0, True), f"it begins with {slots}"
            assert words, "nothing is said of there being no workers"
            return self._value(Task(faults.same).map(range(GROWN)))

        assert self._in_flow(growing_runner, growing) == list(range(GROWN))

    def _told(self, name: str, found: TaskFuture[Any] | str) -> str:
        """Return why a call can't have what nobody has."""
        if isinstance(found, str):
            return found
        found.wait(TOLD_S)
        assert found.state.name == "Crashed", f"{name}: {found.state!r} after {TOLD_S} s"
        return str(found.state.error)

    def _seated(self, stock: Stock, plan: Plan, count: int) -> Any:
        want = stock.want
        named = {"cpu": want.cpu, "gpu": want.gpu, "memory": want.memory, **dict(want.custom)}
        resources = {name: amount for name, amount in named.items() if amount}
        task = Task(faults.seated, resources=resources, chunk_size=1)
        return self._value(task.map(range(count), plan.ledger))

    def _begun(self, heard: list[tuple[str, bytes]]) -> set[str]:
        return {chunk for chunk, word in heard if word == BEGAN}


def _asked(name: str) -> TaskFuture[Any] | str:
    """Ask for something that nobody has; return why not, if that is told at once."""
    try:
        return Task(faults.same, resources={name: TOO_MUCH[name]}).submit(1)
    except ResourcesUnavailable as error:
        # It begins with all that the task asks for.
        return str(error).partition(", but ")[2]


def _field(name: str) -> str:
    """Return the field of `Resources` that a user's name is kept in."""
    return "custom" if name == UNHEARD_OF else name


def _session() -> Session:
    context = current()
    assert context is not None
    return context.owner.session()


def _most_inside(plan: Plan) -> int:
    """Return how many elements were between their two notes at once."""
    inside = most = 0
    for (step,) in plan.ledger.lines("seat"):
        inside += 1 if step == "taken" else -1
        most = max(most, inside)
    return most
