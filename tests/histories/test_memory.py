"""The history suite on the history in memory, and what is its own."""

import pytest

from fanfold.adapters.history.memory import MemoryHistory
from fanfold.ports.history import History
from fanfold.testing.histories import HistorySuite
from fanfold.testing.places import Places
from fanfold.testing.scribes import Scribe, flow_run, key
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.ids import new_id
from fanfold.values.records import FlowRuns
from tests.histories.memory_places import memory_places


class TestMemory(HistorySuite):
    @pytest.fixture
    def places(self) -> Places:
        return memory_places(MemoryHistory)


def test_objects_of_one_url_share_what_they_hold() -> None:
    url = f"memory://{new_id()}"
    one, same, other = MemoryHistory(url), MemoryHistory(url), MemoryHistory(f"{url}-2")

    Scribe(one).must(flow_run(key(1)))

    found = [[run.id for run in history.read(FlowRuns())] for history in (one, same, other)]
    assert found == [[key(1)], [key(1)], []]


def test_without_renewals_leases_hold_as_long_as_the_process() -> None:
    history: History = MemoryHistory(f"memory://{new_id()}")
    owner, other = history.owner(), history.owner()
    history.take("x", owner)

    assert history.renewal_s is None
    assert history.reap(other) == []


def test_after_an_outage_nothing_is_changed() -> None:
    history = MemoryHistory(f"memory://{new_id()}")
    batch = Scribe(history).batch(flow_run(key(1)))

    history.outage = "the disk is full"
    with pytest.raises(HistoryUnavailable, match="can't record a batch: the disk is full"):
        history.record(batch)
    history.outage = ""

    assert history.read(FlowRuns()) == []
    assert not history.record(batch).again
