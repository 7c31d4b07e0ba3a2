"""`fanfold runs retry` and `fanfold runs resume`: do again, or to its end, what ran before."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click

from fanfold.cli import debugging, recalling
from fanfold.cli import run as runs
from fanfold.cli.finding import family, find_run, find_tasks, run_argument, short, task_runs
from fanfold.cli.histories import opened
from fanfold.cli.recalling import recalled
from fanfold.cli.tables import json_option
from fanfold.cli.texts import age, clean, plural
from fanfold.engine import entrypoints, registry, resuming, settings
from fanfold.engine.context import Again, Replay, ResultOptions, doing_again, tagged
from fanfold.ports.history import History
from fanfold.specs import kept_runs
from fanfold.tasks import Task
from fanfold.values.errors import FanfoldError, UsageError
from fanfold.values.records import FlowRunRecord, TaskRunRecord
from fanfold.values.states import FINAL, WITH_VALUE, StateName


@click.command()
@run_argument(default=False)
@click.option("--fresh", is_flag=True, help="Read nothing from the cache: all runs anew.")
@click.option(
    "--failed-only",
    is_flag=True,
    help="Take all that was kept, whatever its cache policy: what failed or is missing runs.",
)
@click.option(
    *("--from", "first"),
    metavar="TASK",
    help="Run this task anew, and those that first ran after it; take what was kept of others.",
)
@json_option
def retry(run: str, fresh: bool, failed_only: bool, first: str | None, as_json: bool) -> None:
    """Run a flow again as a new run, with the same arguments.

    What the old run and its retries have kept comes back Cached, and only the rest runs.

    Exits with 0 when the new run is Completed, 1 Failed, 3 Cancelled, 4 Crashed; with 2 when the
    flow can't be found any more.
    """
    if fresh + failed_only + (first is not None) > 1:
        raise click.UsageError("Only one of --fresh, --failed-only and --from.")
    with opened() as lookout:
        history = lookout.history
        record = find_run(history, run)
        if record.state not in FINAL:
            raise UsageError(
                f"Run {clean(record.name)} is {record.state.label}. Wait for its end, or cancel it "
                f"first: fanfold runs cancel {short(record.id)}"
            )
        call = recalled(history, record)
        anew = _from(history, record, first) if first is not None else ()
        replay = Replay(whole=True, since=call.key_id, anew=frozenset(anew))
        told = _fresh(record) if fresh else _plan(history, record, call.flow.results, anew)
        click.echo(f"Retrying {told}", err=as_json)
    read: dict[str, object] = {"tasks.refresh_cache": True} if fresh else {}
    whole = failed_only or first is not None
    again = Again(retry_of=record.id, key_id=call.key_id, replay=replay if whole else None)
    with settings.temporary(read), doing_again(again):
        runs.finish(call.flow, call.args, call.kwargs, as_json=as_json)


@click.command()
@run_argument(default=False)
@click.option("--runner", metavar="NAME", help="What its tasks run on, such as processes.")
@json_option
def resume(run: str, runner: str | None, as_json: bool) -> None:
    """Go on with a run that ended without a value, or whose process died.

    It keeps its id and its arguments, and works on any machine that shares the history and the
    result storage. What it has committed is taken, and only the rest runs. If somebody drives it,
    that is told instead.

    Exits with 0 when it is Completed now, 1 Failed, 3 Cancelled, 4 Crashed; with 2 when it can't be
    resumed.
    """
    with opened() as lookout:
        history = lookout.history
        record = find_run(history, run)
        resuming.check(record)
        call = recalled(history, record)
        flow = runs.changed(call.flow, runner, None)
        registry.runner(flow.task_runner)  # before anything is said or taken
        told = _plan(history, record, flow.results, ())
        again = resuming.taken(history, record)
        click.echo(f"Resuming {told}", err=as_json)
    with tagged(*record.tags), doing_again(again):
        runs.finish(flow, call.args, call.kwargs, as_json=as_json)


COMMANDS = [retry, resume, debugging.debug]
"""For the group `runs`."""


# What a run will do.


def _who(record: FlowRunRecord) -> str:
    named = f"{clean(record.name)} ({short(record.id)})"
    return f"{named}, {record.state.label} {age(record.created_us)}"


def _fresh(record: FlowRunRecord) -> str:
    return f"{_who(record)}. Nothing is read from the cache, so all runs again."


def _plan(
    history: History, record: FlowRunRecord, results: ResultOptions, anew: tuple[str, ...]
) -> str:
    """Return what is said before a run begins: what was kept, and what runs.

    Args:
        history: That it is recorded in.
        record: The old run.
        results: How its flow keeps results.
        anew: Names of tasks of which nothing is taken.
    """
    who = _who(record)
    if record.parent_id:
        return (
            f"{who}. What it has kept belongs to run {short(record.parent_id)}, which "
            "called it; here all runs again."
        )
    counts = [(each, each.counts) for each in _latest(history, record)]
    whole = sum(sum(each.values()) for _, each in counts)
    is_kept = _keeping(results)
    kept = sum(
        each[state]
        for run, each in counts
        for state in each
        if run.task not in anew
        and (state is StateName.CACHED or (state in WITH_VALUE and is_kept(run)))
    )
    again = f" Anew runs what came from {anew[0]} on: {', '.join(anew)}." if anew else ""
    if not kept:
        nothing = "Nothing else was kept" if anew else "Nothing was kept"
        return f"{who}. {nothing}, so all runs again.{again}"
    rest = f"{plural(whole - kept, 'element')} run" if whole - kept != 1 else "1 element runs"
    # A process that died may have committed more than it told of, and less than it called for.
    died = record.state is StateName.CRASHED
    about, begun = ("about ", ", what hadn't begun") if died else ("", "")
    # A key may hold the task's code, which only the run itself digests.
    return (
        f"{who}. Kept are {about}{kept:,} of {plural(whole, 'element')}; {rest} again{begun}, and "
        f"what has other code now.{again}"
    )


def _latest(history: History, record: FlowRunRecord) -> list[TaskRunRecord]:
    """Return the calls and maps of a run and of those that it called, since it was last resumed.

    Of tasks that it hasn't come to since then, those from before.
    """
    ids = [run.id for run in family(history, record)]
    every = [each for run_id in ids for each in task_runs(history, (run_id,), "")]
    latest = {each.task for each in every if each.created_us >= record.resumed_us}
    return [
        each for each in every if each.created_us >= record.resumed_us or each.task not in latest
    ]


def _from(history: History, record: FlowRunRecord, first: str) -> tuple[str, ...]:
    """Return the names of a task and of those that first ran after it, in that order.

    Raises:
        UsageError: The run has no such task.
    """
    start = min(find_tasks(history, record, first), key=_order)
    every = [run for each in family(history, record) for run in task_runs(history, (each.id,), "")]
    names = dict.fromkeys(run.task for run in sorted(every, key=_order))
    ran = list(names)
    return tuple(ran[ran.index(start.task) :])


def _order(run: TaskRunRecord) -> tuple[int, str]:
    return run.created_us, run.id


def _keeping(results: ResultOptions) -> Callable[[TaskRunRecord], bool]:
    """Return what tells if results of a run of a task are kept, as far as can be told."""
    known: dict[str, frozenset[str]] = {}

    def is_kept(run: TaskRunRecord) -> bool:
        if run.entrypoint not in known:
            known[run.entrypoint] = frozenset()
            with suppress(FanfoldError):  # of what can't be told nothing is said
                found: Task[..., Any] = entrypoints.load(
                    run.entrypoint, Task, "task", main=_is_script(run.entrypoint)
                )
                known[run.entrypoint] = kept_runs(found, results)
        return run.id in known[run.entrypoint]

    return is_kept


def _is_script(entrypoint: str) -> bool:
    """Return whether a task is of the script that was loaded."""
    script = recalling.script()
    return script is not None and script.__file__ == entrypoints.split(entrypoint)[0]
