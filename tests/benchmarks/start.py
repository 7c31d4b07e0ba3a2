"""What a script pays before it does anything.

`import` rows: seconds of the import statement alone, taken inside fresh processes, which take
turns; the page cache is warm. Beside it stand the three packages that any such library needs.
`script` row: a whole process that runs one flow with one task (`hello.py`), beside one that does
nothing.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from tests.benchmarks.grounds import Ground
from tests.benchmarks.rows import Row, near, under

GROUNDS = ("inline",)
"""Nothing is started: what is measured lives in processes of its own."""

PAIRS, QUICK_PAIRS = 15, 5
SCRIPT_AIM_S = 0.4
TIMEOUT_S = 60.0

OURS = "from fanfold import flow, task"
BESIDE = "import pydantic, fsspec, cloudpickle"
HELLO = Path(__file__).with_name("hello.py")

_CLOCKED = (
    "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began, flush=True)"
)


def measure(ground: Ground, quick: bool) -> Iterator[Row]:
    """Yield a row for the import and one for a whole script."""
    pairs = QUICK_PAIRS if quick else PAIRS
    ours, beside = _in_turns(lambda: _imported(OURS), lambda: _imported(BESIDE), pairs)
    yield Row(
        what=OURS,
        where="any",
        n=pairs,
        ours=ours,
        beside=beside,
        beside_what=BESIDE,
        aim=near(1.3),
    )
    with tempfile.TemporaryDirectory() as folder:
        hello, nothing = _in_turns(
            lambda: _process([str(HELLO)], folder), lambda: _process(["-c", "pass"], folder), pairs
        )
    yield Row(
        what="script with a flow and a task",
        where="threads",
        n=pairs,
        ours=hello,
        beside=nothing,
        beside_what="python -c pass",
        aim=under(SCRIPT_AIM_S, "s"),
    )


def _in_turns(
    first: Callable[[], float], second: Callable[[], float], pairs: int
) -> tuple[float, float]:
    """Return medians of both, the first turn dropped."""
    taken = [(first(), second()) for _ in range(pairs + 1)][1:]
    return median(one for one, _ in taken), median(other for _, other in taken)


def _imported(statement: str) -> float:
    command = [sys.executable, "-c", _CLOCKED.format(statement)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=TIMEOUT_S)
    return float(done.stdout)


def _process(arguments: list[str], home: str) -> float:
    environment = os.environ | {"FANFOLD_HOME": home}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        env=environment,
        timeout=TIMEOUT_S,
    )
    return time.perf_counter() - began
