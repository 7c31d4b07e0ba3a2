"""`fanfold db` and `fanfold doctor` on a real PostgreSQL server."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from fanfold.cli.__main__ import fanfold
from fanfold.engine import settings
from fanfold.testing.postgresql import Server


@pytest.fixture(autouse=True)
def database(postgresql: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FANFOLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FANFOLD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FANFOLD_HISTORY_URL", postgresql.database())
    settings.reload()
    yield
    settings.reload()


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(fanfold, words)
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_a_database_without_tables_is_upgraded_then_told_pruned_and_vacuumed() -> None:
    assert "There is no history at postgresql://" in run("db", "status", code=1)
    assert "applied" in run("db", "upgrade")

    told = dict(line.split("\t") for line in run("db", "status").splitlines() if line)

    assert told["Engine"].startswith("PostgreSQL ")
    assert told["Tables"].endswith(", current")
    assert told["flow_runs"] == "0"
    assert run("db", "prune") == "Removed 0 runs with all that belonged to them\n"
    assert run("db", "vacuum").startswith("postgresql://")


def test_the_doctor_asks_the_server_for_its_time_and_writes_to_it() -> None:
    run("db", "upgrade")

    lines = json.loads(run("doctor", "--runner", "threads", "--json"))

    found = {line["check"]: line for line in lines}
    assert found["history clock"]["found"] == "the database: as here, within 1 s"
    assert "a commit in" in found["history"]["found"]
    assert {line["level"] for line in lines} == {"ok"}
