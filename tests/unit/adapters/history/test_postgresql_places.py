"""What a history in PostgreSQL says of itself without a server."""

import sys

import pytest

from fanfold.adapters.history.postgresql import PostgresqlHistory
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.records import FlowRuns


def test_its_place_tells_no_secrets() -> None:
    history = PostgresqlHistory("postgresql://ada:secret@db.example:5433/runs?password=secret")

    assert history.place == "postgresql://db.example:5433/runs"


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    history = PostgresqlHistory("postgresql:///runs")

    with pytest.raises(HistoryUnavailable, match=r"pip install 'fanfold\[postgresql\]'"):
        history.read(FlowRuns())
