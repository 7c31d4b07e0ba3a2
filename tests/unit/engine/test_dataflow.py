"""Futures inside arguments: all are found, and nothing of the caller's is changed."""

import collections
import dataclasses
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine.dataflow import substitute


@dataclasses.dataclass(frozen=True)
class Future:
    number: int


@dataclasses.dataclass
class Config:
    rate: Any
    name: str = "config"
    derived: int = dataclasses.field(init=False, default=7)


class Pair(NamedTuple):
    left: Any
    right: Any


leaves = st.integers() | st.text(max_size=3) | st.builds(Future, st.integers(0, 9))
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Pair, inner, inner)
        | st.builds(Config, inner)
    ),
    max_leaves=12,
)


def numbers(value: Any) -> list[int]:
    """Return the numbers of the futures inside a value, in the order of a walk."""
    if isinstance(value, Future):
        return [value.number]
    if isinstance(value, dict):
        return [n for part in value.values() for n in numbers(part)]
    if isinstance(value, Config):
        return numbers(value.rate)
    if isinstance(value, (list, tuple)):
        return [n for part in value for n in numbers(part)]
    return []


@given(values)
def test_every_future_is_visited_once_and_replaced(value: Any) -> None:
    seen: list[int] = []

    new = substitute(value, Future, lambda future: seen.append(future.number) or "done")

    assert seen == numbers(value)
    assert numbers(new) == []
    assert repr(new).count("'done'") >= len(seen)
    assert isinstance(value, Future) or type(new) is type(value)


@given(values)
def test_the_callers_value_is_left_alone_and_copied_only_where_it_must_change(value: Any) -> None:
    before = repr(value)

    new = substitute(value, Future, lambda future: "done")

    assert repr(value) == before
    assert (new is value) == (not numbers(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({Future(1)}, {1}),
        (frozenset({Future(1), 2}), frozenset({1, 2})),
        ({Future(1): Future(2)}, {1: 2}),
        (collections.OrderedDict(a=Future(1)), collections.OrderedDict(a=1)),
        (collections.defaultdict(list, a=[Future(1)]), collections.defaultdict(list, a=[1])),
        (collections.Counter(a=Future(3)), collections.Counter(a=3)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_futures_in_other_containers_are_found_and_the_container_keeps_its_kind(
    value: Any, expected: Any
) -> None:
    new = substitute(value, Future, lambda future: future.number)

    assert new == expected
    assert type(new) is type(expected)
    assert getattr(new, "default_factory", None) is getattr(expected, "default_factory", None)


def test_a_container_that_holds_itself_ends_the_walk() -> None:
    inner: list[Any] = [Future(1)]
    inner.append(inner)

    new = substitute(inner, Future, lambda future: future.number)

    assert new[0] == 1


def test_a_class_is_not_taken_for_an_instance() -> None:
    assert substitute(Config, Future, repr) is Config


def test_a_long_list_of_atoms_is_not_copied() -> None:
    items = list(range(100_000))

    assert substitute([items], Future, repr)[0] is items
