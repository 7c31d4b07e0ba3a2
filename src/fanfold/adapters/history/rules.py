"""What every history does alike: which facts it refuses (H3 to H6), and what questions mean.

Pure: an adapter looks up what it knows of what a batch mentions (`mentioned`), has the batch judged
by it (`judged`), and writes the facts that were taken, in their order. What else holds for each:

- A lease's epoch is the highest that was ever given for its name, also when it is free again. Only
  removing its flow run forgets it. A run that is made takes its lease in the batch's epoch.
- A move replaces the state, its label, message and problem. `started_us` is the time of the first
  move to a state of type RUNNING, `ended_us` that of the first to a final one; `tries` never fall.
- Resuming does so too, takes `ended_us` and a wish to cancel away, counts, and says who drives the
  run from now on, in the batch's epoch.
- An element that is told again is replaced as a whole, and so are a flow run's name, parameters and
  arguments.
- An artifact's version is one more than the highest of its key that is there.
- An owner that a history didn't make, or whose time has passed, is gone. What somebody abandons is
  held by `gone` of him from then on, and so can't be his again but in a higher epoch. `take` and
  `reap` show an owner to be alive as `renew` does. `reap` is about all names, and in their order.
- A flow run whose caller isn't recorded is an outermost one. It goes when its time to keep has
  passed since its end, the lowest ids first; artifacts of no run since their last change, all at
  once. The leases of what goes are forgotten.
- Ids and names are sorted by their code points. The latest artifacts are those made last, of equal
  times the highest ids. What has no key is its own latest version.
- The first failure of a group is the lowest task run id and index; groups of one size are sorted by
  it. Task totals of one `first_us` are sorted by the id of their first task run.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fanfold.values.facts import (
    ArtifactChanged,
    ArtifactMade,
    Batch,
    ChunkDone,
    ElementTold,
    Fact,
    FlowRunMade,
    FlowRunMoved,
    FlowRunResumed,
    Refusal,
    Span,
    TaskRunEnded,
    TaskRunMade,
)
from fanfold.values.states import FINAL, NEXT, RESUMABLE, StateName, StateType

RENEWALS = 4
"""A lease expires when its owner hasn't renewed it for so many times `renewal_s`."""
FAILURES = frozenset(s for s in FINAL if s.type in {StateType.FAILED, StateType.CRASHED})
"""States of elements that are counted in groups of failures."""


@dataclass(slots=True, kw_only=True)
class Known:
    """What a history knows of what a batch mentions; `judged` adds what it takes."""

    states: dict[str, StateName] = field(default_factory=dict[str, StateName])
    """Of the flow runs that are recorded."""
    epochs: dict[str, int] = field(default_factory=dict[str, int])
    """Of their leases."""
    task_runs: dict[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    """Those that are recorded, each with its elements' states if it has ended."""
    chunks: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Task run and id of those that are recorded."""
    artifacts: set[str] = field(default_factory=set[str])
    """Ids of those that are recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mentioned:
    """What a batch speaks of: what its judge must know."""

    flow_runs: frozenset[str]
    task_runs: frozenset[str]
    ended: frozenset[str]
    """The task runs of which it says that they ended: their states must be known."""
    chunks: frozenset[tuple[str, str]]
    artifacts: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is to be written of a batch, and what isn't."""

    taken: tuple[Fact, ...]
    refused: tuple[Refusal, ...]


def mentioned(batch: Batch) -> Mentioned:
    """Return what a batch speaks of."""
    kinds: dict[type[Any], list[Any]] = {}
    for fact in batch.facts:
        kinds.setdefault(type(fact), []).append(fact)
    of_task_runs = [
        fact
        for kind in (TaskRunMade, ChunkDone, ElementTold, TaskRunEnded)
        for fact in kinds.get(kind, ())
    ]
    of_artifacts = [f for kind in (ArtifactMade, ArtifactChanged) for f in kinds.get(kind, ())]
    return Mentioned(
        flow_runs=frozenset(fact.flow_run_id for fact in batch.facts if fact.flow_run_id),
        task_runs=frozenset(fact.task_run_id for fact in of_task_runs),
        ended=frozenset(fact.task_run_id for fact in kinds.get(TaskRunEnded, ())),
        chunks=frozenset((fact.task_run_id, fact.chunk) for fact in kinds.get(ChunkDone, ())),
        artifacts=frozenset(fact.artifact_id for fact in of_artifacts),
    )


def judged(batch: Batch, known: Known) -> Judgement:
    """Return which facts of a batch are written, and which are refused.

    One that tells a flow run the state that it is in is neither.

    Args:
        batch: One that wasn't recorded before (H2).
        known: At least of what it mentions. What is taken is added, for the facts that follow.
    """
    taken: list[Fact] = []
    refused: list[Refusal] = []
    for fact in batch.facts:
        epoch = batch.epochs.get(fact.flow_run_id, 1)
        highest = _superseded(fact, known, epoch)
        reason = _forbidden(fact, known) if not highest else _taken_over(fact, highest, epoch)
        if reason:
            refused.append(Refusal(fact=fact, reason=reason, epoch=highest))
        elif not (isinstance(fact, FlowRunMoved) and _stays(fact, known)):
            _learn(fact, known, epoch)
            taken.append(fact)
    return Judgement(taken=tuple(taken), refused=tuple(refused))


def started_us(fact: FlowRunMoved) -> int | None:
    """Return when a flow run started by this move, if it hadn't before; None if it doesn't."""
    return fact.at_us if fact.state.type is StateType.RUNNING else None


def ended_us(fact: FlowRunMoved) -> int | None:
    """Return when a flow run ended by this move, if it hadn't before; None if it doesn't."""
    return fact.at_us if fact.state.final else None


def column(
    count: int, chunks: Iterable[tuple[Sequence[Span], Sequence[tuple[int, int]]]]
) -> bytearray:
    """Return a byte for each element of a map that isn't over: its state's code.

    Args:
        count: How many elements it has; Pending ones where no chunk says otherwise.
        chunks: Spans and states of its chunks, in the order in which they came home.
    """
    codes = bytearray(count)
    for spans, states in chunks:
        told = b"".join(bytes((code,)) * times for code, times in states)
        at = 0
        for start, stop in spans:
            length = max(min(stop, count) - start, 0)
            codes[start : start + length] = told[at : at + length]
            at += stop - start
    return codes


def counted(codes: bytes | bytearray) -> dict[StateName, int]:
    """Return how often each state occurs in a column; those that don't are left out."""
    return {state: times for state in StateName if (times := codes.count(state))}


def gone(owner: str) -> str:
    """Return who holds what an owner has abandoned: nobody alive, whom nothing revives."""
    return f"{owner} (gone)"


def words(text: str) -> list[str]:
    """Return the words of a text: runs of letters and digits, whatever their case."""
    return _WORD.findall(text.casefold())


def says(text: str, wanted: Sequence[str]) -> bool:
    """Return whether words stand in a text next to each other, the last maybe only begun."""
    return " ".join(["", *wanted]) in " ".join(["", *words(text)])


def storable(text: str) -> str:
    """Return a text with U+FFFD for what databases don't take: NUL and halves of surrogates."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return _HALVES.sub("\ufffd", text)
    return text


_WORD = re.compile(r"[^\W_]+")
_HALVES = re.compile("[\ud800-\udfff]")


def _superseded(fact: Fact, known: Known, epoch: int) -> int:
    """Return the epoch of whoever has taken a fact's flow run over since, 0 if nobody has."""
    highest = known.epochs.get(fact.flow_run_id, 0) if fact.flow_run_id else 0
    return highest if highest > epoch else 0


def _taken_over(fact: Fact, highest: int, epoch: int) -> str:
    run = fact.flow_run_id
    return f"Flow run {run} was taken over in epoch {highest}; this is of epoch {epoch}."


def _forbidden(fact: Fact, known: Known) -> str:
    """Return why a fact is refused, "" if it isn't."""
    run = fact.flow_run_id
    belongs = run or not isinstance(fact, (ArtifactMade, ArtifactChanged))
    if belongs and run not in known.states and not isinstance(fact, FlowRunMade):
        return f"Flow run {run} isn't recorded."
    rule = _RULES.get(type(fact))
    return rule(fact, known) if rule else ""


def _made_again(fact: FlowRunMade, known: Known) -> str:
    known_already = fact.flow_run_id in known.states
    return f"Flow run {fact.flow_run_id} is recorded already." if known_already else ""


def _cannot_follow(fact: FlowRunMoved, known: Known) -> str:
    before = known.states[fact.flow_run_id]
    if _stays(fact, known) or fact.state in NEXT[before]:
        return ""
    return f"Flow run {fact.flow_run_id} is {before.label}, and can't become {fact.state.label}."


def _is_not_to_be_resumed(fact: FlowRunResumed, known: Known) -> str:
    before = known.states[fact.flow_run_id]
    if before in RESUMABLE:
        return ""
    return f"Flow run {fact.flow_run_id} is {before.label}, and can't be resumed."


def _stays(fact: FlowRunMoved, known: Known) -> bool:
    return known.states[fact.flow_run_id] is fact.state


def _handed_out_again(fact: TaskRunMade, known: Known) -> str:
    known_already = fact.task_run_id in known.task_runs
    return f"Task run {fact.task_run_id} is recorded already." if known_already else ""


def _of_unknown(fact: ElementTold, known: Known) -> str:
    return "" if fact.task_run_id in known.task_runs else _unknown(fact.task_run_id)


def _home_again(fact: ChunkDone, known: Known) -> str:
    if fact.task_run_id not in known.task_runs:
        return _unknown(fact.task_run_id)
    known_already = (fact.task_run_id, fact.chunk) in known.chunks
    return f"Chunk {fact.chunk} is recorded already." if known_already else ""


def _ended_again(fact: TaskRunEnded, known: Known) -> str:
    if fact.task_run_id not in known.task_runs:
        return _unknown(fact.task_run_id)
    same = known.task_runs[fact.task_run_id] == fact.states
    return f"Task run {fact.task_run_id} has ended already, in the same states." if same else ""


def _shown_again(fact: ArtifactMade, known: Known) -> str:
    known_already = fact.artifact_id in known.artifacts
    return f"Artifact {fact.artifact_id} is recorded already." if known_already else ""


def _not_shown(fact: ArtifactChanged, known: Known) -> str:
    known_already = fact.artifact_id in known.artifacts
    return "" if known_already else f"Artifact {fact.artifact_id} isn't recorded."


def _unknown(task_run_id: str) -> str:
    return f"Task run {task_run_id} isn't recorded."


_RULES: dict[type[Any], Callable[[Any, Known], str]] = {
    FlowRunMade: _made_again,
    FlowRunResumed: _is_not_to_be_resumed,
    FlowRunMoved: _cannot_follow,
    TaskRunMade: _handed_out_again,
    ChunkDone: _home_again,
    ElementTold: _of_unknown,
    TaskRunEnded: _ended_again,
    ArtifactMade: _shown_again,
    ArtifactChanged: _not_shown,
}
"""Of facts that have a rule of their own."""


def _learn(fact: Fact, known: Known, epoch: int) -> None:
    """Add what was taken, for the facts that follow it in the batch."""
    match fact:
        case FlowRunMade():
            known.states[fact.flow_run_id] = fact.state
            known.epochs[fact.flow_run_id] = epoch
        case FlowRunResumed():
            known.states[fact.flow_run_id] = StateName.PENDING
        case FlowRunMoved():
            known.states[fact.flow_run_id] = fact.state
        case TaskRunMade():
            known.task_runs[fact.task_run_id] = None
        case TaskRunEnded():
            known.task_runs[fact.task_run_id] = fact.states
        case ChunkDone():
            known.chunks.add((fact.task_run_id, fact.chunk))
        case ArtifactMade():
            known.artifacts.add(fact.artifact_id)
        case _:
            pass
