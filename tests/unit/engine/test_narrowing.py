"""What of a look-up table travels with a map."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine import narrowing
from fanfold.engine.calls import Call
from fanfold.engine.keys.makers import OfInputs
from fanfold.engine.narrowing import ROWS_PER_KEY, narrowed
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.segments import Index, Record, pack_records
from fanfold.engine.sources import From, Given, Sources
from fanfold.engine.spec import CacheSpec, Layout, Mapped, RunInfo, TaskSpec
from tests.unit.engine.rehearsal import Rehearsal

STORE = FsspecStore("memory://narrowing")
KEY = OfInputs(b"")
ROWS = 4 * ROWS_PER_KEY


@pytest.fixture(autouse=True)
def small_is_big(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrowing, "LEAST_ROWS", ROWS)


def work(x: Any) -> Any:
    return x


def mapped(column: Given | From, count: int, **options: Any) -> Call:
    """Return a map over a column, by a task with results of the inputs 0 to `ROWS`."""
    info = RunInfo(kind="Task run", id="f", name="f")
    spec = TaskSpec(fn=work, layout=Layout(args=(Mapped(0),)), info=info)
    rows = [
        Record(key=key, offset=n, length=1, digest=key)
        for n, key in enumerate(made(spec, range(ROWS)))
    ]
    cache = CacheSpec(
        store=STORE,
        folder="f",
        lookup=Lookup.merge(STORE, [Index(tables={"s": pack_records(rows)})]),
        **{"key": KEY, **options},
    )
    sources = Sources(columns=(column,))
    return Call(spec=replace(spec, cache=cache), sources=sources, count=count)


def by_hand(spec: TaskSpec, arguments: dict[str, Any]) -> bytes:
    raise AssertionError("it is asked where the element runs, and nowhere else")


def made(spec: TaskSpec, values: Sequence[Any]) -> list[bytes]:
    return [key for value in values if (key := KEY(spec, {"x": value})) is not None]


def test_a_short_map_takes_along_what_it_may_find_and_nothing_else() -> None:
    call = mapped(Given(items=[7, ROWS + 1, 3, 7]), 4)

    cut = narrowed(call)

    assert cut.spec.cache is not None and call.spec.cache is not None
    lookup, whole = cut.spec.cache.lookup, call.spec.cache.lookup
    assert len(lookup) == 2
    for key in made(call.spec, [7, 3, ROWS + 1]):
        assert lookup.find(key, 0.0) == whole.find(key, 0.0)


@pytest.mark.parametrize(
    ("items", "options"),
    [
        (range(5), {}),
        ([1, 2, object()], {}),
        ([1], {"key": by_hand}),
        ([1], {"name": str}),
    ],
    ids=["long", "without a key", "by the user's function", "by an object's name"],
)
def test_others_take_along_the_whole_table(items: Sequence[Any], options: dict[str, Any]) -> None:
    call = mapped(Given(items=items), len(items), **options)

    cut = narrowed(call)

    assert cut.spec.cache is not None and call.spec.cache is not None
    assert cut.spec.cache.lookup is call.spec.cache.lookup


def test_what_other_runs_make_has_keys_only_where_it_is() -> None:
    upstream = Rehearsal().over_items("g", [1, 2])

    call = mapped(From(run=upstream, indices=range(2)), 2)

    assert narrowed(call) is call
