"""Runs that a history is told of, without carrying anything out."""

from collections.abc import Mapping, Sequence
from itertools import count

from fanfold.ports.history import History
from fanfold.values.facts import (
    Batch,
    ChunkDone,
    ElementTold,
    Fact,
    FlowRunMade,
    FlowRunMoved,
    FlowRunNamed,
    LogLine,
    Problem,
    TaskRunEnded,
    TaskRunMade,
    now_us,
)
from fanfold.values.ids import new_id
from fanfold.values.states import StateName

SECOND_US = 1_000_000
TRACEBACK = 'Traceback (most recent call last):\n  File "pipeline.py", line 12, in parse\n'


class Story:
    """Tells a history of runs, in the name of one owner who lives as long as it.

    Args:
        history: It is told; not closed.
        began_us: When the first run is made; all else comes a second after the fact before.
    """

    def __init__(self, history: History, began_us: int | None = None) -> None:
        self.history = history
        self.owner = history.owner()
        self.at_us = now_us() - 180 * SECOND_US if began_us is None else began_us
        self._writer = new_id()
        self._numbers = count(1)

    def tell(self, *facts: Fact) -> None:
        """Record facts, none of which may be refused."""
        batch = Batch(writer=self._writer, number=next(self._numbers), facts=facts)

        receipt = self.history.record(batch)

        assert not receipt.refused, receipt.refused

    def flow_run(
        self,
        flow: str = "embed",
        name: str = "",
        *,
        state: StateName = StateName.RUNNING,
        run_id: str = "",
        parameters: Mapping[str, str] | None = None,
        message: str = "",
        problem: Problem | None = None,
        entrypoint: str = "/home/ada/pipeline.py:main",
        **facts: str | tuple[str, ...],
    ) -> str:
        """Tell of a flow run until it is in a state; return its id."""
        at_us = self._later()
        run_id = run_id or f"{at_us // 1_000:012x}{new_id()[12:]}"
        self.tell(
            FlowRunMade(
                flow_run_id=run_id,
                flow=flow,
                name=name or flow,
                owner=self.owner,
                host="ada",
                process=123,
                runner="threads",
                entrypoint=entrypoint,
                at_us=at_us,
                **facts,  # type: ignore[arg-type]
            ),
            FlowRunNamed(flow_run_id=run_id, name=name or flow, parameters=parameters or {}),
            FlowRunMoved(flow_run_id=run_id, state=StateName.RUNNING, tries=1, at_us=at_us),
        )
        if state is not StateName.RUNNING:
            self.move(run_id, state, message=message, problem=problem)
        return run_id

    def move(
        self, run_id: str, state: StateName, *, message: str = "", problem: Problem | None = None
    ) -> None:
        """Tell of a flow run's next state."""
        self.tell(
            FlowRunMoved(
                flow_run_id=run_id,
                state=state,
                message=message,
                problem=problem,
                at_us=self._later(),
            )
        )

    def task_map(
        self,
        run_id: str,
        states: Sequence[StateName],
        *,
        task: str = "parse",
        name: str = "",
        failures: Mapping[int, Problem] | None = None,
        attempts: int = 1,
        first: int = 0,
        single: bool = False,
        entrypoint: str = "/home/ada/pipeline.py:parse",
    ) -> str:
        """Tell of a map, or a single call, with all that became of it; return its id."""
        at_us = self._later()
        made = f"{at_us // 1_000:012x}{new_id()[12:]}"
        self.tell(
            TaskRunMade(
                flow_run_id=run_id,
                task_run_id=made,
                task=task,
                name=name or task,
                count=len(states),
                single=single,
                first=first,
                stream="stream" if first else "",
                entrypoint=entrypoint,
                at_us=at_us,
            ),
            ChunkDone(
                flow_run_id=run_id,
                task_run_id=made,
                chunk=new_id(),
                worker="ada/123",
                spans=((0, len(states)),),
                states=tuple((state, 1) for state in states),
                seconds=0.5 * len(states),
                at_us=at_us + SECOND_US,
            ),
            *(
                ElementTold(
                    flow_run_id=run_id,
                    task_run_id=made,
                    index=index,
                    state=states[index],
                    attempts=attempts,
                    problem=problem,
                    seconds=0.5,
                    arguments=b"pickled",
                    at_us=at_us + SECOND_US,
                )
                for index, problem in (failures or {}).items()
            ),
            TaskRunEnded(
                flow_run_id=run_id,
                task_run_id=made,
                states=bytes(states),
                seconds=0.5 * len(states),
                cpu_s=0.25 * len(states),
                peak_bytes=310 << 20,
                rise_bytes=40 << 20,
                at_us=at_us + SECOND_US,
            ),
        )
        return made

    def log(self, run_id: str, message: str, task_run_id: str = "", **facts: object) -> None:
        """Tell of a line of a log."""
        kind = "task_runs" if task_run_id else "flow_runs"
        line: dict[str, object] = {"level": 20, "logger": f"fanfold.{kind}"} | facts
        self.tell(
            LogLine(
                flow_run_id=run_id,
                task_run_id=task_run_id,
                message=message,
                at_us=self._later(),
                **line,  # type: ignore[arg-type]
            )
        )

    def _later(self) -> int:
        self.at_us += SECOND_US
        return self.at_us


def problem(
    message: str = "bad date", kind: str = "ValueError", where: str = "pipeline.py:12 in parse"
) -> Problem:
    """Return why something failed."""
    return Problem(
        kind=kind, message=message, where=where, traceback=f"{TRACEBACK}{kind}: {message}"
    )


def failed_run(story: Story) -> str:
    """Tell of a flow run with a bit of everything, which failed; return its id."""
    bad = problem()
    run_id = story.flow_run(
        "embed",
        "quiet-otter",
        parameters={"pages": "1000", "source": "'s3://papers/2026'"},
        tags=("nightly", "gpu"),
        version="1.2",
    )
    states = [StateName.COMPLETED] * 640 + [StateName.CACHED] * 357 + [StateName.FAILED] * 3
    load = story.task_map(run_id, [StateName.COMPLETED], task="load", single=True)
    failures = dict.fromkeys((997, 998), bad) | {999: problem("no key 'title'", "KeyError")}
    parse = story.task_map(run_id, states, failures=failures, attempts=3)
    story.log(run_id, "1,000 pages")
    story.log(run_id, "reading the index", load, attempt=1)
    for attempt in (1, 2, 3):
        story.log(run_id, "odd date\nin line 3", parse, index=997, attempt=attempt, level=30)
    called = story.flow_run(
        "report", state=StateName.COMPLETED, parent_id=run_id, name="report-2026"
    )
    story.log(called, "written")
    error = problem("3 of 1,000 elements of parse failed", "fanfold.values.errors.MapError")
    story.move(run_id, StateName.FAILED, problem=error)
    return run_id
