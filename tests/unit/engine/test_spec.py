"""The shape of a map's calls: what `call` gives to `map`, `row` and `bind` say of one element."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine.spec import Hole, Layout, Mapped

COUNT = 3
COLUMNS = [[10, 11, 12], ["x", "y", "z"], [None, True, False]]


def everything(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return args, kwargs


arguments = st.builds(Mapped, st.integers(0, 2)) | st.integers() | st.text(max_size=2)
layouts = st.builds(
    Layout,
    args=st.lists(arguments, max_size=4).map(tuple),
    kwargs=st.dictionaries(st.sampled_from("abcd"), arguments, max_size=4),
)


def at(position: int, argument: Any) -> Any:
    return COLUMNS[argument.column][position] if isinstance(argument, Mapped) else argument


@given(layouts)
def test_every_element_is_called_with_its_own_row(layout: Layout) -> None:
    call, rows = layout.call(everything, COLUMNS, COUNT)

    results = list(map(call, *rows))

    assert results == [
        (
            tuple(at(position, argument) for argument in layout.args),
            {name: at(position, argument) for name, argument in layout.kwargs.items()},
        )
        for position in range(COUNT)
    ]


@given(layouts, st.integers(0, COUNT - 1))
def test_a_single_row_is_the_one_that_the_columns_give(layout: Layout, position: int) -> None:
    _, rows = layout.call(everything, COLUMNS, COUNT)

    assert layout.row(COLUMNS, position) == list(zip(*rows, strict=True))[position]


def test_an_element_knows_its_arguments_by_name_with_defaults() -> None:
    def task(first: int, second: int = 2, *rest: int, last: str = "l", **more: int) -> None: ...

    layout = Layout(args=(Mapped(0), 5, 6), kwargs={"last": Mapped(1), "other": 7})
    _, rows = layout.call(task, COLUMNS, COUNT)

    bound = layout.bind(task, [next(iter(row)) for row in rows])

    assert bound == {"first": 10, "second": 5, "rest": (6,), "last": "x", "more": {"other": 7}}
    assert list(bound) == ["first", "second", "rest", "last", "more"]


def test_holes_are_filled_wherever_they_are() -> None:
    layout = Layout(args=(Mapped(0), [Hole(0)]), kwargs={"deep": {"k": (Hole(1),)}}, holes=True)

    filled = layout.filled({0: "zero", 1: "one"})

    assert filled == Layout(args=(Mapped(0), ["zero"]), kwargs={"deep": {"k": ("one",)}})
