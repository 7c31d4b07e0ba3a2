"""What a writer dictates to a history, batch by batch, and what a history then has to hold.

All of it follows from the writer's name and the batch's number, so that a test can tell what a
writer who was killed had said. A flow run takes some batches. Each but the last leaves a map
half-way, whose other half comes with the next batch, so that there is always something open.
"""

import hashlib
from collections.abc import Iterator

from fanfold.ports.history import History, Journal
from fanfold.values.facts import (
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
    now_us,
)
from fanfold.values.records import Chunks, Elements, FlowRuns, Lines, States, TaskRuns
from fanfold.values.states import StateName

BATCHES_PER_RUN = 5
CHUNKS, CHUNK = 4, 250
"""Chunks of each map, and elements of each chunk."""
LINES = 20
"""Of each batch."""
_PROBLEM = Problem(kind="ValueError", message="no", where="chronicle.py:1 in dictated")


def batch(writer: str, number: int, owner: str) -> Batch:
    """Return one batch of a writer; numbers begin with 1."""
    return Batch(writer=writer, number=number, facts=tuple(_facts(writer, number, owner)))


def run_id(writer: str, number: int) -> str:
    """Return the id of the flow run that a batch is about."""
    return _id(writer, "run", (number - 1) // BATCHES_PER_RUN)


def recorded(history: Journal, writer: str, acknowledged: int) -> int:
    """Return the last batch of a writer that was recorded: what follows isn't there.

    Raises:
        AssertionError: An acknowledged batch is missing, or there is one that wasn't given yet.
    """
    there = [
        number
        for number in range(max(acknowledged, 1), acknowledged + 3)
        if history.read(TaskRuns(ids=(_task(writer, number),)))
    ]
    last = there[-1] if there else 0
    assert last - acknowledged in (0, 1), f"{writer}: {acknowledged} acknowledged, {last} there"
    return last


def differences(history: History, writer: str, last: int) -> list[str]:
    """Return what a history, whose dead runs were reaped, doesn't hold or holds too much.

    Args:
        history: Where the writer wrote to.
        writer: Its name.
        last: The number of its last batch.
    """
    found: list[str] = []
    for first in range(1, last + 1, BATCHES_PER_RUN):
        numbers = range(first, min(first + BATCHES_PER_RUN, last + 1))
        found += [
            f"{writer}, from batch {first}: {what}" for what in _odd(history, writer, numbers)
        ]
    if history.read(TaskRuns(ids=(_task(writer, last + 1),))):
        found.append(f"{writer}: batch {last + 1} is there")
    return found


def _facts(writer: str, number: int, owner: str) -> Iterator[Fact]:
    run, task, at_us = run_id(writer, number), _task(writer, number), now_us()
    place = (number - 1) % BATCHES_PER_RUN
    if place == 0:
        yield FlowRunMade(
            flow_run_id=run, flow="dictated", name=writer, owner=owner, host="here", at_us=at_us
        )
        yield FlowRunMoved(flow_run_id=run, state=StateName.RUNNING, tries=1, at_us=at_us)
    yield TaskRunMade(
        flow_run_id=run,
        task_run_id=task,
        task="parse",
        name=f"parse-{number}",
        count=CHUNKS * CHUNK,
        single=False,
        at_us=at_us,
    )
    yield from _chunks(run, task, range(CHUNKS // 2), at_us)
    yield ElementTold(
        flow_run_id=run,
        task_run_id=task,
        index=_failed(number),
        state=StateName.FAILED,
        problem=_PROBLEM,
        at_us=at_us,
    )
    for message in _messages(number):
        yield LogLine(
            flow_run_id=run,
            task_run_id=task,
            level=20,
            logger="fanfold",
            message=message,
            at_us=at_us,
        )
    if place > 0:
        yield from _rest(run, _task(writer, number - 1), at_us)
    if place == BATCHES_PER_RUN - 1:
        yield from _rest(run, task, at_us)
        yield FlowRunMoved(flow_run_id=run, state=StateName.COMPLETED, tries=1, at_us=at_us)


def _rest(run: str, task: str, at_us: int) -> Iterator[Fact]:
    yield from _chunks(run, task, range(CHUNKS // 2, CHUNKS), at_us)
    number = int(task[:12], 16)
    yield TaskRunEnded(flow_run_id=run, task_run_id=task, states=_states(number), at_us=at_us)


def _chunks(run: str, task: str, places: range, at_us: int) -> Iterator[Fact]:
    states = _states(int(task[:12], 16))
    for place in places:
        start, stop = place * CHUNK, (place + 1) * CHUNK
        codes = states[start:stop]
        at = codes.find(StateName.FAILED)
        told = ((StateName.COMPLETED, CHUNK),)
        if at >= 0:
            after = (StateName.COMPLETED, CHUNK - at - 1)
            told = ((StateName.COMPLETED, at), (StateName.FAILED, 1), after)
        yield ChunkDone(
            flow_run_id=run,
            task_run_id=task,
            chunk=f"{place}",
            worker="here",
            spans=((start, stop),),
            states=tuple((int(code), count) for code, count in told if count),
            seconds=0.5,
            at_us=at_us,
        )


def _odd(history: History, writer: str, numbers: range) -> Iterator[str]:
    run = run_id(writer, numbers[0])
    over = len(numbers) == BATCHES_PER_RUN
    states = [record.state for record in history.read(FlowRuns(ids=(run,)))]
    if states != [StateName.COMPLETED if over else StateName.CRASHED]:
        yield f"the flow run's states are {states}"
    tasks = [_task(writer, number) for number in numbers]
    records = history.read(TaskRuns(flow_run_ids=(run,)))
    if [record.id for record in records] != tasks:
        yield f"there are {len(records)} maps instead of {len(tasks)}"
    for number, task in zip(numbers, tasks, strict=True):
        ended = over or number != numbers[-1]
        told = CHUNKS if ended else CHUNKS // 2
        column = _states(number)[: told * CHUNK]
        column += bytes([StateName.CRASHED]) * ((CHUNKS - told) * CHUNK)
        if history.read(States(task_run_id=task)) != [column]:
            yield f"the states of {task} are others"
        chunks = [record.chunk for record in history.read(Chunks(task_run_id=task))]
        if chunks != [str(place) for place in range(told)]:
            yield f"the chunks of {task} are {chunks}"
        failed = Elements(task_run_ids=(task,), states=(StateName.FAILED,))
        indices = [record.index for record in history.read(failed)]
        if indices != [_failed(number)]:
            yield f"the failed elements of {task} are {indices}"
    lines = history.read(Lines(flow_run_ids=(run,)))
    if [line.message for line in lines] != [m for number in numbers for m in _messages(number)]:
        yield f"there are {len(lines)} lines, or others"


def _messages(number: int) -> list[str]:
    return [f"batch {number} says line {line} of {LINES}" for line in range(LINES)]


def _states(number: int) -> bytes:
    states = bytearray([StateName.COMPLETED]) * (CHUNKS * CHUNK)
    states[_failed(number)] = StateName.FAILED
    return bytes(states)


def _failed(number: int) -> int:
    """Return which element of a batch's map fails: one that its own batch tells of."""
    return number * 7 % (CHUNK * CHUNKS // 2)


def _task(writer: str, number: int) -> str:
    return _id(writer, "task", number)


def _id(writer: str, what: str, number: int) -> str:
    told = hashlib.blake2b(f"{writer}/{what}/{number}".encode(), digest_size=6)
    return f"{number:012x}{told.hexdigest()}"
