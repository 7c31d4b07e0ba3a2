"""What stands in columns reads as what was written."""

from hypothesis import given
from hypothesis import strategies as st

from fanfold.adapters.history import columns
from fanfold.values.facts import Problem
from fanfold.values.states import StateName

STATES = st.sampled_from(list(StateName))
PROBLEMS = st.builds(Problem, kind=st.text(), message=st.text(), where=st.text())


@given(st.lists(STATES).map(bytes))
def test_states_are_unpacked_as_they_were_packed(codes: bytes) -> None:
    assert columns.unpacked(columns.packed(codes)) == codes


def test_a_million_equal_states_take_little_room() -> None:
    codes = bytes([StateName.COMPLETED]) * 1_000_000

    assert len(columns.packed(codes)) < 10_000


@given(st.dictionaries(STATES, st.integers(min_value=1)))
def test_counts_read_as_they_were_written_in_one_order(counts: dict[StateName, int]) -> None:
    text = columns.counts_text(counts)

    assert columns.counts_of(text) == counts
    assert columns.counts_text(dict(reversed(counts.items()))) == text


@given(st.lists(st.text()).map(tuple), st.text())
def test_a_tag_is_found_among_tags_exactly_if_it_is_one(tags: tuple[str, ...], tag: str) -> None:
    text = columns.tags_text(tags)

    assert columns.tags_of(text) == tags
    assert (columns.tags_text((tag,)) in text) == (tag in tags)


@given(st.none() | PROBLEMS)
def test_problems_read_as_they_were_written(problem: Problem | None) -> None:
    assert columns.problem_of(columns.problem_text(problem)) == problem
