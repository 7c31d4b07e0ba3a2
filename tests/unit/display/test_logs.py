"""Log lines on standard error."""

import io
import logging
import sys

import pytest

from fanfold.display.logs import LineHandler, coloured
from tests.unit.display.terminal_emulator import Tty


@pytest.fixture(autouse=True)
def a_terminal_with_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def record(level: int = logging.INFO, message: str = "hello") -> logging.LogRecord:
    made = logging.LogRecord("fanfold", level, "", 0, message, None, None)
    made.created = 0.0
    return made


def test_on_a_terminal_the_time_is_dim_and_the_level_coloured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Tty()
    monkeypatch.setattr(sys, "stderr", stream)

    LineHandler().handle(record(logging.WARNING))

    text = "".join(stream.written)
    assert text.startswith("\x1b[2m")
    assert text.endswith("\x1b[0m | \x1b[33mWARNING\x1b[0m | hello\n")


def test_elsewhere_it_is_a_plain_line_of_the_same_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    LineHandler().handle(record())

    assert stream.getvalue()[8:] == " | INFO    | hello\n"


def test_lines_go_where_standard_error_goes_at_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = LineHandler()
    for _ in range(2):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        handler.handle(record())
        assert stream.getvalue().endswith("hello\n")


def test_without_standard_error_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)

    LineHandler().handle(record())


def test_a_level_of_the_programs_own_has_a_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Tty()
    monkeypatch.setattr(sys, "stderr", stream)

    LineHandler().handle(record(25))

    assert "Level 25 | hello" in "".join(stream.written)


@pytest.mark.parametrize(
    ("setting", "no_color", "terminal", "wanted"),
    [
        ("auto", "", True, True),
        ("auto", "1", True, False),
        ("auto", "", False, False),
        ("true", "", False, True),
        ("false", "", True, False),
    ],
)
def test_colours_follow_the_setting_no_color_and_the_terminal(
    setting: str, no_color: str, terminal: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANFOLD_LOGGING_COLORS", setting)
    monkeypatch.setenv("NO_COLOR", no_color)

    assert coloured(Tty() if terminal else io.StringIO()) is wanted
