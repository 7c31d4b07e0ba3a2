"""Which elements may go: each once, and only when all that it waits for is there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine.readiness import Readiness, root_cause
from fanfold.engine.run import Run
from fanfold.engine.sources import From, Given, Sources
from fanfold.values.states import WITH_VALUE, StateName
from tests.unit.engine.rehearsal import C, F, Rehearsal

FAILURES = [StateName.FAILED, StateName.CRASHED, StateName.CANCELLED, StateName.TIMED_OUT]


def upstream(play: Rehearsal, name: str, count: int) -> Run:
    return play.map(name, Sources(columns=(Given(items=range(count)),)), count)


def indices_of(spans: list[tuple[int, int]]) -> list[int]:
    return [index for start, stop in spans for index in range(start, stop)]


@pytest.mark.parametrize(
    "indices", [range(10), range(3, 8), range(9, -1, -1), range(0, 10, 3), range(7, 2, -2)]
)
def test_a_slice_of_another_map_is_followed_element_by_element(indices: range) -> None:
    run = upstream(Rehearsal(), "one", 10)
    ready = Readiness(Sources(columns=(From(run=run, indices=indices),)), len(indices))
    assert ready.ready(0, len(indices)) == []

    for index in (4, 0, 9, 6, 3):
        run.states[index] = C if index != 6 else F
        failing = [element for element, _ in ready.arrive(run, [(index, index + 1)])]

        here = [indices.index(index)] if index in indices else []
        assert failing == (here if index == 6 else [])
        assert indices_of(ready.news()) == ([] if index == 6 else here)


@given(st.data())
def test_elements_go_once_when_all_is_there_and_fail_where_anything_failed(
    data: st.DataObject,
) -> None:
    # Given elements that wait for two columns, some for futures of their own, and all for one
    play = Rehearsal()
    count = data.draw(st.integers(1, 10))
    runs = [upstream(play, name, count) for name in ("one", "two", "holes")]
    wide = data.draw(st.booleans())
    fills = {at: From(run=runs[2], indices=range(at, at + 1), whole=False) for at in range(count)}
    common = frozenset({0}) if wide else frozenset[int]()
    of = {
        at: tuple(data.draw(st.sets(st.integers(1, count - 1), min_size=1)))
        for at in range(count)
        if count > 1 and data.draw(st.booleans())
    }
    columns = tuple(From(run=run, indices=range(count)) for run in runs[:2])
    ready = Readiness(Sources(columns=columns, fills=fills, common=common, of=of), count)
    went: list[int] = []
    fell: set[int] = set()

    # When what they wait for becomes final in any order
    steps = data.draw(st.permutations([(run, index) for run in runs for index in range(count)]))
    for run, index in steps:
        run.states[index] = data.draw(st.sampled_from([C, C, C, StateName.CACHED, *FAILURES]))
        fell |= {element for element, _ in ready.arrive(run, [(index, index + 1)])}
        went += indices_of(ready.news())
        assert set(went) == {
            element
            for element in range(count)
            if all(runs[c].states[element] in WITH_VALUE for c in (0, 1))
            and all(runs[2].states[at] in WITH_VALUE for at in (*of.get(element, ()), *common))
        }

    # Then each has either gone, once, or failed
    assert sorted([*went, *fell]) == list(range(count))


def test_the_root_cause_is_told_through_any_number_of_levels() -> None:
    play = Rehearsal()
    one = upstream(play, "one", 2)
    two = play.over_runs("two", one)
    three = play.over_runs("three", two)

    play.home(play.air[1], F)

    causes: list[Any] = [root_cause(run, 1) for run in (one, two, three)]
    assert causes == ["one[1] Failed: ValueError: no"] * 3
