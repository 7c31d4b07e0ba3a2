"""The transition table: closed, ending, and kept by `check`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.values.states import FINAL, NEXT, WITH_VALUE, State, StateName, StateType, check

FINAL_TYPES = {StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED}
states = st.sampled_from(StateName)


def reachable(start: StateName) -> set[StateName]:
    found: set[StateName] = set()
    todo = [start]
    while todo:
        new = NEXT[todo.pop()] - found
        found |= new
        todo += new
    return found


def test_every_state_has_an_entry_whose_members_are_states() -> None:
    assert set(NEXT) == set(StateName)
    assert all(type(after) is StateName for entry in NEXT.values() for after in entry)


def test_the_code_of_a_state_is_a_byte_that_never_changes() -> None:
    codes = {state.label: int(state) for state in StateName}

    assert codes == {
        "Pending": 0,
        "Scheduled": 1,
        "Late": 2,
        "AwaitingRetry": 3,
        "AwaitingConcurrencySlot": 4,
        "Resuming": 5,
        "Running": 6,
        "Retrying": 7,
        "Paused": 8,
        "Suspended": 9,
        "Cancelling": 10,
        "Completed": 11,
        "Cached": 12,
        "Failed": 13,
        "TimedOut": 14,
        "UpstreamFailed": 15,
        "RolledBack": 16,
        "Crashed": 17,
        "Cancelled": 18,
    }


def test_final_states_are_those_of_a_final_type_and_lead_to_a_rollback_at_most() -> None:
    assert {state for state in StateName if state.type in FINAL_TYPES} == FINAL
    assert all(NEXT[state] <= {StateName.ROLLED_BACK} for state in FINAL)
    assert {state for state in FINAL if NEXT[state]} == WITH_VALUE


def test_from_every_state_that_is_not_final_a_run_can_still_end_well_and_badly() -> None:
    for state in set(StateName) - FINAL:
        after = reachable(state)

        assert StateName.CANCELLED in after
        assert StateName.CRASHED in after
        if state is not StateName.CANCELLING:
            assert StateName.COMPLETED in after
            assert StateName.FAILED in after


@given(states, states)
def test_check_lets_through_what_the_table_has_and_what_passes_through_running(
    before: StateName, after: StateName
) -> None:
    allowed = set(NEXT[before])
    if StateName.RUNNING in allowed:
        allowed |= NEXT[StateName.RUNNING]

    if after in allowed:
        check([before], [after])
    else:
        with pytest.raises(ValueError, match=f"{before.label} can't become {after.label}"):
            check([before], [after])


@given(st.sets(states, min_size=1), st.sets(states, min_size=1))
def test_check_refuses_two_sets_if_it_refuses_any_pair(
    before: set[StateName], after: set[StateName]
) -> None:
    def refused(old: set[StateName], new: set[StateName]) -> bool:
        try:
            check(old, new)
        except ValueError:
            return True
        return False

    pairs = [({old}, {new}) for old in before for new in after]

    assert refused(before, after) == any(refused(*pair) for pair in pairs)


@given(states)
def test_a_state_says_of_itself_what_its_code_says(code: StateName) -> None:
    state = State(code=code)

    assert (state.name, state.type) == (code.label, code.type)
    assert state.is_final() == (code in FINAL)
    assert state.is_completed() == (code in WITH_VALUE)
    assert state.is_failed() == (code.type is StateType.FAILED)
