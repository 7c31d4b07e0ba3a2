"""Lines on their way home: what is in a message comes out of it, and no message is too long."""

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.engine.context import FLOW_RUN, TASK_RUN, RunInfo
from fanfold.engine.recording import bundles
from fanfold.engine.recording.bundles import (
    DROPPED,
    LONGEST_BYTES,
    MOST_BYTES,
    Bundle,
    Line,
    cut,
    ends,
    opened,
    place_of,
    record_of,
)

CALLER = RunInfo(kind=FLOW_RUN, id="o" * 24, name="outer-1", of="outer", recorded_under="o" * 24)
FLOW = RunInfo(
    kind=FLOW_RUN, id="f" * 24, name="etl-1", of="etl", recorded_under="f" * 24, flow=CALLER
)
MAP = RunInfo(
    kind=TASK_RUN,
    id="t" * 24,
    name="parse",
    of="parse",
    flow=FLOW,
    recorded_under="f" * 24,
    single=False,
)


def made(message: str, level: int = logging.INFO) -> logging.LogRecord:
    return logging.getLogger("mine.part").makeRecord(
        "mine.part", level, "/a/b/pipeline.py", 12, message, (), None, "parse"
    )


def sent(*lines: Line, info: RunInfo = MAP) -> list[bytes]:
    bundle = Bundle()
    for line in lines:
        bundle.add(info, place_of(made("")), line)
    return list(bundle.messages())


def test_a_record_comes_out_as_it_was_made() -> None:
    record = made("said")
    line = Line(0, 0, record.created, "said", 17, 2, "parse-17", None)
    bundle = Bundle()
    bundle.add(MAP, place_of(record), line)

    (message,) = bundle.messages()
    said = opened(message)
    twin = record_of(said, said.lines[0])

    for name in (
        *("name", "levelno", "levelname", "pathname", "filename", "module", "lineno"),
        *("funcName", "created", "msecs", "process", "threadName"),
    ):
        assert getattr(twin, name) == getattr(record, name), name
    assert twin.getMessage() == "said"
    facts = twin.__dict__
    assert (facts["flow_run_id"], facts["flow_run_name"], facts["flow_name"]) == (
        *(FLOW.id, "etl-1", "etl"),
    )
    assert (facts["task_run_id"], facts["task_run_name"], facts["task_name"]) == (
        *(f"{MAP.id}-17", "parse-17", "parse"),
    )
    assert (facts["map_index"], facts["attempt"], facts[DROPPED]) == (17, 2, 0)
    assert said.speakers[0].under == (FLOW.id, CALLER.id)


def test_a_line_of_a_flow_has_no_task() -> None:
    (message,) = sent(Line(0, 0, 1.5, "said"), info=FLOW)

    said = opened(message)
    facts = record_of(said, said.lines[0]).__dict__

    assert (facts["flow_run_id"], facts["task_run_id"], facts["map_index"]) == (FLOW.id, None, None)


def test_runs_that_take_turns_keep_their_lines() -> None:
    bundle = Bundle()
    for number in range(6):
        info = (MAP, FLOW)[number % 2]
        bundle.add(info, place_of(made("")), Line(0, 0, float(number), str(number)))

    (message,) = bundle.messages()
    said = opened(message)

    told = [(line.text, said.speakers[line.speaker].task[0]) for line in said.lines]
    assert told == [(str(number), (MAP.id, None)[number % 2]) for number in range(6)]
    assert len(said.places) == 1


def test_what_does_not_fit_into_a_message_goes_into_several_in_order() -> None:
    lines = [Line(0, 0, float(number), f"{number} " + "ü" * 900) for number in range(40)]

    messages = sent(*lines)

    assert len(messages) > 1
    assert max(map(len, messages)) <= MOST_BYTES
    assert [line.text for each in messages for line in opened(each).lines] == [
        line.text for line in lines
    ]


@given(st.lists(st.text(max_size=20_000), min_size=1, max_size=5))
def test_no_message_is_longer_than_it_may_be(texts: list[str]) -> None:
    lines = [Line(0, 0, 1.0, cut(text), traces=(ends(text), "")) for text in texts]

    messages = sent(*lines)

    assert max(map(len, messages)) <= MOST_BYTES
    assert [line.text for each in messages for line in opened(each).lines] == [
        line.text for line in lines
    ]


@pytest.mark.parametrize("letter", ["x", "ü", "\N{SNOWMAN}", "\N{CRAB}"])
def test_a_long_line_is_cut_and_says_so(letter: str) -> None:
    text = letter * 100_000

    short = cut(text)

    kept = LONGEST_BYTES // len(letter.encode())
    assert short == letter * kept + f"... ({100_000 - kept:,} more characters)"


def test_of_a_long_traceback_the_two_ends_are_kept() -> None:
    text = "first\n" + "x" * 100_000 + "\nlast"

    short = ends(text)

    assert short.startswith("first\nx")
    assert short.endswith("x\nlast")
    assert "characters left out" in short
    assert len(short) < bundles.LONGEST_TRACE_BYTES + 100


def test_short_texts_stay_what_they_are() -> None:
    text = "short" + sys.version

    assert cut(text) is text
    assert ends(text) is text
