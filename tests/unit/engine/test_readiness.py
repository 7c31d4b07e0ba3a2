"""Which elements may go: each once, and only when all that it waits for is there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine.readiness import Readiness, final, lacking, root_cause
from fanfold.engine.run import Run
from fanfold.engine.sources import From, Given, Sources
from fanfold.values.states import FINAL, WITH_VALUE, StateName
from tests.unit.engine.rehearsal import C, F, Rehearsal

FAILURES = [StateName.FAILED, StateName.CRASHED, StateName.CANCELLED, StateName.TIMED_OUT]


def upstream(play: Rehearsal, name: str, count: int) -> Run:
    return play.map(name, Sources(columns=(Given(items=range(count)),)), count)


def indices_of(spans: list[tuple[int, int]]) -> list[int]:
    return [index for start, stop in spans for index in range(start, stop)]


@pytest.mark.parametrize(
    "indices", [range(10), range(3, 8), range(9, -1, -1), range(0, 10, 3), range(7, 2, -2)]
)
@pytest.mark.parametrize("failures", [False, True])
def test_a_slice_of_another_map_is_followed_element_by_element(
    indices: range, failures: bool
) -> None:
    run = upstream(Rehearsal(), "one", 10)
    column = From(run=run, indices=indices, failures=failures)
    ready = Readiness(Sources(columns=(column,)), len(indices))
    assert ready.ready(0, len(indices)) == []

    for index in (4, 0, 9, 6, 3):
        run.states[index] = C if index != 6 else F
        failing = [element for element, _ in ready.arrive(run, [(index, index + 1)])]

        here = [indices.index(index)] if index in indices else []
        fails = index == 6 and not failures
        assert failing == (here if fails else [])
        assert indices_of(ready.news()) == ([] if fails else here)


@given(st.data())
def test_elements_go_once_when_all_is_there_and_fail_where_anything_failed_that_may_not(
    data: st.DataObject,
) -> None:
    # Given elements that wait for two columns, some for futures of their own, and all for two
    # others, with or without their values; of some of these it is allowed that they fail
    play = Rehearsal()
    count = data.draw(st.integers(1, 10))
    runs = [upstream(play, name, count) for name in ("one", "two", "holes")]
    allowed = data.draw(st.lists(st.booleans(), min_size=count + 2, max_size=count + 2))
    columns = tuple(
        From(run=run, indices=range(count), failures=fine)
        for run, fine in zip(runs, allowed[count:], strict=False)
    )
    common = data.draw(st.sets(st.integers(0, min(1, count - 1))))
    fills = {
        at: From(
            run=runs[2],
            indices=range(at, at + 1),
            whole=False,
            failures=allowed[at],
            value=at not in common or data.draw(st.booleans()),
        )
        for at in range(count)
    }
    own = st.sets(st.integers(1, count - 1), min_size=1) if count > 1 else st.just(set[int]())
    of = {at: tuple(data.draw(own)) for at in range(count) if data.draw(st.booleans())}
    of = {at: holes for at, holes in of.items() if holes}
    sources = Sources(columns=columns, fills=fills, common=frozenset(common), of=of)
    ready = Readiness(sources, count)

    def there(element: int) -> bool:
        needed = [(columns[c], runs[c].states[element]) for c in (0, 1)]
        needed += [(fills[at], runs[2].states[at]) for at in (*of.get(element, ()), *common)]
        return all(code in (FINAL if source.failures else WITH_VALUE) for source, code in needed)

    # When what they wait for becomes final in any order
    went: list[int] = []
    fell: set[int] = set()
    steps = data.draw(st.permutations([(run, index) for run in runs for index in range(count)]))
    for run, index in steps:
        run.states[index] = data.draw(st.sampled_from([C, C, C, StateName.CACHED, *FAILURES]))
        fell |= {element for element, _ in ready.arrive(run, [(index, index + 1)])}
        went += indices_of(ready.news())
        assert set(went) == {element for element in range(count) if there(element)}

    # Then each has either gone, once, or failed
    assert sorted([*went, *fell]) == list(range(count))
    assert all(ready.complete(element) and ready.failure(element) is None for element in went)


def test_what_was_only_waited_for_is_not_waited_for_again_when_its_value_is_lost() -> None:
    play = Rehearsal()
    run = upstream(play, "one", 1)
    awaited = From(run=run, indices=range(1), value=False)
    ready = Readiness(Sources(fills={0: awaited}, common=frozenset({0})), 2)
    run.states[0] = C
    assert list(ready.arrive(run, [(0, 1)])) == []
    assert indices_of(ready.news()) == [0, 1]

    for code in (StateName.PENDING, F):
        run.states[0] = code

        assert ready.complete(0) and ready.failure(0) is None


@pytest.mark.parametrize(
    ("states", "failures", "cause"),
    [([C, C], False, None), ([C, F], True, None), ([C, F], False, "one[1] Failed: ValueError: no")],
)
def test_a_source_lacks_what_failed_unless_that_is_allowed(
    states: list[StateName], failures: bool, cause: str | None
) -> None:
    play = Rehearsal()
    run = upstream(play, "one", 2)
    source = From(run=run, indices=range(2), failures=failures)
    assert not final(source)

    for sent, state in zip(list(play.air), states, strict=True):
        play.home(sent, state)

    assert final(source)
    assert lacking(source) == cause


def test_the_root_cause_is_told_through_any_number_of_levels() -> None:
    play = Rehearsal()
    one = upstream(play, "one", 2)
    two = play.over_runs("two", one)
    three = play.over_runs("three", two)

    play.home(play.air[1], F)

    causes: list[Any] = [root_cause(run, 1) for run in (one, two, three)]
    assert causes == ["one[1] Failed: ValueError: no"] * 3
