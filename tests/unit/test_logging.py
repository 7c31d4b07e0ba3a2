"""What runs say: log lines with the ids of the run that said them, from wherever it runs."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fanfold import flow, get_run_logger, runtime, task
from fanfold.adapters.runners.processes import ProcessPoolTaskRunner
from fanfold.engine import settings
from fanfold.engine.telling import label_records
from fanfold.values.errors import MissingContextError

DEADLINE_S = 20.0
RUNNERS = {"threads": "threads", "processes": ProcessPoolTaskRunner(max_workers=1)}
ON_EACH = pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[..., list[Any]]:
    """Returns the records whose message begins with a text."""
    caplog.set_level(logging.INFO, "fanfold")

    def beginning(text: str) -> list[Any]:
        return [record for record in caplog.records if record.getMessage().startswith(text)]

    return beginning


class Waiter(logging.Handler):
    """Sets an event when a certain message arrives."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self.message:
            self.heard.set()


def test_outside_of_runs_there_is_no_logger_of_a_run() -> None:
    with pytest.raises(MissingContextError, match="outside of any run"):
        get_run_logger()
    with pytest.raises(RuntimeError):
        get_run_logger()


@ON_EACH
def test_lines_carry_the_ids_of_the_run_that_said_them(runner: Any, told: Any) -> None:
    @task(task_run_name="work-{x}")
    def work(x: int) -> str | None:
        get_run_logger().info("said by %s", x)
        return runtime.task_run.id

    @flow(task_runner=runner, flow_run_name="today")
    def around() -> Any:
        get_run_logger().info("said by flow")
        return runtime.flow_run.id, [work(0), work.submit(1).result(), *work.map([2, 3]).result()]

    flow_run_id, task_run_ids = around()

    lines = {record.getMessage(): record for record in told("said by")}
    of_flow = lines.pop("said by flow")
    assert (of_flow.name, of_flow.task_run_id, of_flow.flow_run_id, of_flow.flow_run_name) == (
        *("fanfold.flow_runs", None, flow_run_id, "today"),
    )
    for x, index in ((0, None), (1, None), (2, 0), (3, 1)):
        line = lines.pop(f"said by {x}")
        assert (line.name, line.levelname, line.flow_run_id, line.flow_name) == (
            *("fanfold.task_runs", "INFO", flow_run_id, "around"),
        )
        assert (line.task_run_id, line.task_run_name, line.task_name, line.map_index) == (
            *(task_run_ids[x], f"work-{x}", "work", index),
        )
        assert (line.funcName, Path(line.pathname).name) == ("work", "test_logging.py")
    assert lines == {}


@ON_EACH
def test_an_exception_is_told_with_its_traceback(runner: Any, told: Any) -> None:
    @task
    def work() -> None:
        try:
            raise ValueError("inside")
        except ValueError:
            get_run_logger().exception("caught")

    flow(lambda: work.submit().wait(), task_runner=runner)()

    (record,) = told("caught")
    text = logging.Formatter().format(record)
    assert "ValueError: inside" in text
    assert "in work" in text


@ON_EACH
def test_only_lines_of_the_level_that_is_shown_come_home(runner: Any, told: Any) -> None:
    @task
    def work() -> None:
        for level in ("debug", "info", "warning"):
            getattr(get_run_logger(), level)("level %s", level)

    flow(lambda: work.submit().wait(), task_runner=runner)()
    with_info = [record.levelname for record in told("level")]
    logger = logging.getLogger("fanfold")
    logger.setLevel(logging.WARNING)
    flow(lambda: work.submit().wait(), task_runner=runner)()

    assert with_info == ["INFO", "WARNING"]
    assert [record.levelname for record in told("level")] == ["INFO", "WARNING", "WARNING"]


@ON_EACH
def test_more_is_told_of_tasks_alone_where_their_logger_wants_it(
    runner: Any, told: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "fanfold.task_runs")

    @task
    def work() -> None:
        get_run_logger().debug("fine detail")

    @flow(task_runner=runner)
    def around() -> None:
        get_run_logger().debug("fine detail")
        work.submit().wait()

    around()

    assert [record.name for record in told("fine detail")] == ["fanfold.task_runs"]


@ON_EACH
def test_lines_are_heard_while_the_element_still_runs(runner: Any, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    waiter = Waiter("alive")

    @task(log_prints=True)
    def alive() -> bool:
        print("alive")
        deadline = threading.Event()
        for _ in range(int(DEADLINE_S * 100)):
            if heard.exists():
                return True
            deadline.wait(0.01)
        return False

    @flow(task_runner=runner)
    def around() -> Any:
        future = alive.submit()
        assert waiter.heard.wait(DEADLINE_S)
        assert not future.done()
        heard.touch()
        return future

    logger = logging.getLogger("fanfold")
    logger.addHandler(waiter)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        assert around() is True
    finally:
        logger.removeHandler(waiter)
        logger.setLevel(level)


def test_any_logger_inside_a_run_tells_the_ids_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    @task
    def work(x: int) -> None:
        logging.getLogger("mylib").info("mine %s", x)

    @flow
    def around() -> str | None:
        work.map([1])
        logging.getLogger("mylib").info("mine %s", 0)
        return runtime.flow_run.id

    flow_run_id = around()
    logging.getLogger("mylib").info("mine outside")

    lines: dict[str, Any] = {r.getMessage(): r for r in caplog.records if r.name == "mylib"}
    assert (lines["mine 0"].flow_run_id, lines["mine 0"].task_run_id) == (flow_run_id, None)
    assert (lines["mine 1"].flow_run_id, lines["mine 1"].map_index) == (flow_run_id, 0)
    assert lines["mine outside"].flow_run_id is None


def test_extra_loggers_come_home_from_other_processes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    @task
    def work(x: int) -> None:
        logging.getLogger("mylib.part").info("extra %s", x)
        logging.getLogger("other").info("not extra")

    with settings.temporary({"logging.extra_loggers": ["mylib"]}):
        flow(lambda: work.map([1]), task_runner=RUNNERS["processes"])()

    (line,) = [r for r in caplog.records if r.name in ("mylib.part", "other")]
    assert (line.name, line.getMessage()) == ("mylib.part", "extra 1")
    assert line.__dict__["map_index"] == 0


@ON_EACH
def test_prints_are_lines_unless_a_task_opts_out(
    runner: Any, told: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    @task
    def says(x: int) -> None:
        print("printed", x)

    @flow(log_prints=True, task_runner=runner)
    def around() -> None:
        print("printed by flow")
        says.map([1]).wait()
        says.with_options(log_prints=False)(2)
        flow(lambda: says(3), log_prints=False)()
        says.submit(4).wait()

    around()
    print("printed outside")

    assert sorted(record.getMessage() for record in told("printed")) == [
        *("printed 1", "printed 4", "printed by flow"),
    ]
    assert {record.levelname for record in told("printed")} == {"INFO"}
    assert capfd.readouterr().out == "printed 2\nprinted 3\nprinted outside\n"


def test_prints_can_be_lines_by_the_settings(told: Any) -> None:
    with settings.temporary({"logging.log_prints": True}):
        flow(lambda: print("by flow"))()
        task(lambda: print("by task"))()
        flow(lambda: print("by none"), log_prints=False)()

    assert (len(told("by flow")), len(told("by task")), len(told("by none"))) == (1, 1, 0)


def test_async_prints_of_runs_side_by_side_do_not_mix(told: Any) -> None:
    @flow(log_prints=True, flow_run_name="run-{name}")
    async def talks(name: str, together: Any) -> None:
        for _ in range(3):
            await together.wait()
            print("by", name)

    async def both() -> None:
        together = asyncio.Barrier(2)
        await asyncio.gather(talks("a", together), talks("b", together))

    asyncio.run(both())

    lines = [(record.getMessage()[3:], record.flow_run_name) for record in told("by ")]
    assert sorted(lines) == [("a", "run-a")] * 3 + [("b", "run-b")] * 3


def test_threads_of_two_runs_do_not_mix(told: Any) -> None:
    together = threading.Barrier(2, timeout=DEADLINE_S)

    @task(log_prints=True, task_run_name="run-{name}")
    def talks(name: str) -> None:
        for _ in range(3):
            together.wait()
            print("by", name)

    flow(lambda: talks.map(["a", "b"], chunk_size=1).wait())()

    lines = [(record.getMessage()[3:], record.task_run_name) for record in told("by ")]
    assert sorted(lines) == [("a", "run-a")] * 3 + [("b", "run-b")] * 3


def test_a_flow_tells_its_begin_and_its_end(told: Any) -> None:
    add = task(lambda x: x + 1, name="add")

    @flow
    def good() -> Any:
        add(1)
        return runtime.flow_run.id, add.map([1, 2])

    flow_run_id, _ = good()

    (began,), (ended,) = told("Began"), told("Completed")
    assert began.getMessage() == f"Began ({flow_run_id})"
    assert ended.getMessage().startswith("Completed in ")
    assert ": 3 task runs" in ended.getMessage()
    assert (began.flow_run_id, ended.flow_run_id) == (flow_run_id, flow_run_id)


def test_a_flow_that_fails_tells_why_and_what_failed(told: Any) -> None:
    @task(retries=1)
    def parse(x: int) -> int:
        if x == 3:
            raise ValueError("bad date")
        return x

    @flow
    def bad() -> Any:
        return parse.map(range(5))

    with pytest.raises(ValueError, match="bad date"):
        bad()

    (record,) = told("Failed in")
    assert record.levelname == "ERROR"
    first, counts, failed, *_ = record.getMessage().splitlines()
    assert first.endswith("with ValueError: bad date")
    assert counts == "  5 task runs, 1 retry, 1 failed"
    assert failed.startswith("  1 x parse: ValueError: bad date (element 3; test_logging.py:")


def test_the_end_of_an_outermost_flow_names_the_command_that_shows_more(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_URL", "memory://the-end-of-a-flow")

    @flow
    def inner() -> str:
        return runtime.flow_run.id

    @flow
    def outer() -> tuple[str, str]:
        return runtime.flow_run.id, inner()

    outer_id, _ = outer()

    ends = [record.getMessage() for record in told("Completed in")]
    assert ["runs show" in end for end in ends] == [False, True]
    assert ends[1].endswith(f" (fanfold runs show {outer_id[:12]})")


def test_without_a_history_the_end_names_no_command(
    told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANFOLD_HISTORY_URL", "off")

    flow(lambda: None, name="alone")()

    assert "runs show" not in told("Completed in")[0].getMessage()


def test_a_small_flow_says_no_more_than_six_lines_on_standard_error(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from fanfold import flow, task\n"
        "@task\n"
        "def add_one(x): return x + 1\n"
        "@flow(log_prints=True)\n"
        "def numbers():\n"
        "    print('hello')\n"
        "    return sum(add_one.map([1, 2, 3]).result())\n"
        "print(numbers())\n"
    )
    ran = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60, check=True
    )

    lines = ran.stderr.splitlines()
    assert ran.stdout == "9\n"
    assert 3 <= len(lines) <= 6
    assert all("Flow run 'numbers' - " in line for line in lines)
    assert ["Began" in lines[0], "hello" in lines[1], "Completed in" in lines[-1]] == [True] * 3


def test_records_are_labelled_among_factories_of_others() -> None:
    def wrapped(inner: Any) -> Any:
        return lambda *args, **kwargs: inner(*args, **kwargs)

    before = logging.getLogRecordFactory()
    try:
        for factory in (wrapped(logging.LogRecord), wrapped(before), logging.LogRecord):
            logging.setLogRecordFactory(factory)
            for _ in range(3):
                label_records()
                logging.setLogRecordFactory(wrapped(logging.getLogRecordFactory()))
            record: Any = logging.makeLogRecord({})
            assert record.flow_run_id is None
    finally:
        logging.setLogRecordFactory(before)
