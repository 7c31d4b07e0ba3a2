"""Decides what the history's writer does next; apart from threads, clocks, disks and databases.

The rules:

- Facts are kept in order: what comes after a batch in the local journal goes there too, until the
  history has all of it.
- One call to the history at a time. One that takes too long counts as failed: what became of it is
  not known, so its batch goes to the journal and is given again, by the same number.
- While neither the history nor the journal takes anything, all waits in memory; lines of logs
  beyond a bound are dropped there, and counted.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fanfold.values.facts import (
    ArtifactMade,
    Batch,
    ElementTold,
    Fact,
    FlowRunNamed,
    LinesDropped,
    LogLine,
    TaskRunEnded,
)

COMPANY_S = 0.05
"""How long a fact waits for others, so that they share a transaction."""
FACTS_PER_BATCH = 2_000
BYTES_PER_BATCH = 8_000_000
"""Of what may be long in facts."""
PATIENCE_S = 15.0
"""A call that takes longer counts as failed."""
LINES_IN_MEMORY = 10_000
"""More are dropped while they can't be kept anywhere else."""
DELIVERIES = 8
"""Batches that are taken from the journal before one may be added: so it ends some time."""
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Have the history record a batch."""

    batch: Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Write a batch to the journal."""

    batch: Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """Have the history record the first batch of the journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Do nothing of that kind."""

    until: float | None
    """When to ask again, if nothing happens before; None: not until something happens."""


Step = Record | Keep | Deliver | Rest


class Marker:
    """A place between facts; `passed` once all before it are recorded or in the journal."""

    __slots__ = ("passed",)

    def __init__(self, passed: Callable[[], None]) -> None:
        self.passed = passed


class Course:
    """What is to be written, how far it is, and what to do next. For one thread.

    Args:
        writer: Names the batches, see `Batch.writer`.
    """

    def __init__(self, writer: str) -> None:
        self.kept = 0
        """Batches in the journal."""
        self.epochs: dict[str, int] = {}
        """Under which epochs flow runs are written that others have had before."""
        self.calling = False
        """Whether a call to the history is under way."""
        self._writer = writer
        self._number = 0
        self._facts: deque[Fact | Marker] = deque()
        self._first_at: float | None = None
        self._lines = 0
        self._dropped: Counter[str] = Counter()
        self._markers = 0
        self._batch: Batch | None = None
        self._batch_markers: list[Marker] = []
        self._called: Batch | None = None
        self._patience_ends = 0.0
        self._deadline: float | None = None
        self.hangs = False
        """Whether that call takes too long."""
        self._retry_at: float | None = None
        self._retry_s = FIRST_RETRY_S
        self._keep_at: float | None = None
        self._delivered = 0

    @property
    def well(self) -> bool:
        """Whether the history took what it was given last."""
        return self._retry_at is None and not self.hangs

    @property
    def collecting(self) -> bool:
        """Whether `next` is due soon, whatever happens."""
        return self.calling or (self._batch is None and self._first_at is not None)

    def reachable(self, now: float) -> bool:
        """Return whether another call is worth a try."""
        return not self.calling and (self._retry_at is None or now >= self._retry_at)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not (self._facts or self._batch or self.kept or self.calling)

    @property
    def in_memory(self) -> int:
        """How many facts are neither recorded nor in the journal."""
        waiting = len(self._facts) - self._markers + sum(self._dropped.values())
        return waiting + (len(self._batch.facts) if self._batch else 0)

    def add(self, facts: Iterable[Fact], now: float) -> None:
        """Take facts in, in their order."""
        stuck = self._keep_at is not None and not self.well
        for fact in facts:
            if type(fact) is LogLine:
                if stuck and self._lines >= LINES_IN_MEMORY:
                    self._dropped[fact.flow_run_id] += 1
                    continue
                self._lines += 1
            self._facts.append(fact)
        if self._facts and self._first_at is None:
            self._first_at = now

    def mark(self, passed: Callable[[], None]) -> None:
        """Have a function called once all that was added before is safe; hurries that on."""
        if not self._facts:
            if self._batch is None:
                passed()
            else:  # by itself it would be the cause of no batch, and wait for the next fact
                self._batch_markers.append(Marker(passed))
            return
        self._facts.append(Marker(passed))
        self._markers += 1

    def next(self, now: float) -> Step:
        """Return what to do now; a call that it asks for counts as begun."""
        if self.calling and not self.hangs and now >= self._patience_ends:
            self.hangs = True
            self._wait(now)
        self._form(now)
        down = self.hangs or (self._retry_at is not None and now < self._retry_at)
        if self._batch is not None and self._is_to_be_kept(down, now):
            return Keep(batch=self._batch)
        if not down and not self.calling:
            if self.kept:
                self.begin(now)
                return Deliver()
            if self._batch is not None:
                self.begin(now, self._batch)
                return Record(batch=self._batch)
        return Rest(until=self._wake_at(now))

    def begin(self, now: float, batch: Batch | None = None, patience_s: float = PATIENCE_S) -> None:
        """Say that a call to the history begins."""
        self.calling = True
        self._called = batch
        self._patience_ends = now + patience_s
        if self._deadline is not None:
            self._patience_ends = min(self._patience_ends, self._deadline)

    def hurry(self, deadline: float) -> None:
        """Have what isn't recorded by then kept in the journal."""
        self._deadline = deadline
        self._patience_ends = min(self._patience_ends, deadline)

    def done(self, *, delivered: bool = False) -> None:
        """Say that the call that was under way succeeded.

        Args:
            delivered: It was the journal's first batch.
        """
        self._end_call()
        self._retry_at, self._retry_s = None, FIRST_RETRY_S
        if delivered:
            self.kept -= 1
            self._delivered += 1
        elif self._batch is not None and self._called is self._batch:
            self._settle()
        self._called = None

    def emptied(self) -> None:
        """Say that the journal holds nothing that could be delivered."""
        self._end_call()
        self.kept = 0

    def failed(self, now: float) -> None:
        """Say that the call that was under way failed."""
        self._end_call()
        self._called = None
        self._wait(now)

    def was_kept(self) -> None:
        """Say that the batch is in the journal."""
        self.kept += 1
        self._keep_at, self._delivered = None, 0
        self._settle()

    def not_kept(self, now: float) -> None:
        """Say that the journal can't be written."""
        self._keep_at = now + FIRST_RETRY_S

    def _is_to_be_kept(self, down: bool, now: float) -> bool:
        if self._keep_at is not None and now < self._keep_at:
            return False
        if down:
            return True
        return self.kept > 0 and (self._delivered >= DELIVERIES or self._markers_wait())

    def _markers_wait(self) -> bool:
        return bool(self._markers or self._batch_markers)

    def _end_call(self) -> None:
        self.calling = False
        self.hangs = False

    def _wait(self, now: float) -> None:
        self._retry_at = now + self._retry_s
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)

    def _settle(self) -> None:
        self._batch = None
        markers, self._batch_markers = self._batch_markers, []
        for marker in markers:
            marker.passed()

    def _form(self, now: float) -> None:
        """Make the next batch, if there is none and enough or old enough facts are there."""
        if self._batch is not None or self._first_at is None:
            return
        waited = now >= self._first_at + COMPANY_S
        if not (waited or self._markers or len(self._facts) >= FACTS_PER_BATCH):
            return
        facts: list[Fact] = []
        size = 0
        while self._facts:
            fact = self._facts[0]
            if isinstance(fact, Marker):
                self._batch_markers.append(fact)
                self._markers -= 1
            elif len(facts) >= FACTS_PER_BATCH or size >= BYTES_PER_BATCH:
                break
            else:
                facts.append(fact)
                size += _size(fact)
                self._lines -= type(fact) is LogLine
            self._facts.popleft()
        if not self._facts:
            self._first_at = None
            facts += [LinesDropped(flow_run_id=id, count=n) for id, n in self._dropped.items()]
            self._dropped.clear()
        self._number += 1
        self._batch = Batch(
            writer=self._writer,
            number=self._number,
            facts=tuple(facts),
            epochs=self._epochs_of(facts),
        )

    def _epochs_of(self, facts: list[Fact]) -> dict[str, int]:
        if not self.epochs:
            return {}
        named = {fact.flow_run_id for fact in facts}
        return {run: epoch for run, epoch in self.epochs.items() if run in named}

    def _wake_at(self, now: float) -> float | None:
        times: list[float] = []
        if self._batch is None and self._first_at is not None:
            times.append(self._first_at + COMPANY_S)
        if self._batch is not None and self._keep_at is not None:
            times.append(self._keep_at)
        if self.calling and not self.hangs:
            times.append(self._patience_ends)
        elif not self.calling and self._retry_at is not None:
            times.append(self._retry_at)
        later = [time for time in times if time > now]
        return min(later) if later else None


def _size(fact: Fact) -> int:
    """Return about how many bytes of a fact are of any length."""
    match fact:
        case ElementTold() | FlowRunNamed():
            return len(fact.arguments or b"")
        case TaskRunEnded():
            return len(fact.states)
        case LogLine():
            return len(fact.message)
        case ArtifactMade():
            return len(fact.data)
        case _:
            return 0


def facts_of(made: Any) -> tuple[Fact, ...]:
    """Return what a maker made as facts: one, several, or none."""
    if made is None:
        return ()
    return tuple(made) if isinstance(made, Iterable) else (made,)
