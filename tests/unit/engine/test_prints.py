"""`print` inside a run that wants it in its log, and everywhere else."""

import builtins
import io
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fanfold.engine.context import RunContext, RunInfo, running
from fanfold.engine.prints import logged
from fanfold.engine.telling import label_records


def context(name: str = "run", log_prints: bool = True) -> RunContext:
    return RunContext(info=RunInfo(kind="Task run", id="1", name=name, log_prints=log_prints))


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    """Returns what was logged, by a run of this name."""
    caplog.set_level(logging.INFO, "fanfold")
    label_records()

    def logged_by(name: str = "run") -> list[str]:
        records: list[Any] = caplog.records
        return [record.getMessage() for record in records if record.task_run_name == name]

    return logged_by


def test_a_print_in_a_run_becomes_a_line_of_it(
    capsys: pytest.CaptureFixture[str], lines: Callable[..., list[str]]
) -> None:

    with running(context()), logged():
        print("one", 2, sep="-", end="!")
        print()
        print("three", flush=True)

    assert lines() == ["one-2", "", "three"]
    assert capsys.readouterr().out == ""


def test_a_print_to_a_file_or_from_outside_stays_a_print(
    capsys: pytest.CaptureFixture[str], lines: Callable[..., list[str]]
) -> None:
    file = io.StringIO()

    with logged():
        print("outside")
        with running(context()):
            print("to a file", file=file)
            print("to stderr", file=sys.stderr)
            print("told", file=sys.stdout)
        with running(context(log_prints=False)):
            print("not wanted")

    assert file.getvalue() == "to a file\n"
    assert capsys.readouterr() == ("outside\nnot wanted\n", "to stderr\n")
    assert lines() == ["told"]


def test_two_runs_in_two_threads_keep_their_lines_apart(lines: Callable[..., list[str]]) -> None:
    together = threading.Barrier(2)

    def work(name: str) -> None:
        with running(context(name)), logged():
            for number in range(3):
                together.wait(5)
                print(name, number)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for name in "ab":
        assert lines(name) == [f"{name} {number}" for number in range(3)]


def test_print_itself_is_back_when_the_last_run_is_over() -> None:
    before = builtins.print

    with logged(), logged(False), logged():
        assert builtins.print is not before

    assert builtins.print is before
