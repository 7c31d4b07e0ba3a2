"""A check that lets a history and one in memory live the same random life, and compares them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from fanfold.adapters.history.memory import MemoryHistory
from fanfold.adapters.history.rules import RENEWALS, gone
from fanfold.ports.history import History
from fanfold.testing import scribes
from fanfold.testing.places import OnPlaces, Place, Places
from fanfold.testing.scribes import T0_US, key
from fanfold.values.facts import (
    ArtifactChanged,
    Batch,
    Fact,
    FlowRunMade,
    FlowRunNamed,
    LinesDropped,
    Problem,
    Receipt,
)
from fanfold.values.ids import new_id
from fanfold.values.records import (
    Arguments,
    Artifacts,
    Chunks,
    Document,
    Elements,
    FailureGroups,
    FlowArguments,
    FlowRunRecord,
    FlowRuns,
    Keys,
    Lease,
    LineRecord,
    Lines,
    Query,
    Retention,
    States,
    TaskRuns,
    TaskTotals,
)
from fanfold.values.states import StateName

RUNS = tuple(key(number) for number in range(1, 5))
TASKS = {key(10 + number): RUNS[number % len(RUNS)] for number in range(6)}
"""Each with its flow run."""
COUNT = 4
"""Elements of each of them."""
ARTIFACTS = {key(30 + number): (*RUNS, "")[number % 5] for number in range(5)}
OWNERS = 3
STEP_US = 1_000
EXAMPLES = 20
STEPS = 50
PHASES = (hypothesis.Phase.generate, hypothesis.Phase.shrink)
"""Without the one that explains failures, which takes as long as all the others."""

_runs = st.sampled_from(RUNS)
_some_runs = st.lists(_runs, max_size=2, unique=True).map(tuple)
_tasks = st.sampled_from([*TASKS])
_states = st.sampled_from(StateName)
_codes = st.sampled_from([StateName.COMPLETED, StateName.FAILED, StateName.CRASHED]).map(int)
_few = st.integers(min_value=0, max_value=COUNT - 1)
_problems = st.sampled_from([None, scribes.PROBLEM, Problem(kind="KeyError", message="'x'")])
_texts = st.sampled_from(["disk full", "Disk: FULLY used", "idle", "full disk", ""])
_bytes = st.none() | st.binary(max_size=3)
_tags = st.sampled_from([(), ("a",), ("a", "b")])


def _chunk(task: str, name: int, start: int, length: int, code: int) -> Fact:
    stop = min(start + length + 1, COUNT)
    told = {"spans": ((start, stop),), "states": ((code, stop - start),), "seconds": 0.25}
    needed = {"cpu_s": 0.125 * length, "before_bytes": 100, "peak_bytes": 100 + length}
    return scribes.chunk(TASKS[task], task, f"c{name}", **told, **needed)


_facts: st.SearchStrategy[Fact] = st.one_of(
    st.builds(
        lambda run, parent, owner, tags: scribes.flow_run(
            run, parent_id=parent if parent < run else "", owner=owner, tags=tags
        ),
        _runs, st.just("") | _runs, st.sampled_from(["0", "1", "2", "nobody", ""]), _tags,
    ),
    st.builds(scribes.moved, _runs, _states, message=_texts, tries=_few, problem=_problems),
    st.builds(scribes.moved, _runs, st.sampled_from([StateName.RUNNING, StateName.COMPLETED])),
    st.builds(
        scribes.resumed, _runs, version=st.sampled_from([None, "v2"]), process=_few,
        host=st.sampled_from(["", "box"]),
    ),
    st.builds(FlowRunNamed, flow_run_id=_runs, name=_texts, arguments=_bytes),
    st.builds(LinesDropped, flow_run_id=_runs, count=_few),
    st.builds(
        lambda task, of: scribes.mapped(TASKS[task], task, COUNT, task=of),
        _tasks, st.sampled_from(["parse", "load"]),
    ),
    st.builds(_chunk, _tasks, _few, _few, _few, _codes),
    st.builds(
        lambda task, index, **said: scribes.element(TASKS[task], task, index, **said),
        _tasks, _few, state=_states, problem=_problems, arguments=_bytes, attempts=_few,
        message=_texts,
    ),
    st.builds(
        lambda task, codes: scribes.ended(
            TASKS[task], task, bytes(codes), seconds=0.5, cpu_s=0.25, peak_bytes=codes[0],
            rise_bytes=codes[1],
        ),
        _tasks, st.lists(_codes, min_size=COUNT, max_size=COUNT),
    ),
    st.builds(
        lambda task, index, name, text: scribes.key_parts(TASKS[task], task, index, **{name: text}),
        _tasks, st.none() | _few, st.sampled_from(["code", "argument day"]), _texts,
    ),
    st.builds(
        scribes.line, _runs, _texts, level=st.sampled_from([20, 40]), task_run_id=_tasks,
        index=st.none() | _few, attempt=_few, logger=st.sampled_from(["app", "app.db", "apple"]),
    ),
    st.builds(
        lambda name, of: scribes.artifact(ARTIFACTS[name], name, key=of),
        st.sampled_from([*ARTIFACTS]), st.sampled_from(["", "sums", "rows"]),
    ),
    st.builds(
        lambda name, text: ArtifactChanged(
            flow_run_id=ARTIFACTS[name], artifact_id=name, data=text, at_us=0
        ),
        st.sampled_from([*ARTIFACTS]), _texts,
    ),
)  # fmt: skip

_limits = st.integers(min_value=1, max_value=5) | st.just(100)
_queries: st.SearchStrategy[Query[Any]] = st.one_of(
    st.builds(
        FlowRuns, ids=_some_runs, states=st.lists(_states, max_size=3).map(tuple), tags=_tags,
        parent_id=st.none() | st.just("") | _runs, before_id=st.just("") | _runs, limit=_limits,
    ),
    st.builds(
        TaskRuns, flow_run_ids=_some_runs, task=st.sampled_from(["", "parse"]),
        open_only=st.booleans(), after_id=st.just("") | _tasks, limit=_limits,
    ),
    st.builds(
        Elements, task_run_ids=st.lists(_tasks, max_size=3).map(tuple),
        states=st.lists(_states, max_size=3).map(tuple),
        indices=st.lists(_few, max_size=2).map(tuple),
        after=st.none() | st.tuples(_tasks, _few), limit=_limits,
    ),
    st.builds(
        Lines, flow_run_ids=_some_runs, task_run_ids=st.lists(_tasks, max_size=2).map(tuple),
        index=st.none() | _few, level=st.sampled_from([0, 30]), last=st.booleans(), limit=_limits,
        logger=st.sampled_from(["", "app"]), words=st.sampled_from(["", "disk ful", "full", "id"]),
    ),
    st.builds(
        Artifacts, key=st.sampled_from(["", "sums"]), flow_run_id=st.just("") | _runs,
        latest_only=st.booleans(), limit=_limits,
    ),
)  # fmt: skip

EVERYTHING: tuple[Query[Any], ...] = (
    FlowRuns(),
    *(FlowArguments(flow_run_id=run) for run in RUNS),
    TaskRuns(),
    TaskTotals(flow_run_ids=RUNS),
    FailureGroups(flow_run_ids=RUNS),
    Elements(task_run_ids=tuple(TASKS)),
    *(States(task_run_id=task) for task in TASKS),
    *(Chunks(task_run_id=task) for task in TASKS),
    *(Arguments(task_run_id=task, index=index) for task in TASKS for index in (0, 1)),
    *(Keys(flow_run_id=run, of=task) for task, run in TASKS.items()),
    Lines(),
    Lines(words="disk full"),
    Artifacts(),
    Artifacts(latest_only=True),
)
"""What is asked at the end of each life."""


@dataclass(slots=True)
class Clock:
    """The time of the reference, which the machine sets."""

    at_us: int = T0_US

    def __call__(self) -> int:
        """Return it, in microseconds since 1970."""
        return self.at_us


class Side:
    """One of the two histories, with its own names of the owners that both have."""

    def __init__(self, *histories: History) -> None:
        self.histories = histories
        made = {str(number): histories[0].owner() for number in range(OWNERS)}
        self.owner_of = made | {"nobody": "nobody", "": ""}
        self._number_of = {owner: number for number, owner in self.owner_of.items()}
        self._number_of |= {gone(owner): "nobody" for owner in made.values()}

    def batch(self, batch: Batch) -> Batch:
        """Return a batch as it is told here."""
        facts = [
            replace(fact, owner=self.owner_of[fact.owner])
            if isinstance(fact, FlowRunMade)
            else fact
            for fact in batch.facts
        ]
        return replace(batch, facts=tuple(facts))

    def common(self, answer: Any) -> Any:
        """Return an answer with what each history names by itself replaced."""
        match answer:
            case list():
                return [self._common_in_list(at, each) for at, each in enumerate(answer)]
            case FlowRunRecord() | Lease():
                return replace(answer, owner=self._number_of[answer.owner])
            case Document():
                return replace(answer, changed_us=0)
            case Receipt():
                kinds = [(type(told.fact), told.reason, told.epoch) for told in answer.refused]
                return answer.again, kinds
            case _:
                return answer

    def _common_in_list(self, at: int, each: Any) -> Any:
        # Their ids are ascending, and that is all that was promised of them.
        return replace(each, id=at) if isinstance(each, LineRecord) else self.common(each)


class Lives(RuleBasedStateMachine):
    """The life of a history, and of a reference in memory.

    Args:
        places: Where the history comes from.
    """

    def __init__(self, places: Places) -> None:
        super().__init__()
        self.place = Place(places)
        self.clock = Clock()
        subject = [self.place.open(), self.place.open()]
        reference = MemoryHistory(
            f"memory://{new_id()}", clock=self.clock, renewal_s=subject[0].renewal_s
        )
        self.sides = (Side(*subject), Side(reference, reference))
        self.batches: list[Batch] = []
        self.at_us = T0_US

    def teardown(self) -> None:
        """Compare all that is there at the end."""
        try:
            for query in EVERYTHING:
                self.same(lambda side, query=query: side.histories[1].read(query))
            for owner in range(OWNERS):
                self.same(
                    lambda side, of=str(owner): side.histories[0].cancelled(side.owner_of[of])
                )
            self.same(lambda side: side.histories[0].list("pool"))
        finally:
            self.place.close()

    def same(self, act: Callable[[Side], Any]) -> None:
        """Do the same on both sides, and compare what comes of it."""
        found, expected = (side.common(act(side)) for side in self.sides)
        assert found == expected

    @initialize(runs=st.permutations(RUNS), some=st.integers(min_value=1, max_value=len(RUNS)))
    def begin(self, runs: list[str], some: int) -> None:
        """Make some of the flow runs, with all that belongs to them: few facts are refused then."""
        made = {run: str(number % OWNERS) for number, run in enumerate(runs[:some])}
        facts: list[Fact] = [scribes.flow_run(run, owner=owner) for run, owner in made.items()]
        facts += [scribes.moved(run, StateName.RUNNING) for run in runs[1:some]]
        facts += [scribes.mapped(run, task, COUNT) for task, run in TASKS.items() if run in made]
        self.tell(facts, {}, by=0, step=1)

    @rule(
        facts=st.lists(_facts, min_size=1, max_size=8),
        epochs=st.dictionaries(_runs, st.integers(min_value=1, max_value=3), max_size=2),
        by=st.integers(min_value=0, max_value=1),
        step=st.sampled_from([1, 1, 1, 2]),
    )
    def tell(self, facts: list[Fact], epochs: dict[str, int], by: int, step: int) -> None:
        """Record a batch, through one of two objects, as one of two writers."""
        dated = [self.dated(fact) for fact in facts]
        numbers = [batch.number for batch in self.batches if batch.writer == str(by)]
        number = max(numbers, default=0) + step
        batch = Batch(writer=str(by), number=number, facts=tuple(dated), epochs=epochs)
        self.batches.append(batch)
        self.same(lambda side: side.histories[by].record(side.batch(batch)))

    @rule(run=_runs, state=st.sampled_from([StateName.COMPLETED, StateName.FAILED]))
    def finish(self, run: str, state: StateName) -> None:
        """Bring a run to its end, if it can come there."""
        self.tell(list(scribes.finished(run, state)), {}, by=1, step=1)

    @rule(facts=st.lists(_facts, min_size=4, max_size=12))
    def tell_much(self, facts: list[Fact]) -> None:
        """Record a batch as the owners of runs do."""
        self.tell(facts, {}, by=0, step=1)

    def dated(self, fact: Any) -> Any:
        """Return a fact with a time of its own, where it has one."""
        self.at_us += STEP_US
        return replace(fact, at_us=self.at_us) if hasattr(fact, "at_us") else fact

    @rule(which=st.integers(min_value=0, max_value=100))
    def tell_again(self, which: int) -> None:
        """Record a batch that was told before."""
        if self.batches:
            batch = self.batches[which % len(self.batches)]
            self.same(lambda side: side.histories[0].record(side.batch(batch)))

    @rule(query=_queries)
    def ask(self, query: Query[Any]) -> None:
        """Read something."""
        self.same(lambda side: side.histories[0].read(query))

    @rule(
        name=_runs | st.sampled_from(["x", "y"]),
        owner=st.sampled_from("012"),
        by=st.integers(min_value=0, max_value=1),
    )
    def take(self, name: str, owner: str, by: int) -> None:
        """Lease something."""
        self.same(lambda side: side.histories[by].take(name, side.owner_of[owner]))

    @rule(names=st.none() | _some_runs, owner=st.sampled_from("012"))
    def release(self, names: tuple[str, ...] | None, owner: str) -> None:
        """Give leases back."""
        self.same(lambda side: side.histories[0].release(side.owner_of[owner], names))

    @rule(owner=st.sampled_from("012"))
    def abandon(self, owner: str) -> None:
        """Let an owner's leases expire."""
        self.same(lambda side: side.histories[0].abandon(side.owner_of[owner]))

    @rule(owner=st.sampled_from("012"), limit=_limits)
    def reap(self, owner: str, limit: int) -> None:
        """Take over leases of those who are gone."""
        self.same(lambda side: side.histories[0].reap(side.owner_of[owner], limit))

    @rule(still=st.sets(st.sampled_from("012")))
    def time_passes(self, still: set[str]) -> None:
        """Let leases expire where they do, but those of some owners."""
        if self.place.places.pass_time is not None:
            self.place.places.pass_time(self.place.url)
            renewal_s = self.sides[0].histories[0].renewal_s or 0
            self.clock.at_us += int(RENEWALS * renewal_s * 1_000_000) + 1
        for owner in sorted(still):
            self.same(lambda side, of=owner: side.histories[0].renew(side.owner_of[of]))

    @rule(run=_runs)
    def cancel(self, run: str) -> None:
        """Ask for a run to be cancelled."""
        self.same(lambda side: side.histories[0].cancel(run))

    @rule(limit=st.integers(min_value=1, max_value=3), steps=st.sampled_from([0, 10, 30]))
    def prune(self, limit: int, steps: int) -> None:
        """Remove what ended some time ago."""
        retention = Retention(keep_us=20 * STEP_US, by_state={StateName.COMPLETED: 5 * STEP_US})
        now_us = self.at_us + steps * STEP_US
        self.same(lambda side: side.histories[0].prune(retention, now_us, limit))

    @rule(
        name=st.sampled_from(["a", "B", "a_b"]),
        body=_texts,
        version=st.none() | st.integers(min_value=0, max_value=3),
    )
    def put(self, name: str, body: str, version: int | None) -> None:
        """Write a document."""
        self.same(lambda side: side.histories[0].put("pool", name, body, version))

    @rule(
        name=st.sampled_from(["a", "B", "a_b"]),
        version=st.none() | st.integers(min_value=0, max_value=3),
    )
    def drop(self, name: str, version: int | None) -> None:
        """Remove a document."""
        self.same(lambda side: side.histories[0].drop("pool", name, version))


class CompareChecks(OnPlaces):
    """Checks of everything together."""

    def test_a_random_life_is_the_same_as_in_memory(self, places: Places) -> None:
        """Every answer of every step, and all that is there at the end."""
        settings = hypothesis.settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            database=None,
            phases=PHASES,
            report_multiple_bugs=False,
            suppress_health_check=[hypothesis.HealthCheck.too_slow],
        )
        begin: Any = partial(Lives, places)  # called for each example, as a class would be
        run_state_machine_as_test(begin, settings=settings)
