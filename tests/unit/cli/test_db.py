"""The command line as a user has it: `fanfold db`."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from fanfold.adapters.history import schema, sqlite
from fanfold.cli.__main__ import fanfold
from fanfold.engine import registry, settings
from fanfold.engine.recording.spool import FOLDER, Spool
from fanfold.ports.history import History
from fanfold.values.facts import Batch, LinesDropped, now_us
from fanfold.values.records import FlowRuns
from fanfold.values.states import StateName
from tests.unit.cli.stories import SECOND_US, Story

DAY_US = 86_400 * SECOND_US


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FANFOLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FANFOLD_HOME", str(tmp_path / "home"))
    settings.reload()
    yield tmp_path
    settings.reload()


@pytest.fixture
def file(project: Path) -> Path:
    """Where the history is by default; it isn't there yet."""
    return project / "home" / "history.db"


@pytest.fixture(params=["memory", "sqlite"])
def history(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[History]:
    """A history, which the commands use too."""
    if request.param == "memory":
        monkeypatch.setenv("FANFOLD_HISTORY_URL", f"memory://{request.node.name}")
    made = registry.history(settings.current().history_url)
    made.upgrade()
    yield made
    made.close()


def db(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(fanfold, ["db", *words])
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.stdout if code == 0 else result.stderr


def told(*words: str) -> dict[str, str]:
    """Return what `status` says, by name."""
    return dict(line.split("\t") for line in db(*words).splitlines() if line)


def days_ago(history: History, days: float, state: StateName = StateName.COMPLETED) -> str:
    """Tell of a run that was over so long ago."""
    return Story(history, now_us() - int(days * DAY_US)).flow_run(state=state)


def left(history: History) -> set[str]:
    return {run.id for run in history.read(FlowRuns())}


def test_status_tells_of_tables_rows_retention_and_the_oldest_run(history: History) -> None:
    days_ago(history, 3.1)
    days_ago(history, 1)

    found = told("status")

    assert found["History"] == history.status().place
    assert found["Engine"].endswith(", Fanfold 0.1.0")
    assert found["Tables"] == f"version {history.status().schema}, current"
    assert found["Oldest run"].endswith("(3 d ago)")
    assert found["Kept"] == "90 days"
    assert found["Not delivered"] == "nothing"
    assert found["flow_runs"] == "2"


def test_status_as_json(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_KEEP_DAYS", "0")
    monkeypatch.setenv("FANFOLD_HISTORY_KEEP_DAYS_BY_STATE", "timedout=7")

    found = json.loads(db("status", "--json"))

    assert found["current"] is True
    assert found["status"]["counts"]["flow_runs"] == 0
    assert found["status"]["oldest"] is None
    assert (found["keep_days"], found["keep_days_by_state"]) == (None, {"TimedOut": 7.0})
    assert found["undelivered"]["batches"] == 0


def test_retention_is_told_in_words(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_KEEP_DAYS", "0")
    monkeypatch.setenv("FANFOLD_HISTORY_KEEP_DAYS_BY_STATE", "completed=30,failed=0.5")

    assert told("status")["Kept"] == "for ever, Completed 30 days, Failed 0.5 days"


def test_what_waits_in_journals_is_counted(file: Path, history: History) -> None:
    folder, url = file.parent / FOLDER, settings.current().history_url
    fact = LinesDropped(flow_run_id="x", count=1)
    for writer, batches, place in (("a", 2, url), ("b", 1, url), ("c", 1, "memory://other")):
        journal = Spool(folder, place)
        for number in range(1, batches + 1):
            journal.append(Batch(writer=writer, number=number, facts=(fact,)))
        journal.close()

    assert told("status")["Not delivered"] == (
        "3 batches in 2 journals: the next run delivers; "
        f"1 journal that other histories' runs deliver ({folder})"
    )


def test_a_history_that_is_not_there_is_said_to_be_missing_and_not_made(file: Path) -> None:
    for words in (["status"], ["prune"], ["prune", "--dry-run"], ["vacuum"]):
        assert f"There is no history at sqlite:///{file} yet." in db(*words, code=1)

    assert not file.parent.exists()


def test_upgrade_makes_the_tables_and_says_by_which_migrations(file: Path) -> None:
    planned = db("upgrade", "--dry-run")
    made = file.exists()
    done = db("upgrade")
    again = db("upgrade")

    assert "would be applied" in planned
    assert not made
    assert planned.replace("would be applied", "applied") == done
    assert "is current" in again


def test_tables_of_a_newer_version_are_left_alone_by_all(file: Path) -> None:
    db("upgrade")
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f"insert into {schema.TABLE} values (99, 0)")

    for words in (["status"], ["upgrade"], ["upgrade", "--dry-run"], ["prune"], ["vacuum"]):
        assert "has tables of version 99, but this Fanfold knows them up to" in db(*words, code=1)


def test_a_database_that_others_hold_is_told_after_a_while(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE_S", 0.05)
    db("upgrade")

    with closing(sqlite3.connect(file)) as connection:
        connection.execute("begin immediate")
        error = db("prune", code=1)

    assert f"sqlite:///{file}" in error
    assert "locked" in error


def test_what_is_no_database_is_told(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("no database, but a text that is long enough to be looked at" * 100)

    assert "not a database" in db("status", code=1)


def test_a_server_that_does_not_answer_is_told_without_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_URL", "postgresql://ada:hunter2@127.0.0.1:1/runs")

    error = db("status", code=1)

    assert error.startswith("Error: ")
    assert "127.0.0.1" in error
    assert "hunter2" not in error


def test_without_a_history_the_commands_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_URL", "off")

    assert "history.url is off" in db("status", code=2)


def test_pruning_goes_by_the_settings(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_KEEP_DAYS_BY_STATE", "failed=365")
    days_ago(history, 100)
    kept = {days_ago(history, 80), days_ago(history, 100, StateName.FAILED)}

    planned, before = db("prune", "--dry-run"), len(left(history))
    done = db("prune")

    assert planned == "1 run would go, with all that belongs to them\n"
    assert before == 3
    assert done == "Removed 1 run with all that belonged to them\n"
    assert left(history) == kept


def test_pruning_by_age_and_state_leaves_everything_else(history: History) -> None:
    days_ago(history, 3)
    days_ago(history, 3, StateName.CRASHED)
    kept = {
        days_ago(history, 1),
        days_ago(history, 300, StateName.FAILED),
        Story(history, now_us() - 10 * DAY_US).flow_run(state=StateName.RUNNING),
    }

    db("prune", "--older-than", "2d", "--state", "completed", "--state", "crashed")

    assert left(history) == kept


def test_many_runs_go_in_slices(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanfold.cli.db.SLICE", 2)
    monkeypatch.setattr("fanfold.cli.db.PAGE", 2)
    for _ in range(5):
        days_ago(history, 100)

    assert db("prune", "--dry-run").startswith("5 runs would go")
    assert db("prune").startswith("Removed 5 runs")
    assert left(history) == set()


def test_vacuum_gives_space_back(file: Path) -> None:
    history = registry.history(settings.current().history_url)
    story = Story(history, now_us() - 100 * DAY_US)
    for _ in range(20):
        story.flow_run(state=StateName.FAILED, message="x" * 100_000)
    history.close()
    db("prune")

    told = db("vacuum")

    assert f"sqlite:///{file} is smaller by " in told
    assert "had nothing to give" in db("vacuum")


def test_what_was_done_is_told_as_json(file: Path) -> None:
    history = registry.history(settings.current().history_url)

    planned = json.loads(db("upgrade", "--dry-run", "--json"))
    done = json.loads(db("upgrade", "--json"))
    days_ago(history, 100)
    history.close()
    counted = json.loads(db("prune", "--dry-run", "--json"))
    pruned = json.loads(db("prune", "--json"))
    freed = json.loads(db("vacuum", "--json"))

    assert (planned["migrations"], planned["applied"]) == (done["migrations"], False)
    assert (done["migrations"][0], done["applied"]) == (1, True)
    assert (counted, pruned) == ({"runs": 1, "removed": False}, {"runs": 1, "removed": True})
    assert freed["freed_bytes"] >= 0
