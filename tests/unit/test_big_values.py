"""Values over 1 MiB: each an object of its own, written at once; committed, found and missed."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanfold import INPUTS, flow, task
from fanfold.engine.results.keeping import BIG_BYTES
from tests.round_trips import round_trip

BIG = BIG_BYTES + 1
SIZE_MB = 128


def big(x: int) -> bytes:
    return np.random.default_rng(x).bytes(BIG)


def segments(results: Path) -> list[Path]:
    return sorted(results.glob("tasks/*/segments/*/*"))


@pytest.mark.parametrize("runner", ["threads", "processes"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_big_values_of_a_chunk_are_objects_of_their_own(
    runner: str, in_memory: bool, fanfold_home: Path
) -> None:
    def mixed(x: int) -> Any:
        return big(x) if x % 2 else x

    work = task(mixed, cache_policy=INPUTS, cache_result_in_memory=in_memory, chunk_size=6)
    expected = [big(x) if x % 2 else x for x in range(6)]

    @flow(task_runner=runner)
    def around() -> tuple[list[Any], dict[str, int]]:
        mapped = work.map(range(6))
        return mapped.result(), mapped.states

    assert around() == (expected, {"Completed": 6})
    sizes = [path.stat().st_size for path in segments(fanfold_home / "results")]
    assert sorted(size > BIG for size in sizes) == [False, True, True, True]
    assert around() == (expected, {"Cached": 6})


def test_a_removed_big_value_is_made_again(fanfold_home: Path) -> None:
    made: list[int] = []

    def noted(x: int) -> bytes:
        made.append(x)
        return big(x)

    work = task(noted, cache_policy=INPUTS)
    around = flow(lambda: work.map([1, 2, 3]).result(), task_runner="threads")
    first = around()
    segments(fanfold_home / "results")[1].unlink()

    assert around() == first
    assert len(made) == 4


def test_a_big_value_that_can_not_be_written_goes_home(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = task(big, name="large", cache_policy=INPUTS, result_storage=tmp_path)
    work(1)
    (there,) = tmp_path.glob("tasks/*/segments")
    shutil.rmtree(there)
    there.write_text("a file where the folder would be")

    assert work(2) == big(2)
    assert "A result of large isn't kept" in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["array", "table"])
def test_arrays_and_tables_are_written_and_read_without_a_second_copy(
    kind: str, tmp_path: Path
) -> None:
    found = round_trip(kind, SIZE_MB, str(tmp_path), {})

    times = [found[f"{way}_bytes"] / (SIZE_MB << 20) for way in ("written", "read")]
    assert all(0.9 < peak < 1.3 for peak in times), times
