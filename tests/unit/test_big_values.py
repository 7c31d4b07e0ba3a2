"""Values over 1 MiB: each an object of its own, written at once; committed, found and missed."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanfold import INPUTS, flow, task
from fanfold.engine.results.keeping import BIG_BYTES

BIG = BIG_BYTES + 1
SIZE_MB = 128

MEASURED = """
import gc, sys
import numpy, pyarrow
from fanfold import flow, task

kind, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])


def made(count=count):
    whole = numpy.arange(count, dtype="u8")
    whole *= 0x9E3779B97F4A7C15  # doesn't compress
    return whole if kind == "array" else pyarrow.table({"x": whole})


def figure(name):
    with open("/proc/self/status") as lines:
        (line,) = (line for line in lines if line.startswith(name))
    return int(line.split()[1]) * 1024


def reset():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak(before):
    return (figure("VmHWM") - before) / (8 * count)


@flow(task_runner="inline", result_storage=folder)
def around():
    work = task(made, persist_result=True, cache_result_in_memory=False)
    before = figure("VmRSS")
    reset()
    future = work.submit()
    future.wait()
    print("WRITTEN", peak(before))
    gc.collect()
    before = figure("VmRSS")
    reset()
    value = future.result()
    print("READ", peak(before))
    assert (value.nbytes, len(value)) == (8 * count, count)


task(lambda: made(200_000), persist_result=True, result_storage=folder, name="warm")()
around()
"""


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
    count = (SIZE_MB << 20) // 8

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, kind, str(tmp_path), str(count)],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found.keys() == {"WRITTEN", "READ"}
    assert all(0.9 < float(times) < 1.3 for times in found.values()), found
