"""The display as a whole: real runs' columns in, a terminal's rows or log lines out."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest

from fanfold.display import terminal
from fanfold.display.terminal import Terminal, in_foreground, rich_paint, size
from fanfold.display.text import Piece
from fanfold.engine.run import Run
from fanfold.engine.watching import Maps, Mode
from tests.unit.display.terminal_emulator import Emulator, Tty
from tests.unit.engine.runs_at_hand import done, failed, made


class Clock:
    """Time that passes when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Kit:
    """Maps that are shown on an emulated terminal, with the test's clock and no thread."""

    def __init__(self, mode: Mode) -> None:
        self.clock = Clock()
        self.emulator = Emulator()
        self.stream = Tty(self.emulator)
        self.display = Terminal(lambda: self.stream)
        self.maps = Maps(lambda mode: self.display, self.clock, by_itself=False)
        self.maps.mode = mode

    def map(self, name: str, count: int) -> Run:
        run = made(name, count)
        self.maps.watch(run)
        return run

    def look(self, after_s: float = 0.0) -> float:
        self.clock.now += after_s
        return self.maps.look()

    @property
    def shown(self) -> list[str]:
        return self.emulator.shown


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kit]:
    monkeypatch.setattr(terminal, "size", lambda stream: (80, 24))
    kit = Kit(Mode.LIVE)
    yield kit
    kit.maps.close()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kit]:
    kit = Kit(Mode.PLAIN)
    monkeypatch.setattr(terminal.logger, "propagate", False)
    yield kit
    kit.maps.close()


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    keep = Keep()
    terminal.logger.addHandler(keep)
    terminal.logger.setLevel(logging.INFO)
    yield lines
    terminal.logger.removeHandler(keep)
    terminal.logger.setLevel(logging.NOTSET)


def test_a_map_has_a_line_that_changes_and_one_that_stays(live: Kit) -> None:
    run = live.map("embed", 1_000)
    done(run, 0, 200)
    live.look(after_s=1.0)
    first = live.shown
    done(run, 200, 999)
    failed(run, 999, "bad date")
    live.look(after_s=1.0)
    second = live.shown
    live.maps.unwatch(run)

    live.look()

    assert first == [f"embed  {'━' * 30}  200/1,000  200/s  eta 0:04"]
    assert second == [
        "embed  1,000/1,000  500/s  1 failed  eta 0:00  ValueError: bad date, element 9…"
    ]
    assert live.shown == [
        "embed  1,000/1,000 in 2.0 s  500/s  1 failed (ValueError: bad date, element 999)"
    ]


def test_a_short_map_leaves_no_trace_beside_a_long_one(live: Kit) -> None:
    live_runs = [live.map("long", 10)]
    live.look(after_s=1.0)
    short = live.map("short", 10)
    live.look(after_s=0.1)
    during = live.shown
    live.maps.unwatch(short)

    live.look(after_s=0.1)

    assert [row.split()[0] for row in during] == ["long"]
    assert [row.split()[0] for row in live.shown] == ["long"]
    assert live_runs


def test_of_many_maps_the_oldest_have_a_line_and_the_others_are_counted(live: Kit) -> None:
    runs = [live.map(f"map-{number}", 10) for number in range(11)]

    live.look(after_s=1.0)

    assert [row.split()[0] for row in live.shown] == [*(run.name for run in runs[:8]), "and"]
    assert live.shown[-1] == "and 3 more"


def test_a_map_that_ends_leaves_its_line_above_those_that_run(live: Kit) -> None:
    one, two = live.map("one", 10), live.map("two", 10)
    live.look(after_s=1.0)
    done(one, 0, 10)
    live.maps.unwatch(one)

    live.look()

    assert live.shown[0] == "one  10/10 in 1.0 s  10/s"
    assert live.shown[1].startswith("two  ")
    assert not two.finished


def test_prints_and_log_lines_go_above(live: Kit) -> None:
    run = live.map("one", 10)
    live.look(after_s=1.0)

    live.stream.write("12:00:01 | INFO    | hello\n")
    live.look(after_s=0.1)

    assert live.shown[0] == "12:00:01 | INFO    | hello"
    assert live.shown[1].startswith("one  ")
    assert run.count == 10


def test_standard_output_is_touched_only_where_it_is_a_terminal(
    live: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    run = live.map("one", 10)
    live.look(after_s=1.0)

    print("data")

    assert file.getvalue() == "data\n"
    assert "write" not in vars(file)
    assert run.count == 10


def test_once_no_map_runs_the_streams_are_as_they_were(live: Kit) -> None:
    run = live.map("one", 10)
    live.look(after_s=1.0)
    live.maps.unwatch(run)

    live.look()

    assert "write" not in vars(live.stream)


def test_looking_is_asked_for_ten_times_a_second_and_less_where_it_takes_long(
    live: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = live.map("one", 10)
    spent = iter([0.0, 0.0, 10.0, 10.02])
    monkeypatch.setattr(terminal.time, "thread_time", lambda: next(spent))

    assert live.look(after_s=1.0) == pytest.approx(0.1)
    assert live.look(after_s=0.1) == pytest.approx(0.5)
    assert run.count == 10


def test_elsewhere_a_map_has_a_line_every_five_seconds_and_one_at_its_end(
    plain: Kit, told: list[str]
) -> None:
    run = plain.map("embed", 1_000)
    done(run, 0, 500)
    wait = plain.look(after_s=0.5)
    plain.look(after_s=4.4)
    silent = list(told)
    plain.look(after_s=0.1)
    plain.look(after_s=1.0)
    done(run, 500, 1_000)
    plain.maps.unwatch(run)

    plain.look()

    assert wait == pytest.approx(4.5)
    assert silent == []
    assert told == [
        "embed: 500/1,000 (50 %), 100/s, 5.0 s left",
        "embed  1,000/1,000 in 6.0 s  167/s",
    ]
    assert plain.shown == []


def test_elsewhere_a_map_of_a_few_seconds_says_nothing(plain: Kit, told: list[str]) -> None:
    run = plain.map("embed", 1_000)
    plain.look(after_s=4.0)
    plain.maps.unwatch(run)

    plain.look()

    assert told == []


def test_rich_gives_styles_and_cuts_lines_by_the_width_of_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    pieces = [Piece("embed", "bold"), Piece("  "), Piece("日本語", "red")]

    coloured = rich_paint(colours=True)(pieces, 0)
    cut = rich_paint(colours=False)(pieces, 10)

    assert coloured == "\x1b[1membed\x1b[0m  \x1b[31m日本語\x1b[0m"
    assert cut == "\x1b[1membed\x1b[0m  日…"


def test_markup_in_names_and_messages_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")

    assert rich_paint(colours=True)([Piece("[red]x[/red] :smile:")], 0) == "[red]x[/red] :smile:"


def test_a_stream_that_is_no_terminal_has_a_usual_size_and_counts_as_in_front() -> None:
    assert size(io.StringIO()) == (80, 24)
    assert in_foreground(io.StringIO())
