"""What a history in SQLite does with its files, beside what every history does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold.adapters.history import rules, sqlite
from fanfold.adapters.history.sqlite import SqliteHistory
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.facts import Batch, FlowRunMade, LogLine
from fanfold.values.records import FlowRuns, Lines

RUN = "0" * 24
# The child holds the pipe, so that the test can tell when it is over.
PARENT = """
import os, sys
from fanfold.adapters.history.sqlite import SqliteHistory
history = SqliteHistory(sys.argv[1])
owner = history.owner()
history.take("held", owner)
if os.fork():
    print(owner, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/history.db"


@pytest.fixture
def history(url: str) -> Iterator[SqliteHistory]:
    history = SqliteHistory(url)
    yield history
    history.close()


def told(number: int, *messages: str, writer: str = "writer") -> Batch:
    made = FlowRunMade(flow_run_id=RUN, flow="flow", name="name", owner="nobody", at_us=1)
    lines = [
        LogLine(flow_run_id=RUN, level=20, logger="flow", message=message, at_us=1)
        for message in messages
    ]
    return Batch(writer=writer, number=number, facts=(made, *lines) if number == 1 else (*lines,))


def test_the_log_is_emptied_when_it_is_large(
    history: SqliteHistory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.record(told(1, "one"))
    grown = (tmp_path / "history.db-wal").stat().st_size
    monkeypatch.setattr(sqlite, "LOG_BYTES", grown)

    history.record(told(2, "two"))

    assert grown > 0
    assert (tmp_path / "history.db-wal").stat().st_size == 0
    assert [line.message for line in history.read(Lines())] == ["one", "two"]


def test_a_file_that_was_removed_is_made_anew(history: SqliteHistory, tmp_path: Path) -> None:
    history.record(told(1))
    for file in tmp_path.glob("history.db*"):
        if file.is_file():
            file.unlink()

    receipt = history.record(told(1))

    assert not receipt.again
    assert [run.id for run in history.read(FlowRuns())] == [RUN]


def test_files_of_the_dead_are_removed_with_their_last_lease(
    history: SqliteHistory, url: str, tmp_path: Path
) -> None:
    owner = history.owner()
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.replace("if os.fork():", "if True:"), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        dead = process.stdout.readline().strip()
        process.kill()
    files = {
        who: tmp_path / "history.db-owners" / f"{who.split('/')[2]}.lock" for who in (owner, dead)
    }
    assert files[dead].exists()

    (lease,) = history.reap(owner)

    assert (lease.name, lease.epoch) == ("held", 2)
    assert not files[dead].exists()
    assert files[owner].exists()


def test_a_child_that_outlives_its_parent_does_not_keep_him_alive(
    history: SqliteHistory, url: str
) -> None:
    reaper = history.owner()
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        alive = history.reap(reaper)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

        dead = history.reap(reaper)

    assert alive == []
    assert [lease.name for lease in dead] == ["held"]


@pytest.mark.parametrize(
    "text",
    [
        "Ärger in foo_bar-baz v1.2e5",
        "STRASSE straße",
        "日本語 текст ΣΊΣΥΦΟΣ",
        "e\u0301 \0 \ud800 x",
    ],
)
def test_words_of_all_languages_are_found(history: SqliteHistory, text: str) -> None:
    history.record(told(1, text))

    for first, second in zip(words := rules.words(text), words[1:], strict=False):
        assert len(history.read(Lines(words=f"{first.upper()} {second[:1]}"))) == 1


@pytest.mark.parametrize("url", ["sqlite:", "sqlite://", "sqlite:///"])
def test_a_url_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(HistoryUnavailable, match="names no file"):
        SqliteHistory(url)
