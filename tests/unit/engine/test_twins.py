"""Which elements of a map wait for others, and when they go."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.keys.makers import OfInputs
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.segments import Record, pack_records
from fanfold.engine.run import Run
from fanfold.engine.sources import Given, Sources
from fanfold.engine.spec import CacheSpec
from fanfold.engine.twins import MOST_ITEMS, MOST_ROWS, Twins, equal_rows
from tests.unit.engine.rehearsal import F, R, Rehearsal, again, labels

plain = st.one_of(
    st.integers(-2, 2), st.booleans(), st.none(), st.sampled_from(["a", "b", 1.0, b"a", Path("a")])
)
items = st.one_of(plain, st.lists(plain, max_size=2), st.dictionaries(plain, plain, max_size=2))


def look_equal(one: Any, other: Any) -> bool:
    """Return whether two things are equal in value and type, however deep."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(look_equal, one, other))
    if isinstance(one, dict):
        pairs = [[(key, value) for key, value in d.items()] for d in (one, other)]
        return len(one) == len(other) and all(
            any(look_equal(a, c) and look_equal(b, d) for c, d in pairs[1]) for a, b in pairs[0]
        )
    return bool(one == other)


@given(st.lists(st.tuples(items, items), max_size=12))
def test_rows_wait_for_the_first_that_is_equal_by_type_and_value(rows: list[Any]) -> None:
    expected: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        same = (at for at in range(index) if look_equal(list(rows[at]), list(row)))
        if (first := next(same, None)) is not None:
            expected.setdefault(first, []).append(index)

    found = equal_rows([[row[0] for row in rows], [row[1] for row in rows]], len(rows))

    assert found == expected


@pytest.mark.parametrize(
    ("column", "groups"),
    [
        (range(5), {}),
        (np.array([1, 2, 1]), {0: [2]}),
        (np.array([[1, 2], [1, 2]]), {}),
        ((1, True, 1.0, 1), {0: [3]}),
        ([{"a": 1, "b": [2]}, {"b": [2], "a": 1}], {0: [1]}),
        ([[0] * (MOST_ITEMS + 1), [0] * (MOST_ITEMS + 1)], {}),
        ([[1] for _ in range(MOST_ROWS + 1)], {}),
        ([open, open, object()], {0: [1]}),
        ([[1]] * 3, {0: [1, 2]}),
    ],
)
def test_columns_of_many_kinds(column: Sequence[Any], groups: dict[int, list[int]]) -> None:
    assert equal_rows([column], len(column)) == groups


def test_without_arguments_that_count_all_wait_for_the_first() -> None:
    assert equal_rows([], 3) == {0: [1, 2]}


def test_a_million_rows_are_compared_in_less_than_a_third_of_a_second() -> None:
    """0.05 s for numbers that all differ on an idle core; what is left is for busy ones."""
    numbers = list(range(1_000_000))

    began = time.process_time()
    groups = equal_rows([numbers], len(numbers))

    assert groups == {} and time.process_time() - began < 0.3


def test_who_waits_goes_after_the_chunk_that_the_first_came_home_in() -> None:
    twins = Twins({0: [2, 3], 1: [5]}, 6)

    assert twins.first([(0, 6)]) == [(0, 2), (4, 5)]
    assert [batch.spans for batch in twins.freed([(1, 2)], "a")] == [((5, 6),)]
    (freed,) = twins.freed([(0, 1), (4, 5)], "b")
    assert (freed.spans, freed.after) == (((2, 4),), "b")
    assert twins.freed([(0, 6)]) == []


@pytest.fixture
def rehearsal() -> Rehearsal:
    """Runs of a task whose results are shared between equal arguments."""
    return Rehearsal()


def mapped(rehearsal: Rehearsal, items: Sequence[Any], **spec: Any) -> Run:
    """Start a map whose elements are cached by their arguments."""
    store = FsspecStore("memory://twins")
    cache = CacheSpec(
        key=OfInputs(b""),
        store=store,
        folder="f",
        lookup=Lookup.merge(store, []),
        **{"ignored": frozenset(), **spec},
    )
    sources = Sources(columns=(Given(items=items),))
    return rehearsal.map("f", sources, len(items), cache=cache)


def record(number: int) -> bytes:
    """Return the packed record of an element."""
    return pack_records(
        [Record(key=bytes(15) + bytes([number]), offset=0, length=1, digest=b"d" * 16)]
    )


def test_one_of_a_group_goes_first_and_the_others_look_at_what_its_chunk_kept(
    rehearsal: Rehearsal,
) -> None:
    run = mapped(rehearsal, [7, 8, 7, 7])
    firsts = {index: sent for sent in rehearsal.air for index in sent.indices}
    assert sorted(firsts) == [0, 1] and all(sent.work.made is None for sent in rehearsal.air)

    rehearsal.home(firsts[0], staged={"s": record(7)})

    others = [sent for sent in rehearsal.air if sent is not firsts[1]]
    assert [index for sent in others for index in sent.indices] == [2, 3]
    for sent in others:
        assert sent.work.made is not None
        assert sent.work.made.find(bytes(15) + bytes([7]), 0.0) is not None
    rehearsal.all_home()
    assert labels(run) == ["Completed"] * 4


def test_where_the_first_fails_the_others_run_themselves(rehearsal: Rehearsal) -> None:
    run = mapped(rehearsal, [7, 7, 7])
    (first,) = rehearsal.air

    rehearsal.home(first, F)

    assert [index for sent in rehearsal.air for index in sent.indices] == [1, 2]
    assert all(sent.work.made is None for sent in rehearsal.air)
    rehearsal.all_home()
    assert labels(run) == ["Failed", "Completed", "Completed"]


def test_where_the_first_is_tried_again_the_others_go_on_waiting(rehearsal: Rehearsal) -> None:
    run = mapped(rehearsal, [7, 7])
    (first,) = rehearsal.air

    rehearsal.home(first, R, details={0: again(5.0)})
    assert rehearsal.air == []
    rehearsal.pass_time(5.0)
    assert [sent.indices for sent in rehearsal.air] == [[0]]
    rehearsal.all_home()

    assert labels(run) == ["Completed"] * 2


def test_a_lost_worker_costs_the_others_no_call(rehearsal: Rehearsal) -> None:
    run = mapped(rehearsal, [7] * 3)
    rehearsal.home(rehearsal.air[0], staged={"s": record(7)})

    while others := [sent for sent in rehearsal.air if len(sent.indices) > 1]:
        rehearsal.lose(others[0])

    assert rehearsal.air and all(sent.work.made is not None for sent in rehearsal.air)
    rehearsal.all_home()
    assert labels(run) == ["Completed"] * 3


@pytest.mark.parametrize("spec", [{"ignored": None}, {"reads": False}])
def test_where_no_key_is_shared_nothing_waits(rehearsal: Rehearsal, spec: dict[str, Any]) -> None:
    mapped(rehearsal, [7] * 3, **spec)

    assert sorted(index for sent in rehearsal.air for index in sent.indices) == [0, 1, 2]


def test_what_is_cancelled_frees_nobody(rehearsal: Rehearsal) -> None:
    run = mapped(rehearsal, [7] * 5)
    (first,) = rehearsal.air

    rehearsal.cancel(run)
    rehearsal.home(first)

    assert first.indices == [0] and rehearsal.air == []
    assert labels(run) == ["Completed"] + ["Cancelled"] * 4
