"""What `runs show` says of a run, a task of it, or an element: read once, shown in any form."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fanfold.cli import texts
from fanfold.cli.finding import Found, short, short_ids, subflows
from fanfold.cli.tables import Block, Cell, Column, Facts, Lines, Table
from fanfold.cli.texts import age, counted, failed, iso, local, plural, style, took
from fanfold.engine.wording import shortened, span
from fanfold.ports.history import History
from fanfold.values import records
from fanfold.values.errors import ParameterTypeError
from fanfold.values.facts import Problem
from fanfold.values.records import (
    ElementRecord,
    Elements,
    FailureGroup,
    FailureGroups,
    FlowRunRecord,
    LineRecord,
    States,
    TaskRunRecord,
    TaskRuns,
    TaskTotal,
    TaskTotals,
)
from fanfold.values.states import StateName
from fanfold.values.usage import Costs

MOST_GROUPS = 10
MOST_SUBFLOWS = 20
MOST_RUNS = 20
FIRST_ELEMENTS = 5
"""Of a group of failures, that are named."""
MESSAGE_CHARS = 400
"""Of a line of a run's message."""
MESSAGE_LINES = 20
LOOKED_AT = 1_000
"""Elements of a group's first map, among which those are looked for."""
_RAN = frozenset(
    {StateName.COMPLETED, StateName.FAILED, StateName.TIMED_OUT, StateName.ROLLED_BACK}
)
"""States of elements whose function was called, and took its time."""
LAST_LINES = 20
"""Of an element's log, that stand on its page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Failures that look the same, with some of those that failed so."""

    group: FailureGroup
    first: tuple[str, ...]
    """What people call the first ones: "17" in a map, a name or an id for single calls."""
    task_run: TaskRunRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAccount:
    """What there is to say of a flow run."""

    run: FlowRunRecord
    tasks: Sequence[TaskTotal]
    failures: Sequence[Failures]
    subflows: Sequence[FlowRunRecord]

    def data(self) -> Mapping[str, Any]:
        """Return it for JSON."""
        failures = [texts.data(each.group) | {"first": list(each.first)} for each in self.failures]
        return {
            "run": self.run,
            "tasks": self.tasks,
            "failures": failures,
            "subflows": self.subflows,
        }

    def page(self) -> Iterator[Block]:
        """Yield it for people."""
        run = self.run
        yield Facts(facts=_facts_of_run(run))
        if self.tasks:
            yield _tasks_table(self.tasks, run)
        if self.failures:
            yield _failures_table(self.failures)
        if self.subflows:
            yield _subflows_table(self.subflows)
        if run.problem is not None and _traces(run.problem):
            yield Lines(text=run.problem.traceback.rstrip(), heading="Traceback of the flow")
        yield Lines(text="\n".join(self._next()), heading="Next")

    def _next(self) -> Iterator[str]:
        run_id = short(self.run.id)
        first = next((each for each in self.failures if each.task_run is not None), None)
        if first is not None and first.task_run is not None:
            task, place = _typed(first.task_run, first.group.index, self.tasks)
            yield f"fanfold runs show {run_id} {task}"
            yield f"fanfold runs logs {run_id} {task}"
            if first.task_run.entrypoint:
                yield f"fanfold runs debug {shlex.quote(f'{run_id}/{place}')}"
        else:
            yield f"fanfold runs logs {run_id}{'' if self.run.state.final else ' -f'}"
        if not self.run.state.final:
            yield f"fanfold runs cancel {run_id}"
        elif self.run.state in (StateName.COMPLETED, StateName.CACHED) or not self.run.entrypoint:
            return
        elif _did_not_fit(self.run.problem):
            yield f"fanfold run {shlex.quote(self.run.entrypoint)} -p ..."
        else:
            yield f"fanfold runs retry {run_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAccount:
    """What there is to say of a task in a flow run."""

    run: FlowRunRecord
    task_runs: Sequence[TaskRunRecord]
    failures: Sequence[Failures]

    def data(self) -> Mapping[str, Any]:
        """Return it for JSON."""
        failures = [texts.data(each.group) | {"first": list(each.first)} for each in self.failures]
        return {"run": self.run, "task_runs": self.task_runs, "failures": failures}

    def page(self) -> Iterator[Block]:
        """Yield it for people."""
        first = self.task_runs[0]
        yield Facts(
            facts=[
                ("Task", first.task),
                ("Flow run", f"{self.run.name} ({short(self.run.id)})"),
                ("Tags", ", ".join(first.tags)),
                ("Where", first.entrypoint),
                ("Needs", _costs(self.task_runs)),
            ]
        )
        yield _task_runs_table(self.task_runs)
        if self.failures:
            yield _failures_table(self.failures)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementAccount:
    """What there is to say of one element, or of a single call."""

    run: FlowRunRecord
    found: Found
    state: StateName
    element: ElementRecord | None
    """None of one that came to its value at once."""
    lines: Sequence[LineRecord]
    totals: Sequence[TaskTotal]

    def data(self) -> Mapping[str, Any]:
        """Return it for JSON."""
        task_run = self.found.task_run
        return {
            "run": self.run,
            "task_run": task_run,
            "index": None if task_run.single else task_run.first + self.found.column,
            "state": self.state,
            "element": self.element,
            "lines": self.lines,
        }

    def page(self) -> Iterator[Block]:
        """Yield it for people."""
        yield Facts(facts=list(self._facts()))
        problem = self.element.problem if self.element is not None else None
        if problem is not None:
            heading = "Traceback" if failed({self.state: 1}) else "Traceback of the attempt before"
            yield Lines(text=problem.traceback.rstrip() or _problem(problem), heading=heading)
        if self.lines:
            yield Table(
                heading="Log" if len(self.lines) < LAST_LINES else f"Log, last {LAST_LINES} lines",
                columns=["Time", "Attempt", Column(title="Message", fold=True)],
                rows=[
                    (local(line.at_us)[11:], str(line.attempt or ""), line.message)
                    for line in self.lines
                ],
            )
        run_id = short(self.run.id)
        task_run = self.found.task_run
        task, place = _typed(task_run, self.found.column, self.totals)
        commands = [f"fanfold runs logs {run_id} {task}"]
        if self.element is not None and self.element.has_arguments and task_run.entrypoint:
            commands.append(f"fanfold runs debug {shlex.quote(f'{run_id}/{place}')}")
        yield Lines(text="\n".join(commands), heading="Next")

    def _facts(self) -> Iterator[tuple[str, Cell | str]]:
        element, run = self.element, self.found.task_run
        yield "Element" if not run.single else "Call", self.found.label
        if element is not None:
            yield "Name", element.name if element.name != run.name else ""
        yield "Flow run", f"{self.run.name} ({short(self.run.id)})"
        label = (element.label if element is not None else "") or self.state.label
        yield "State", Cell(label, style(self.state))
        if element is not None:
            problem = element.problem
            yield "Message", element.message or (_problem(problem) if problem is not None else "")
            yield "Raised in", problem.where if problem is not None else ""
            yield "Attempts", f"{element.attempts:,}"
            yield "Took", span(element.seconds)
            yield "Over", _when(element.at_us)
        yield "Where", run.entrypoint
        if run.single:
            yield "Needs", _costs([run])


def run_account(history: History, run: FlowRunRecord) -> RunAccount:
    """Read what there is to say of a flow run; of one that was resumed, since then."""
    ids, since_us = (run.id,), run.resumed_us
    groups = history.read(FailureGroups(flow_run_ids=ids, since_us=since_us, limit=MOST_GROUPS))
    called = subflows(history, run.id)
    return RunAccount(
        run=run,
        tasks=history.read(TaskTotals(flow_run_ids=ids, since_us=since_us)),
        failures=_failures(history, groups),
        subflows=[each for each in called if each.created_us >= since_us],
    )


def task_account(
    history: History, run: FlowRunRecord, task_runs: Sequence[TaskRunRecord]
) -> TaskAccount:
    """Read what there is to say of a task, whose calls and maps are given."""
    ids = {each.id for each in task_runs}
    question = FailureGroups(
        flow_run_ids=(run.id,),
        since_us=min(each.created_us for each in task_runs),
        limit=LOOKED_AT,
    )
    groups = history.read(question)
    mine = [group for group in groups if group.task_run_id in ids][:MOST_GROUPS]
    return TaskAccount(run=run, task_runs=task_runs, failures=_failures(history, mine))


def element_account(history: History, run: FlowRunRecord, found: Found) -> ElementAccount:
    """Read what there is to say of one element, or of a single call."""
    task_run = found.task_run
    states = history.read(States(task_run_id=task_run.id))
    told = history.read(Elements(task_run_ids=(task_run.id,), indices=(found.column,)))
    index = None if task_run.single else task_run.first + found.column
    question = records.Lines(task_run_ids=(task_run.id,), index=index, last=True, limit=LAST_LINES)
    return ElementAccount(
        run=run,
        found=found,
        state=StateName(states[0][found.column]) if states else StateName.PENDING,
        element=told[0] if told else None,
        lines=history.read(question),
        totals=history.read(TaskTotals(flow_run_ids=(run.id,), since_us=run.resumed_us)),
    )


def _facts_of_run(run: FlowRunRecord) -> list[tuple[str, Cell | str]]:
    state = run.label or run.state.label
    why = run.message or (_problem(run.problem) if run.problem is not None else "")
    asked = " (asked to stop)" if run.cancel_asked and not run.state.final else ""
    began = run.started_us or run.created_us
    duration = took(run.started_us, run.ended_us)
    so_far = "" if run.state.final else " so far"
    parameters = [f"{name} = {value}" for name, value in run.parameters.items()]
    where = f"{run.host}, process {run.process}" if run.host else ""
    resumed = f"{plural(run.resumed, 'time')}, last {age(run.driver_since_us)}"
    kept = plural(run.lines_dropped, "line") + " of its log weren't kept"
    return [
        ("Flow run", Cell(run.name, "bold")),
        ("Id", run.id),
        ("Flow", f"{run.flow}, version {run.version}" if run.version else run.flow),
        ("State", Cell(state + asked, style(run.state))),
        ("Message", _message(why, run.problem)),
        ("Raised in", run.problem.where if run.problem is not None else ""),
        ("Began", _when(began)),
        ("Took", f"{duration}{so_far}" if duration else ""),
        ("Tries", f"{run.tries:,}" if run.tries > 1 else ""),
        ("Resumed", resumed if run.resumed else ""),
        ("Parameters", Cell("\n".join(parameters), piped=", ".join(parameters))),
        ("Tags", ", ".join(run.tags)),
        ("Where", run.entrypoint),
        ("Runner", run.runner),
        ("Driver", where),
        ("Called by", f"fanfold runs show {short(run.parent_id)}" if run.parent_id else ""),
        ("Retry of", f"fanfold runs show {short(run.retry_of)}" if run.retry_of else ""),
        ("Dropped", kept if run.lines_dropped else ""),
    ]


def _tasks_table(tasks: Sequence[TaskTotal], run: FlowRunRecord) -> Table:
    rows: list[list[Cell | str | int]] = []
    for each in tasks:
        states = Cell(counted(each.counts), "red" if failed(each.counts) else "")
        calls = sum(each.counts.values())
        retries = each.retries or ""
        ran = sum(count for state, count in each.counts.items() if state in _RAN)
        mean = span(each.seconds / ran) if ran else ""
        # Of a run that is over nothing goes on, though nobody may have told how its tasks ended.
        duration = took(each.first_us, each.last_us or run.ended_us)
        rows.append([each.task, calls, states, retries, duration, mean])
    return Table(
        heading="Tasks since it was resumed" if run.resumed else "Tasks",
        columns=[
            Column(title="Task"),
            Column(title="Runs", right=True, whole=True),
            Column(title="States", fold=True),
            Column(title="Retries", right=True, whole=True),
            Column(title="Took", right=True, whole=True),
            Column(title="Each", right=True, whole=True),
        ],
        rows=rows,
    )


def _costs(runs: Sequence[TaskRunRecord]) -> str:
    """Return what the elements of some calls and maps of a task needed."""
    costs = Costs()
    for run in runs:
        ran = sum(count for state, count in run.counts.items() if state in _RAN)
        costs.add(
            Costs(
                elements=ran,
                wall_s=run.seconds if ran else 0.0,
                cpu_s=run.cpu_s if ran else 0.0,
                peak_bytes=run.peak_bytes,
                rise_bytes=run.rise_bytes,
            )
        )
    return texts.costs(costs.usage())


def _task_runs_table(runs: Sequence[TaskRunRecord]) -> Table:
    # Those with failures first: of thousands of calls one looks for them.
    chosen = sorted(runs, key=lambda run: (not failed(run.counts), run.id))[:MOST_RUNS]
    more = f", {MOST_RUNS} of {len(runs):,}" if len(runs) > len(chosen) else ""
    return Table(
        heading=f"Calls and maps{more}",
        columns=[
            Column(title="Id", whole=True),
            Column(title="Name"),
            Column(title="States", fold=True),
            Column(title="Began", whole=True),
            Column(title="Time", right=True, whole=True),
        ],
        rows=[
            (
                run.id,
                run.name if run.name != run.task else "",
                Cell(counted(run.counts), "red" if failed(run.counts) else ""),
                local(run.created_us)[11:],
                span(run.seconds),
            )
            for run in chosen
        ],
    )


def _failures_table(failures: Sequence[Failures]) -> Table:
    rows: list[list[Cell | str | int]] = []
    for each in failures:
        group = each.group
        more = ", ..." if group.count > len(each.first) else ""
        elements = ", ".join(each.first) + more if each.task_run is not None else ""
        why = Cell(_why(group), style(group.state))
        rows.append([group.count, group.task, elements, why, group.where])
    columns = [
        Column(title="Count", right=True, whole=True),
        Column(title="Task", fold=True),
        Column(title="Elements", fold=True),
        Column(title="Why", fold=True),
        Column(title="Where", fold=True),
    ]
    return Table(heading="Failures", columns=columns, rows=rows)


def _why(group: FailureGroup) -> str:
    kind = group.kind.rpartition(".")[2] or group.state.label
    return f"{kind}: {shortened(group.message, 200)}" if group.message.strip() else kind


def _subflows_table(runs: Sequence[FlowRunRecord]) -> Table:
    shown = sorted(runs, key=lambda run: (not failed({run.state: 1}), run.id))[:MOST_SUBFLOWS]
    more = f", {MOST_SUBFLOWS} of {len(runs):,}" if len(runs) > len(shown) else ""
    ids = short_ids([run.id for run in shown])
    return Table(
        heading=f"Flow runs that it called{more}",
        columns=[
            Column(title="Run", whole=True),
            Column(title="Flow"),
            Column(title="Name"),
            Column(title="State", whole=True),
            Column(title="Took", right=True, whole=True),
        ],
        rows=[
            (
                run_id,
                run.flow,
                run.name if run.name != run.flow else "",
                Cell(run.label or run.state.label, style(run.state)),
                took(run.started_us, run.ended_us),
            )
            for run_id, run in zip(ids, shown, strict=True)
        ],
    )


def _failures(history: History, groups: Sequence[FailureGroup]) -> list[Failures]:
    ids = tuple({group.task_run_id for group in groups})
    known = {run.id: run for run in history.read(TaskRuns(ids=ids))} if ids else {}
    return [
        Failures(
            group=group,
            first=_first_of(history, group, known.get(group.task_run_id)),
            task_run=known.get(group.task_run_id),
        )
        for group in groups
    ]


def _first_of(history: History, group: FailureGroup, run: TaskRunRecord | None) -> tuple[str, ...]:
    if run is None:
        return ()
    if run.single:
        return (run.name if run.name != run.task else run.id,)
    question = Elements(task_run_ids=(run.id,), states=(group.state,), limit=LOOKED_AT)
    alike = [
        element
        for element in history.read(question)
        if element.problem is not None
        and (element.problem.kind, element.problem.where) == (group.kind, group.where)
    ]
    columns = [element.index for element in alike[:FIRST_ELEMENTS]] or [group.index]
    return tuple(str(run.first + column) for column in columns)


def _typed(run: TaskRunRecord, column: int, totals: Sequence[TaskTotal]) -> tuple[str, str]:
    """Return how an element is named to `show` and `logs`, and to `debug`."""
    alone = any(each.task == run.task and each.runs == 1 for each in totals)
    name = run.task if alone else run.id
    if run.single:
        return f"--task {shlex.quote(name)}", name
    index = run.first + column
    return f"--task {shlex.quote(name)} --index {index}", f"{name}[{index}]"


def _message(why: str, problem: Problem | None) -> Cell | str:
    """Return a run's message: its first line where a traceback says all, else its first lines."""
    if problem is not None and _traces(problem):
        return shortened(why, MESSAGE_CHARS).rstrip(":")
    lines = why.strip().splitlines()
    more = ["..."] if len(lines) > MESSAGE_LINES else []
    text = "\n".join([*(line[:MESSAGE_CHARS] for line in lines[:MESSAGE_LINES]), *more])
    return Cell(text, piped=" ".join(text.split()))


def _traces(problem: Problem) -> bool:
    """Return whether a traceback says more than the message does.

    One without a place in anybody's code has Fanfold's own frames alone; it still tells of causes
    and notes.
    """
    text = problem.traceback.rstrip()
    bare = text.endswith(problem.message.rstrip()) and text.count("Traceback (most recent") < 2
    return bool(text) and (bool(problem.where) or not bare)


def _did_not_fit(problem: Problem | None) -> bool:
    """Return whether a flow didn't run because of what it was called with: nothing is kept then."""
    return problem is not None and problem.kind.endswith(f".{ParameterTypeError.__name__}")


def _when(at_us: int) -> Cell:
    return Cell(f"{local(at_us)} ({age(at_us)})", piped=iso(at_us))


def _problem(problem: Problem) -> str:
    kind = problem.kind.rpartition(".")[2]
    return f"{kind}: {problem.message}" if problem.message.strip() else kind
