"""A process that writes into a SQLite history and is killed (SIGKILL), again and again."""

import random
import time
from pathlib import Path

import pytest

from fanfold.adapters.history.sqlite import SqliteHistory
from fanfold.engine.recording.reaping import reap
from tests.crashes.chronicle import differences, recorded
from tests.crashes.programs import Program
from tests.crashes.test_history_two_writers import integrity

SEED = 4
LONGEST_S = 3_600.0
WRITERS_PER_FILE = 20
"""Then a new file is begun, so that writers are killed while they make one, too."""


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_what_was_acknowledged_outlives_its_writers_death(kills: int, tmp_path: Path) -> None:
    source = random.Random(SEED)
    for first in range(0, kills, WRITERS_PER_FILE):
        file = tmp_path / f"{first}.db"
        last: dict[str, int] = {}
        for number in range(first, min(first + WRITERS_PER_FILE, kills)):
            name = f"writer-{number}"
            last[name] = _killed(file, name, source)

        history = SqliteHistory(f"sqlite:///{file}")
        odd = [what for name in last for what in differences(history, name, last[name])]
        history.close()
        assert odd == [], f"seed {SEED}"
        assert integrity(file) == "ok", f"seed {SEED}"


def _killed(file: Path, name: str, source: random.Random) -> int:
    """Start a writer, kill it, look after it; return which of its batches is the last recorded."""
    url = f"sqlite:///{file}"
    # A third is killed somewhere between its first import and its first batches, the others
    # somewhere in a batch.
    early = source.random() < 1 / 3
    batches = 0 if early else source.randint(1, 60)
    later_s = source.uniform(0, 0.4 if early else 0.02)
    moment = f"seed {SEED}, {name}: {later_s:.4f} s after batch {batches}"
    with Program("tests.crashes.dictating", url, name, LONGEST_S) as program:
        program.wait_for(batches)
        time.sleep(later_s)  # the random moment itself; nothing is waited for
        acknowledged = len(program.kill())

    history = SqliteHistory(url)
    try:
        last = recorded(history, name, acknowledged)
        reap(history, history.owner())
        assert differences(history, name, last) == [], moment
    finally:
        history.close()
    assert integrity(file) == "ok", moment
    return last
