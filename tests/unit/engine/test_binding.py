"""A call, taken apart into its shape and where its values come from."""

import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from fanfold.engine.binding import Bound, Unmapped, bind_map, bind_submit
from fanfold.engine.futures import MapFuture, TaskFuture
from fanfold.engine.run import Run
from fanfold.engine.sources import From, Given, Sources
from fanfold.engine.spec import Hole, Mapped
from fanfold.values.errors import MappingLengthMismatch, MappingMissingIterable
from tests.unit.engine.rehearsal import Rehearsal


@pytest.fixture
def play() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
def run(play: Rehearsal) -> Run:
    """A map of ten elements that nobody has carried out."""
    return play.map("run", Sources(columns=(Given(items=range(10)),)), 10)


@pytest.fixture
def bind(play: Rehearsal) -> Callable[..., Bound]:
    def bound(*args: Any, **kwargs: Any) -> Bound:
        return bind_map("task", args, kwargs, play.stage, ["x", "y", "z"])  # type: ignore[arg-type]

    return bound


@pytest.mark.parametrize(
    "given",
    [
        [1, 2, 3],
        (1, 2, 3),
        range(1, 4),
        {1: "a", 2: "b", 3: "c"},
        {1, 2, 3},
        (number for number in (1, 2, 3)),
        types.MappingProxyType({1: 1, 2: 2, 3: 3}),
        np.array([1, 2, 3]),
    ],
    ids=lambda given: type(given).__name__,
)
def test_whatever_can_be_walked_is_mapped_over(
    bind: Callable[..., Bound], given: Iterable[int]
) -> None:
    bound = bind(given)

    (column,) = bound.sources.columns
    assert isinstance(column, Given)
    assert list(column.items) == [1, 2, 3]
    assert bound.layout.args == (Mapped(0),)
    assert bound.count == 3


@pytest.mark.parametrize("static", [5, "abc", b"abc", None, Unmapped([1, 2, 3]), Unmapped("abc")])
def test_what_cannot_be_walked_text_and_what_is_marked_is_the_same_for_all(
    bind: Callable[..., Bound], static: Any
) -> None:
    bound = bind([1, 2], static, z=static)

    expected = static.value if isinstance(static, Unmapped) else static
    assert bound.layout.args == (Mapped(0), expected)
    assert bound.layout.kwargs == {"z": expected}


def test_a_list_or_range_of_the_caller_is_not_copied(bind: Callable[..., Bound]) -> None:
    items = list(range(1000))

    (column,) = bind(items).sources.columns

    assert isinstance(column, Given)
    assert column.items is items


def test_nothing_to_map_over_is_refused(bind: Callable[..., Bound]) -> None:
    with pytest.raises(MappingMissingIterable, match=r"task\.map has nothing to map over"):
        bind(5, y=6)


def test_different_lengths_are_refused_and_told_by_name(bind: Callable[..., Bound]) -> None:
    with pytest.raises(MappingLengthMismatch, match="x has 3, z has 2"):
        bind([1, 2, 3], 1, z=[1, 2])


def test_a_maps_future_is_a_column_that_stays_where_it_is(
    bind: Callable[..., Bound], run: Run
) -> None:
    bound = bind(MapFuture(run)[2:])

    assert bound.sources.columns == (From(run=run, indices=range(2, 10)),)
    assert bound.count == 8


@pytest.mark.parametrize("kept", [slice(0, 10), slice(3, 7)])
def test_a_list_of_a_maps_elements_in_order_is_that_map(
    bind: Callable[..., Bound], run: Run, kept: slice
) -> None:
    futures = list(MapFuture(run))[kept]

    assert bind(futures).sources.columns == bind(MapFuture(run)[kept]).sources.columns


def test_a_list_of_elements_in_another_order_waits_for_each_on_its_own(
    bind: Callable[..., Bound], run: Run
) -> None:
    futures = list(MapFuture(run))

    bound = bind([futures[5], 1, futures[4], futures[5]])

    (column,) = bound.sources.columns
    assert isinstance(column, Given)
    assert column.holes
    assert list(column.items) == [Hole(0), 1, Hole(1), Hole(0)]
    assert bound.sources.of == {0: (0,), 2: (1,), 3: (0,)}
    assert [fill.indices for fill in bound.sources.fills.values()] == [range(5, 6), range(4, 5)]
    assert not any(fill.whole for fill in bound.sources.fills.values())


def test_futures_in_static_arguments_are_holes_that_all_elements_need(
    bind: Callable[..., Bound], run: Run
) -> None:
    deep = {"a": [TaskFuture(run, 3), MapFuture(run)]}

    bound = bind([1, 2], Unmapped(deep), z=Unmapped(TaskFuture(run, 3)))

    assert bound.layout.args[1] == {"a": [Hole(0), Hole(1)]}
    assert bound.layout.kwargs == {"z": Hole(0)}
    assert bound.layout.holes
    assert bound.sources.common == {0, 1}
    assert [fill.whole for fill in bound.sources.fills.values()] == [False, True]
    assert isinstance(deep["a"][0], TaskFuture)


def test_a_submit_is_a_call_of_one_element_without_columns(play: Rehearsal, run: Run) -> None:
    bound = bind_submit(([1, 2], TaskFuture(run, 1)), {"z": "abc"}, play.stage)  # type: ignore[arg-type]

    assert bound.count == 1
    assert bound.layout.args == ([1, 2], Hole(0))
    assert bound.sources.columns == ()
    assert bound.sources.upstream() == [run]
