"""How far runs are: how many elements are in which state, and what failed.

Read from the columns of runs while they change, by searches in C: nothing here takes a step per
element but for those that failed, once at the end, and no lock is held for long. So the numbers of
a run that goes on may be a chunk apart from one another.
"""

import threading
from dataclasses import dataclass, replace
from heapq import nsmallest

from fanfold.engine.run import Run
from fanfold.engine.wording import said
from fanfold.engine.wording import share as share
from fanfold.engine.wording import shortened as shortened
from fanfold.engine.wording import span as span
from fanfold.values.messages import Detail, Failure
from fanfold.values.states import FINAL, StateName

MOST_DETAILS = 10_000
"""Retries are counted while no more elements than these have something to say: 0.5 ms."""
MOST_GROUPS = 3
"""Of failures that the end of a flow tells of."""
MOST_ELEMENTS = 3
"""Of a group that are named."""
ID_DIGITS = 12
"""Of a run's id that stand for it on the command line: its time of birth in milliseconds."""

_BAD = (
    StateName.FAILED,
    StateName.TIMED_OUT,
    StateName.CRASHED,
    StateName.UPSTREAM_FAILED,
)
"""In the order in which a failure says more about its cause."""
_WAITING = (StateName.AWAITING_RETRY, StateName.AWAITING_CONCURRENCY_SLOT)


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
    """Not final: they wait to be tried again, or for the lease of their key."""
    out: int = 0
    """Not final: they are in chunks that were handed to workers."""
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
            out=self.out + other.out,
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
        waiting=(waiting := sum(map(states.count, _WAITING))),
        out=max(0, min(_out(run), run.left - waiting)),
        retries=_retries(run),
        first=first,
    )


def told(failure: Failure) -> str:
    """Return a failure in one line: the type's own name, and its message."""
    kind = failure.kind.rpartition(".")[2]
    line = shortened(f"{kind}: {failure.message}" if failure.message.strip() else kind)
    return line.rstrip(":")  # of a message that goes on below


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Failures of one task's runs that look the same: of one type, at one place."""

    task: str
    state: StateName
    count: int
    failure: str
    """The first of them, in one line."""
    where: str = ""
    """The first frame of user code, such as "pipeline.py:12 in parse"; empty if there is none."""
    elements: tuple[int, ...] = ()
    """The first few, as places in their map; none where it was a single call."""

    def __str__(self) -> str:
        said = f"{self.count:,} x {self.task}: {self.failure}"
        more = ", ..." if self.count > len(self.elements) else ""
        named = f"element{'s' if self.count > 1 else ''} {_listed(self.elements)}{more}"
        notes = [note for note in (named if self.elements else "", self.where) if note]
        return f"{said} ({'; '.join(notes)})" if notes else said


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFacts:
    """What the last lines of a flow's log are made of."""

    state: str
    """Its final state's name."""
    seconds: float
    error: str = ""
    """What the flow raised, in one line; empty if it didn't."""
    runs: int = 0
    """Task runs: calls, submits and elements of maps."""
    cached: int = 0
    retries: int = 0
    failed: int = 0
    """Their function raised or overran its time."""
    crashed: int = 0
    upstream_failed: int = 0
    cancelled: int = 0
    failures: tuple[Alike, ...] = ()
    """Causes before what they caused, the most frequent first."""
    show: str = ""
    """The command that shows more; empty where there is none."""


def summary(facts: FlowFacts) -> str:
    """Return how a flow run went: in one line, or in a few where something failed.

    Such as "Completed in 4.2 s: 1,003 task runs, 350 cached (34 %), 2 retries", or

        Failed in 4.2 s with KeyError: 'x'
          1,003 task runs, 7 failed, 2 cancelled
          7 x embed: ValueError: bad date (elements 3, 17, 20, ...; embed.py:12 in embed)
          fanfold runs show 0192f0c1d2e3a1b2
    """
    head = f"{facts.state} in {span(facts.seconds)}"
    counted = ", ".join(_counted(facts))
    if facts.error:
        lines = [f"{head} with {facts.error}", *([counted] if counted else [])]
    else:
        lines = [f"{head}: {counted}" if counted else head]
    lines += [str(alike) for alike in facts.failures[:MOST_GROUPS]]
    hidden = facts.failures[MOST_GROUPS:]
    if hidden:
        lines.append(f"{sum(alike.count for alike in hidden):,} in {len(hidden):,} more ways")
    if facts.show and len(lines) == 1:
        return f"{lines[0]} ({facts.show})"
    return "\n  ".join([*lines, facts.show] if facts.show else lines)


def showing(flow_run_id: str) -> str:
    """Return the command that shows more of a run."""
    return f"fanfold runs show {flow_run_id[:ID_DIGITS]}"


def alike(run: Run, indices: range) -> list[Alike]:
    """Return the most frequent failures of some elements of a run; for any thread.

    None where so much is to be said of them that sorting it would take long.
    """
    with run.changed:
        few = len(run.details) <= MOST_DETAILS
        details = list(run.details.items()) if few else []
    groups = _grouped(run, [(index, detail) for index, detail in details if index in indices])
    return sorted(groups.values(), key=_importance)[:MOST_GROUPS]


class Tally:
    """What became of all task runs of a flow run. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._codes = [0] * (max(StateName) + 1)
        self._retries = 0
        self._failures: dict[_Likeness, Alike] = {}

    def add(self, run: Run) -> None:
        """Count a run that is over; some 0.5 µs for a single call, 3 ms for a million elements.

        Elements that failed or were tried again take 0.3 µs more each.
        """
        if run.count == 1 and not run.details:
            with self._lock:
                self._codes[run.states[0]] += 1
        else:
            self._count(run, 1)

    def take_back(self, run: Run) -> None:
        """Forget what `add` counted: the run goes on, since values of it were lost."""
        self._count(run, -1)

    def facts(
        self, state: str, seconds: float, error: BaseException | None = None, show: str = ""
    ) -> FlowFacts:
        """Return what the flow run's last lines are made of.

        Args:
            state: Its final state's name.
            seconds: That it took.
            error: What it raised.
            show: The command that shows more.
        """
        failure = ""
        if error is not None:
            failure = told(Failure(kind=type(error).__name__, message=said(error), traceback=""))
        with self._lock:
            codes, retries = list(self._codes), self._retries
            failures = list(self._failures.values())
        return FlowFacts(
            state=state,
            seconds=seconds,
            error=failure,
            runs=sum(codes),
            cached=codes[StateName.CACHED],
            retries=retries,
            failed=codes[StateName.FAILED] + codes[StateName.TIMED_OUT],
            crashed=codes[StateName.CRASHED],
            upstream_failed=codes[StateName.UPSTREAM_FAILED],
            cancelled=codes[StateName.CANCELLED],
            failures=tuple(sorted(failures, key=_importance)),
            show=show,
        )

    def _count(self, run: Run, sign: int) -> None:
        codes = [run.states[0]] if run.count == 1 else FINAL
        amounts = [(code, run.states.count(code)) for code in codes]
        with run.changed:
            details = list(run.details.items())
        retries = sum([detail.attempts - 1 for _, detail in details if detail.attempts > 1])
        failures = _grouped(run, details)
        with self._lock:
            self._retries += sign * retries
            for code, amount in amounts:
                self._codes[code] += sign * amount
            for likeness, alike in failures.items():
                self._merge(likeness, alike, sign)

    def _merge(self, likeness: "_Likeness", alike: Alike, sign: int) -> None:
        known = self._failures.get(likeness)
        if known is None:
            self._failures[likeness] = alike
        elif known.count + sign * alike.count > 0:
            self._failures[likeness] = replace(known, count=known.count + sign * alike.count)
        else:
            del self._failures[likeness]


_Likeness = tuple[str, int, str, str]
"""Task, state code, type and first frame."""
_BAD_CODES = frozenset(map(int, _BAD))


def _grouped(run: Run, details: list[tuple[int, Detail]]) -> dict[_Likeness, Alike]:
    """Return the failures of a run that is over, each kind of them once."""
    indices: dict[_Likeness, list[int]] = {}
    info, states = run.call.spec.info, run.states
    task = info.of or run.name
    for index, detail in details:
        code = states[index]
        if code in _BAD_CODES:
            failure = detail.failure
            kind, where = (failure.kind, failure.where) if failure is not None else ("", "")
            indices.setdefault((task, code, kind, where), []).append(index)
    groups: dict[_Likeness, Alike] = {}
    for likeness, alike in indices.items():
        state = StateName(likeness[1])
        places = tuple(info.first + index for index in nsmallest(MOST_ELEMENTS, alike))
        groups[likeness] = Alike(
            task=task,
            state=state,
            count=len(alike),
            failure=_said(run.details[min(alike)], state),
            where=likeness[3],
            elements=() if info.single else places,
        )
    return groups


def _said(detail: Detail, state: StateName) -> str:
    """Return why an element failed; of a state that its function made itself, the message."""
    if detail.failure is not None:
        return told(detail.failure)
    return shortened(detail.message) or detail.label or state.label


def _importance(alike: Alike) -> tuple[bool, int]:
    return alike.state is StateName.UPSTREAM_FAILED, -alike.count


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


def _out(run: Run) -> int:
    """Return how many elements are out, those twice that were sent a second time."""
    with run.changed:
        return run.flights.elements()


def _retries(run: Run) -> int | None:
    if not run.details:
        return 0
    if len(run.details) > MOST_DETAILS:
        return None
    with run.changed:
        details = list(run.details.values())
    return sum(detail.attempts - 1 for detail in details if detail.attempts > 1)


def _counted(facts: FlowFacts) -> list[str]:
    runs = f"{facts.runs:,} task run{'s' if facts.runs != 1 else ''}"
    cached = f"{facts.cached:,} cached ({share(facts.cached, facts.runs)})"
    retries = f"{facts.retries:,} {'retry' if facts.retries == 1 else 'retries'}"
    told = (
        (facts.runs, runs),
        (facts.cached, cached),
        (facts.retries, retries),
        (facts.failed, f"{facts.failed:,} failed"),
        (facts.crashed, f"{facts.crashed:,} crashed"),
        (facts.upstream_failed, f"{facts.upstream_failed:,} upstream-failed"),
        (facts.cancelled, f"{facts.cancelled:,} cancelled"),
    )
    return [said for number, said in told if number]


def _listed(elements: tuple[int, ...]) -> str:
    return ", ".join(map(str, elements))
