"""How far runs are: how many elements are in which state, and the first failure.

Read from the columns of runs while they change, by searches in C: nothing here takes a step per
element, and no lock is held for long. So the numbers may be a chunk apart from one another.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fanfold.engine.run import Run
from fanfold.values.messages import Failure
from fanfold.values.states import FINAL, StateName

MOST_DETAILS = 10_000
"""Retries are counted while no more elements than these have something to say: 0.5 ms."""
FAILURE_CHARS = 100
"""Of a failure's message; lines of a log are to stay lines."""
MOST_TASKS = 3
"""Whose failures a flow's last line names."""

_BAD = (
    StateName.FAILED,
    StateName.TIMED_OUT,
    StateName.CRASHED,
    StateName.UPSTREAM_FAILED,
)
"""In the order in which a failure says more about its cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The failure that is shown for all of a map."""

    text: str
    """Type and message, in one line."""
    index: int | None = None
    """Of the element; None where there is only one."""

    def __str__(self) -> str:
        return self.text if self.index is None else f"{self.text}, element {self.index:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many elements of some runs are where."""

    total: int | None = None
    """None while nobody knows: a stream that goes on."""
    done: int = 0
    """Final, in whatever way but cancelled."""
    cached: int = 0
    failed: int = 0
    """Their function raised or overran its time; part of `done`, as the next two are."""
    crashed: int = 0
    upstream_failed: int = 0
    cancelled: int = 0
    waiting: int = 0
    """Not final: they wait to be tried again."""
    retries: int | None = 0
    """Tries after the first of each; None where counting them would take too long."""
    first: First | None = None

    def __add__(self, other: "Counts") -> "Counts":
        """Return the counts of both together; the left failure is the first."""
        known = self.total is not None and other.total is not None
        counted = self.retries is not None and other.retries is not None
        return Counts(
            total=(self.total or 0) + (other.total or 0) if known else None,
            done=self.done + other.done,
            cached=self.cached + other.cached,
            failed=self.failed + other.failed,
            crashed=self.crashed + other.crashed,
            upstream_failed=self.upstream_failed + other.upstream_failed,
            cancelled=self.cancelled + other.cancelled,
            waiting=self.waiting + other.waiting,
            retries=(self.retries or 0) + (other.retries or 0) if counted else None,
            first=self.first or other.first,
        )


NOTHING = Counts(total=0)


def count(run: Run, first: First | None = None) -> Counts:
    """Return how far a run is. For any thread; some 2 ms for a million elements.

    Args:
        run: Running, or over.
        first: The failure that was shown before; it stays the first.
    """
    states = run.states
    cancelled = states.count(StateName.CANCELLED)
    upstream_failed = states.count(StateName.UPSTREAM_FAILED)
    crashed = states.count(StateName.CRASHED)
    failed = states.count(StateName.FAILED) + states.count(StateName.TIMED_OUT)
    if first is None and failed + crashed + upstream_failed:
        first = _first(run)
    return Counts(
        total=run.count,
        done=max(0, run.count - run.left - cancelled),
        cached=states.count(StateName.CACHED),
        failed=failed,
        crashed=crashed,
        upstream_failed=upstream_failed,
        cancelled=cancelled,
        waiting=states.count(StateName.AWAITING_RETRY),
        retries=_retries(run),
        first=first,
    )


def shortened(text: str, chars: int = FAILURE_CHARS) -> str:
    """Return the first line of a text, without what moves a terminal's cursor."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    line = "".join(char if char.isprintable() else " " for char in line[: chars + 1]).strip()
    return line if len(line) <= chars else line[: chars - 1].rstrip() + "…"


def told(failure: Failure) -> str:
    """Return a failure in one line: the type's own name, and its message."""
    kind = failure.kind.rpartition(".")[2]
    line = shortened(f"{kind}: {failure.message}" if failure.message.strip() else kind)
    return line.rstrip(":")  # of a message that goes on below


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailures:
    """What went wrong in the runs of one task."""

    task: str
    count: int
    first: str
    """The first failure, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFacts:
    """What a flow's last log line is made of."""

    state: str
    """Its final state's name."""
    seconds: float
    error: str = ""
    """What the flow raised, in one line; empty if it didn't."""
    runs: int = 0
    """Task runs: calls, submits and elements of maps."""
    cached: int = 0
    cancelled: int = 0
    failures: tuple[TaskFailures, ...] = ()
    """In the order in which tasks failed first."""


def summary_line(facts: FlowFacts) -> str:
    """Return how a flow run went, as one line: state, duration, task runs, cached share, failures.

    Such as "Completed in 4.2 s: 1,003 task runs, 350 cached (35 %), 3 failed (embed: ValueError:
    bad date)".
    """
    line = f"{facts.state} in {span(facts.seconds)}"
    if facts.error:
        line += f" with {facts.error}"
    parts: list[str] = []
    if facts.runs:
        parts.append(f"{facts.runs:,} task run{'s' if facts.runs != 1 else ''}")
    if facts.cached:
        parts.append(f"{facts.cached:,} cached ({share(facts.cached, facts.runs)})")
    if facts.cancelled:
        parts.append(f"{facts.cancelled:,} cancelled")
    if facts.failures:
        parts.append(_grouped(facts.failures))
    return f"{line}: {', '.join(parts)}" if parts else line


def span(seconds: float) -> str:
    """Return a duration for people: "12 ms", "4.2 s", "1 min 05 s", "2 h 03 min"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def share(part: int, whole: int) -> str:
    """Return a part as per cent; never 0 % or 100 % where that isn't so."""
    per_cent = 100 * part // whole if whole else 0
    if part and not per_cent:
        return "<1 %"
    return f"{per_cent} %"


class Tally:
    """What became of all task runs of a flow run. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._codes = [0] * (max(StateName) + 1)
        self._failures: dict[str, TaskFailures] = {}

    def add(self, run: Run) -> None:
        """Count a run that is over; some 0.5 µs for a single call, 3 ms for a million elements."""
        self._count(run, 1)

    def take_back(self, run: Run) -> None:
        """Forget what `add` counted: the run goes on, since values of it were lost."""
        self._count(run, -1)

    def facts(self, state: str, seconds: float, error: BaseException | None = None) -> FlowFacts:
        """Return what the flow run's last line is made of."""
        failure = ""
        if error is not None:
            failure = told(Failure(kind=type(error).__name__, message=str(error), traceback=""))
        with self._lock:
            return FlowFacts(
                state=state,
                seconds=seconds,
                error=failure,
                runs=sum(self._codes),
                cached=self._codes[StateName.CACHED],
                cancelled=self._codes[StateName.CANCELLED],
                failures=tuple(group for group in self._failures.values() if group.count),
            )

    def _count(self, run: Run, sign: int) -> None:
        if run.count == 1:
            amounts = [(run.states[0], 1)]
        else:
            amounts = [(code, run.states.count(code)) for code in FINAL]
        with self._lock:
            for code, amount in amounts:
                self._codes[code] += sign * amount
        bad = sum(amount for code, amount in amounts if code in _BAD)
        if bad:
            self._blame(run, sign * bad)

    def _blame(self, run: Run, amount: int) -> None:
        task = run.call.spec.info.of or run.name
        first = _first(run)
        with self._lock:
            group = self._failures.get(task)
            if group is None:
                group = TaskFailures(task=task, count=0, first=first.text if first else "")
            self._failures[task] = replace(group, count=group.count + amount)


def _first(run: Run) -> First | None:
    for code in _BAD:
        index = run.states.find(code)
        failure = run.error(index) if index >= 0 else None
        if failure is not None:
            single = run.count == 1
            return First(
                text=told(failure), index=None if single else run.call.spec.info.first + index
            )
    return None


def _retries(run: Run) -> int | None:
    if not run.details:
        return 0
    if len(run.details) > MOST_DETAILS:
        return None
    with run.changed:
        details = list(run.details.values())
    return sum(detail.attempts - 1 for detail in details if detail.attempts > 1)


def _grouped(failures: Sequence[TaskFailures]) -> str:
    failed = f"{sum(group.count for group in failures):,} failed"
    causes = [
        f"{group.task}: {group.first}"
        if len(failures) == 1
        else f"{group.count:,} {group.task}: {group.first}"
        for group in failures[:MOST_TASKS]
    ]
    if len(failures) > MOST_TASKS:
        causes.append(f"and {len(failures) - MOST_TASKS:,} more tasks")
    return f"{failed} ({'; '.join(causes)})"
