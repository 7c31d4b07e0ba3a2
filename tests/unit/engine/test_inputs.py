"""What chunks are called with: values and exceptions, each in the place of its element."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine import wire
from fanfold.engine.chunking import Batch
from fanfold.engine.failures import capture
from fanfold.engine.inputs import Inputs, Literal, Needs, Piece, Taken
from fanfold.engine.run import Run
from fanfold.engine.sources import From, Given, Sources
from fanfold.engine.spec import Hole
from fanfold.values.errors import RunError, ValuesLost
from fanfold.values.messages import Detail
from fanfold.values.states import StateName
from tests.unit.engine.rehearsal import C, F, Rehearsal

CRASHED, ROLLED_BACK = StateName.CRASHED, StateName.ROLLED_BACK


def carried_out(states: list[StateName], chunk_size: int) -> tuple[Run, list[list[Any]]]:
    """Return a map whose elements came to these states, and its values by ref."""
    play = Rehearsal(slots=20)
    run = play.over_items("one", range(len(states)), chunk_size=chunk_size)
    values: list[list[Any]] = []
    for sent in list(play.air):
        fates = [states[index] for index in sent.indices]
        play.home(sent, *(C if fate is not F else F for fate in fates))
        values.append([index if states[index] is C else None for index in sent.indices])
    for index, state in enumerate(states):
        run.states[index] = state
        if state is not C:
            run.details[index] = Detail(failure=capture(raised(index), travels=False))
    return run, values


def raised(index: int) -> BaseException:
    """Return an exception with a traceback, which can't travel."""
    try:
        raise ValueError(index)
    except ValueError as error:
        return error


def shown(values: list[Any]) -> list[Any]:
    return [repr(v) if isinstance(v, Exception) else v for v in values]


@given(st.data())
def test_values_and_exceptions_come_in_the_order_of_the_elements(data: st.DataObject) -> None:
    # Given a map of which some elements failed, with a place among the values or without one
    fates = st.sampled_from([C, C, F, CRASHED])
    states = data.draw(st.lists(fates, min_size=1, max_size=20))
    run, values = carried_out(states, data.draw(st.integers(1, 7)))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(states))] * 2)))
    step = data.draw(st.sampled_from([1, -1, 2, -3]))
    indices = range(len(states))[start:stop][::step]
    travels = data.draw(st.booleans())

    # When a chunk is called with a slice of it, as a column and as one argument
    source = From(run=run, indices=indices, failures=True)
    sources = Sources(columns=(source,), fills={0: source}, common=frozenset({0}))
    batch = Batch(spans=((0, len(indices)),))
    inputs, refs = sources.inputs(batch, travels=travels)
    needs = Needs([values[ref] for ref in refs], remote=False)
    if travels:
        inputs = pickle.loads(wire.dump_function("The inputs", inputs))

    # Then each element has its own
    expected = [i if states[i] is C else f"ValueError({i})" for i in indices]
    (column,) = inputs.columns
    assert shown(list(needs.column(column, {}))) == expected
    assert shown(needs.fill(inputs.fills[0])) == expected
    assert len(refs) == len(set(refs))


def test_one_failed_call_fills_its_hole_with_its_exception() -> None:
    run, _ = carried_out([F], 1)
    source = From(run=run, indices=range(1), whole=False, failures=True)
    inputs, refs = Sources(fills={0: source}, common=frozenset({0})).inputs(Batch(spans=((0, 1),)))

    assert refs == []
    filled = Needs([], remote=False).fill(inputs.fills[0])
    assert repr(filled) == "ValueError(0)"


def test_an_element_without_value_or_exception_stands_as_an_error_that_says_so() -> None:
    run, _ = carried_out([C, ROLLED_BACK], 2)
    del run.details[1]
    source = From(run=run, indices=range(1, 2), whole=False, failures=True)
    inputs, _ = Sources(fills={0: source}, common=frozenset({0})).inputs(Batch(spans=((0, 1),)))

    error = Needs([], remote=False).fill(inputs.fills[0])

    assert isinstance(error, RunError)
    assert str(error) == "one[1] has no value"


@pytest.mark.parametrize("failures", [False, True])
def test_a_value_that_is_being_made_again_is_not_there(failures: bool) -> None:
    run, _ = carried_out([C, C, F], 1)
    run.locations.forget(1)
    run.states[1] = StateName.PENDING
    source = From(run=run, indices=range(3), failures=failures)

    with pytest.raises(LookupError):
        Sources(columns=(source,)).inputs(Batch(spans=((0, 3),)))


def test_what_is_only_waited_for_needs_nothing() -> None:
    run, _ = carried_out([C, C], 1)
    awaited = From(run=run, indices=range(2), value=False)
    sources = Sources(columns=(Given(items="ab"),), fills={0: awaited}, common=frozenset({0}))

    inputs, refs = sources.inputs(Batch(spans=((0, 2),)))

    assert (inputs, refs) == (Inputs(columns=(Literal(items="ab"),)), [])
    assert sources.upstream() == [run]
    brought = sources.brought()
    assert brought is not None and brought.upstream() == []
    assert brought.inputs(Batch(spans=((0, 2),))) == (inputs, [])


def test_what_other_runs_made_is_nothing_that_the_caller_brought() -> None:
    run, _ = carried_out([C], 1)
    source = From(run=run, indices=range(1))

    assert Sources(columns=(source,)).brought() is None
    assert Sources(fills={0: source}, common=frozenset({0})).brought() is None
    assert Sources(columns=(Given(items=[1]),)).brought() is not None


def test_holes_in_items_are_filled_deep_inside() -> None:
    column = Literal(items=[{"a": Hole(0)}, Hole(1)], holes=True)

    filled = Needs([], remote=False).column(column, {0: "x", 1: [1]})

    assert filled == [{"a": "x"}, [1]]


def test_a_piece_that_a_second_try_did_not_reach_is_lost() -> None:
    needs = Needs([[1, 2]], remote=False)

    with pytest.raises(ValuesLost) as told:
        needs.take(Taken(pieces=(Piece(need=0, slot=1, count=2),)))

    assert told.value.lost == (0,)
