"""Lines from other processes at the driver: in order, before reports, and only so many."""

import logging
import os
import pickle
import threading
from collections.abc import Iterator

import pytest

from fanfold.engine.context import FLOW_RUN, TASK_RUN, RunInfo
from fanfold.engine.recording import hearing
from fanfold.engine.recording.bundles import LOGGERS, Bundle, Line, Place
from fanfold.engine.recording.hearing import MOST_BYTES, Ears

DEADLINE_S = 20.0
FLOW = RunInfo(kind=FLOW_RUN, id="f" * 24, name="etl", of="etl")
TASK = RunInfo(kind=TASK_RUN, id="t" * 24, name="parse", of="parse", flow=FLOW, single=False)


class Hearer(logging.Handler):
    """Keeps records; takes none while its gate is shut."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.reached.set()
        assert self.gate.wait(DEADLINE_S)
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    @property
    def dropped(self) -> int:
        return sum(record.__dict__["dropped"] for record in self.records)


@pytest.fixture
def hearer() -> Iterator[Hearer]:
    logger = logging.getLogger(LOGGERS[TASK_RUN])
    hearer = Hearer()
    level = logger.level
    logger.addHandler(hearer)
    logger.setLevel(logging.INFO)
    try:
        yield hearer
    finally:
        hearer.gate.set()
        logger.removeHandler(hearer)
        logger.setLevel(level)


def message(*texts: str, level: int = logging.INFO, dropped: int = 0) -> bytes:
    bundle = Bundle()
    place = Place(
        *(LOGGERS[TASK_RUN], level, logging.getLevelName(level), "/a/b.py", 1, "work", 1, None)
    )
    for text in texts:
        bundle.add(TASK, place, Line(0, 0, 1.5, text, 3, 1))
    if dropped:
        bundle.add(TASK, place, Line(0, 0, 1.5, "", 3, 1, dropped={level: dropped}))
    (made,) = bundle.messages()
    return made


def test_lines_are_handed_over_in_order_and_before_what_follows_them(hearer: Hearer) -> None:
    ears = Ears()
    hearer.gate.clear()
    after: list[int] = []
    told = threading.Event()

    ears.take("chunk", message("first", "second"))
    ears.take("chunk", message("third"))
    ears.then(lambda: after.append(len(hearer.records)))
    ears.then(told.set)
    at_once = list(after)
    hearer.gate.set()

    assert told.wait(DEADLINE_S)
    assert (hearer.messages, at_once, after) == (["first", "second", "third"], [], [3])


def test_without_lines_nothing_waits_and_no_thread_is_there() -> None:
    ears = Ears()
    called: list[int] = []

    ears.then(lambda: called.append(threading.get_ident()))

    assert called == [threading.get_ident()]
    assert ears.drained(0.0)


def test_what_slow_handlers_have_no_time_for_is_counted(hearer: Hearer) -> None:
    ears = Ears()
    hearer.gate.clear()
    one = message(*(["x" * 100] * 100))
    sent = 3 * MOST_BYTES // len(one)

    for _ in range(sent):
        ears.take("chunk", one)
    held_bytes = ears._waiting_bytes
    hearer.gate.set()

    assert ears.drained(DEADLINE_S)
    lines = hearer.messages.count("x" * 100)
    assert held_bytes <= MOST_BYTES + len(one)
    assert hearer.dropped == 100 * sent - lines > 0
    assert any("lines were dropped" in text for text in hearer.messages)


def test_counts_of_lines_that_were_dropped_before_are_never_lost(hearer: Hearer) -> None:
    ears = Ears()
    hearer.gate.clear()
    one = message("x" * 9_000, dropped=1_000)
    sent = 4 * MOST_BYTES // len(one)

    for _ in range(sent):
        ears.take("chunk", one)
    hearer.gate.set()

    assert ears.drained(DEADLINE_S)
    assert hearer.dropped + hearer.messages.count("x" * 9_000) == 1_001 * sent


def test_warnings_are_the_last_to_be_dropped(hearer: Hearer) -> None:
    ears = Ears()
    hearer.gate.clear()
    one = message(*(["x" * 100] * 100))

    for _ in range(2 * MOST_BYTES // len(one)):
        ears.take("chunk", one)
    ears.take("chunk", message("careful", level=logging.WARNING))
    hearer.gate.set()

    assert ears.drained(DEADLINE_S)
    assert "careful" in hearer.messages


def test_the_line_that_stands_for_dropped_ones_says_how_many(hearer: Hearer) -> None:
    hearing.retell("chunk", message(dropped=912_345))

    (record,) = hearer.records
    assert record.getMessage() == (
        "... 912,345 lines were dropped here, as so many came at once (912,345 INFO)"
    )
    assert (record.__dict__["dropped"], record.__dict__["task_run_id"]) == (
        *(912_345, f"{TASK.id}-3"),
    )


def test_a_handler_that_fails_harms_no_other_line(
    hearer: Hearer, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            if record.getMessage() == "bad":
                raise ValueError("broken")
            return True

    logger, broken, ears = logging.getLogger(LOGGERS[TASK_RUN]), Broken(), Ears()
    logger.addHandler(broken)
    try:
        ears.take("chunk", message("bad", "good"))
        ears.take("chunk", b"L no message of ours")
        ears.take("chunk", message("better"))
        assert ears.drained(DEADLINE_S)
    finally:
        logger.removeHandler(broken)

    assert hearer.messages == ["bad", "good", "better"]
    assert "A line of a run could not be told" in caplog.text
    assert "Lines of a run could not be read" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_tells_nothing_that_its_parent_heard(hearer: Hearer) -> None:
    ears = Ears()
    hearer.gate.clear()
    ears.take("chunk", message("of the parent"))
    assert hearer.reached.wait(DEADLINE_S)
    reader, writer = os.pipe()

    child = os.fork()
    if not child:
        ears.forget()
        hearer.gate.set()
        ears.take("chunk", message("of the child"))
        drained = ears.drained(DEADLINE_S)
        os.write(writer, pickle.dumps((drained, hearer.messages)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        drained, of_child = pickle.loads(told.read())
    os.waitpid(child, 0)

    assert (drained, of_child) == (True, ["of the child"])
