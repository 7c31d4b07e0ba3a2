"""Facts for checks of histories, each with what isn't said of it filled in, and who tells them."""

import itertools
from collections.abc import Mapping
from typing import Any

from fanfold.ports.history import Journal
from fanfold.values.facts import (
    ArtifactMade,
    Batch,
    ChunkDone,
    ElementTold,
    Fact,
    FlowRunMade,
    FlowRunMoved,
    FlowRunResumed,
    KeyTold,
    LogLine,
    Problem,
    Receipt,
    TaskRunEnded,
    TaskRunMade,
)
from fanfold.values.ids import new_id
from fanfold.values.states import StateName

T0_US = 1_700_000_000_000_000
"""When the facts of checks begin: in the past, as what an adapter dates by itself is later."""
PROBLEM = Problem(kind="ValueError", message="no", where="pipeline.py:12 in parse")


def key(number: int) -> str:
    """Return an id, as runs and artifacts have them: later numbers are born later."""
    return f"{number:012x}{'0' * 12}"


class Scribe:
    """Somebody who writes into a history: numbers batches, one after the other.

    Args:
        history: Where to.
        writer: A name that nobody else has; None makes one.
    """

    def __init__(self, history: Journal, writer: str | None = None) -> None:
        self.history = history
        self.writer = new_id() if writer is None else writer
        self._numbers = itertools.count(1)

    def batch(self, *facts: Fact, epochs: Mapping[str, int] | None = None) -> Batch:
        """Return the next batch."""
        number = next(self._numbers)
        return Batch(writer=self.writer, number=number, facts=facts, epochs=dict(epochs or {}))

    def tell(self, *facts: Fact, epochs: Mapping[str, int] | None = None) -> Receipt:
        """Record the next batch."""
        return self.history.record(self.batch(*facts, epochs=epochs))

    def must(self, *facts: Fact, epochs: Mapping[str, int] | None = None) -> None:
        """Record the next batch, of which nothing may be refused."""
        receipt = self.tell(*facts, epochs=epochs)
        assert receipt == Receipt()


def flow_run(run: str, **said: Any) -> FlowRunMade:
    """Return that a flow run was made."""
    told: dict[str, Any] = {"flow": "etl", "name": "calm-otter", "owner": "", "at_us": T0_US}
    return FlowRunMade(flow_run_id=run, **(told | said))


def moved(run: str, state: StateName, **said: Any) -> FlowRunMoved:
    """Return that a flow run came to a state."""
    told: dict[str, Any] = {"at_us": T0_US + 1}
    return FlowRunMoved(flow_run_id=run, state=state, **(told | said))


def resumed(run: str, **said: Any) -> FlowRunResumed:
    """Return that a flow run that had ended was opened again."""
    told: dict[str, Any] = {"at_us": T0_US + 1}
    return FlowRunResumed(flow_run_id=run, **(told | said))


def finished(run: str, state: StateName = StateName.COMPLETED, **said: Any) -> list[FlowRunMoved]:
    """Return that a flow run ran, and came to an end."""
    return [moved(run, StateName.RUNNING, **said), moved(run, state, **said)]


def task_run(run: str, made: str, /, **said: Any) -> TaskRunMade:
    """Return that a call or a map was handed out.

    Args:
        run: Its flow run.
        made: Its own id.
        **said: What else is known of it.
    """
    told: dict[str, Any] = {"task": "parse", "name": "parse-0", "count": 1, "at_us": T0_US}
    return TaskRunMade(flow_run_id=run, task_run_id=made, **(told | said))


def mapped(run: str, made: str, count: int, /, **said: Any) -> TaskRunMade:
    """Return that a map over so many was handed out."""
    return task_run(run, made, count=count, single=False, **said)


def chunk(run: str, task: str, name: str, **said: Any) -> ChunkDone:
    """Return that a chunk of a map came home."""
    told: dict[str, Any] = {"at_us": T0_US + 2}
    return ChunkDone(flow_run_id=run, task_run_id=task, chunk=name, **(told | said))


def element(run: str, task: str, index: int, **said: Any) -> ElementTold:
    """Return that an element failed, or whatever else it has to say."""
    told: dict[str, Any] = {"state": StateName.FAILED, "problem": PROBLEM, "at_us": T0_US + 3}
    return ElementTold(flow_run_id=run, task_run_id=task, index=index, **(told | said))


def ended(run: str, task: str, states: bytes | list[StateName], **said: Any) -> TaskRunEnded:
    """Return that a call or a map is over."""
    told: dict[str, Any] = {"states": bytes(states), "at_us": T0_US + 4}
    return TaskRunEnded(flow_run_id=run, task_run_id=task, **(told | said))


def key_parts(run: str, of: str, index: int | None = None, **parts: str) -> KeyTold:
    """Return what a cache key was made from."""
    return KeyTold(flow_run_id=run, of=of, index=index, parts=parts)


def line(run: str, message: str, **said: Any) -> LogLine:
    """Return that something was logged."""
    told: dict[str, Any] = {"level": 20, "logger": "fanfold", "at_us": T0_US + 5}
    return LogLine(flow_run_id=run, message=message, **(told | said))


def artifact(run: str, name: str, **said: Any) -> ArtifactMade:
    """Return that an artifact was made."""
    told: dict[str, Any] = {"kind": "markdown", "data": '"# Sums"', "at_us": T0_US + 6}
    return ArtifactMade(flow_run_id=run, artifact_id=name, **(told | said))
