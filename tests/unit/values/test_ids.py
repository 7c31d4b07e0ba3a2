"""Names for runs."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from fanfold.values.ids import new_id


def test_ids_are_unique_and_sort_by_birth_also_within_a_millisecond() -> None:
    made = [new_id() for _ in range(10_000)]

    assert len(set(made)) == len(made)
    assert all(re.fullmatch("[0-9a-f]{24}", name) for name in made)
    assert made == sorted(made)


def test_ids_of_threads_differ() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [
            name
            for names in pool.map(lambda _: [new_id() for _ in range(500)], range(8))
            for name in names
        ]

    assert len(set(made)) == len(made)


def test_ids_go_on_upwards_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = new_id()
    monkeypatch.setattr("time.time_ns", lambda: 0)

    assert before < new_id() < new_id()
