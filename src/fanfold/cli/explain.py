"""`fanfold cache explain`: what a call's key was made from, and what differs from another's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import click

from fanfold.cli.completion import runs_like
from fanfold.cli.finding import Found, find_element, find_run, find_tasks, short
from fanfold.cli.histories import opened
from fanfold.cli.shelves import shown
from fanfold.cli.stores import chosen, readable, storage_option
from fanfold.cli.stores import folders as folders_of
from fanfold.cli.tables import (
    Block,
    Cell,
    Column,
    Facts,
    Lines,
    Table,
    json_option,
    show_json,
    show_page,
)
from fanfold.cli.texts import SECOND_US, age, clean, style
from fanfold.engine.keys.explaining import Difference, Made, differences, made, untold
from fanfold.engine.keys.makers import CODE
from fanfold.engine.results import inventory
from fanfold.engine.results.keeping import FIRST_TOLD
from fanfold.engine.results.object_names import folder_start
from fanfold.ports.history import History
from fanfold.values.errors import FanfoldError, UsageError
from fanfold.values.facts import now_us
from fanfold.values.records import FlowRunRecord, Keys, States
from fanfold.values.states import StateName

_ELEMENT = re.compile(r"(?P<run>[^/]+)/(?P<task>.+?)(?:\[(?P<index>[0-9,_]+)\])?")
_DIGEST = re.compile(r"[0-9a-f]{16,32}")
_SHOWN = 8
"""Digits of a digest that people see: to tell it from another, that is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A call or an element, and what its key was made from."""

    run: FlowRunRecord
    found: Found
    state: StateName
    made: Made
    kept: str = ""
    """Whether there is a result under its key now."""

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.found.label} of {self.run.name} ({short(self.run.id)})"

    def data(self) -> Mapping[str, Any]:
        """Return it for JSON."""
        task_run = self.found.task_run
        return {
            "run": self.run.id,
            "task_run": task_run.id,
            "task": task_run.task,
            "index": None if task_run.single else task_run.first + self.found.column,
            "state": self.state,
            "key": self.made.key,
            "kept": self.kept,
            "parts": self.made.parts,
            "code": self.made.code,
        }


@click.command()
@click.argument("element", metavar="RUN/TASK[INDEX]", shell_complete=runs_like)
@click.argument("other", metavar="[RUN/TASK[INDEX]]", default="", shell_complete=runs_like)
@storage_option
@json_option
def command(element: str, other: str, storage: str | None, as_json: bool) -> None:
    """Show what the key of a call was made from, and what differs from that of another.

    INDEX is an element's in its map, from 0; of single calls, which of them. Parts are compared by
    digests: arguments and what is in them, constants, defaults, helper functions, flow parameters.
    """
    with opened() as lookout:
        both = [_explained(lookout.history, each) for each in (element, other) if each]
    both = [replace(each, kept=_kept(storage, each)) for each in both]
    different = differences(both[0].made, both[1].made) if other else []
    if as_json:
        show_json({"calls": [each.data() for each in both], "differences": different})
    elif not other:
        show_page(_page(both[0]))
    else:
        show_page(_comparison(both[0], both[1], list(different)))


def _explained(history: History, text: str) -> Explained:
    named = _ELEMENT.fullmatch(text)
    if named is None:
        raise UsageError(
            f"{clean(text, ' ')} names no call. Write RUN/TASK, or RUN/TASK[INDEX] for an element "
            "of a map, such as last/parse[17]."
        )
    run, task = find_run(history, named["run"]), named["task"]
    index = int(re.sub("[,_]", "", named["index"] or "0"))
    try:
        runs = find_tasks(history, run, task)
    except UsageError as error:
        if not task.endswith("]"):
            raise
        told = f"{error} INDEX is a number, from 0, as in last/parse[17]."
        raise UsageError(told) from None
    by_id = f"Write {short(run.id)}/ID[{index}] with one of their ids"
    found = find_element(runs, task, index, by_id)
    task_run = found.task_run
    told = {
        each.index: each.parts for each in history.read(Keys(flow_run_id=run.id, of=task_run.id))
    }
    own = told.get(found.column)
    if own is None:
        raise UsageError(_unknown(found, bool(told)))
    shared = told.get(None, {})
    digest = {**shared, **own}.get(CODE, "")
    codes = history.read(Keys(flow_run_id=run.id, of=digest)) if digest else []
    states = history.read(States(task_run_id=task_run.id))[0]
    return Explained(
        run=run,
        found=found,
        state=StateName(states[found.column]),
        made=made(shared, own, codes[0].parts if codes else {}),
    )


def _unknown(found: Found, some: bool) -> str:
    if some:
        return (
            f"Nothing is recorded of the key of {clean(found.label)}. The history is told of a "
            f"map's first {FIRST_TOLD} elements, and of the first one of several that are equal; "
            "compare one of those."
        )
    return (
        f"Nothing is recorded of the key of {clean(found.label)}: it has none, as its task keeps "
        "no results, shares them with none, or finds them by the name that result_storage_key "
        "gives their object; or it never came to look for one."
    )


def _kept(storage: str | None, each: Explained) -> str:
    """Return whether there is a result under a key now, in words."""
    task = each.found.task_run.task
    try:
        place = chosen(storage)
        mine = [f for f in folders_of(place.store) if readable(f) == folder_start(task)]
        results = [
            result
            for name in mine
            for folder in inventory.taken(place.store, place.keyring, f"tasks/{name}/").folders
            for result in shown(folder, now_us() / SECOND_US)
            if result.key == each.made.key
        ]
    except FanfoldError as error:
        return f"can't be told: {error}"
    if not results:
        return "no"
    best = min(results, key=lambda result: result.state != "kept")
    when = "" if best.kept_us is None else f", made {age(best.kept_us)}"
    return f"{'yes' if best.state == 'kept' else best.state}{when}"


def _page(one: Explained) -> list[Block]:
    parts = [*one.made.parts.items(), *((f"{CODE}: {n}", p) for n, p in one.made.code.items())]
    return [
        Facts(
            facts=[
                ("Call", one.label),
                ("State", Cell(one.state.label, style(one.state))),
                ("Key", one.made.key),
                ("Kept now", one.kept),
            ]
        ),
        Table(
            columns=[Column(title="Made of", fold=True), Column(title="Is", fold=True)],
            rows=[[name, _value(one, name, part)] for name, part in parts],
        ),
    ]


def _comparison(one: Explained, other: Explained, different: list[Difference]) -> list[Block]:
    whole = [Column(title=title, whole=True) for title in ("State", "Key")]
    blocks: list[Block] = [
        Table(
            columns=["Call", *whole, "Kept now"],
            rows=[
                [each.label, Cell(each.state.label, style(each.state)), each.made.key, each.kept]
                for each in (one, other)
            ],
        )
    ]
    if different:
        titles = ("Differs", "In the first", "In the second")
        rows = [
            [each.part, _value(one, each.part, each.one), _value(other, each.part, each.other)]
            for each in different
        ]
        blocks.append(Table(columns=[Column(title=t, fold=True) for t in titles], rows=rows))
    else:
        blocks.append(Lines(text=_same(one, other)))
    return blocks


def _same(one: Explained, other: Explained) -> str:
    if one.made.key != other.made.key:
        hidden = untold(one.made, other.made)
        if hidden:
            return f"What differs is a secret, of which nothing is kept: {', '.join(hidden)}."
        return "The keys differ in what no part tells: another version of Python, or of Fanfold."
    if other.state is StateName.CACHED:
        return "The keys are the same, and the second came back Cached."
    return (
        "The keys are the same. The second ran all the same: the result wasn't committed yet, had "
        "expired or was removed, or refresh_cache said so."
    )


def _value(explained: Explained, name: str, part: str | None) -> Cell | str:
    """Return what people see of a part."""
    if part is None:
        return "-"
    if name.startswith("flow parameter "):
        text = explained.run.parameters.get(name.removeprefix("flow parameter "))
        if text is not None:
            return text
    if name != "RUN_ID" and _DIGEST.fullmatch(part):
        return Cell(part[:_SHOWN], piped=part)
    return part
