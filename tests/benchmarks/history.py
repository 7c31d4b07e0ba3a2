"""What a history takes and how fast it answers, on SQLite and on PostgreSQL.

"Recorded" rows: what one state of an element costs (a chunk's row tells of 2,500) or one line, told
2,000 facts at a time, each batch on the disk before the next. Beside it the bare driver puts the
same rows into one table without any index, and commits as often. Question rows: the slowest of all
questions of a command, each the median of some turns, in a history of so many flow runs, one of
them with a map of a million elements; beside it the bare driver answers `select 1`. PostgreSQL is a
server on this machine that survives a loss of power.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from statistics import median
from typing import Any

from fanfold.engine import registry
from fanfold.ports.history import History
from fanfold.values.facts import Batch, ChunkDone, Fact, LogLine, Receipt, TaskRunEnded
from fanfold.values.ids import new_id
from fanfold.values.records import Query
from tests.benchmarks import many_runs
from tests.benchmarks.clock import Contestant, race
from tests.benchmarks.databases import Database, postgresql, sqlite
from tests.benchmarks.databases import Row as Values
from tests.benchmarks.grounds import Ground
from tests.benchmarks.many_runs import FACTS_PER_BATCH
from tests.benchmarks.rows import Row, under

GROUNDS = ("inline",)
"""Nothing is run there: facts are told to histories."""

TURNS, QUICK_TURNS = 5, 3
MAPS, ELEMENTS = 20, 1_000_000
LINES, QUICK_LINES = 100_000, 20_000
RUNS, QUICK_RUNS = 100_000, 5_000
QUICK_ELEMENTS = 100_000
ASKED, QUICK_ASKED = 9, 3
"""How often each question is asked."""
STATE_AIM_US = 1.0
LINE_AIM_US = 20.0
QUESTION_AIM_S = 0.1
SEED = 5

_CHUNK = ("text", "text", "text", "text", "float", "bigint", "text", "text")
_LINE = ("text", "text", "bigint", "bigint", "bigint", "bigint", "text", "text")


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield rows for both databases."""
    with sqlite() as database:
        yield from _measured(database, quick)
    with postgresql() as server:
        if server is not None:
            yield from _measured(server, quick)


def _measured(database: Database, quick: bool) -> Iterator[Row]:
    turns = QUICK_TURNS if quick else TURNS
    maps = [new_id() for _ in range(2 if quick else MAPS)]
    states = [fact for id in maps for fact in many_runs.map_facts(maps[0], id, ELEMENTS)]
    aim = STATE_AIM_US
    yield _recorded(database, "state of an element", states, len(maps) * ELEMENTS, aim, turns)
    source = random.Random(SEED)
    lines: list[Fact] = [
        many_runs.line(maps[0], maps[0], source.randrange(ELEMENTS), source)
        for _ in range(QUICK_LINES if quick else LINES)
    ]
    yield _recorded(database, "line of a log", lines, len(lines), LINE_AIM_US, turns)
    yield from _asked(database, quick)


def _recorded(
    database: Database, what: str, facts: Sequence[Fact], n: int, aim: float, turns: int
) -> Row:
    batches = [facts[at : at + FACTS_PER_BATCH] for at in range(0, len(facts), FACTS_PER_BATCH)]
    kinds = _LINE if isinstance(facts[0], LogLine) else _CHUNK
    plain = [[row for fact in batch if (row := _values(fact))] for batch in batches]
    history: list[History] = []

    def begin() -> None:
        while history:
            history.pop().close()
        history.append(registry.history(database.fresh()))
        made = tuple(many_runs.run_facts(facts[0].flow_run_id))
        history[0].record(Batch(writer=new_id(), number=1, facts=made))

    def tell() -> bool:
        writer = new_id()
        receipts = [
            history[0].record(Batch(writer=writer, number=number, facts=tuple(batch)))
            for number, batch in enumerate(batches, start=1)
        ]
        return all(receipt == Receipt() for receipt in receipts)

    def add() -> bool:
        database.add(kinds, plain)
        return True

    contestants = [
        Contestant(name="fanfold", run=tell, before=begin),
        Contestant(name=database.adding, run=add),
    ]
    timed = race(contestants, turns, True)
    history.pop().close()
    ours = timed["fanfold"].seconds / n
    return Row(
        what=f"{what}, recorded",
        where=database.name,
        n=n,
        ours=ours * 1e6,
        beside=timed[database.adding].seconds / n * 1e6,
        beside_what=f"{database.adding}, one table",
        unit="µs",
        aim=under(aim, "µs"),
        note=f"{1 / ours:,.0f} a second",
    )


def _values(fact: Fact) -> Values:
    """Return a fact as a row of a bare table; empty for one that has none."""
    match fact:
        case LogLine():
            told = (fact.flow_run_id, fact.task_run_id, fact.index, fact.attempt, fact.level)
            return *told, fact.at_us, fact.logger, fact.message
        case ChunkDone():
            ids = (fact.flow_run_id, fact.task_run_id, fact.chunk, fact.worker)
            return *ids, fact.seconds, fact.at_us, str(fact.spans), str(fact.states)
        case TaskRunEnded():
            # As text, a byte for each element, in the column of the chunks' states.
            ids = (fact.flow_run_id, fact.task_run_id, "", "")
            return *ids, fact.seconds, fact.at_us, "", "x" * len(fact.states)
        case _:
            return ()


def _asked(database: Database, quick: bool) -> Iterator[Row]:
    runs = QUICK_RUNS if quick else RUNS
    turns = QUICK_ASKED if quick else ASKED
    history = registry.history(database.fresh())
    try:
        began = time.perf_counter()
        questions = many_runs.filled(history, runs, QUICK_ELEMENTS if quick else ELEMENTS)
        seconds = time.perf_counter() - began
        bare = median(_clocked(database.answer) for _ in range(turns))
        for command, queries in questions.items():
            taken = [(_taken(history, query, turns), query) for query in queries]
            slowest, query = max(taken, key=lambda pair: pair[0])
            yield Row(
                what=f"fanfold {command}, slowest of {len(queries)}",
                where=database.name,
                n=runs,
                ours=slowest,
                beside=bare,
                beside_what="select 1",
                aim=under(QUESTION_AIM_S, "s"),
                note=f"{_short(query)}; filled in {seconds:.0f} s",
            )
    finally:
        history.close()


def _taken(history: History, query: Query[Any], turns: int) -> float:
    history.read(query)
    return median(_clocked(lambda: history.read(query)) for _ in range(turns))


def _clocked(run: Any) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _short(query: Query[Any]) -> str:
    """Return a question without what it doesn't ask for."""
    asked = {
        one.name: getattr(query, one.name)
        for one in fields(query)
        if getattr(query, one.name) != one.default
    }
    told = ", ".join(f"{name}={value!s:.16}" for name, value in asked.items())
    return f"{type(query).__name__}({told})"
