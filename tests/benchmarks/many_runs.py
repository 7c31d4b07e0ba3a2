"""A history with many flow runs and one large map, and the questions that commands ask of it."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from fanfold.ports.history import History
from fanfold.values.facts import (
    ArtifactMade,
    Batch,
    ChunkDone,
    ElementTold,
    Fact,
    FlowRunMade,
    FlowRunMoved,
    LogLine,
    Problem,
    TaskRunEnded,
    TaskRunMade,
)
from fanfold.values.ids import new_id
from fanfold.values.records import (
    Artifacts,
    Chunks,
    Elements,
    FailureGroups,
    FlowRuns,
    Lines,
    Query,
    States,
    TaskRuns,
    TaskTotals,
)
from fanfold.values.states import StateName

FACTS_PER_BATCH = 2_000
"""As the recorder makes batches."""
CHUNKS = 400
"""Of the large map; about so many are made of a million elements."""
FAILED, LINES = 10_000, 100_000
"""Elements of the large map that failed, and lines that it logged; a hundredth with `--quick`."""
FLOWS = [f"flow-{number}" for number in range(20)]
T0_US, SECOND_US = 1_800_000_000_000_000, 1_000_000
WORDS = ("parsed", "read", "wrote", "row", "file", "customer", "order", "price", "retry", "index")
SEED = 3


def filled(history: History, runs: int, elements: int) -> dict[str, list[Query[Any]]]:
    """Fill a history; return the questions, by the command that asks them."""
    writer = new_id()
    batch: list[Fact] = []
    number = 0
    for facts in _told(runs, elements):
        batch += facts
        if len(batch) >= FACTS_PER_BATCH:
            number += 1
            history.record(Batch(writer=writer, number=number, facts=tuple(batch)))
            batch.clear()
    history.record(Batch(writer=writer, number=number + 1, facts=tuple(batch)))
    return _questions(runs)


def map_facts(run: str, task: str, elements: int, chunks: int = CHUNKS) -> Iterator[Fact]:
    """Yield what is told of a large map whose elements all complete."""
    yield TaskRunMade(
        flow_run_id=run,
        task_run_id=task,
        task="parse",
        name="parse-0",
        count=elements,
        single=False,
        at_us=T0_US,
    )
    size = elements // chunks
    for start in range(0, elements, size):
        stop = min(start + size, elements)
        yield ChunkDone(
            flow_run_id=run,
            task_run_id=task,
            chunk=f"{task}-{start}",
            worker="10.0.0.17:4711",
            spans=((start, stop),),
            states=((StateName.COMPLETED, stop - start),),
            seconds=0.125,
            at_us=T0_US + start,
        )
    states = bytes([StateName.COMPLETED]) * elements
    yield TaskRunEnded(flow_run_id=run, task_run_id=task, states=states, at_us=T0_US + elements)


def run_facts(run: str, number: int = 0) -> Iterator[Fact]:
    """Yield that a flow run was made, and runs."""
    yield FlowRunMade(
        flow_run_id=run,
        flow=FLOWS[number % len(FLOWS)],
        name=f"calm-otter-{number}",
        owner="",
        tags=("nightly",) if number % 3 == 0 else (),
        entrypoint="/home/ada/pipeline.py:main",
        runner="threads",
        host="localhost",
        process=4711,
        at_us=T0_US + number * SECOND_US,
    )
    yield FlowRunMoved(
        flow_run_id=run, state=StateName.RUNNING, tries=1, at_us=T0_US + number * SECOND_US
    )


def line(run: str, task: str, index: int | None, source: random.Random) -> LogLine:
    """Return a line of some words."""
    said = " ".join(source.choices(WORDS, k=6))
    return LogLine(
        flow_run_id=run,
        task_run_id=task,
        index=index,
        attempt=1,
        level=source.choice((20, 20, 20, 20, 30)),
        logger="fanfold.task_runs",
        message=f"{said} {source.randrange(1_000_000)}",
        at_us=T0_US,
    )


def _told(runs: int, elements: int) -> Iterator[Sequence[Fact]]:
    """Yield facts, grouped by what shouldn't be torn; the large map is in the middle."""
    source = random.Random(SEED)
    for number in range(runs):
        if number == runs // 2:
            yield from _large(elements, source)
        yield list(_small(number, source))


def _small(number: int, source: random.Random) -> Iterator[Fact]:
    run, task = _run(number), _task(number)
    at_us = T0_US + number * SECOND_US
    failed = number % 25 == 0
    end = StateName.FAILED if failed else StateName.COMPLETED
    problem = _problem(source) if failed else None
    yield from run_facts(run, number)
    yield TaskRunMade(
        flow_run_id=run,
        task_run_id=task,
        task="load",
        name="load-0",
        count=1,
        at_us=at_us,
    )
    yield line(run, task, None, source)
    if problem is not None:
        yield ElementTold(
            flow_run_id=run,
            task_run_id=task,
            index=0,
            state=end,
            problem=problem,
            at_us=at_us,
        )
    yield TaskRunEnded(flow_run_id=run, task_run_id=task, states=bytes([end]), at_us=at_us)
    if number % 10 == 0:
        yield ArtifactMade(
            flow_run_id=run,
            artifact_id=_id(number, "a"),
            kind="markdown",
            key=f"report-{number % 50}",
            data='"# Report"',
            at_us=at_us,
        )
    yield FlowRunMoved(
        flow_run_id=run, state=end, tries=1, problem=problem, at_us=at_us + SECOND_US
    )


def _large(elements: int, source: random.Random) -> Iterator[Sequence[Fact]]:
    run, task = LARGE
    scale = elements / 1_000_000
    yield list(run_facts(run))
    *most, end = map_facts(run, task, elements)
    for fact in most:
        yield [fact]
    states = bytearray(end.states) if isinstance(end, TaskRunEnded) else bytearray()
    for index in sorted(source.sample(range(elements), int(FAILED * scale))):
        states[index] = StateName.FAILED
        told = ElementTold(
            flow_run_id=run,
            task_run_id=task,
            index=index,
            state=StateName.FAILED,
            problem=_problem(source),
            at_us=T0_US,
        )
        yield [told]
    for _ in range(int(LINES * scale)):
        yield [line(run, task, source.randrange(elements), source)]
    yield [
        TaskRunEnded(flow_run_id=run, task_run_id=task, states=bytes(states), at_us=T0_US),
        FlowRunMoved(flow_run_id=run, state=StateName.FAILED, tries=1, at_us=T0_US),
    ]


def _questions(runs: int) -> dict[str, list[Query[Any]]]:
    run, task = LARGE
    middle = T0_US + runs // 2 * SECOND_US
    return {
        "runs ls": [
            FlowRuns(parent_id="", limit=51),
            FlowRuns(limit=51),
            FlowRuns(parent_id="", flow=FLOWS[7], limit=51),
            FlowRuns(parent_id="", flow="no-such-flow", limit=51),
            FlowRuns(parent_id="", states=(StateName.FAILED, StateName.TIMED_OUT), limit=51),
            FlowRuns(parent_id="", states=(StateName.CRASHED,), limit=51),
            FlowRuns(parent_id="", tags=("nightly",), limit=51),
            FlowRuns(parent_id="", tags=("no-such-tag",), limit=51),
            FlowRuns(parent_id="", since_us=middle, limit=51),
            FlowRuns(parent_id="", since_us=T0_US + runs * SECOND_US, limit=51),
            FlowRuns(parent_id="", before_id=_run(runs // 2), limit=51),
            FlowRuns(parent_id="", limit=1_000),
        ],
        "runs show": [
            FlowRuns(ids=(run,)),
            FlowRuns(id_prefix=run[:14], limit=20),
            FlowRuns(name=f"calm-otter-{runs // 3}", limit=1),
            FlowRuns(name="no-such-name", limit=1),
            FlowRuns(parent_id=run),
            TaskTotals(flow_run_ids=(run,)),
            TaskTotals(flow_run_ids=(_run(runs // 3),)),
            FailureGroups(flow_run_ids=(run,)),
            TaskRuns(flow_run_ids=(run,)),
            TaskRuns(flow_run_ids=(run,), task="parse"),
            States(task_run_id=task),
            Chunks(task_run_id=task),
            Elements(task_run_ids=(task,), states=(StateName.FAILED,)),
            Elements(task_run_ids=(task,), indices=(17,)),
        ],
        "runs logs": [
            Lines(flow_run_ids=(run,)),
            Lines(flow_run_ids=(run,), last=True, limit=100),
            Lines(flow_run_ids=(run,), level=30),
            Lines(flow_run_ids=(run,), level=40),
            Lines(flow_run_ids=(run,), words="customer"),
            Lines(flow_run_ids=(run,), words="parsed read wrote"),
            Lines(flow_run_ids=(run,), words="nobodysaidthis"),
            Lines(flow_run_ids=(run,), words="17"),
            Lines(flow_run_ids=(run,), logger="fanfold"),
            Lines(flow_run_ids=(run,), logger="no.such.logger"),
            Lines(task_run_ids=(task,)),
            Lines(task_run_ids=(task,), index=17),
            Lines(flow_run_ids=(_run(runs // 3),), words="customer"),
        ],
        "artifacts ls": [
            Artifacts(),
            Artifacts(latest_only=True),
            Artifacts(key="report-10"),
            Artifacts(kind="table"),
            Artifacts(flow_run_id=_run(runs // 10)),
        ],
    }


def _problem(source: random.Random) -> Problem:
    where = source.choice(("pipeline.py:12 in parse", "pipeline.py:40 in load", "csv.py:9 in row"))
    kind = source.choice(("ValueError", "KeyError", "requests.exceptions.Timeout"))
    frame = '  File "/home/ada/pipeline.py", line 12, in parse\n    return int(text)\n'
    return Problem(kind=kind, message="it is not so", where=where, traceback=frame * 10)


def _run(number: int) -> str:
    return _id(number, "0")


def _task(number: int) -> str:
    return _id(number, "b")


def _id(number: int, kind: str) -> str:
    return f"{T0_US // 1_000 + number * 1_000:012x}{kind * 12}"


LARGE = f"{T0_US // 1_000 + 500:012x}{'1' * 12}", f"{T0_US // 1_000 + 500:012x}{'2' * 12}"
"""The large map's flow run, and itself."""
