"""What is said of maps, for which numbers, in how much room."""

import pytest

from fanfold.display.text import (
    Pace,
    Piece,
    final_line,
    joined,
    live_line,
    more_line,
    plain_line,
)
from fanfold.engine.tally import Counts, First

FIRST = First(text="ValueError: bad date", index=17)


def pace(done: int, seconds: float = 1.0) -> Pace:
    """Return the pace of a map that did so much in so long."""
    seen = Pace(0.0)
    seen.see(seconds, done)
    return seen


def test_a_live_line_has_a_bar_the_counts_the_rate_and_the_time_left() -> None:
    counts = Counts(total=1_000, done=400)

    line = joined(live_line("embed", counts, pace(400, 4.0), 80, ascii_only=True))

    assert line == "embed  ############------------------  400/1,000  100/s  eta 0:06"


def test_a_live_line_gives_the_room_of_the_bar_to_the_first_failure() -> None:
    counts = Counts(total=1_000, done=400, cached=100, failed=3, first=FIRST)

    line = joined(live_line("embed", counts, pace(400, 4.0), 100))

    assert line == (
        "embed  400/1,000  100/s  25 % cached  3 failed  eta 0:06  ValueError: bad date, element 17"
    )


def test_what_a_map_waits_for_is_told_before_what_failed_first() -> None:
    counts = Counts(total=1_000, failed=3, first=FIRST)

    line = joined(live_line("embed", counts, pace(0), 80, waits="no worker offers gpu"))

    assert line == "embed  0/1,000  3 failed  waits: no worker offers gpu"
    assert "; waits: no worker offers gpu; first: " in plain_line(
        "embed", counts, pace(0), "no worker offers gpu"
    )


@pytest.mark.parametrize("columns", [45, 60, 80, 100, 120, 200])
@pytest.mark.parametrize(
    "counts",
    [
        Counts(total=1_000_000, done=412_345, cached=7, retries=12, waiting=3),
        Counts(total=1_000_000, done=412_345, cached=7, failed=3, retries=12, first=FIRST),
        Counts(total=None, done=412_345, cached=7, failed=3, retries=None, first=FIRST),
        Counts(total=10),
    ],
)
def test_a_live_line_fits_and_keeps_name_and_counts(counts: Counts, columns: int) -> None:
    line = joined(live_line("embed", counts, pace(counts.done, 30.0), columns))

    assert len(line) <= columns
    assert line.startswith("embed")
    assert f"{counts.done:,}" in line


def test_at_80_columns_all_that_matters_of_a_usual_map_has_room() -> None:
    counts = Counts(total=10_000, done=1_234, cached=432, failed=3, first=FIRST)

    line = joined(live_line("embed", counts, pace(1_234, 5.0), 80))

    assert (
        line == "embed  1,234/10,000  247/s  35 % cached  3 failed  eta 0:36  ValueError: bad da…"
    )


def test_names_are_padded_to_stand_below_each_other_and_cut_where_too_long() -> None:
    short = joined(live_line("a", Counts(total=2), pace(0), 80, name_columns=6, ascii_only=True))
    long = joined(live_line("n" * 99, Counts(total=2), pace(0), 80, name_columns=99))

    assert short.startswith("a       ---")
    assert long.startswith("n" * 23 + "…  ")


def test_a_stream_tells_what_is_done_and_nothing_of_the_end() -> None:
    line = joined(live_line("embed", Counts(total=None, done=1_234), pace(1_234, 10.0), 80))

    assert line == "embed  1,234 done  123/s"


def test_cancelled_elements_are_not_waited_for() -> None:
    counts = Counts(total=100, done=50, cancelled=50)

    assert pace(50).left_s(counts) == 0


@pytest.mark.parametrize(
    ("done", "seconds", "rate"),
    [
        (120_000, 1.0, "120,000/s"),
        (10, 1.0, "10/s"),
        (5, 1.0, "5.0/s"),
        (1, 60.0, "1.0/min"),
    ],
)
def test_rates_are_told_in_the_unit_that_fits(done: int, seconds: float, rate: str) -> None:
    line = joined(live_line("embed", Counts(total=None, done=done), pace(done, seconds), 80))

    assert line.endswith(f"  {rate}")


def test_the_pace_is_that_of_the_last_seconds() -> None:
    seen = Pace(0.0)
    for second in range(1, 101):
        seen.see(float(second), 1_000 + second * 10)

    assert seen.per_s == pytest.approx(10)


def test_a_pace_without_time_or_progress_is_none() -> None:
    assert Pace(5.0).per_s == 0
    assert pace(0).left_s(Counts(total=10)) is None


def test_values_that_were_lost_do_not_make_the_pace_negative() -> None:
    seen = pace(100)
    seen.see(2.0, 0)

    assert seen.per_s == 0


def test_a_plain_line_says_the_same_in_words() -> None:
    counts = Counts(
        total=10_000, done=1_234, cached=432, failed=3, crashed=1, retries=2, first=FIRST
    )

    assert plain_line("embed", counts, pace(1_234, 5.0)) == (
        "embed: 1,234/10,000 (12 %), 247/s, 35 % cached, 2 retries, 3 failed, 1 crashed, 35.5 s "
        "left; first: ValueError: bad date, element 17"
    )


def test_a_plain_line_of_a_stream_that_has_just_begun() -> None:
    assert plain_line("embed", Counts(total=None), pace(0)) == "embed: 0 done"


def test_the_line_that_stays() -> None:
    counts = Counts(total=1_000, done=1_000, cached=350, failed=3, first=FIRST)

    assert joined(final_line("embed", counts, 4.17)) == (
        "embed  1,000/1,000 in 4.2 s  240/s  35 % cached  "
        "3 failed (ValueError: bad date, element 17)"
    )


def test_the_line_that_stays_of_a_map_that_was_cancelled() -> None:
    counts = Counts(total=1_000, done=400, cancelled=600)

    assert joined(final_line("embed", counts, 4.0)) == (
        "embed  400/1,000 in 4.0 s  100/s  600 cancelled"
    )


def test_the_line_that_stays_of_a_map_of_nothing_but_retries_and_upstream_failures() -> None:
    counts = Counts(total=2, done=2, retries=1, upstream_failed=1)

    assert joined(final_line("embed", counts, 1.0)) == (
        "embed  2/2 in 1.0 s  2.0/s  1 retry  1 upstream-failed"
    )


def test_maps_without_a_line_are_counted() -> None:
    assert more_line(3) == [Piece("and 3 more", "dim")]
