"""Which log lines a notebook's cell shows, and in which of its streams."""

import io
import logging
import sys
from typing import Any

import pytest

from fanfold.display.cell_lines import LINES_MOST, CellLines
from fanfold.display.logs import LineHandler
from fanfold.engine import settings


def record(
    index: int | None, level: int = logging.INFO, run: str | None = "0123456789abcdef"
) -> logging.LogRecord:
    made = logging.LogRecord("fanfold", level, "", 0, "hello", None, None)
    made.__dict__.update(flow_run_id=run, map_index=index)
    return made


def taken(lines: CellLines, *records: logging.LogRecord) -> list[str | None]:
    return [lines.take(one) for one in records]


@pytest.fixture(autouse=True)
def history() -> Any:
    with settings.temporary({"history.url": "memory://cells"}):
        yield


def test_lines_of_flows_and_of_no_run_are_all_shown() -> None:
    lines = CellLines()
    many = LINES_MOST + 5

    assert taken(lines, *(record(None) for _ in range(many))) == [None] * many
    assert taken(lines, *(record(1, run=None) for _ in range(many))) == [None] * many


def test_of_elements_the_first_lines_are_shown_then_one_that_says_where_the_others_are() -> None:
    told = taken(CellLines(), *(record(n) for n in range(LINES_MOST + 3)))

    assert told[:LINES_MOST] == [None] * LINES_MOST
    assert str(told[LINES_MOST]).endswith("fanfold runs logs 0123456789ab")
    assert told[LINES_MOST + 1 :] == ["", ""]


def test_each_flow_run_and_warnings_have_their_own_number() -> None:
    lines = CellLines()
    taken(lines, *(record(n) for n in range(LINES_MOST + 3)))

    assert lines.take(record(0, logging.WARNING)) is None
    assert lines.take(record(0, run="other")) is None


def test_without_a_history_all_are_shown_for_they_would_be_lost() -> None:
    many = LINES_MOST + 3

    with settings.temporary({"history.url": "off"}):
        assert taken(CellLines(), *(record(n) for n in range(many))) == [None] * many


class OutStream(io.StringIO):
    """Looks as those of a kernel do."""

    flushed = 0

    def flush(self) -> None:
        self.flushed += 1


OutStream.__module__ = "ipykernel.iostream"


def streams_of(monkeypatch: pytest.MonkeyPatch) -> tuple[OutStream, OutStream]:
    """Put streams in place; called by tests, for pytest replaces what fixtures have put there."""
    out, err = OutStream(), OutStream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return out, err


def test_in_a_cell_only_warnings_and_errors_are_on_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = streams_of(monkeypatch)
    handler = LineHandler()

    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        handler.handle(record(None, level))

    out, err = (stream.getvalue() for stream in streams)
    assert out.count("\n") == 1
    assert "INFO" in out
    assert err.count("\n") == 2


def test_a_cells_lines_of_elements_wait_for_no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = streams_of(monkeypatch)
    handler = LineHandler()

    handler.handle(record(3))
    assert streams[0].flushed == 0
    handler.handle(record(None))
    assert streams[0].flushed == 1


def test_where_the_other_lines_are_is_said_in_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = streams_of(monkeypatch)
    handler = LineHandler()

    for index in range(LINES_MOST + 5):
        handler.handle(record(index))

    lines = streams[0].getvalue().splitlines()
    assert len(lines) == LINES_MOST + 1
    assert "More lines of elements" in lines[-1]


def test_lines_follow_where_a_program_sends_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = streams_of(monkeypatch)
    elsewhere = io.StringIO()
    monkeypatch.setattr(sys, "stderr", elsewhere)

    LineHandler().handle(record(None))

    assert "hello" in elsewhere.getvalue()
    assert not streams[0].getvalue()
