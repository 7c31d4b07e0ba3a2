"""Times, sizes and states as people read them, and records as programs do."""

import json
from dataclasses import dataclass

import pytest

from fanfold.cli.texts import age, clean, counted, data, iso, size, took, written
from fanfold.values.states import StateName

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.2, "now"),
        (-0.7, "now"),
        (59, "59 s ago"),
        (200, "3 min ago"),
        (7_300, "2 h ago"),
        (86_400 * 3, "3 d ago"),
        (-90, "in 1 min"),
    ],
)
def test_an_age_has_one_unit(seconds: float, told: str) -> None:
    assert age(NOW - int(seconds * SECOND), NOW) == told


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (12_345, "12 kB"),
        (999_900, "1.0 MB"),
        (4_200_000_000_000_000, "4,200 TB"),
    ],
)
def test_a_size_has_two_or_three_digits(count: int, told: str) -> None:
    assert size(count) == told


def test_what_has_not_begun_took_nothing_and_what_goes_on_takes_until_now() -> None:
    assert took(None, None) == ""
    assert took(NOW - 5 * SECOND, None, NOW) == "5.0 s"
    assert took(NOW + SECOND, NOW) == "0 ms"


def test_a_time_for_programs_is_exact_to_the_microsecond() -> None:
    assert iso(1_777_816_931_000_001) == "2026-05-03T14:02:11.000001Z"


def test_counts_by_state_leave_out_what_is_not_there() -> None:
    counts = {StateName.FAILED: 3, StateName.CACHED: 350, StateName.COMPLETED: 647}

    assert counted(counts) == "647 Completed, 350 Cached (35 %), 3 Failed"
    assert counted({StateName.PENDING: 7, StateName.CRASHED: 0}) == "7 Pending"


def test_a_text_of_others_cannot_move_the_cursor() -> None:
    assert clean("a\x1b[2Jb\r\nc\td\x07\x9b\u202e", end="|") == "a\ufffd[2Jb|c d\ufffd\ufffd\ufffd"


def test_records_become_json_with_times_and_states_by_name() -> None:
    @dataclass(frozen=True)
    class Record:
        made_us: int
        ended_us: int | None
        state: StateName
        counts: dict[StateName, int]
        pickled: bytes = b"secret"

    record = Record(0, None, StateName.TIMED_OUT, {StateName.COMPLETED: 2})

    assert data([record]) == [
        {
            "made": "1970-01-01T00:00:00.000000Z",
            "ended": None,
            "state": "TimedOut",
            "counts": {"Completed": 2},
        }
    ]
    assert json.loads(written(("\ud800", record)))[0] == "\ud800"
