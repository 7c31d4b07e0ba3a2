"""A call, taken apart into its shape and where its values come from."""

import io
import types
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pydantic
import pytest

from fanfold.engine.arguments import resolved, settled
from fanfold.engine.binding import Bound, bind_map, bind_submit
from fanfold.engine.context import RunContext, running
from fanfold.engine.futures import MapFuture, TaskFuture
from fanfold.engine.here import HERE
from fanfold.engine.marks import allow_failure, opaque, quote, unmapped
from fanfold.engine.run import Run
from fanfold.engine.sources import From, Given, Sources
from fanfold.engine.spec import Hole, Mapped
from fanfold.values.errors import MappingLengthMismatch, MappingMissingIterable, UpstreamFailed
from fanfold.values.states import State, StateName
from tests.unit.engine.rehearsal import F, Rehearsal


@pytest.fixture
def play() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
def run(play: Rehearsal) -> Run:
    """A map of ten elements that nobody has carried out."""
    return play.map("run", Sources(columns=(Given(items=range(10)),)), 10)


@pytest.fixture
def bind(play: Rehearsal) -> Callable[..., Bound]:
    def bound(*args: Any, wait_for: Any = None, **kwargs: Any) -> Bound:
        return bind_map("task", args, kwargs, play.stage, ["x", "y", "z"], wait_for)  # type: ignore[arg-type]

    return bound


@pytest.fixture
def submit(play: Rehearsal) -> Callable[..., Bound]:
    def bound(*args: Any, wait_for: Any = None, **kwargs: Any) -> Bound:
        return bind_submit(args, kwargs, play.stage, wait_for)  # type: ignore[arg-type]

    return bound


@pytest.fixture
def failed(play: Rehearsal) -> TaskFuture[Any]:
    """A call that raised."""
    play.stage.fetch = lambda refs, timeout: [play.values[ref] for ref in refs]  # type: ignore[attr-defined]
    run = play.over_items("failed", [1])
    play.home(play.air[-1], F)
    return TaskFuture(run)


class Model(pydantic.BaseModel):
    x: Any = 1


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


@pytest.mark.parametrize(
    "static",
    [
        *[5, "abc", b"abc", bytearray(b"abc"), memoryview(b"abc"), None, np.array(5), Model()],
        *[io.StringIO("abc"), unmapped([1, 2, 3]), unmapped("abc")],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_walked_text_and_what_is_marked_is_the_same_for_all(
    bind: Callable[..., Bound], static: Any
) -> None:
    bound = bind([1, 2], static, z=static)

    expected = static.value if isinstance(static, unmapped) else static
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

    bound = bind([1, 2], unmapped(deep), z=unmapped(TaskFuture(run, 3)))

    assert bound.layout.args[1] == {"a": [Hole(0), Hole(1)]}
    assert bound.layout.kwargs == {"z": Hole(0)}
    assert bound.layout.holes
    assert bound.sources.common == {0, 1}
    assert [fill.whole for fill in bound.sources.fills.values()] == [False, True]
    assert isinstance(deep["a"][0], TaskFuture)


def test_arrays_and_rows_without_futures_are_not_copied(bind: Callable[..., Bound]) -> None:
    for items in (np.arange(5), [(1, "a")] * 5, [{"a": 1}] * 5, [[[1]]] * 5):
        (column,) = bind(items).sources.columns

        assert isinstance(column, Given)
        assert column.items is items and not column.holes


def test_whatever_has_items_and_a_length_is_mapped_over(bind: Callable[..., Bound]) -> None:
    class Items:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, at: int) -> int:
            return range(5, 7)[at]

    assert bind(Items()).sources.columns == (Given(items=[5, 6]),)


@pytest.mark.parametrize(
    "around",
    [
        allow_failure,
        lambda x: allow_failure(opaque(x)),
        lambda x: opaque(allow_failure(x)),
        lambda x: unmapped(allow_failure(x)),
        lambda x: allow_failure(unmapped(x)),
    ],
)
def test_failures_are_allowed_of_what_is_marked_alone(
    bind: Callable[..., Bound], submit: Callable[..., Bound], run: Run, around: Any
) -> None:
    future = MapFuture(run)
    whole = replace(future.source(), failures=True)

    called = submit(around(future), future)
    mapped = bind(around(future), y=future)

    assert called.layout.args == (Hole(0), Hole(1))
    assert called.sources.fills == {0: whole, 1: future.source()}
    static = isinstance(around(1), unmapped) or isinstance(around(1).value, unmapped)
    assert mapped.layout.args == (Hole(0) if static else Mapped(0),)
    assert whole in (*mapped.sources.columns, *mapped.sources.fills.values())
    assert mapped.sources.columns[-1] == future.source()


def test_failures_may_be_allowed_deep_inside_and_for_all_inside(
    submit: Callable[..., Bound], bind: Callable[..., Bound], run: Run
) -> None:
    one, two, three = list(MapFuture(run))[3:6]

    bound = submit({"a": allow_failure([two, 1]), "b": [one]}, [allow_failure(one), quote(one)])

    assert bound.layout.args == ({"a": [Hole(0), 1], "b": [Hole(1)]}, [Hole(2), one])
    assert [fill.failures for fill in bound.sources.fills.values()] == [True, False, True]
    (column,) = bind(allow_failure([one, two, three])).sources.columns
    assert column == From(run=run, indices=range(3, 6), failures=True)
    (column,) = bind([allow_failure(two), one]).sources.columns
    assert isinstance(column, Given) and list(column.items) == [Hole(0), Hole(1)]


def test_a_quoted_argument_is_not_looked_into(
    submit: Callable[..., Bound], bind: Callable[..., Bound], run: Run
) -> None:
    future = TaskFuture(run, 1)
    items = [future, [future], 1]

    bound = submit(quote(items), quote(allow_failure(future)))
    assert bound.layout.args == (items, allow_failure(future))
    assert bound.sources.upstream() == []

    mapped = bind(quote(items), [1, 2, 3], z=quote(future))
    column = mapped.sources.columns[0]
    assert isinstance(column, Given) and column.items is items
    assert mapped.layout.kwargs == {"z": future}
    assert bind([1], quote(unmapped(items))).layout.args[1] is items
    assert mapped.sources.upstream() == []


def test_an_opaque_argument_is_waited_for_but_not_looked_into(
    submit: Callable[..., Bound], bind: Callable[..., Bound], run: Run
) -> None:
    future = TaskFuture(run, 1)

    bound = submit(opaque(future), opaque([future]))
    (column,) = bind(opaque([future, [future]])).sources.columns

    assert bound.layout.args == (Hole(0), [future])
    assert isinstance(column, Given) and list(column.items) == [Hole(0), [future]]


@pytest.mark.parametrize("source", [TaskFuture, MapFuture])
def test_a_state_of_a_run_stands_for_its_future(
    submit: Callable[..., Bound], bind: Callable[..., Bound], run: Run, source: Any
) -> None:
    future = source(run)
    state = State(code=StateName.PENDING, source=future)

    assert submit([state]).sources == submit([future]).sources
    assert bind(allow_failure([state])).sources == bind(allow_failure([future])).sources


def test_states_of_a_maps_elements_in_order_are_that_map(
    bind: Callable[..., Bound], run: Run
) -> None:
    futures = list(MapFuture(run))[2:5]
    states = [State(code=StateName.PENDING, source=future) for future in futures]

    assert bind(states).sources.columns == (From(run=run, indices=range(2, 5)),)


def test_a_completed_state_stands_for_its_data_which_is_not_copied(
    submit: Callable[..., Bound], bind: Callable[..., Bound]
) -> None:
    data = [1, 2]
    state = State(code=StateName.COMPLETED, data=data)

    assert submit({"a": state}).layout.args == ({"a": data},)
    assert submit(state).layout.args[0] is data
    assert bind(state).sources.columns == (Given(items=data),)
    assert bind([state, state]).sources.columns == (Given(items=[data, data]),)


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (State(code=F, error=ValueError("no")), "a state that was given Failed: ValueError: no"),
        (State(code=StateName.CRASHED, message="oom"), "given Crashed: .*Crashed: oom"),
        (State(code=StateName.RUNNING), "is Running, so it has no value"),
    ],
    ids=str,
)
def test_a_state_without_a_value_is_a_failure(
    play: Rehearsal, submit: Callable[..., Bound], state: State, cause: str
) -> None:
    bound = submit([state])
    run = play.map("run", bound.sources, 1)

    assert run.finished
    with pytest.raises(UpstreamFailed, match=cause):
        TaskFuture[Any](run).result()
    with pytest.raises(UpstreamFailed, match=cause):
        resolved([state])
    (error,) = resolved(allow_failure([state]))
    assert isinstance(error, Exception)


def test_what_is_waited_for_is_no_argument_and_comes_together(
    submit: Callable[..., Bound], bind: Callable[..., Bound], run: Run, failed: TaskFuture[Any]
) -> None:
    futures = MapFuture(run)
    state = State(code=F, source=failed)
    awaited = [
        [futures[5], *futures[0:2]],
        {"a": futures[3:5]},
        allow_failure([futures[9], state]),
        "nothing",
    ]

    for bound in (submit(1, wait_for=awaited), bind([1, 2], wait_for=awaited)):
        sources = bound.sources
        assert not bound.layout.holes
        assert sources.common == frozenset(sources.fills)
        assert list(sources.fills.values()) == [
            From(run=run, indices=range(0, 2), value=False),
            From(run=run, indices=range(3, 6), value=False),
            From(run=run, indices=range(9, 10), value=False, failures=True),
            From(run=failed.run, indices=range(1), value=False, failures=True),
        ]


@pytest.mark.parametrize("shape", [list, tuple, iter, lambda all_of_it: all_of_it])
def test_waiting_for_all_elements_of_a_map_is_waiting_for_one_thing(
    submit: Callable[..., Bound], run: Run, shape: Any
) -> None:
    bound = submit(wait_for=shape(MapFuture(run)))

    (source,) = bound.sources.fills.values()
    assert source == From(run=run, indices=range(10), value=False)


def test_what_fails_while_it_should_be_mapped_over_fails_the_elements_or_the_map(
    play: Rehearsal, bind: Callable[..., Bound], failed: TaskFuture[Any]
) -> None:
    with pytest.raises(UpstreamFailed, match="failed Failed: ValueError: no"):
        bind(failed)

    run = play.map("run", bind([1, 2], failed).sources, 2)

    assert MapFuture(run).states == {"UpstreamFailed": 2}
    assert bind([1, 2], allow_failure(failed)).layout.args == (Mapped(0), Hole(0))


def test_failures_of_another_session_stay_with_their_elements(
    play: Rehearsal, bind: Callable[..., Bound]
) -> None:
    # Given a map of another session of which one element failed
    other = Rehearsal()
    other.stage.fetch = lambda refs, timeout: [other.values[ref] for ref in refs]  # type: ignore[attr-defined]
    run = other.over_items("other", "abc", chunk_size=3)
    other.home(other.air[0], StateName.COMPLETED, F, StateName.COMPLETED)
    futures = MapFuture[Any](run)

    # When it is mapped over here, and when its elements are arguments
    mapped = bind(futures)
    here = bind_submit((futures[0], futures[1]), {"z": allow_failure(futures)}, HERE)

    # Then what has a value is brought along, and what failed is known as that
    column, failing = mapped.sources.columns[0], From(run=run, indices=range(1, 2), whole=False)
    assert column == Given(items=["other(a)", Hole(0), "other(c)"], holes=True)
    assert mapped.sources.fills == {0: failing}
    assert mapped.sources.of == {1: (0,)}
    assert here.layout.args == ("other(a)", Hole(0))
    assert [repr(value) for value in here.layout.kwargs["z"]] == [
        "'other(a)'",
        repr(resolved(allow_failure(futures[1]))),
        "'other(c)'",
    ]
    assert settled([futures[0], futures[2]]) is None
    assert settled([futures]) == "other[1] Failed: ValueError: no"
    assert settled(allow_failure(futures)) is None


def test_waiting_for_ones_own_run_is_refused_and_does_not_hang(run: Run) -> None:
    own = [TaskFuture[Any](run, 3)]
    inside = RunContext(info=run.call.spec.info)

    for wait in (
        lambda: resolved(own),
        lambda: settled(own),
        lambda: bind_submit((own,), {}, HERE),
        lambda: bind_submit((), {}, HERE, wait_for=own),
    ):
        with running(inside), pytest.raises(ValueError, match="deadlock"):
            wait()


def test_a_submit_is_a_call_of_one_element_without_columns(play: Rehearsal, run: Run) -> None:
    bound = bind_submit(([1, 2], TaskFuture(run, 1)), {"z": "abc"}, play.stage)  # type: ignore[arg-type]

    assert bound.count == 1
    assert bound.layout.args == ([1, 2], Hole(0))
    assert bound.sources.columns == ()
    assert bound.sources.upstream() == [run]
