"""What the history knows of the runs that kept results belong to."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fanfold.cli.finding import family, find_run, task_runs
from fanfold.cli.histories import opened
from fanfold.cli.stores import readable
from fanfold.engine.results.inventory import Entry, Folder, Inventory
from fanfold.engine.results.object_names import folder_start
from fanfold.ports.history import History
from fanfold.values.records import FlowRuns, TaskRuns, TaskTotal, TaskTotals
from fanfold.values.states import StateName

PAGE = 500
"""Runs that the history is asked for at a time."""
_ID = re.compile(r"[0-9a-f]{24}")


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """Which runs are recorded, and of which tasks results may have been found again."""

    ids: frozenset[str]
    """Flow runs, maps and calls that are named in the store and are recorded."""
    found: frozenset[str]
    """Names of folders' tasks of which some run has elements that came back Cached."""

    def __contains__(self, run_id: object) -> bool:
        return run_id in self.ids

    def of_no_run(self, folder: Folder, entry: Entry) -> bool:
        """Return whether no recorded run made a result, or can have found it.

        Where nobody knows any more who made it, one may have.
        """
        found = readable(folder.name) in self.found
        return bool(entry.run_ids) and not found and self.ids.isdisjoint(entry.run_ids)


def references(inventory: Inventory) -> References:
    """Ask the history for the runs that a store names.

    Raises:
        FanfoldError: No history is kept, or it can't be read.
    """
    named = {
        each for folder in inventory.folders for entry in folder.entries() for each in entry.run_ids
    }
    named |= {name.rpartition("/")[2] for name in inventory.others if name.startswith("flows/")}
    asked = sorted(filter(_ID.fullmatch, named))
    with opened() as lookout:
        history = lookout.history
        known = frozenset(_known(history, asked))
        cached = {total.task for total in totals(history) if total.counts.get(StateName.CACHED)}
    return References(ids=known, found=frozenset(map(folder_start, cached)))


def ids_of(run: str) -> frozenset[str]:
    """Return the ids of a run, of those that it called, and of all their calls and maps.

    Raises:
        FanfoldError: There is no such run, or no history is kept.
    """
    with opened() as lookout:
        history = lookout.history
        flow_runs = tuple(each.id for each in family(history, find_run(history, run)))
        found = task_runs(history, flow_runs, "")
    return frozenset(flow_runs).union(each.id for each in found)


def hits(history: History) -> dict[str, tuple[int, int]]:
    """Return how many elements of each task came back Cached, and how many were Completed.

    Of tasks that had any hit.
    """
    cached, made = Counter[str](), Counter[str]()
    for total in totals(history):
        cached[total.task] += total.counts.get(StateName.CACHED, 0)
        made[total.task] += total.counts.get(StateName.COMPLETED, 0)
    return {task: (count, made[task]) for task, count in cached.most_common() if count}


def totals(history: History) -> Iterator[TaskTotal]:
    """Yield the totals of all tasks of all flow runs."""
    before = ""
    while True:
        page = history.read(FlowRuns(before_id=before, limit=PAGE))
        if page:
            yield from history.read(TaskTotals(flow_run_ids=tuple(run.id for run in page)))
        if len(page) < PAGE:
            return
        before = page[-1].id


def _known(history: History, asked: Sequence[str]) -> Iterator[str]:
    for ids in _pages(asked):
        yield from (run.id for run in history.read(FlowRuns(ids=ids, limit=PAGE)))
        yield from (run.id for run in history.read(TaskRuns(ids=ids, limit=PAGE)))


def _pages(ids: Sequence[str]) -> Iterable[tuple[str, ...]]:
    return (tuple(ids[start : start + PAGE]) for start in range(0, len(ids), PAGE))
