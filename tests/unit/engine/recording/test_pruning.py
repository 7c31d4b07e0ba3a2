"""Old runs go by the settings, once a day, by one of those who could do it."""

from fanfold.adapters.history.memory import MemoryHistory
from fanfold.engine.recording.pruning import (
    DAY_US,
    RUNS_AT_ONCE,
    TURN_US,
    Pruning,
    prunes,
    retention,
    retention_of,
)
from fanfold.engine.settings import temporary
from fanfold.values.facts import Batch, Fact
from fanfold.values.ids import new_id
from fanfold.values.states import StateName
from tests.unit.engine.recording.making import BEGAN_US, a_url, made, moved, runs

KEEP_A_DAY = retention_of(1, ())


def ended(url: str, count: int, state: StateName = StateName.COMPLETED) -> None:
    """Record runs that ended at once."""
    facts: list[Fact] = []
    for number in range(count):
        run = f"{state.label}{number:03}"
        facts += [made(run), moved(run, StateName.RUNNING), moved(run, state)]
    MemoryHistory(url).record(Batch(writer=new_id(), number=1, facts=tuple(facts)))


def test_runs_go_in_slices_when_their_time_has_passed() -> None:
    url = a_url()
    ended(url, RUNS_AT_ONCE + 1)
    history, pruning = MemoryHistory(url), Pruning(KEEP_A_DAY)

    early = pruning.some(history, BEGAN_US + DAY_US // 2)
    kept = len(runs(url))
    more = [pruning.some(history, BEGAN_US + 2 * DAY_US) for _ in range(2)]

    assert (early, kept) == (False, RUNS_AT_ONCE + 1)
    assert more == [True, False]
    assert runs(url) == []


def test_it_is_done_once_a_day() -> None:
    url = a_url()
    now = BEGAN_US + 10 * DAY_US
    history = MemoryHistory(url)
    Pruning(KEEP_A_DAY).some(history, now)
    ended(url, 1)

    Pruning(KEEP_A_DAY).some(history, now + DAY_US // 2)
    same_day = len(runs(url))
    Pruning(KEEP_A_DAY).some(history, now + DAY_US)

    assert same_day == 1
    assert runs(url) == []


def test_what_somebody_left_undone_another_does_some_minutes_later() -> None:
    url = a_url()
    ended(url, RUNS_AT_ONCE + 1)
    now = BEGAN_US + 2 * DAY_US
    history = MemoryHistory(url)
    Pruning(KEEP_A_DAY).some(history, now)

    at_once = Pruning(KEEP_A_DAY).some(history, now + 1)
    left = len(runs(url))
    Pruning(KEEP_A_DAY).some(history, now + TURN_US)

    assert (at_once, left) == (False, 1)
    assert runs(url) == []


def test_states_may_be_kept_for_other_times_and_0_is_for_ever() -> None:
    url = a_url()
    ended(url, 1)
    ended(url, 1, StateName.FAILED)
    with temporary({"history.keep_days": 1, "history.keep_days_by_state": "failed=0"}):
        kept = retention()

    Pruning(kept).some(MemoryHistory(url), BEGAN_US + 100_000 * DAY_US)

    assert [run.state for run in runs(url)] == [StateName.FAILED]
    assert prunes(kept)
    assert not prunes(retention_of(0, ()))
    assert prunes(retention_of(0, ("Completed=3",)))
