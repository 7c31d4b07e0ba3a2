"""The history suite on SQLite."""

from pathlib import Path

import pytest

from fanfold.adapters.history.sqlite import SqliteHistory
from fanfold.testing.histories import HistorySuite
from fanfold.testing.places import Places
from fanfold.values.ids import new_id


class TestSqlite(HistorySuite):
    @pytest.fixture
    def places(self, tmp_path: Path) -> Places:
        (tmp_path / "a file").touch()
        return Places(
            open=SqliteHistory,
            fresh=lambda: f"sqlite:///{tmp_path}/{new_id()}.db",
            unreachable=lambda: SqliteHistory(f"sqlite:///{tmp_path}/a file/history.db"),
        )
