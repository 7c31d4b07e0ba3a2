"""Runs whose columns a test fills in by hand."""

from dataclasses import dataclass, field
from typing import Any

from fanfold.engine.calls import Call
from fanfold.engine.context import RunInfo
from fanfold.engine.run import Run
from fanfold.engine.sources import Given, Sources
from fanfold.engine.spec import Layout, TaskSpec
from fanfold.values.messages import Detail, Failure
from fanfold.values.resources import Slots, Traits
from fanfold.values.states import StateName


@dataclass
class Stage:
    """A session as far as runs look at it."""

    traits: Traits = field(default_factory=Traits)
    dashboard: str = ""

    def slots(self) -> Slots:
        return Slots(now=1, most=1)


def made(name: str, count: int, *, first: int = 0) -> Run:
    """Return a run of which nothing is done."""
    info = RunInfo(
        kind="Task run", id=f"{name}-id", name=name, of=name, first=first, single=count == 1
    )
    stage: Any = Stage()
    spec = TaskSpec(fn=len, layout=Layout(), info=info)
    return Run(
        Call(spec=spec, sources=Sources(columns=(Given(items=range(count)),)), count=count), stage
    )


def done(run: Run, start: int, stop: int, state: StateName = StateName.COMPLETED) -> None:
    """Say that elements of a run came to a final state."""
    run.states[start:stop] = bytes([state]) * (stop - start)
    run.left -= stop - start


def failed(
    run: Run,
    index: int,
    message: str,
    *,
    kind: str = "builtins.ValueError",
    state: StateName = StateName.FAILED,
    attempts: int = 1,
    where: str = "",
) -> None:
    """Say that an element failed."""
    done(run, index, index + 1, state)
    failure = Failure(kind=kind, message=message, traceback="", where=where)
    run.details[index] = Detail(attempts=attempts, failure=failure)
