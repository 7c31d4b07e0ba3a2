"""Which maps a display is told of, and when."""

import gc
import io
import logging
import threading
import weakref
from collections.abc import Iterator, Sequence

import pytest

from fanfold.engine import watching
from fanfold.engine.tally import Counts
from fanfold.engine.watching import FIRST_LOOK_S, Maps, Mode, Watched, chosen
from fanfold.values.states import StateName
from tests.unit.engine.runs_at_hand import done, failed, made

DEADLINE_S = 10.0


class Clock:
    """Time that passes when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Seen:
    """A display that remembers what it was asked to show."""

    def __init__(self) -> None:
        self.looks: list[tuple[list[tuple[str, Counts]], list[tuple[str, Counts, float]]]] = []
        self.closed = 0
        self.prepared: list[Mode] = []
        self.looked = threading.Event()
        self.error: Exception | None = None

    def prepare(self, mode: Mode) -> None:
        self.prepared.append(mode)

    def look(
        self, running: Sequence[Watched], ended: Sequence[Watched], mode: Mode, now: float
    ) -> float:
        if self.error is not None:
            raise self.error
        self.looks.append(
            (
                [(watched.name, watched.counts()) for watched in running],
                [
                    (watched.name, watched.counts(), (watched.ended or 0) - watched.began)
                    for watched in ended
                ],
            )
        )
        self.looked.set()
        return 0.01

    def close(self) -> None:
        self.closed += 1


class Kit:
    """Maps on a clock of the test's, shown to a display of the test's, with no thread."""

    def __init__(self, mode: Mode = Mode.LIVE) -> None:
        self.clock = Clock()
        self.seen = Seen()
        self.maps = Maps(lambda mode: self.seen, self.clock, by_itself=False)
        self.maps.mode = mode


def test_a_running_map_is_shown_with_its_numbers_of_now() -> None:
    kit = Kit()
    run = made("embed", 10)
    kit.maps.watch(run)
    done(run, 0, 4)

    kit.maps.look()

    assert kit.seen.looks == [([("embed", Counts(total=10, done=4))], [])]


@pytest.mark.parametrize("count", [0, 1])
def test_single_calls_are_not_watched(count: int) -> None:
    kit = Kit()
    run = made("embed", count)
    kit.maps.watch(run)

    kit.maps.look()

    assert kit.seen.looks == [([], [])]


def test_nothing_is_watched_where_nothing_is_shown() -> None:
    kit = Kit(Mode.OFF)
    run = made("embed", 10)
    kit.maps.watch(run)
    kit.maps.mode = Mode.LIVE

    kit.maps.look()

    assert kit.seen.looks == [([], [])]


def test_a_map_that_is_over_at_once_is_never_told_of() -> None:
    kit = Kit()
    run = made("embed", 10)
    kit.maps.watch(run)
    kit.clock.now += FIRST_LOOK_S - 0.01
    kit.maps.unwatch(run)

    kit.maps.look()

    assert kit.seen.looks == [([], [])]


def test_a_longer_map_is_told_of_once_when_it_is_over_with_its_time() -> None:
    kit = Kit()
    run = made("embed", 10)
    kit.maps.watch(run)
    kit.clock.now += 4.0
    done(run, 0, 10)
    kit.maps.unwatch(run)
    kit.maps.unwatch(run)
    kit.clock.now += 1.0

    kit.maps.look()
    kit.maps.look()

    assert kit.seen.looks == [([], [("embed", Counts(total=10, done=10), 4.0)]), ([], [])]


def test_watching_keeps_no_run_alive() -> None:
    kit = Kit()
    run = made("embed", 10)
    gone = weakref.ref(run)
    kit.maps.watch(run)

    del run
    gc.collect()
    kit.maps.look()

    assert gone() is None
    assert kit.seen.looks == [([], [])]


def test_the_runs_of_a_streamed_map_are_one_line_whose_total_is_known_at_the_end() -> None:
    kit = Kit()
    first, second = made("embed", 10), made("embed", 5, first=10)
    second.id = "other"
    kit.maps.watch(first, "stream")
    done(first, 0, 9)
    failed(first, 9, "bad date")
    kit.maps.unwatch(first, "stream")
    kit.maps.watch(second, "stream")
    done(second, 0, 2)
    kit.maps.look()
    kit.clock.now += 2.0
    done(second, 2, 5)
    kit.maps.unwatch(second, "stream")
    kit.maps.stream_over("stream")
    kit.maps.look()

    (running, _), (_, ended) = kit.seen.looks
    assert [(name, c.total, c.done, str(c.first)) for name, c in running] == [
        ("embed", None, 12, "ValueError: bad date, element 9")
    ]
    assert [(name, c.total, c.done, c.failed, s) for name, c, s in ended] == [
        ("embed", 15, 15, 1, 2.0)
    ]


def test_a_flow_that_is_over_has_its_own_maps_told_of_before_it_returns() -> None:
    kit = Kit()
    flow, other = object(), object()
    mine, theirs = made("mine", 10), made("theirs", 10)
    mine.owner, theirs.owner = flow, other
    kit.maps.watch(mine)
    kit.maps.watch(theirs)
    kit.clock.now += 1.0
    done(mine, 0, 6, StateName.CANCELLED)

    kit.maps.over(flow)

    assert kit.seen.looks == [
        ([("theirs", Counts(total=10))], [("mine", Counts(total=10, cancelled=6), 1.0)])
    ]


def test_a_flow_that_is_over_and_had_nothing_to_show_asks_for_no_look() -> None:
    kit = Kit()
    other = made("theirs", 10)
    other.owner = object()
    kit.maps.watch(other)
    kit.clock.now += 1.0

    kit.maps.over(object())

    assert kit.seen.looks == []


def test_closing_tells_of_all_maps_and_gives_the_terminal_back() -> None:
    kit = Kit()
    run = made("embed", 10)
    kit.maps.watch(run)
    kit.clock.now += 1.0

    kit.maps.close()
    kit.maps.close()

    assert kit.seen.looks == [([], [("embed", Counts(total=10), 1.0)])]
    assert kit.seen.closed == 2
    assert kit.maps.mode is Mode.OFF


def test_once_nothing_is_to_be_shown_any_more_the_terminal_is_given_back() -> None:
    kit = Kit()
    run = made("embed", 10)
    kit.maps.watch(run)
    kit.maps.look()
    kit.maps.mode = Mode.OFF

    kit.maps.look()
    kit.maps.mode = Mode.LIVE
    kit.maps.look()

    assert kit.seen.closed == 1
    assert kit.seen.looks[1:] == [([], [])]


def test_a_display_that_fails_is_told_of_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    kit = Kit()
    run = made("embed", 10)
    kit.maps.watch(run)
    kit.seen.error = RuntimeError("no such colour")

    watching.logger.addHandler(caplog.handler)
    kit.maps.look()
    watching.logger.removeHandler(caplog.handler)
    kit.maps.begin()

    assert "Maps aren't shown any more" in caplog.text
    assert kit.maps.mode is Mode.OFF


@pytest.fixture
def looked_after() -> Iterator[tuple[Maps, Seen]]:
    """Maps with their thread; what it shows is taken off at the end."""
    seen = Seen()
    maps = Maps(lambda mode: seen)
    maps.mode = Mode.LIVE
    yield maps, seen
    maps.close()


def test_the_thread_looks_at_maps_that_last_and_prepares_the_display_first(
    looked_after: tuple[Maps, Seen],
) -> None:
    maps, seen = looked_after
    run = made("embed", 10)

    maps.watch(run)

    assert seen.looked.wait(DEADLINE_S)
    assert seen.prepared == [Mode.LIVE]
    assert seen.looks[0] == ([("embed", Counts(total=10))], [])


def test_the_thread_wakes_again_for_maps_that_begin_later(
    looked_after: tuple[Maps, Seen],
) -> None:
    maps, seen = looked_after
    first, second = made("first", 10), made("second", 10)
    maps.watch(first)
    assert seen.looked.wait(DEADLINE_S)
    maps.unwatch(first)
    maps.look()
    seen.looks.clear()
    seen.looked.clear()

    maps.watch(second)

    assert seen.looked.wait(DEADLINE_S)
    assert seen.looks[0][0] == [("second", Counts(total=10))]


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("want", "terminal", "mode"),
    [
        ("auto", True, Mode.LIVE),
        ("auto", False, Mode.PLAIN),
        ("on", True, Mode.LIVE),
        ("on", False, Mode.LIVE),
        ("off", True, Mode.OFF),
        ("off", False, Mode.OFF),
        ("plain", True, Mode.PLAIN),
        ("plain", False, Mode.PLAIN),
    ],
)
def test_the_mode_follows_the_setting_and_the_terminal(
    want: str, terminal: bool, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")

    assert chosen(want, Tty() if terminal else io.StringIO()) is mode


def test_a_dumb_or_closed_or_missing_terminal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()

    assert chosen("auto", closed) is Mode.PLAIN
    assert chosen("auto", None) is Mode.OFF
    monkeypatch.setenv("TERM", "dumb")
    assert chosen("auto", Tty()) is Mode.PLAIN


def test_a_notebook_is_no_terminal() -> None:
    pytest.importorskip("ipykernel")
    from ipykernel.iostream import OutStream

    stream = OutStream.__new__(OutStream)

    assert not watching.is_terminal(stream)


@pytest.mark.parametrize(
    ("want", "mode"),
    [
        ("auto", Mode.NOTEBOOK),
        ("on", Mode.NOTEBOOK),
        ("plain", Mode.PLAIN),
        ("off", Mode.OFF),
    ],
)
def test_in_a_kernel_maps_are_shown_in_cells_unless_the_setting_says_otherwise(
    want: str, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "in_notebook", lambda: True)

    assert chosen(want, io.StringIO()) is mode


def test_the_shell_of_a_terminal_is_no_notebook() -> None:
    assert not watching.in_notebook()


def test_a_display_that_cannot_be_loaded_is_told_of_and_left_alone(
    looked_after: tuple[Maps, Seen], caplog: pytest.LogCaptureFixture
) -> None:
    maps, seen = looked_after
    told = threading.Event()

    def fail(mode: Mode) -> None:
        raise RuntimeError("no such module")

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    seen.prepare = fail  # type: ignore[method-assign]
    watching.logger.addHandler(handler := Told())
    run = made("embed", 10)
    maps.watch(run)

    assert told.wait(DEADLINE_S)
    watching.logger.removeHandler(handler)
    assert not seen.looks
    assert maps.mode is Mode.OFF


def test_a_streamed_map_of_a_flow_that_is_over_is_told_of_though_none_of_its_runs_is_left() -> None:
    kit = Kit()
    run = made("embed", 10)
    run.owner = flow = object()
    kit.maps.watch(run, "stream")
    kit.clock.now += 1.0
    done(run, 0, 10)
    kit.maps.unwatch(run, "stream")

    kit.maps.over(flow)

    assert kit.seen.looks == [([], [("embed", Counts(total=10, done=10), 1.0)])]


@pytest.mark.parametrize("word", ["off", "plain"])
def test_a_flow_that_begins_asks_the_setting(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANFOLD_PROGRESS", word)
    kit = Kit()

    kit.maps.begin()

    assert kit.maps.mode is Mode(word)
