"""Futures inside arguments: all are found, and nothing of the caller's is changed."""

import collections
import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import attrs
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine.dataflow import hollow, is_model, substitute


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


class Model(pydantic.BaseModel):
    rate: Any
    name: str = "model"


@attrs.frozen
class Point:
    rate: Any
    name: str = "point"


HOLDERS = (Config, Model, Point)
"""Classes with a field `rate` for whatever is to be found."""


leaves = st.integers() | st.text(max_size=3) | st.builds(Future, st.integers(0, 9))
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Pair, inner, inner)
        | st.sets(st.builds(Future, st.integers(0, 9)) | st.integers(), max_size=2)
        | st.builds(collections.deque, st.lists(inner, max_size=2))
        | st.builds(lambda part: partial(repr, part, key=part), inner)
        | st.builds(Config, inner)
        | st.builds(lambda part: Model(rate=part), inner)
        | st.builds(Point, inner)
    ),
    max_leaves=12,
)


def numbers(value: Any) -> list[int]:
    """Return the numbers of the futures inside a value, in the order of a walk."""
    if isinstance(value, Future):
        return [value.number]
    if isinstance(value, dict):
        return [n for part in value.values() for n in numbers(part)]
    if isinstance(value, HOLDERS):
        return numbers(value.rate)
    if isinstance(value, partial):
        return numbers(value.args)
    if isinstance(value, (list, tuple, set, collections.deque)):
        return [n for part in value for n in numbers(part)]
    return []


def number(future: Future) -> int:
    return future.number


@given(values)
def test_every_future_is_replaced_and_the_shape_is_kept(value: Any) -> None:
    seen: list[int] = []

    def visit(future: Future) -> str:
        seen.append(future.number)
        return f"done {future.number}"

    new = substitute(value, Future, visit)

    assert set(seen) == set(numbers(value))
    assert numbers(new) == []
    assert isinstance(value, Future) or type(new) is type(value)
    if "{" not in repr(value):  # sets have an order of their own
        assert repr(new) == written(value)


def written(value: Any) -> str:
    """Return how a value is written once its futures are done."""
    text = repr(value)
    for at in range(10):
        text = text.replace(f"Future(number={at})", repr(f"done {at}"))
    return text


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
        (collections.deque([Future(3)], maxlen=2), collections.deque([3], maxlen=2)),
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


@given(st.lists(values, max_size=4))
def test_nothing_is_inside_of_what_is_hollow_by_its_types(items: list[Any]) -> None:
    if hollow(items, Future):
        assert numbers(items) == []


@pytest.mark.parametrize(
    "items",
    [
        [1, "a", None],
        [(1, 2), [3], {4}],
        [{"a": 1}, {2: b""}],
        [object(), np.arange(3), Future, len],
        [],
    ],
    ids=lambda value: type(next(iter(value), None)).__name__,
)
def test_rows_of_atoms_and_objects_that_are_not_looked_into_are_hollow(items: list[Any]) -> None:
    assert hollow(items, Future)
    assert not hollow([*items, Future(1)], Future)
    assert not hollow([*items, [[Future(1)]]], Future)


def test_containers_that_hold_themselves_end_the_walk() -> None:
    inner: list[Any] = [Future(1)]
    inner.append({"again": inner})
    config = Config(rate=inner)
    inner.append(config)

    new = substitute(config, Future, number)

    assert new.rate[0] == 1
    assert inner[0] == Future(1)


def test_what_stands_in_many_places_is_walked_once_and_stays_one() -> None:
    seen: list[Future] = []
    value: list[Any] = [Future(1)]
    for _ in range(200):
        value = [value, value]

    new = substitute(value, Future, seen.append)

    assert new[0] is new[1]
    assert len(seen) == 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Strict:
    made: ClassVar[int] = 0
    rate: Any
    late: Any = dataclasses.field(init=False)
    start: dataclasses.InitVar[int] = 0

    def __post_init__(self, start: int) -> None:
        Strict.made += 1
        object.__setattr__(self, "late", Future(start + 2))


def test_a_dataclass_is_copied_with_all_its_fields_and_not_made_anew() -> None:
    before = Strict(rate=[Future(1)], start=3)
    made = Strict.made

    new = substitute(before, Future, number)

    assert (new.rate, new.late) == ([1], 5)
    assert (before.rate, before.late) == ([Future(1)], Future(5))
    assert Strict.made == made


def test_a_dataclass_with_a_field_that_was_never_set_is_copied() -> None:
    @dataclasses.dataclass
    class Partly:
        rate: Any
        later: Any = dataclasses.field(init=False)

    new = substitute(Partly(rate=Future(1)), Future, number)

    assert new.rate == 1
    assert not hasattr(new, "later")


class Guarded(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="allow", validate_assignment=True)
    count: int
    inner: list[Any] = []
    _secret: Any = pydantic.PrivateAttr(default=None)


def test_a_model_is_copied_with_all_that_it_holds_and_without_validation() -> None:
    before = Guarded.model_construct(count=Future(1), inner=[Future(2)], more=Future(3))
    before._secret = {"deep": Future(4)}

    new = substitute(before, Future, lambda future: f"value {future.number}")

    assert type(new) is Guarded
    assert (new.count, new.inner, new.more) == ("value 1", ["value 2"], "value 3")
    assert new._secret == {"deep": "value 4"}
    assert new.model_fields_set == before.model_fields_set
    assert before.count == Future(1) and before.more == Future(3)
    assert before._secret == {"deep": Future(4)}


@pydantic.dataclasses.dataclass
class Checked:
    rate: Any
    name: str = "checked"


def test_a_pydantic_dataclass_is_a_dataclass() -> None:
    new = substitute(Checked(rate=Future(1)), Future, number)

    assert (new.rate, new.name) == (1, "checked")
    assert not is_model(new)


@attrs.define
class Loose:
    rate: Any = attrs.field(validator=attrs.validators.instance_of(Future))
    other: Any = None


def test_an_attrs_class_is_copied_without_validation() -> None:
    before = Loose(rate=Future(1), other=[Future(2)])

    new = substitute(before, Future, number)

    assert (new.rate, new.other) == (1, [2])
    assert before.rate == Future(1)


def test_a_partial_is_made_again_with_its_values() -> None:
    before = partial(int, Future(1), base=Future(2))
    before.told = "kept"  # type: ignore[attr-defined]

    new = substitute(before, Future, lambda future: {1: "11", 2: 2}[future.number])

    assert new() == 3
    assert new.told == "kept"
    assert before.args == (Future(1),)


def test_what_is_visited_is_not_looked_into() -> None:
    assert substitute([Future(1)], Future, lambda future: [future]) == [[Future(1)]]


def test_a_class_is_not_taken_for_an_instance() -> None:
    assert substitute(Config, Future, repr) is Config


def test_a_long_list_of_atoms_is_not_copied() -> None:
    items = list(range(100_000))

    assert substitute([items], Future, repr)[0] is items
