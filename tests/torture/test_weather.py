"""Work that is kept on an S3 in bad weather: all of it is done, and none of it is done again."""

import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from fanfold.testing.ledger import Ledger
from tests.stores.places import ROOT, S3Place
from tests.stores.s3_faults import Effect, Rule

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COUNT = 5_000
WEATHER = (
    Rule(effect=Effect.LOSE, share=0.1, seed=1),
    Rule(effect=Effect.INTERNAL_ERROR, share=0.1, seed=2),
    Rule(effect=Effect.SLOW_DOWN, share=0.1, seed=3),
    Rule(effect=Effect.TRUNCATE, share=0.05, seed=4, operations=("GetObject", "ListObjectsV2")),
)
OUTAGE_S = 10.0


def work(place: S3Place, folder: Path, life: str, kind: str, count: int) -> Counter[int]:
    """Have a process do it, and return how often it ran which element."""
    told = json.dumps([place.url(), place.options, str(folder), life, kind, count])
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.weathered"],
        input=told,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == sum(x * x for x in range(count)), done.stderr
    return Ledger(str(folder)).counts(life)


@pytest.fixture(autouse=True)
def without_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_URL", "off")


@pytest.mark.parametrize("kind", ["map", "calls"])
def test_in_bad_weather_everything_is_done_once_and_kept(
    kind: str, s3: S3Place, tmp_path: Path
) -> None:
    s3.control.strike(*WEATHER)

    cold = work(s3, tmp_path, "cold", kind, COUNT)
    warm = work(s3, tmp_path, "warm", kind, COUNT)

    assert cold == Counter(range(COUNT))
    assert warm == Counter()
    assert all(s3.control.struck())


def test_an_outage_of_ten_seconds_delays_the_work_and_nothing_else(
    s3: S3Place, tmp_path: Path
) -> None:
    s3.control.strike(Rule(effect=Effect.DELAY, seconds=0.05))  # so that it lasts some seconds
    watching = threading.Thread(target=go_out, args=(s3,))
    watching.start()
    cold = work(s3, tmp_path, "cold", "map", COUNT)
    watching.join()
    struck = s3.control.struck()
    warm = work(s3, tmp_path, "warm", "map", COUNT)

    assert struck[0] > 0
    assert cold == Counter(range(COUNT))
    assert warm == Counter()


def go_out(place: S3Place) -> None:
    """Begin the outage once there is a segment."""
    looked = threading.Event()
    while not place.control.requests("PutObject", prefix="results/tasks/"):
        looked.wait(0.01)
    place.control.strike(Rule(effect=Effect.RESET, lasts_s=OUTAGE_S))
