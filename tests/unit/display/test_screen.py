"""Lines that stay at the bottom while the program writes above them."""

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO

import pytest

from fanfold.display.screen import AT_ONCE_S, Screen
from tests.unit.display.terminal_emulator import Emulator, Tty


class Clock:
    """Time that passes when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Kit:
    """A terminal that standard output and standard error both go to."""

    def __init__(self) -> None:
        self.emulator = Emulator()
        self.out = Tty(self.emulator)
        self.err = Tty(self.emulator)
        self.clock = Clock()
        self.screen = Screen(self.err, [self.out], self.clock)

    def pass_time(self, seconds: float = 1.0) -> None:
        self.clock.now += seconds

    @property
    def shown(self) -> list[str]:
        return self.emulator.shown


@pytest.fixture
def kit() -> Iterator[Kit]:
    made = Kit()
    yield made
    made.screen.close()


def test_lines_are_written_over_those_that_were_there(kit: Kit) -> None:
    kit.screen.show(["one 1/9", "two 1/9"])
    kit.screen.show(["one 2/9", "two"])

    assert kit.shown == ["one 2/9", "two"]


def test_fewer_lines_leave_nothing_of_those_before(kit: Kit) -> None:
    kit.screen.show(["one", "two", "three"])
    kit.screen.show(["two"])

    assert kit.shown == ["two"]


@pytest.mark.parametrize("stream", ["out", "err"])
def test_what_the_program_writes_goes_above(kit: Kit, stream: str) -> None:
    kit.screen.show(["one", "two"])
    kit.pass_time()

    print("hello", file=getattr(kit, stream))

    assert kit.shown == ["hello", "one", "two"]


def test_the_program_goes_on_with_a_line_that_it_had_begun(kit: Kit) -> None:
    kit.screen.show(["one"])
    kit.pass_time()

    print("loading ", end="", file=kit.out)
    kit.screen.show(["one 2/9"])
    during = kit.shown
    kit.pass_time()
    print("done", file=kit.out)

    assert during == ["loading", "one 2/9"]
    assert kit.shown == ["loading done", "one 2/9"]


@pytest.mark.parametrize("height", [4, 24])
def test_a_line_that_passes_us_by_is_not_lost(kit: Kit, height: int) -> None:
    kit.emulator.height = height
    for number in range(5):
        kit.screen.show([f"one {number}", "two"])
        kit.emulator.feed(f"child {number}\r\n")

    kit.screen.show(["one 5", "two"])

    assert kit.shown == [*(f"child {number}" for number in range(5)), "one 5", "two"]


def test_what_is_typed_at_a_prompt_stays_where_it_is(kit: Kit) -> None:
    kit.screen.show(["one 1/9"])
    kit.emulator.feed("name? an")
    kit.screen.show(["one 2/9"])
    kit.emulator.feed("na\r\n")

    kit.screen.show(["one 3/9"])

    assert kit.shown == ["name? anna", "one 3/9"]


def test_at_the_bottom_of_the_screen_everything_scrolls_up_whole(kit: Kit) -> None:
    kit.emulator.height = 5
    for number in range(20):
        kit.screen.show([f"one {number}", "two", "three"])
        kit.pass_time()
        kit.out.write(f"line {number}\n")

    assert kit.shown == [*(f"line {number}" for number in range(20)), "one 19", "two", "three"]


def test_in_a_flood_the_lines_come_back_with_the_next_show(kit: Kit) -> None:
    kit.screen.show(["one"])
    for number in range(100):
        kit.pass_time(AT_ONCE_S / 100)
        kit.out.write(f"{number}\n")
    draws = sum("one" in text for text in kit.err.written)

    kit.screen.show(["one"])

    assert draws <= 2
    assert kit.shown == [*map(str, range(100)), "one"]


def test_what_is_said_stays_above_the_lines(kit: Kit) -> None:
    kit.screen.show(["one", "two"])
    kit.screen.show(["two"], "one is over\n")

    assert kit.shown == ["one is over", "two"]


def test_closing_takes_the_lines_away_and_gives_the_streams_back(kit: Kit) -> None:
    kit.screen.show(["one"])
    held = kit.out.write

    kit.screen.close()
    kit.screen.close()
    held("still there\n")

    assert kit.shown == ["still there"]
    assert "write" not in vars(kit.out)
    assert "write" not in vars(kit.err)


def test_a_stream_that_somebody_shadowed_before_is_given_back_as_it_was(kit: Kit) -> None:
    texts: list[str] = []
    theirs = texts.append
    kit.out.write = theirs  # type: ignore[method-assign, assignment]

    kit.screen.show(["one"])
    kit.out.write("hello\n")
    kit.screen.close()

    assert texts == ["hello\n"]
    assert kit.out.write is theirs


def test_a_redirection_that_begins_meanwhile_is_left_alone(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", kit.out)
    kit.screen.show(["one"])
    taken = StringIO()

    with redirect_stdout(taken):
        kit.screen.close()
        print("inside")
    print("outside")

    assert taken.getvalue() == "inside\n"
    assert kit.shown == ["outside"]


def test_a_terminal_that_is_gone_is_no_error(kit: Kit) -> None:
    def gone(text: str) -> int:
        raise OSError(5, "Input/output error")

    kit.err.write = gone  # type: ignore[method-assign]
    screen = Screen(kit.err, [kit.out], kit.clock)

    screen.show(["one"])
    kit.out.write("hello\n")
    screen.close()

    assert kit.shown == ["hello"]


def test_a_forked_child_lets_go_without_a_trace(kit: Kit) -> None:
    kit.screen.show(["one"])
    written = len(kit.err.written)

    kit.screen.forget()
    kit.out.write("hello\n")

    assert "write" not in vars(kit.out)
    assert len(kit.err.written) == written
