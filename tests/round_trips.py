"""The most memory that one value takes on its way to storage and back, in a process of its own.

    python -m tests.round_trips KIND MEGABYTES URL OPTIONS

Prints, as JSON, the highest resident memory over what was there before the value was made, and the
seconds: of a task that makes it and stages it, and of reading it.
"""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fanfold import flow, task
from fanfold.adapters.results.fsspec_store import FsspecStore

COLUMNS = 4
TIMEOUT_S = 600.0
ROOT = Path(__file__).parents[1]

Figures = dict[str, float]


def round_trip(kind: str, megabytes: int, url: str, options: Mapping[str, Any]) -> Figures:
    """Return `written_bytes`, `written_s`, `read_bytes` and `read_s` of a value of that size.

    Args:
        kind: One of `KINDS`.
        megabytes: Its size, in MiB.
        url: Where it is kept.
        options: Of the file system.

    Raises:
        AssertionError: The process failed; with what it printed.
    """
    command = [sys.executable, "-m", __name__, kind, str(megabytes), url, json.dumps(dict(options))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def _array(size: int) -> Any:
    import numpy as np

    whole = np.arange(size // 8, dtype="u8")
    whole *= np.uint64(0x9E3779B97F4A7C15)  # doesn't compress
    return whole


def _columns(size: int) -> dict[str, Any]:
    return {f"c{number}": _array(size // COLUMNS) for number in range(COLUMNS)}


def _table(size: int) -> Any:
    import pyarrow as pa

    return pa.table(_columns(size))


def _pandas(size: int) -> Any:
    import pandas as pd

    return pd.DataFrame(_columns(size), copy=False)


def _polars(size: int) -> Any:
    import polars as pl

    return pl.DataFrame(_columns(size))


KINDS: dict[str, Callable[[int], Any]] = {
    "array": _array,
    "table": _table,
    "pandas": _pandas,
    "polars": _polars,
}


class _Peak:
    """The highest resident memory from now on, over what is there now; and the time."""

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        self._before, self._began = self._now("VmRSS:"), time.perf_counter()

    def end(self, what: str) -> Figures:
        seconds = time.perf_counter() - self._began
        return {f"{what}_bytes": self._now("VmHWM:") - self._before, f"{what}_s": seconds}

    def _now(self, figure: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith(figure))
        return int(line.split()[1]) << 10


def _measured(kind: str, size: int, store: FsspecStore) -> Figures:
    kept = task(KINDS[kind], persist_result=True, cache_result_in_memory=False)

    @flow(task_runner="inline", result_storage=store, log_prints=False)
    def around(size: int) -> Figures:
        peak = _Peak()
        future = kept.submit(size)
        future.wait()
        written = peak.end("written")
        peak = _Peak()
        value = future.result()
        read = peak.end("read")
        assert len(value) == size // 8 // (1 if kind == "array" else COLUMNS)
        return {**written, **read}

    around(4 << 20)  # imports, connections
    return around(size)


if __name__ == "__main__":
    print(
        json.dumps(
            _measured(
                sys.argv[1],
                int(sys.argv[2]) << 20,
                FsspecStore(sys.argv[3], json.loads(sys.argv[4])),
            )
        )
    )
