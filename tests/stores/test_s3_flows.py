"""Flows that keep results on S3: whose credentials workers use, and what a faulty storage costs."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from fanfold import INPUTS, flow, task
from fanfold.adapters.results import FsspecStore
from fanfold.adapters.runners.processes import ProcessSession
from fanfold.engine.settings import temporary
from fanfold.values.errors import UsageError
from tests.stores.places import CREDENTIALS, S3Place
from tests.stores.s3_faults import Effect, Rule

SECRET = "the secret of the driver"


def double(x: int) -> int:
    return 2 * x


def run(store: FsspecStore | str, runner: str = "threads") -> list[int]:
    """Map over 40 elements that are kept."""
    doubled = task(double, cache_policy=INPUTS, result_storage=store, chunk_size=10)
    return flow(lambda: doubled.map(range(40)).result(), task_runner=runner)()


@pytest.fixture
def without_credentials(monkeypatch: pytest.MonkeyPatch, s3_credentials: None) -> None:
    """Let no process find credentials by itself."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


def test_a_warm_run_reads_what_the_first_one_kept(s3: S3Place) -> None:
    with temporary({"results.storage_options": s3.options}):
        first, again = run(s3.url()), run(s3.url())

    assert first == again == [2 * x for x in range(40)]
    segments = [name for name in s3.store().names("tasks/") if "/segments/" in name]
    assert len(segments) == 4


@pytest.mark.usefixtures("without_credentials")
def test_shipped_credentials_serve_workers_and_are_seen_nowhere(
    s3: S3Place, fanfold_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {**s3.options, "key": CREDENTIALS["AWS_ACCESS_KEY_ID"], "secret": SECRET}
    store = FsspecStore(s3.url(), options, ship_credentials=True)

    with caplog.at_level(logging.DEBUG, "fanfold"):
        assert run(store, "processes") == [2 * x for x in range(40)]

    assert [name for name in store.names("tasks/") if "/index/" in name]
    kept = [path.read_bytes() for path in fanfold_home.rglob("*") if path.is_file()]
    kept += [bytes(store.read(name)) for name in store.names("")]
    assert all(SECRET.encode() not in content for content in kept)
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("without_credentials")
def test_workers_without_credentials_say_so_and_harm_no_value(
    s3: S3Place, caplog: pytest.LogCaptureFixture
) -> None:
    options = {**s3.options, "key": CREDENTIALS["AWS_ACCESS_KEY_ID"], "secret": SECRET}
    store = FsspecStore(s3.url(), options)

    assert run(store, "processes") == [2 * x for x in range(40)]

    assert "Workers use their own credentials" in caplog.text
    assert "ship_credentials=True" in caplog.text
    assert store.names("tasks/") == []


def test_credentials_are_not_sent_where_others_could_read_them(
    s3: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProcessSession, "sealed", False)
    store = replace(s3.store(), ship_credentials=True)

    with pytest.raises(UsageError, match="can't be sent to workers"):
        run(store, "processes")

    assert run(store) == [2 * x for x in range(40)]


def test_an_outage_in_the_middle_is_not_noticed(
    s3: S3Place, caplog: pytest.LogCaptureFixture
) -> None:
    store = s3.store()
    s3.control.strike(
        Rule(effect=Effect.RESET, lasts_s=1.0),
        Rule(effect=Effect.INTERNAL_ERROR, share=0.2),
        Rule(effect=Effect.LOSE, share=0.1),
        Rule(effect=Effect.TRUNCATE, operations=("GetObject",), share=0.2),
    )

    first = run(store)
    s3.control.forget()
    again = run(store)

    assert first == again == [2 * x for x in range(40)]
    assert s3.control.requests("PutObject", prefix="results/tasks/") == 0
    assert not caplog.records
