"""The history suite on a real PostgreSQL server."""

import signal
from pathlib import Path

import pytest

from fanfold.adapters.history.postgresql import PostgresqlHistory
from fanfold.testing.histories import HistorySuite
from fanfold.testing.places import Places
from fanfold.testing.postgresql import Server, server
from fanfold.testing.scribes import Scribe, flow_run, key
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.facts import Receipt
from fanfold.values.records import FlowRuns


class TestPostgresql(HistorySuite):
    @pytest.fixture
    def places(self, postgresql: Server, tmp_path: Path) -> Places:
        nowhere = f"postgresql://me:secret@/nothing?host={tmp_path}"  # where no server listens
        return Places(
            open=PostgresqlHistory,
            fresh=postgresql.schema,
            unreachable=lambda: PostgresqlHistory(nowhere),
            pass_time=lambda url: postgresql.run("UPDATE owners SET until_us = 0", url),
        )


def test_a_history_is_back_when_its_server_is(require_postgresql: None) -> None:
    with server(durable=True) as mine:
        history = PostgresqlHistory(mine.database())
        scribe = Scribe(history)
        scribe.must(flow_run(key(1)))
        batch = scribe.batch(flow_run(key(2)))

        mine.stop(signal.SIGQUIT)
        with pytest.raises(HistoryUnavailable):
            history.record(batch)
        mine.start()
        receipt = history.record(batch)
        found = [run.id for run in history.read(FlowRuns())]
        history.close()

    assert receipt == Receipt()
    assert found == [key(2), key(1)]
