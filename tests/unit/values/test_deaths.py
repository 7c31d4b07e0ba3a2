from pathlib import Path

import pytest

from fanfold.values import deaths


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-11, "was killed by signal 11 (SIGSEGV)"),
        (-200, "was killed by signal 200 (unknown)"),
    ],
)
def test_exit_codes_are_told_in_words(code: int, told: str) -> None:
    assert deaths.exited(code) == told


def test_the_kernels_count_of_what_it_killed_for_memory_is_read(tmp_path: Path) -> None:
    counters = tmp_path / "vmstat"
    counters.write_text("pgfault 12\noom_kill 3\noom_killed_else 4\n")

    assert deaths.kills_for_memory(counters) == 3
    assert deaths.kills_for_memory(tmp_path / "missing") == 0
