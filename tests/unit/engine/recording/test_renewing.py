"""A helper process renews leases, whatever its process is busy with, and gives them up with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold.engine.recording.renewing import Renewals
from tests.unit.engine.recording.piped import Ear, Piped

DRIVER = """
import os, sys, time
from fanfold.engine.recording.renewing import Renewals
from tests.unit.engine.recording.piped import Piped
renewals = Renewals(Piped(sys.argv[1]), sys.argv[1], "owner")
renewals.see_to_it()
if sys.argv[2] == "forks" and os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    ear = Ear(tmp_path / "pipe")
    yield ear
    ear.close()


@pytest.fixture
def renewals(ear: Ear) -> Iterator[Renewals]:
    renewals = Renewals(Piped(ear.url), ear.url, "owner")
    renewals.see_to_it()
    yield renewals
    renewals.stop()


def by_helper(ear: Ear) -> int:
    """Return the next process that renews and leads a session of its own."""
    while True:
        words = ear.until("renew owner").split()
        if words[3] == words[5] and words[3] != str(os.getpid()):
            return int(words[3])


def test_a_helper_in_a_session_of_its_own_renews_and_gives_up_at_the_end(ear: Ear) -> None:
    renewals = Renewals(Piped(ear.url), ear.url, "owner")

    renewals.see_to_it()
    helper = by_helper(ear)
    again = by_helper(ear)
    renewals.stop()

    assert helper == again
    assert ear.until("abandon") == "abandon owner"


def test_it_goes_on_after_an_outage(renewals: Renewals, ear: Ear) -> None:
    helper = by_helper(ear)

    ear.out(True)
    ear.until("could not renew")
    ear.out(False)

    assert by_helper(ear) == helper


def test_one_that_died_is_followed_by_another(
    renewals: Renewals, ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    helper = by_helper(ear)
    os.kill(helper, signal.SIGKILL)
    os.waitid(os.P_PID, helper, os.WEXITED | os.WNOWAIT)

    renewals.see_to_it()

    assert by_helper(ear) != helper
    assert "The process that renews leases ended" in caplog.text


@pytest.mark.parametrize("kind", ["alone", "forks"])
def test_with_its_process_stopped_it_renews_and_with_it_dead_it_gives_up(
    ear: Ear, kind: str
) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, ear.url, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    with driver:
        assert driver.stdout is not None and driver.stdout.readline()
        helper = by_helper(ear)
        os.kill(driver.pid, signal.SIGSTOP)
        stopped = [by_helper(ear) for _ in range(5)]
        driver.kill()
        given_up = ear.until("abandon")

    assert stopped == [helper] * 5
    assert given_up == "abandon owner"


def test_it_is_told_more_than_a_pipe_holds(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, *(f"/nowhere/{n:0100}" for n in range(2_000))])
    renewals = Renewals(Piped(ear.url), ear.url, "owner")

    renewals.see_to_it()

    assert by_helper(ear)
    renewals.stop()


def test_nothing_secret_is_on_its_command_line(renewals: Renewals, ear: Ear) -> None:
    helper = by_helper(ear)

    command = Path(f"/proc/{helper}/cmdline").read_bytes()

    assert ear.url.encode() not in command
