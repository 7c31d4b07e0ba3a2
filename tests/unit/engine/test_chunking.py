"""The planner: nothing is lost or doubled, sizes follow what was measured, and the cut is good."""

import heapq
import itertools
import math
import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine import chunking
from fanfold.engine.chunking import BUDGET_S, PIECES, Batch, Pace
from fanfold.values.messages import Report
from fanfold.values.resources import Slots
from fanfold.values.states import StateName
from tests.unit.engine.rehearsal import Rehearsal, Sent

MILLION = 1_000_000

slots = st.integers(0, 10_000).map(lambda most: Slots(now=0, most=most))
paces = st.builds(
    Pace, seconds=st.just(0.0) | st.floats(1e-9, 1e4), bytes_in=st.just(0.0) | st.floats(1, 1e9)
)


@st.composite
def queues(draw: st.DrawFn) -> list[Batch]:
    """Batches of spans in order, no element in two of them; some are suspect."""
    edges = sorted(draw(st.sets(st.integers(0, 200), min_size=2)))
    spans = list(itertools.pairwise(edges))[:: draw(st.sampled_from([1, 2]))]
    batches: list[Batch] = []
    while spans:
        count = draw(st.integers(1, len(spans)))
        batches.append(Batch(spans=tuple(spans[:count]), suspect=draw(st.booleans())))
        spans = spans[count:]
    return draw(st.permutations(batches))


batches = queues().map(lambda queue: queue[0])


def elements(*parts: Batch | None) -> list[int]:
    return [index for batch in parts if batch is not None for index in batch.indices()]


@given(batches, st.integers(1, 250))
def test_a_split_keeps_all_elements_in_order(batch: Batch, size: int) -> None:
    head, tail = batch.split(size)

    assert elements(head, tail) == elements(batch)
    assert len(head) == len(elements(head)) == min(size, len(batch))
    assert tail is None or len(tail) > 0
    assert {part.suspect for part in (head, tail) if part} == {batch.suspect}


@given(batches)
def test_a_cut_keeps_all_elements_in_at_most_32_even_suspect_pieces(batch: Batch) -> None:
    pieces = chunking.cut(batch)

    assert elements(*pieces) == elements(batch)
    assert len(pieces) <= PIECES
    assert all(piece.suspect and len(piece) <= math.ceil(len(batch) / PIECES) for piece in pieces)
    assert all(len(piece) == len(pieces[0]) for piece in pieces[:-1])


@given(queues())
def test_a_merge_sorts_and_joins_neighbours(queue: list[Batch]) -> None:
    merged = chunking.merge(queue)

    assert elements(merged) == sorted(elements(*queue))
    assert all(
        one[1] < other[0] for one, other in zip(merged.spans, merged.spans[1:], strict=False)
    )


@given(queues(), st.integers(1, 250))
def test_taking_from_a_queue_empties_it_of_each_element_once(
    queue: list[Batch], count: int
) -> None:
    todo = deque(queue)

    taken: list[Batch] = []
    while todo:
        front = todo[0]
        taken.append(chunking.take(todo, count))
        if front.suspect:
            assert taken[-1] == front.split(count)[0]
        else:
            assert 0 < len(taken[-1]) <= count
            assert not taken[-1].suspect

    assert sorted(elements(*taken)) == sorted(elements(*queue))


@given(st.integers(0, 10**9), slots, paces)
def test_a_size_is_never_zero_and_never_more_than_fits_a_budget(
    left: int, most: Slots, pace: Pace
) -> None:
    size = chunking.size(left, most, pace)

    assert size >= 1
    if pace.seconds:
        assert (size - 1) * pace.seconds <= chunking.budget_s(most) * 1.001
    else:
        assert size <= max(left, 1)


@given(slots, slots)
def test_budgets_and_chunks_in_flight_grow_with_the_slots(one: Slots, other: Slots) -> None:
    few, many = sorted((one, other), key=lambda found: found.most)

    assert BUDGET_S <= chunking.budget_s(few) <= chunking.budget_s(many)
    assert 8 <= chunking.wanted_in_flight(few) <= chunking.wanted_in_flight(many)
    assert many.most / chunking.budget_s(many) <= chunking.CHUNKS_PER_SECOND * 1.001


@given(st.integers(1, 1000), st.floats(1, 1e9), slots)
def test_a_chunk_carries_a_mebibyte_of_inputs_at_most(left: int, size: float, most: Slots) -> None:
    count = chunking.size(left, most, Pace(bytes_in=size))

    assert count == 1 or (count - 1) * size < chunking.INPUT_BYTES


def test_a_pace_follows_what_is_seen_and_ignores_empty_reports() -> None:
    pace = Pace()

    pace.learn(0, 5.0)
    assert pace.seconds == 0
    pace.learn(10, 1.0)
    pace.learn(10, 3.0)

    assert pace.seconds == pytest.approx(0.2)


def carried_out(durations: list[float], slots: int) -> tuple[float, int]:
    """Play a map whose elements take so long; return how long it and how many chunks it took."""
    play = Rehearsal(slots)
    run = play.over_items("map", range(len(durations)))
    began, idle, order = play.now, slots, itertools.count()
    waiting = deque(play.air)
    landings: list[tuple[float, int, Sent, int, float]] = []
    while run.left:
        while idle and waiting:
            sent = waiting.popleft()
            reached, worked = worked_off(sent, durations)
            heapq.heappush(landings, (play.now + worked, next(order), sent, reached, worked))
            idle -= 1
        play.now, _, sent, reached, worked = heapq.heappop(landings)
        idle += 1
        known = len(play.sent)
        play.land(sent)
        states = ((int(StateName.COMPLETED), reached),)
        report = Report(chunk=sent.work.id, reached=reached, states=states, seconds=worked)
        play.tell(run, report=report)
        waiting.extend(play.sent[known:])
    return play.now - began, len(play.sent)


def worked_off(sent: Sent, durations: list[float]) -> tuple[int, float]:
    """Return how far a chunk comes within its budget, and how long that takes."""
    reached, worked = 0, 0.0
    for index in sent.work.batch.indices():
        worked += durations[index]
        reached += 1
        if sent.work.budget_s is not None and worked > sent.work.budget_s:
            break
    return reached, worked


def one_by_one(durations: list[float], slots: int) -> float:
    """Return how long it takes when each element is a future of its own."""
    free = [0.0] * slots
    for duration in durations:
        heapq.heappush(free, heapq.heappop(free) + duration)
    return max(free)


def test_500_even_elements_on_2_slots_take_5_percent_over_the_ideal_at_most() -> None:
    took, _ = carried_out([0.01] * 500, 2)

    assert took <= 2.5 * 1.05


@pytest.mark.parametrize("seed", range(5))
def test_uneven_elements_are_no_slower_than_one_future_each(seed: int) -> None:
    generator = random.Random(seed)
    sigma = 1.5
    durations = [0.025 * generator.lognormvariate(-sigma * sigma / 2, sigma) for _ in range(400)]

    took, chunks = carried_out(durations, 2)

    assert took <= one_by_one(durations, 2) * 1.02
    assert chunks < 400


def test_a_million_trivial_elements_travel_in_some_forty_chunks() -> None:
    took, chunks = carried_out([1e-7] * MILLION, 2)

    assert chunks <= 40
    assert took <= 0.05 * 1.1


@pytest.mark.parametrize("count", range(1, 11))
@pytest.mark.parametrize("duration", [1e-7, 0.01, 10.0])
def test_a_few_elements_never_travel_in_more_chunks_than_they_are(
    count: int, duration: float
) -> None:
    for slots in (1, 2, 100):
        took, chunks = carried_out([duration] * count, slots)

        assert chunks <= count
        assert took <= one_by_one([duration] * count, slots) * 1.001 + 0.03


@given(st.integers(1, 10**6), slots)
def test_few_elements_in_flight_are_shared_among_the_slots(most: int, held: Slots) -> None:
    share = chunking.share(most, held)

    assert share >= 1
    assert share == 1 or share * 2 * max(held.most, 1) <= most
