"""Facts for tests of the recorder, and histories whose faults are written down beforehand."""

import threading
from collections.abc import Callable

from fanfold.adapters.history.memory import MemoryHistory
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.facts import Batch, Fact, FlowRunMade, FlowRunMoved, LogLine, Receipt, now_us
from fanfold.values.ids import new_id
from fanfold.values.records import FlowRunRecord, FlowRuns, LineRecord, Lines
from fanfold.values.states import StateName

PATIENCE_S = 20.0
"""How long a test waits before it fails."""
BEGAN_US = now_us()
"""Not long ago: what ended long ago is removed."""


def made(flow_run_id: str, owner: str = "") -> FlowRunMade:
    return FlowRunMade(
        flow_run_id=flow_run_id,
        flow="main",
        name=f"name-{flow_run_id}",
        owner=owner,
        host="here",
        process=7,
        at_us=BEGAN_US,
    )


def moved(flow_run_id: str, state: StateName, at_us: int = BEGAN_US + 1) -> FlowRunMoved:
    return FlowRunMoved(flow_run_id=flow_run_id, state=state, at_us=at_us)


def line(flow_run_id: str, message: str) -> LogLine:
    return LogLine(
        flow_run_id=flow_run_id, level=20, logger="main", message=message, at_us=BEGAN_US + 2
    )


def same(fact: Fact) -> Fact:
    """Return it: makes a fact of itself, for `Recorder.put`."""
    return fact


def a_url() -> str:
    return f"memory://{new_id()}"


def runs(url: str) -> list[FlowRunRecord]:
    return MemoryHistory(url).read(FlowRuns())


def lines(url: str, flow_run_id: str) -> list[LineRecord]:
    return MemoryHistory(url).read(Lines(flow_run_ids=(flow_run_id,), limit=100_000))


class Faulty(MemoryHistory):
    """A history that does with each batch what its script says; without one, what it should.

    Args:
        url: Of the store.
        script: For each call of `record` in turn: "ok", "fail", "half" (records, then fails), or
            "hang" (waits for `go`, then records).
    """

    def __init__(self, url: str, script: list[str] | None = None) -> None:
        super().__init__(url)
        self.script = script or []
        self.go = threading.Event()
        self.hangs = threading.Event()
        self.closed = threading.Event()
        self.given: list[Batch] = []
        self._changed = threading.Condition()

    def record(self, batch: Batch) -> Receipt:
        self.given.append(batch)
        what = self.script.pop(0) if self.script else "ok"
        if what == "fail":
            raise HistoryUnavailable("It is out, as the script says")
        if what == "hang":
            self.hangs.set()
            assert self.go.wait(PATIENCE_S)
        receipt = super().record(batch)
        with self._changed:
            self._changed.notify_all()
        if what == "half":
            raise HistoryUnavailable("The answer was lost, as the script says")
        return receipt

    def wait_for(self, true: Callable[[], bool]) -> bool:
        """Wait until something holds of what is recorded."""
        with self._changed:
            return self._changed.wait_for(true, PATIENCE_S)

    def close(self) -> None:
        super().close()
        self.closed.set()


class Poisoned(MemoryHistory):
    """A history that chokes on lines that say so."""

    def record(self, batch: Batch) -> Receipt:
        if any(isinstance(fact, LogLine) and fact.message == "poison" for fact in batch.facts):
            raise ValueError("poison")
        return super().record(batch)
