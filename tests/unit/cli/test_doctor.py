"""The command line as a user has it: `fanfold doctor`."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fanfold.adapters.history import schema
from fanfold.adapters.history.memory import MemoryHistory
from fanfold.cli.__main__ import fanfold
from fanfold.cli.doctor import Line, examined
from fanfold.cli.examination.findings import Check, Finding, Level, ok
from fanfold.cli.examination.patient import Patient
from fanfold.cli.examination.table import CHECKS
from fanfold.cli.examination.visits import Told, versions
from fanfold.cli.examination.workers import (
    clock_found,
    look_at_clocks_there,
    look_at_versions_there,
    skew_s,
)
from fanfold.engine import registry, settings

WORKERS = ("worker versions", "worker storage", "worker clocks")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing but what a test says is set; the home isn't there."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FANFOLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FANFOLD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FANFOLD_HISTORY_URL", f"memory://{tmp_path.name}")
    monkeypatch.setenv("FANFOLD_RUNNER_PROCESS_POOL_MAX_WORKERS", "2")
    settings.reload()
    yield tmp_path / "home"
    settings.reload()


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(fanfold, ["doctor", *words])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def lines(*words: str, code: int = 0) -> dict[str, list[Line]]:
    """Return what the doctor says, by check."""
    found: dict[str, list[Line]] = {}
    for each in json.loads(run(*words, "--json", code=code).stdout):
        found.setdefault(each["check"], []).append(Line(**each))
    return found


def told(number: int, **differences: str) -> Told:
    """Return what a worker says that is as this process, but for some versions."""
    return Told(
        worker=f"ada/{number}/1",
        host="ada",
        process=number,
        versions=versions(Patient(chosen="threads").packages) | differences,
        time_s=10.0,
        asked_s=9.0,
        answered_s=11.0,
    )


def test_all_is_well_with_threads_and_nothing_is_left_behind(home: Path) -> None:
    rows = [line.split("\t") for line in run("--runner", "threads").stdout.splitlines()]

    assert {row[0] for row in rows} == {"ok"}
    assert [row[1] for row in rows] == [
        check.name for check in CHECKS if check.name not in ("history clock", "worker clocks")
    ]
    assert {len(row) for row in rows} == {4}
    assert not home.exists()


def test_worker_processes_are_asked_themselves_and_nothing_is_left_behind(home: Path) -> None:
    found = lines("--runner", "processes")

    assert {line.level for of_check in found.values() for line in of_check} == {Level.OK}
    assert list(found) == [check.name for check in CHECKS if check.name != "history clock"]
    assert "2 processes on 1 host answered" in found["runner"][0].found
    assert not home.exists()


def test_what_lies_in_the_storage_stays_there(home: Path) -> None:
    kept = home / "results" / "mine"
    kept.parent.mkdir(parents=True)
    kept.write_text("kept")

    run("--runner", "threads")

    assert [path.name for path in home.rglob("*")] == ["results", "mine"]


def test_a_storage_that_cannot_be_written_is_a_problem_here_and_on_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FANFOLD_RESULTS_DEFAULT_STORAGE", str(tmp_path / "file" / "results"))

    found = lines("--runner", "threads", code=1)

    assert "NotADirectoryError" in found["storage"][0].found
    assert found["storage"][0].level == found["worker storage"][0].level == Level.PROBLEM
    assert found["history"][0].level == Level.OK


def test_a_storage_that_workers_do_not_share_with_the_driver_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FANFOLD_RESULTS_DEFAULT_STORAGE", "memory://of-each-process")

    found = lines("--runner", "processes", code=1)

    assert found["storage"][0].level == Level.OK
    (line,) = found["worker storage"]
    assert line.level == Level.PROBLEM
    assert "isn't the one that the driver writes to" in line.found


def test_a_history_that_is_away_is_a_problem_with_its_reason(tmp_path: Path) -> None:
    history = MemoryHistory(f"memory://{tmp_path.name}")
    history.outage = "the cable is cut"

    (line,) = lines("--runner", "threads", code=1)["history"]

    assert "the cable is cut" in line.found


def test_the_document_that_the_history_was_given_is_dropped_again(tmp_path: Path) -> None:
    lines("--runner", "threads")

    assert MemoryHistory(f"memory://{tmp_path.name}").list("doctor") == []


def test_a_history_that_is_not_there_yet_is_not_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FANFOLD_HISTORY_URL")

    (line,) = lines("--runner", "threads")["history"]

    assert line.found == f"sqlite:///{home}/history.db isn't there yet; the first run makes it"
    assert not home.exists()


def test_a_history_in_a_file_is_written_to_and_its_commit_timed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FANFOLD_HISTORY_URL")
    with closing(registry.history(settings.current().history_url)) as history:
        history.upgrade()

    (line,) = lines("--runner", "threads")["history"]

    assert line.level == Level.OK
    assert "a commit in" in line.found


def test_a_history_of_a_newer_version_is_a_problem(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FANFOLD_HISTORY_URL")
    with closing(registry.history(settings.current().history_url)) as history:
        history.upgrade()
    with closing(sqlite3.connect(home / "history.db")) as connection, connection:
        connection.execute(f"insert into {schema.TABLE} values (99, 0)")

    (line,) = lines("--runner", "threads", code=1)["history"]

    assert line.level == Level.PROBLEM
    assert line.advice == "pip install --upgrade fanfold"


def test_without_a_history_there_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_URL", "off")

    (line,) = lines("--runner", "threads")["history"]

    assert line.level == Level.WARNING


def test_variables_that_do_nothing_are_named_with_what_may_be_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FANFOLD_HISTRY_URL", "off")

    first, second = lines("--runner", "threads")["settings"]

    assert "history.url" in first.found
    assert second.level == Level.WARNING
    assert "FANFOLD_HISTRY_URL" in second.found
    assert second.advice == "Did you mean FANFOLD_HISTORY_URL?"


def test_a_password_in_a_projects_file_is_told_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FANFOLD_HISTORY_URL")
    url = "postgresql://ada:hunter2@127.0.0.1:1/runs"
    (tmp_path / "fanfold.toml").write_text(f'history.url = "{url}"\n')
    settings.reload()

    output = run("--runner", "threads", code=1).output

    assert "holds a password" in output
    assert "127.0.0.1" in output
    assert "hunter2" not in output


def test_a_key_in_a_projects_file_is_told_and_not_repeated(tmp_path: Path) -> None:
    key = "4b" * 32
    (tmp_path / "fanfold.toml").write_text(f'results.signing_keys = ["main={key}"]\n')
    settings.reload()

    output = run("--runner", "threads").output

    assert "holds a key" in output and "FANFOLD_RESULTS_SIGNING_KEYS" in output
    assert key not in output


def test_settings_that_are_not_understood_stop_no_other_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_KEEP_DAYS", "many")

    found = lines("--runner", "threads", code=1)

    assert found["settings"][0].level == Level.PROBLEM
    assert "history.keep_days" in found["settings"][0].found
    assert found["versions"][0].level == found["runner"][0].level == Level.OK


def test_a_home_that_others_can_write_is_a_problem(home: Path) -> None:
    home.mkdir()
    home.chmod(0o777)

    (line,) = lines("--runner", "threads", code=1)["home"]

    assert line.level == Level.PROBLEM
    assert line.advice == f"chmod go-w {home}"


def test_a_runner_that_is_not_installed_is_a_problem_that_stops_no_other_check() -> None:
    found = lines("--runner", "nothing-like-it", code=1)

    assert "no task runner 'nothing-like-it'" in found["runner"][0].found
    assert found["history"][0].level == Level.OK
    assert not set(found) & set(WORKERS)


def test_an_address_for_a_runner_without_one_is_a_wrong_command() -> None:
    error = run("--runner", "threads", "--address", "tcp://127.0.0.1:1", code=2).stderr

    assert "The threads runner has no address" in error


def test_a_check_that_hangs_or_breaks_is_a_problem_and_the_others_are_made() -> None:
    never = threading.Event()

    def hang(patient: Patient) -> Iterator[Finding]:
        yield ok("so far")
        never.wait()

    def fail(patient: Patient) -> Iterator[Finding]:
        raise RuntimeError("bad check")

    checks = (
        Check(name="hangs", look=hang, bound_s=0.05),
        Check(name="breaks", look=fail),
        Check(name="works", look=lambda patient: [ok("fine")]),
    )

    found = [(line.check, line.level.value) for line in examined(Patient(), checks)]

    never.set()
    assert found == [
        ("hangs", "ok"),
        ("hangs", "problem"),
        ("breaks", "problem"),
        ("works", "ok"),
    ]


def test_versions_on_workers_that_differ_are_named_with_the_workers() -> None:
    patient = Patient(
        chosen="threads",
        told=[told(1), told(2, fsspec="1.0"), told(3, fsspec="1.0"), told(4, fanfold="missing")],
    )

    fsspec, ours = look_at_versions_there(patient)

    assert fsspec.level is Level.WARNING
    assert fsspec.found.startswith("fsspec is 1.0 on 2 workers (ada/2, ada/3), ")
    assert ours.level is Level.PROBLEM
    assert "fanfold is missing on 1 worker (ada/4)" in ours.found


@pytest.mark.parametrize(
    ("before", "said", "after", "skew"),
    [(10, 10.5, 11, 0.0), (10, 9, 11, -1.0), (10, 14, 11, 3.0), (10, 10, 10, 0.0)],
)
def test_a_clock_is_wrong_by_what_the_way_there_and_back_cannot_explain(
    before: float, said: float, after: float, skew: float
) -> None:
    assert skew_s(before, said, after) == skew


@pytest.mark.parametrize(
    ("skew", "level"),
    [(0.9, Level.OK), (-1.1, Level.WARNING), (29.0, Level.WARNING), (-31.0, Level.PROBLEM)],
)
def test_a_clock_is_a_problem_when_leases_would_end_by_it(skew: float, level: Level) -> None:
    assert clock_found("ada", skew).level is level


def test_the_worst_clock_of_all_workers_is_named() -> None:
    patient = Patient(told=[told(1), replace(told(2), time_s=14.0), told(3)], remote=True)

    (finding,) = look_at_clocks_there(patient)

    assert finding.found == "the clock of ada/2 is 3.0 s ahead of this one's"


def test_a_terminal_gets_lines_of_at_most_80_columns(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fanfold.cli", "doctor", "--runner", "threads"],
        stdout=theirs,
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "80", "TERM": "dumb", "FANFOLD_HSTORY_URL": "x" * 100},
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # on Linux the end of a terminal
            piece = b""
        if not piece:
            break
        output += piece
    os.close(ours)

    assert process.wait(60) == 0
    shown = output.decode().splitlines()
    assert max(map(len, shown)) <= 80
    assert shown[0].startswith("ok       versions         python 3.")
    assert any(line.strip().startswith("→ Did you mean") for line in shown)
    assert shown[-1] == "0 problems, 1 warning"
