"""How many lines may go: bursts, what goes on, and what is kept for warnings."""

import pytest

from fanfold.engine.recording import allowance
from fanfold.engine.recording.allowance import Allowance


def let_through(limit: Allowance, now: float, *, urgent: bool = False, size: int = 10) -> int:
    """Return how many lines may go at one moment."""
    count = 0
    while limit.take(size, now, urgent=urgent):
        count += 1
        assert count < 1_000_000
    return count


def test_after_a_quiet_time_a_burst_may_go_and_no_more() -> None:
    limit = Allowance(0.0)

    count = let_through(limit, 0.0)

    burst = allowance.BURST_S * allowance.MOST_PER_S
    assert count == burst * (1 - allowance.KEPT_FOR_URGENT)
    assert limit.shut(0.5)


def test_warnings_may_go_when_other_lines_may_not() -> None:
    limit = Allowance(0.0)
    let_through(limit, 0.0)

    count = let_through(limit, 0.0, urgent=True)

    assert count == allowance.BURST_S * allowance.MOST_PER_S * allowance.KEPT_FOR_URGENT
    assert limit.shut(0.5, urgent=True)


def test_in_the_long_run_so_many_a_second_go_in_stretches() -> None:
    limit = Allowance(0.0)
    let_through(limit, 0.0)

    went = [let_through(limit, tick / 100) for tick in range(1, 1001)]

    assert sum(went) == pytest.approx(10 * limit.per_s, rel=0.1)
    stretches = [count for count in went if count]
    assert min(stretches) >= limit.per_s * allowance.SHUT_S * 0.9


def test_a_steady_trickle_is_never_refused() -> None:
    limit = Allowance(0.0)
    step_s = 1.1 / limit.per_s

    assert all(limit.take(10, tick * step_s) for tick in range(50_000))


def test_long_lines_count_as_several() -> None:
    limit = Allowance(0.0)

    count = let_through(limit, 0.0, size=9 * allowance.LINE_BYTES)

    assert count == pytest.approx(allowance.BURST_S * allowance.MOST_PER_S * 0.75 / 10, abs=1)


@pytest.mark.parametrize(
    ("slots", "per_s"), [(0, 2_000), (1, 2_000), (20, 500), (1_000, 10), (100_000, 10)]
)
def test_many_slots_share_what_a_driver_can_hear(slots: int, per_s: float) -> None:
    limit = Allowance(0.0)

    limit.share(slots)

    assert limit.per_s == per_s
    # A bucket that was full before holds no more than now.
    limit.take(1, 1.0)
    assert 700 <= let_through(limit, 1.0) <= allowance.BURST_S * allowance.MOST_PER_S
