"""Transactions in transactions, what they hold and record, and where they are known."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from fanfold import INPUTS, flow, task
from fanfold.transactions import (
    CommitMode,
    IsolationLevel,
    Transaction,
    get_transaction,
    transaction,
)
from fanfold.values.errors import UsageError
from tests.unit.keeping_tasks import hooked, indexes

Log = list[Any]
RUNNERS = ["inline", "threads", "processes"]
every_runner = pytest.mark.parametrize("runner", RUNNERS)


@pytest.fixture
def results(fanfold_home: Path) -> Path:
    """Where results are kept by default."""
    return fanfold_home / "results"


# Transactions inside transactions.


def test_an_inner_transaction_is_committed_with_the_outer_one() -> None:
    log: Log = []
    step = hooked(log)

    with transaction() as outer:
        with transaction() as inner:
            step()
        assert inner.is_active() and log == []

    assert outer.is_committed() and inner.is_committed()
    assert log == [("step", "commit")]


def test_an_eager_one_is_committed_when_its_block_ends(results: Path) -> None:
    log: Log = []
    step = hooked(log, cache_policy=INPUTS)

    with pytest.raises(ValueError), transaction() as outer:
        with transaction(commit_mode=CommitMode.EAGER) as inner:
            step(1)
        assert inner.is_committed() and len(indexes(results)) == 1
        raise ValueError

    assert outer.is_rolled_back() and inner.is_committed()
    assert log == [("step", "commit")]


@pytest.mark.parametrize("asked", [True, False])
def test_without_a_commit_mode_that_commits_it_is_rolled_back_unless_asked(asked: bool) -> None:
    log: Log = []

    with transaction(commit_mode=CommitMode.OFF) as txn:
        hooked(log)()
        if asked:
            assert txn.commit()

    assert log == [("step", "commit" if asked else "rollback")]
    assert txn.is_committed() == asked


def test_an_inner_one_of_mode_off_is_rolled_back_alone() -> None:
    log: Log = []

    with transaction() as outer:
        hooked(log, "outer")()
        with transaction(commit_mode=CommitMode.OFF) as inner:
            hooked(log, "inner")()
        assert inner.is_rolled_back()

    assert outer.is_committed()
    assert log == [("inner", "rollback"), ("outer", "commit")]


def test_the_commit_mode_is_taken_over_from_the_one_around() -> None:
    with transaction(commit_mode=CommitMode.OFF) as outer:
        with transaction() as inner:
            assert inner.commit_mode is CommitMode.OFF
        assert outer.commit()

    assert inner.is_committed()
    with transaction() as plain:
        assert plain.commit_mode is CommitMode.LAZY


def test_a_rollback_goes_up_to_all_around() -> None:
    log: Log = []
    step = hooked(log)

    with transaction() as outer:
        with transaction() as middle:
            step()
            with transaction() as inner:
                step()
                assert inner.rollback() and not inner.rollback()
            assert middle.is_rolled_back()
        assert outer.is_rolled_back()

    assert log == [("step", "rollback")] * 2


def test_an_exception_that_the_outer_block_catches_has_taken_it_back_all_the_same() -> None:
    log: Log = []

    with transaction() as outer:
        hooked(log)()
        with pytest.raises(ValueError), transaction():
            raise ValueError

    assert outer.is_rolled_back()
    assert log == [("step", "rollback")]


# Values, hooks and records of their own.


def test_values_are_found_from_inside_and_those_set_inside_stay_there() -> None:
    with transaction() as outer:
        outer.set("both", ["outer"])
        outer.get("both").append("a change of the copy")
        with transaction() as inner:
            assert inner.get("both") == ["outer"]
            inner.set("both", "inner")
            assert inner.get("both") == "inner"
            assert inner.get("nothing", None) is None
            with pytest.raises(ValueError, match="'nothing'"):
                inner.get("nothing")
        assert outer.get("both") == ["outer"]


@pytest.mark.parametrize("way", ["call", "submit", "map"])
def test_a_hook_reads_what_its_own_task_and_the_block_have_set(way: str) -> None:
    log: Log = []

    @task
    def write(x: int) -> None:
        txn = get_transaction()
        assert txn is not None
        txn.set("path", f"{txn.get('folder')}/{x}")

    write.on_rollback(lambda txn: log.append(txn.get("path")))

    @flow
    def around() -> None:
        with transaction() as txn:
            txn.set("folder", "out")
            if way == "call":
                for x in range(3):
                    write(x)
            elif way == "submit":
                [write.submit(x).wait() for x in range(3)]
            else:
                write.map(range(3)).wait()
            raise ValueError

    assert around(return_state=True).is_failed()

    # Elements of a map come to their end in any order.
    log = sorted(log, reverse=True) if way == "map" else log
    assert log == ["out/2", "out/1", "out/0"]


def test_staged_hooks_of_the_block_are_called_with_it() -> None:
    log: Log = []

    with transaction() as txn:
        txn.stage(1, on_rollback_hooks=[log.append], on_commit_hooks=[log.append])
        assert txn.is_staged()
    assert log == [txn]

    with transaction() as other:
        hooks = [lambda _: log.append("first"), lambda _: log.append("second")]
        other.stage(1, on_rollback_hooks=hooks)
        other.rollback()
    assert log == [txn, "second", "first"]


def test_a_record_that_is_there_means_that_it_was_committed_already(tmp_path: Path) -> None:
    log: Log = []

    def once(value: Any, **options: Any) -> tuple[bool, Any]:
        with transaction(key="the key/1", store=tmp_path, **options) as txn:
            done = txn.is_committed(), txn.read()
            if not txn.is_committed():
                hooked(log)()
                txn.stage(value)
        return done

    assert once("a") == (False, None)
    assert once("b") == (True, "a")
    assert once("c", overwrite=True) == (False, "a")
    assert once("d") == (True, "c")
    assert log == [("step", "commit")] * 2


def test_no_record_is_written_by_a_rollback_or_against_the_users_will(tmp_path: Path) -> None:
    with transaction(key="k", store=tmp_path, write_on_commit=False) as txn:
        txn.stage(1)
    with pytest.raises(ValueError), transaction(key="k", store=tmp_path) as txn:
        txn.stage(1)
        raise ValueError

    with transaction(key="k", store=tmp_path) as txn:
        assert not txn.is_committed()


def test_a_record_is_kept_where_results_of_the_flow_are(tmp_path: Path, results: Path) -> None:
    @flow(result_storage=tmp_path, result_serializer="json", persist_result=False)
    def around() -> None:
        with transaction("key") as txn:
            txn.stage({"a": 1})

    around()
    with transaction("other"):
        pass

    assert (tmp_path / "transactions" / "key").read_bytes() == b'{"a": 1}'
    assert (results / "transactions" / "other").exists()


def test_a_value_that_cannot_be_written_rolls_it_back(tmp_path: Path) -> None:
    told: Log = []
    logger = logging.getLogger("of the test")
    logger.addFilter(lambda record: bool(told.append(record.getMessage())))

    with transaction(key="k", store=tmp_path, logger=logger) as txn:
        txn.stage(threading.Lock())

    assert txn.is_rolled_back()
    assert "can't be committed" in told[0]


# Where it is known.


def test_there_is_none_outside_and_the_innermost_inside() -> None:
    assert get_transaction() is None
    with transaction() as outer:
        assert get_transaction() is outer
        with transaction() as inner:
            assert get_transaction() is inner
        assert get_transaction() is outer
    assert get_transaction() is None


def test_threads_share_none() -> None:
    seen: Log = []

    with transaction():
        thread = threading.Thread(target=lambda: seen.append(get_transaction()))
        thread.start()
        thread.join()

    assert seen == [None]


@pytest.mark.parametrize(("runner", "known"), [("threads", True), ("processes", False)])
def test_tasks_on_threads_know_it_and_those_in_other_processes_do_not(
    runner: str, known: bool
) -> None:
    @task
    def knows() -> bool:
        return get_transaction() is not None

    @flow(task_runner=runner)
    def around() -> bool:
        with transaction():
            return knows.submit().result()

    assert around() == known


def test_what_cannot_be_kept_or_understood_is_refused() -> None:
    with (
        pytest.raises(UsageError, match="no isolation level 'SNAPSHOT'"),
        transaction(isolation_level="SNAPSHOT"),
    ):
        pass
    with pytest.raises(UsageError, match="CommitMode"), transaction(commit_mode="LAZY"):  # type: ignore[arg-type]
        pass
    with pytest.raises(UsageError, match="key"), transaction(key=""):
        pass
    with transaction(isolation_level=IsolationLevel.READ_COMMITTED) as txn:
        assert txn.is_active()
    assert Transaction().is_pending()
