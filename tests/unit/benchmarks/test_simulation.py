"""The model of large clusters: nothing is lost or doubled, and the same seed plays the same."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold.engine.patience import Patience
from tests.benchmarks.simulation.agenda import Agenda
from tests.benchmarks.simulation.cluster import Growth, Losses
from tests.benchmarks.simulation.costs import DASK, RAY
from tests.benchmarks.simulation.durations import BLOCK, Drawn, Even, Listed
from tests.benchmarks.simulation.lines import Cores, Line
from tests.benchmarks.simulation.trial import Outcome, Trial

durations = st.one_of(
    st.floats(1e-6, 1.0).map(Even),
    st.builds(Drawn, st.floats(1e-4, 1.0), sigma=st.just(1.5), seed=st.integers(0, 9)),
    st.builds(
        Drawn,
        st.floats(1e-4, 1.0),
        shape=st.just(1.5),
        seed=st.integers(0, 9),
        sleeps=st.booleans(),
    ),
)
trials = st.builds(
    Trial,
    workers=st.integers(1, 30),
    elements=st.integers(1, 1_000),
    durations=durations,
    costs=st.sampled_from([DASK, RAY]),
    cores=st.sampled_from([math.inf, 1.0, 2.0]),
    # Not much shorter lives than the map takes, or no reader ever has all values at a time.
    losses=st.none() | st.builds(Losses, each_s=st.floats(500, 1e4), back_s=st.floats(0.1, 10)),
    growth=st.none() | st.builds(Growth, start_s=st.floats(0, 5), chunk_is_slot=st.booleans()),
    fetches=st.booleans(),
    seed=st.integers(0, 99),
)


@settings(max_examples=60, deadline=None)
@given(trials)
def test_every_element_ends_exactly_once(trial: Trial) -> None:
    outcome = trial.play()

    assert sum(outcome.states.values()) == trial.elements
    assert set(outcome.states) <= {"Completed", "Crashed"}
    if trial.losses is None or not trial.fetches:
        assert outcome.published == trial.elements


@settings(max_examples=30, deadline=None)
@given(trials)
def test_the_same_trial_goes_the_same_way(trial: Trial) -> None:
    one, other = trial.play(), trial.play()

    assert facts(one) == facts(other)


def facts(outcome: Outcome) -> tuple[object, ...]:
    return outcome.took_s, outcome.chunks, outcome.deaths, outcome.states, outcome.worked_s


@settings(max_examples=60, deadline=None)
@given(trials)
def test_no_map_is_faster_than_all_its_work_over_all_workers(trial: Trial) -> None:
    outcome = trial.play()

    if outcome.states == {"Completed": trial.elements}:
        assert outcome.took_s >= outcome.ideal_s * 0.999
        assert outcome.worked_s >= trial.durations.total(trial.elements) * 0.999


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=300),
    st.none() | st.floats(1e-3, 20),
    st.floats(0, 0.1),
)
def test_a_chunk_stops_after_the_element_that_spends_its_budget(
    seconds: list[float], budget_s: float | None, more_s: float
) -> None:
    middle = len(seconds) // 2
    spans = [span for span in ((middle, len(seconds)), (0, middle)) if span[0] < span[1]]

    reached, spent = Listed(tuple(seconds)).reached(spans, budget_s, more_s)

    before, expected = 0.0, 0
    for taken in [*seconds[middle:], *seconds[:middle]]:
        before += taken + more_s
        expected += 1
        if budget_s is not None and before > budget_s:
            break
    assert (reached, spent) == (expected, pytest.approx(before))


def test_drawn_durations_are_the_same_whatever_part_is_asked_for() -> None:
    drawn, same = Drawn(0.5, sigma=1.5, seed=3), Drawn(0.5, sigma=1.5, seed=3)
    edge = BLOCK - 10

    whole = drawn.reached([(edge, edge + 20)], None, 0.0)[1]
    parts = sum(same.reached([(at, at + 1)], None, 0.0)[1] for at in range(edge, edge + 20))

    assert whole == pytest.approx(parts)
    assert drawn.total(4 * BLOCK) / (4 * BLOCK) == pytest.approx(0.5, rel=0.05)
    assert Drawn(0.5, shape=3.0).total(4 * BLOCK) / (4 * BLOCK) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("cores", "ends"),
    [(1, [1.5, 2.5, 3.0]), (2, [0.75, 1.25, 1.75]), (3, [0.5, 1.0, 1.5])],
)
def test_cores_are_shared_evenly(cores: int, ends: list[float]) -> None:
    agenda = Agenda()
    shared, found = Cores(agenda, cores), list[float]()

    for seconds in (0.5, 1.0, 1.5):
        shared.work(seconds, lambda: found.append(agenda.now))
    agenda.play(lambda: False)

    assert found == pytest.approx(ends)


def test_a_line_does_one_thing_after_another_and_what_is_urgent_first() -> None:
    agenda = Agenda()
    line, found = Line(Cores(agenda)), list[tuple[str, float]]()

    def note(what: str, then: Callable[[], None] = lambda: None) -> Callable[[], None]:
        return lambda: (found.append((what, agenda.now)), then())[1]

    urgent = [(1.0, note("urgent")), (1.0, note("next"))]
    line.add(1.0, note("first", partial(line.first, urgent)))
    line.add(1.0, note("last"))
    agenda.play(lambda: False)

    assert found == [("first", 1), ("urgent", 2), ("next", 3), ("last", 4)]
    assert line.busy_s == 4


def test_a_map_whose_workers_are_all_gone_for_good_crashes_when_its_patience_is_over() -> None:
    losses = Losses(each_s=5.0, notice_s=1.0)
    trial = Trial(workers=3, elements=100, durations=Even(60.0), costs=DASK, losses=losses)

    outcome = trial.play()

    assert outcome.states == {"Crashed": 100}
    assert outcome.deaths == 3
    assert outcome.took_s > Patience().worker_s


def test_chunks_of_a_worker_that_died_unnoticed_are_copied() -> None:
    losses = Losses(each_s=300.0, back_s=5.0, notice_s=3_000.0)
    trial = Trial(
        workers=10, elements=1_000, durations=Even(1.0), costs=DASK, losses=losses, seed=2
    )

    outcome = trial.play()

    assert outcome.states == {"Completed": 1_000}
    assert outcome.deaths > 0
    assert outcome.copies > 0
    assert outcome.took_s < losses.notice_s


def test_values_that_died_with_their_workers_are_made_again_for_a_reader() -> None:
    losses = Losses(each_s=20.0, back_s=1.0)
    trial = Trial(
        workers=4, elements=400, durations=Even(0.1), costs=RAY, losses=losses, fetches=True, seed=1
    )

    outcome = trial.play()

    assert outcome.states == {"Completed": 400}
    assert outcome.deaths > 0
    assert outcome.published > 400


def test_arguments_that_weigh_something_go_over_the_links_one_after_another() -> None:
    slow = replace(DASK, bytes_per_s=1e7)
    trial = Trial(workers=100, elements=1_000, durations=Even(1e-4), costs=slow, bytes_each=20_000)

    assert trial.play().took_s >= 1_000 * 20_000 / 1e7
