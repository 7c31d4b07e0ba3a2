"""What a script pays before it does anything.

`import` rows: seconds of the import statement alone, taken inside fresh processes, which take
turns; the page cache is warm. Beside it stand the three packages that any such library needs.
`script` rows: a whole process that runs one flow with one task (`hello.py`), unrecorded beside one
that does nothing, then recorded beside unrecorded: in a home that is there, and in one that isn't.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median

from tests.benchmarks.grounds import Ground
from tests.benchmarks.rows import Row, near, under

GROUNDS = ("inline",)
"""Nothing is started: what is measured lives in processes of its own."""

PAIRS, QUICK_PAIRS = 15, 5
SCRIPT_AIM_S, RECORDED_AIM_S = 0.4, 0.5
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
        yield from _scripts(Path(folder), pairs)


def _scripts(folder: Path, pairs: int) -> Iterator[Row]:
    homes = (folder / str(number) for number in count())

    def unrecorded() -> float:
        return _process([str(HELLO)], folder / "home", FANFOLD_HISTORY_URL="off")

    def recorded() -> float:
        return _process([str(HELLO)], folder / "home")

    def first() -> float:
        return _process([str(HELLO)], next(homes))

    def nothing() -> float:
        return _process(["-c", "pass"], folder)

    kinds = (
        ("script with a flow and a task", unrecorded, nothing, "python -c pass", SCRIPT_AIM_S),
        ("the same, recorded", recorded, unrecorded, "history off", RECORDED_AIM_S),
        ("the first one in a home", first, unrecorded, "history off", RECORDED_AIM_S),
    )
    for what, ours, beside, beside_what, aim_s in kinds:
        taken, other = _in_turns(ours, beside, pairs)
        yield Row(
            what=what,
            where="threads",
            n=pairs,
            ours=taken,
            beside=other,
            beside_what=beside_what,
            aim=under(aim_s, "s"),
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


def _process(arguments: list[str], home: Path, **variables: str) -> float:
    environment = os.environ | {"FANFOLD_HOME": str(home)} | variables
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        env=environment,
        timeout=TIMEOUT_S,
    )
    return time.perf_counter() - began
