"""When lines of a chunk are said, which of them are dropped, and that none is forgotten."""

import logging
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fanfold.engine.context import FLOW_RUN, TASK_RUN, Element, RunContext, RunInfo, running
from fanfold.engine.recording.bundles import MOST_BYTES, opened
from fanfold.engine.recording.homeward import MOST_FACTS, Homeward
from fanfold.engine.recording.outbox import GAP_S, INTERVAL_S, Outbox, Rounds
from fanfold.engine.recording.sinks import FACTS, LINE
from fanfold.engine.telling import label_records
from fanfold.values.facts import ArtifactMade
from fanfold.values.secrets import Secret

DEADLINE_S = 20.0
FLOW = RunInfo(kind=FLOW_RUN, id="f" * 24, name="etl", of="etl", recorded_under="f" * 24)
TASK = RunInfo(
    kind=TASK_RUN,
    id="t" * 24,
    name="parse",
    of="parse",
    flow=FLOW,
    recorded_under="f" * 24,
    log_level=logging.INFO,
    single=False,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Slow(Rounds):
    """Says nothing by itself: for tests of what is decided."""

    def __init__(self) -> None:
        self.time = Clock()
        super().__init__(self.time)
        self.remembered: list[Outbox] = []

    def remember(self, outbox: Outbox) -> None:
        self.remembered.append(outbox)


class Desk:
    """A chunk's outbox, and what came out of it."""

    def __init__(self, rounds: Rounds, **options: Any) -> None:
        self.messages: list[bytes] = []
        self.changed = threading.Condition()
        self.rounds = rounds
        self.outbox = Outbox(self._say, rounds=rounds, **options)
        self.element = Element(index=3)
        self.context = RunContext(info=TASK, send=self.outbox, at=lambda: self.element)

    def _say(self, message: bytes) -> None:
        with self.changed:
            self.messages.append(message)
            self.changed.notify_all()

    def log(self, message: str, level: int = logging.INFO, **more: Any) -> None:
        logger = logging.getLogger("fanfold.task_runs")
        with running(self.context):
            record = logger.makeRecord(
                *(logger.name, level, __file__, 1, message, (), more.pop("exc_info", None)), **more
            )
            if not self.outbox.refuses(self.context, level):
                self.outbox.take(record, self.context, message)

    @property
    def said(self) -> list[str]:
        """Texts of lines; "-3" stands for three that were dropped."""
        return [
            f"-{sum(line.dropped.values())}" if line.dropped else line.text
            for message in self.messages
            if message[:1] == LINE
            for line in opened(message).lines
        ]

    @property
    def dropped(self) -> int:
        return -sum(int(text) for text in self.said if text.startswith("-"))

    def wait(self, wanted: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(wanted, DEADLINE_S)


@pytest.fixture
def slow() -> Iterator[Slow]:
    label_records()
    yield Slow()


@pytest.fixture
def desk(slow: Slow) -> Desk:
    return Desk(slow)


def pass_time(desk: Desk, seconds: float) -> None:
    assert isinstance(desk.rounds, Slow)
    desk.rounds.time.now += seconds


def test_a_line_after_a_quiet_moment_is_said_at_once(desk: Desk) -> None:
    desk.log("first")

    assert desk.said == ["first"]


def test_what_follows_is_said_together_and_before_the_end_of_the_chunk(desk: Desk) -> None:
    for number in range(5):
        desk.log(str(number))

    before = desk.said
    desk.outbox.close()

    assert (before, desk.said, len(desk.messages)) == (["0"], ["0", "1", "2", "3", "4"], 2)
    assert isinstance(desk.rounds, Slow)
    assert desk.outbox in desk.rounds.remembered


def test_an_error_is_said_at_once_with_what_was_before_it(desk: Desk) -> None:
    desk.log("quiet")
    desk.log("held back")
    pass_time(desk, INTERVAL_S / 4)
    desk.log("broken", logging.ERROR)

    assert desk.said == ["quiet", "held back", "broken"]


def test_of_many_slots_each_speaks_less_often(slow: Slow) -> None:
    desk = Desk(slow, slots=10_000)

    desk.log("first")
    pass_time(desk, 4.9)
    desk.log("second")
    before = desk.said
    pass_time(desk, 0.2)
    desk.log("third")

    assert (before, desk.said) == (["first"], ["first", "second", "third"])


def test_many_errors_do_not_take_a_message_each(desk: Desk) -> None:
    for number in range(100):
        desk.log(str(number), logging.ERROR)
    desk.outbox.close()

    assert len(desk.messages) <= 3
    assert desk.said == [str(number) for number in range(100)]


def test_a_message_that_is_full_is_said(desk: Desk) -> None:
    desk.log("quiet")
    for _ in range(20):
        desk.log("x" * 1_000)

    assert len(desk.messages) == 2
    assert max(map(len, desk.messages)) <= MOST_BYTES


def test_a_chunk_without_lines_says_nothing(desk: Desk) -> None:
    desk.outbox.close()
    desk.outbox.flush()

    assert desk.messages == []


def test_a_flood_is_bounded_and_each_dropped_line_is_counted(desk: Desk) -> None:
    for number in range(100_000):
        desk.log(str(number))
    desk.outbox.close()

    lines = [text for text in desk.said if not text.startswith("-")]
    assert lines == [str(number) for number in range(len(lines))]
    assert 10_000 <= len(lines) <= 20_000
    assert desk.dropped == 100_000 - len(lines)
    assert desk.said[-1] == f"-{desk.dropped}"


def test_in_a_flood_the_line_that_stands_for_others_is_in_their_place(desk: Desk) -> None:
    for number in range(30_000):
        desk.log(str(number))
    pass_time(desk, 5.0)
    desk.log("calm")
    desk.outbox.close()

    mark, last = desk.said[-2:]
    assert last == "calm"
    assert len(desk.said) - 2 - int(mark) == 30_000


def test_warnings_get_through_a_flood_of_other_lines(desk: Desk) -> None:
    for number in range(50_000):
        desk.log(str(number))
        if number % 100 == 0:
            desk.log(f"warning {number}", logging.WARNING)
    desk.outbox.close()

    assert sum(text.startswith("warning") for text in desk.said) == 500
    assert desk.dropped > 30_000


def test_dropped_lines_are_told_by_level_and_run_and_element(desk: Desk) -> None:
    for _ in range(20_000):
        desk.log("info")
    desk.element = Element(index=7, run_count=2)
    for _ in range(20_000):
        desk.log("warning", logging.WARNING)
    desk.outbox.close()

    said = [opened(message) for message in desk.messages if message[:1] == LINE]
    (counts,) = [line for each in said for line in each.lines if line.dropped]
    assert counts.dropped is not None
    lines = [text for text in desk.said if not text.startswith("-")]
    assert counts.dropped[logging.INFO] == 20_000 - lines.count("info")
    assert counts.dropped[logging.WARNING] == 20_000 - lines.count("warning")
    assert said[-1].speakers[counts.speaker].task[0] == TASK.id
    assert said[-1].places[counts.place].level == logging.WARNING
    assert counts.map_index == 3


def test_lines_below_the_level_that_is_shown_are_no_dropped_ones(desk: Desk) -> None:
    for _ in range(40_000):
        desk.log("info")
    before = desk.outbox.refuses(desk.context, logging.INFO)
    for _ in range(100):
        assert not desk.outbox.refuses(desk.context, logging.DEBUG)
    desk.outbox.close()

    assert before
    assert desk.dropped + len(desk.said) - 1 == 40_001


def test_of_a_flood_that_goes_on_it_is_told_now_and_then(desk: Desk) -> None:
    for _ in range(40_000):
        desk.log("info")
    before = desk.dropped
    again = desk.outbox.flush()
    pass_time(desk, GAP_S)
    desk.outbox.flush()

    assert (before, again) == (0, True)
    assert desk.dropped > 20_000


def test_facts_of_a_run_are_said_before_its_lines(slow: Slow) -> None:
    facts: list[bytes] = []
    desk = Desk(slow, facts=(home := Homeward(facts.append)))
    made = artifact("{}")

    home.put(lambda: made)
    desk.log("said")

    assert [pickle.loads(message[1:]) for message in facts] == [[made]]


def test_a_message_of_others_comes_after_the_lines_before_it(desk: Desk) -> None:
    desk.log("quiet")
    desk.log("before")
    desk.outbox(b"Xmade elsewhere")

    assert desk.said == ["quiet", "before"]
    assert desk.messages[-1] == b"Xmade elsewhere"


def test_secrets_do_not_leave_the_process(desk: Desk) -> None:
    secret = Secret("hunter2-and-more").get()
    try:
        raise ValueError(secret)
    except ValueError as error:
        desk.log(
            f"login with {secret}",
            exc_info=(type(error), error, error.__traceback__),
            sinfo=f"stack of {secret}",
        )

    assert b"hunter2" not in b"".join(desk.messages)
    assert b"login with ***" in b"".join(desk.messages)


def test_a_thread_says_what_waits_while_the_element_still_runs() -> None:
    label_records()
    desk = Desk(Rounds())

    desk.log("first")
    desk.log("second")
    desk.wait(lambda: desk.said == ["first", "second"])
    for _ in range(100_000):
        desk.log("flood")

    desk.wait(lambda: desk.dropped > 0)
    desk.outbox.close()
    assert len([text for text in desk.said if text == "flood"]) + desk.dropped == 100_000


def test_lines_of_many_threads_are_all_there_and_in_their_order() -> None:
    label_records()
    desk = Desk(Rounds())
    together = threading.Barrier(4, timeout=DEADLINE_S)

    def talk(name: str) -> None:
        together.wait()
        for number in range(1_000):
            desk.log(f"{name} {number}")

    threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    desk.outbox.close()

    for name in "abcd":
        own = [text for text in desk.said if text.startswith(name)]
        assert own == [f"{name} {number}" for number in range(1_000)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_says_what_it_logs_itself_and_nothing_of_its_parents() -> None:
    label_records()
    rounds = Rounds()
    desk = Desk(rounds)
    desk.log("said")
    reader, writer = os.pipe()
    with rounds.lock:
        desk.log("waits")
        child = os.fork()
        if not child:
            rounds.forget()
            desk.messages.clear()
            desk.log("by the child")
            desk.outbox.close()
            os.write(writer, pickle.dumps(desk.said))
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        of_child = pickle.loads(told.read())
    os.waitpid(child, 0)
    desk.outbox.close()

    assert of_child == ["by the child"]
    assert desk.said == ["said", "waits"]


def test_facts_go_in_messages_that_are_not_too_long() -> None:
    said: list[bytes] = []
    home = Homeward(said.append)

    for number in range(MOST_FACTS - 1):
        home.put(lambda number=number: artifact(f'"{number} {"x" * 300}"'))
    home.put(lambda: artifact("x" * 5 * MOST_BYTES))

    whole = [pickle.loads(message[1:]) for message in said]
    assert {message[:1] for message in said} == {FACTS}
    assert sum(len(message) > MOST_BYTES for message in said) == 1
    *numbered, _ = [fact.data for facts in whole for fact in facts]
    assert [int(data[1:].split()[0]) for data in numbered] == list(range(MOST_FACTS - 1))


def artifact(data: str) -> ArtifactMade:
    return ArtifactMade(flow_run_id="f", artifact_id="a", kind="markdown", data=data, at_us=1)
