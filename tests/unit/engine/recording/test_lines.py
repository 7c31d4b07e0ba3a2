"""Lines of runs in the history: whose they are, how many are kept, and what others see of it."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fanfold import flow, get_run_logger, runtime, task
from fanfold.adapters.history.memory import MemoryHistory
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.engine import settings
from fanfold.engine.context import FLOW_RUN, RunContext, RunInfo, running
from fanfold.engine.recording import lines, recorder
from fanfold.values.facts import LinesDropped, LogLine
from fanfold.values.ids import new_id
from fanfold.values.records import FlowRuns, LineRecord, Lines

DEADLINE_S = 20.0
RUNNERS = {"threads": "threads", "processes": ProcessTaskRunner(max_workers=1)}
ON_EACH = pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)

Read = Callable[..., list[LineRecord]]


class Kept:
    """A sink that makes facts of what it is told at once."""

    def __init__(self) -> None:
        self.facts: list[Any] = []

    def put(self, make: Callable[..., Any], *args: Any) -> None:
        self.facts.append(make(*args))

    @property
    def messages(self) -> list[str]:
        return [fact.message for fact in self.facts if isinstance(fact, LogLine)]

    @property
    def dropped(self) -> int:
        return sum(fact.count for fact in self.facts if isinstance(fact, LinesDropped))


@pytest.fixture
def history(caplog: pytest.LogCaptureFixture) -> Iterator[MemoryHistory]:
    """A history of its own that all runs of the test are recorded in."""
    caplog.set_level(logging.INFO, "fanfold")
    url = f"memory://{new_id()}"
    with settings.temporary({"history.url": url}):
        yield MemoryHistory(url)


@pytest.fixture
def told(history: MemoryHistory) -> Read:
    """Returns the recorded lines whose message begins with a text."""

    def beginning(text: str) -> list[LineRecord]:
        kept = recorder.current()
        assert kept is not None
        assert kept.flush(DEADLINE_S)
        found = history.read(Lines(flow_run_ids=ids(history), limit=100_000))
        return [line for line in found if line.message.startswith(text)]

    return beginning


@pytest.fixture
def sink(caplog: pytest.LogCaptureFixture) -> Iterator[Kept]:
    """Takes what is logged inside of a run that the test is in."""
    caplog.set_level(logging.INFO, "fanfold")
    lines.listen(["fanfold"])
    kept = Kept()
    with running(run_of(kept)):
        yield kept


def run_of(kept: Kept, **fields: Any) -> RunContext:
    """Return the context of a new flow run."""
    run_id = new_id()
    info = RunInfo(kind=FLOW_RUN, id=run_id, name="of-test", recorded_under=run_id, **fields)
    return RunContext(info=info, recorder=kept)


def ids(history: MemoryHistory) -> tuple[str, ...]:
    return tuple(run.id for run in history.read(FlowRuns()))


@ON_EACH
def test_a_line_is_recorded_with_the_run_the_element_and_the_attempt(
    runner: Any, told: Read
) -> None:
    @task(retries=1)
    def work(x: int) -> None:
        get_run_logger().warning("said %s", x)
        if runtime.task_run.run_count == 1 and x == 3:
            raise ValueError

    @flow(task_runner=runner)
    def around() -> Any:
        get_run_logger().info("said by the flow")
        single = work.submit(1)
        single.wait()
        mapped = work.map([2, 3])
        mapped.wait()
        return runtime.flow_run.id

    flow_run_id = around()

    said = told("said")
    assert {line.flow_run_id for line in said} == {flow_run_id}
    found = {line.message: line for line in said}
    of_flow, single, mapped = found["said by the flow"], found["said 1"], found["said 2"]
    assert (of_flow.task_run_id, of_flow.index, of_flow.attempt) == ("", None, 0)
    assert (of_flow.level, of_flow.logger) == (logging.INFO, "fanfold.flow_runs")
    assert (single.index, single.attempt, single.level) == (None, 1, logging.WARNING)
    assert (mapped.index, mapped.attempt) == (0, 1)
    assert len({len(line.task_run_id) for line in (single, mapped)} | {24}) == 1
    again = [line for line in said if line.message == "said 3"]
    assert [(line.task_run_id, line.index, line.attempt) for line in again] == [
        (mapped.task_run_id, 1, 1),
        (mapped.task_run_id, 1, 2),
    ]


@ON_EACH
def test_an_exception_is_recorded_with_its_traceback(runner: Any, told: Read) -> None:
    @task
    def work() -> None:
        try:
            raise ValueError("inside")
        except ValueError:
            get_run_logger().exception("caught")

    flow(lambda: work.submit().wait(), task_runner=runner)()

    (line,) = told("caught")
    assert "ValueError: inside" in line.message
    assert "in work" in line.message


@ON_EACH
def test_a_line_keeps_the_time_at_which_it_was_made(
    runner: Any, told: Read, caplog: pytest.LogCaptureFixture
) -> None:
    flow(lambda: task(lambda: print("now")).submit().wait(), task_runner=runner, log_prints=True)()

    (line,) = told("now")
    (record,) = [each for each in caplog.records if each.getMessage() == "now"]
    assert line.at_us == int(record.created * 1_000_000)


def test_a_flow_in_another_process_has_its_own_lines(told: Read) -> None:
    def inner() -> Any:
        get_run_logger().info("from far")
        return runtime.flow_run.id

    @flow(task_runner=RUNNERS["processes"])
    def around() -> Any:
        return task(lambda: flow(inner)()).submit().result()

    inner_id = around()

    (line,) = told("from far")
    assert line.flow_run_id == inner_id


def test_lines_of_extra_loggers_are_recorded_once_and_of_no_others(told: Read) -> None:
    def speak() -> None:
        for name in ("mylib", "mylib.part", "other"):
            logging.getLogger(name).warning("by %s", name)

    with settings.temporary({"logging.extra_loggers": ["mylib", "mylib.part"]}):
        flow(speak)()
    try:
        assert sorted(line.message for line in told("by")) == ["by mylib", "by mylib.part"]
    finally:
        for name in ("mylib", "mylib.part"):
            logging.getLogger(name).removeHandler(lines.HANDLER)


def test_lines_outside_of_runs_are_not_recorded(sink: Kept) -> None:
    with running(None):
        logging.getLogger("fanfold.engine").warning("outside")

    assert sink.messages == []


def test_what_the_recorder_itself_says_is_never_recorded(sink: Kept) -> None:
    logging.getLogger(recorder.logger.name).warning("the history is full")

    assert sink.messages == []


def test_a_line_is_of_the_time_at_which_it_was_made(sink: Kept) -> None:
    changing = ["before"]

    get_run_logger().info("it was %s", changing)
    changing[0] = "after"

    assert sink.messages == ["it was ['before']"]


def test_no_exception_outlives_the_line_that_tells_of_it(sink: Kept) -> None:
    held: list[Any] = []

    class Later(Kept):
        def put(self, make: Callable[..., Any], *args: Any) -> None:
            held.append(args)

    with running(run_of(Later())):
        try:
            raise ValueError("gone")
        except ValueError:
            get_run_logger().exception("caught")

    assert "ValueError" not in {type(each).__name__ for args in held for each in args}
    assert not any(isinstance(each, logging.LogRecord) for args in held for each in args)


def test_arguments_that_do_not_fit_are_no_error_of_the_run(
    sink: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger = logging.getLogger("fanfold.odd")
    logger.addHandler(logging.NullHandler())
    logger.handle(logger.makeRecord(logger.name, 20, "", 0, "%d apples", ("no",), None))

    (message,) = sink.messages
    assert message.startswith("%d apples")


def test_a_line_that_is_too_long_is_cut_and_says_so(sink: Kept) -> None:
    get_run_logger().info("x" * (lines.LONGEST_LINE + 5))

    (message,) = sink.messages
    assert message.endswith("x... (5 more characters)")


def test_lines_beyond_the_limit_are_counted_exactly_whatever_the_threads(sink: Kept) -> None:
    together = threading.Barrier(6, timeout=DEADLINE_S)
    with settings.temporary({"history.lines_per_run": 100}):
        context = run_of(sink)
        lines.begin(context.info.id, sink)

    def talk() -> None:
        with running(context):
            together.wait()
            for number in range(500):
                get_run_logger().info("line %s", number)

    threads = [threading.Thread(target=talk) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    lines.over(context.info.id)

    assert len(sink.messages) == 100
    assert sink.dropped == 6 * 500 - 100


def test_beyond_the_limit_warnings_are_kept_a_little_further(sink: Kept) -> None:
    with settings.temporary({"history.lines_per_run": 100}):
        context = run_of(sink)
        lines.begin(context.info.id, sink)
    with running(context):
        for number in range(150):
            get_run_logger().info("line %s", number)
            get_run_logger().warning("careful %s", number)
    lines.over(context.info.id)

    kept = [message.split()[0] for message in sink.messages]
    assert (kept.count("line"), kept.count("careful")) == (50, 50 + 10)
    assert sink.dropped == 300 - len(kept)


def test_lines_that_were_dropped_on_their_way_are_counted_once(sink: Kept) -> None:
    with settings.temporary({"history.lines_per_run": 2}):
        context = run_of(sink)
        run = lines.begin(context.info.id, sink)
    stands_for_many = logging.makeLogRecord(
        {"msg": "... 5,000 lines", "levelno": logging.INFO, "dropped": 5_000}
    )
    with running(context):
        for _ in range(5):
            get_run_logger().info("line")
            lines.lost((context.info.id,), 5_000)
            run.take(stands_for_many)
    lines.over(context.info.id)

    assert sink.messages == ["line", "... 5,000 lines"]
    assert sink.dropped == 4 + 5 * 5_000


def test_stragglers_after_the_end_of_a_run_are_counted_too(sink: Kept) -> None:
    with settings.temporary({"history.lines_per_run": 1}):
        context = run_of(sink)
        lines.begin(context.info.id, sink)
    with running(context):
        for _ in range(3):
            get_run_logger().info("early")
        lines.over(context.info.id)
        at_end = sink.dropped
        for _ in range(3):
            get_run_logger().info("late")

    assert (sink.messages, at_end, sink.dropped) == (["early"], 2, 5)


def test_runs_that_are_over_are_forgotten_some_time(sink: Kept) -> None:
    for _ in range(lines.RUNS_KEPT + 1):
        lines.over(lines.begin(new_id(), sink).flow_run_id)

    assert len(lines._runs) <= lines.RUNS_KEPT


def test_warnings_that_nobody_handles_are_still_shown_by_logging_itself(
    sink: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    alone = logging.getLogger("lonely_library")
    handlers, root.handlers = root.handlers, []
    try:
        lines.listen([alone.name])
        alone.warning("is anybody there")
    finally:
        root.handlers = handlers
        alone.removeHandler(lines.HANDLER)

    assert sink.messages == ["is anybody there"]
    assert capsys.readouterr().err == "is anybody there\n"


def test_the_terminal_shows_lines_though_the_history_listens_too(tmp_path: Path) -> None:
    root = logging.getLogger()
    fanfold = logging.getLogger("fanfold")
    state = (root.handlers, fanfold.handlers, fanfold.level, fanfold.propagate)
    root.handlers, fanfold.handlers = [], []
    try:
        flow(lambda: None)()
        kinds = {type(handler).__name__ for handler in fanfold.handlers}
    finally:
        root.handlers, fanfold.handlers, level, fanfold.propagate = state
        fanfold.setLevel(level)

    assert kinds == {"LinesHandler", "LineHandler"}
