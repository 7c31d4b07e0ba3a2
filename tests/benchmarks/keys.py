"""What the keys of a million cached elements cost, beside pickling and digesting the same inputs.

Pickles are no keys: equal values may have different ones. They are what comes close in what has to
be looked at.
"""

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from blake3 import blake3

from fanfold.caching import DEFAULT, INPUTS, KeyFacts, key_maker
from fanfold.engine.context import TASK_RUN, RunInfo
from fanfold.engine.keys import digest
from fanfold.engine.spec import Layout, TaskSpec
from tests.benchmarks.clock import Contestant, race
from tests.benchmarks.elements import plus_one
from tests.benchmarks.grounds import Ground
from tests.benchmarks.rows import Row, under

GROUNDS = ("inline",)
"""Nothing is run: keys are made here."""

KEYS, QUICK_KEYS = 1_000_000, 50_000
TURNS, QUICK_TURNS = 3, 3
FEWER = 20
"""Times fewer keys of what takes longer."""
AIM_S = 3.0

Make = Callable[[int], Any]

_FACTS = KeyFacts(
    task_name="plus_one",
    task_key="benchmark.plus_one",
    fn=plus_one,
    run_id="task",
    flow_run_id="flow",
    flow_parameters=None,
)
_SPEC = TaskSpec(fn=plus_one, layout=Layout(), info=RunInfo(kind=TASK_RUN, id="task", name="t"))
_ARRAY = np.arange(8.0)


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield a row for each kind of inputs."""
    n = QUICK_KEYS if quick else KEYS
    turns = QUICK_TURNS if quick else TURNS
    inputs, default = key_maker(INPUTS, _FACTS), key_maker(DEFAULT, _FACTS)
    assert inputs is not None and default is not None
    yield _row("digest of one number", lambda i: {"x": i}, _digested, n, turns)
    yield _row("INPUTS, one number", lambda i: {"x": i}, lambda v: inputs(_SPEC, v), n, turns)
    yield _row("DEFAULT, one number", lambda i: {"x": i}, lambda v: default(_SPEC, v), n, turns)
    yield _row("two texts and a list", _mixed, _digested, n // FEWER, turns)
    yield _row("a small array", lambda i: {"x": _ARRAY, "i": i}, _digested, n // FEWER, turns)


def _mixed(i: int) -> dict[str, Any]:
    return {"path": f"s3://bucket/{i}", "kind": "train", "shape": [i, 2, 3.0]}


def _digested(arguments: dict[str, Any]) -> bytes:
    return digest(arguments, "")


def _pickled(arguments: dict[str, Any]) -> bytes:
    return blake3(pickle.dumps(arguments, protocol=5)).digest(16)


def _row(what: str, make: Make, key: Callable[[Any], Any], n: int, turns: int) -> Row:
    def all_of(each: Callable[[Any], Any]) -> Callable[[], int]:
        def run() -> int:
            for i in range(n):
                each(make(i))
            return n

        return run

    beside_what = "pickle, digest"
    contestants = [
        Contestant(name=what, run=all_of(key)),
        Contestant(name=beside_what, run=all_of(_pickled)),
    ]
    timed = race(contestants, turns, n)
    seconds = timed[what].seconds
    return Row(
        what=what,
        where="any",
        n=n,
        ours=seconds,
        beside=timed[beside_what].seconds,
        beside_what=beside_what,
        aim=under(AIM_S, "s") if n == KEYS else None,
        note=f"{seconds / n * 1e6:.2f} µs per key",
    )
