"""`print` inside a run that wants it in its log, and everywhere else."""

import builtins
import io
import sys
import threading

import pytest

from fanfold.engine.context import RunContext, RunInfo, running
from fanfold.engine.prints import logged


def context(lines: list[str], log_prints: bool = True) -> RunContext:
    info = RunInfo(kind="Task run", id="1", name="run", log_prints=log_prints)
    return RunContext(info=info, tell=lines.append)


def test_a_print_in_a_run_becomes_a_line_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []

    with running(context(lines)), logged():
        print("one", 2, sep="-", end="!")
        print()
        print("three", flush=True)

    assert lines == ["one-2", "", "three"]
    assert capsys.readouterr().out == ""


def test_a_print_to_a_file_or_from_outside_stays_a_print(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines: list[str] = []
    file = io.StringIO()

    with logged():
        print("outside")
        with running(context(lines)):
            print("to a file", file=file)
            print("to stderr", file=sys.stderr)
            print("told", file=sys.stdout)
        with running(context(lines, log_prints=False)):
            print("not wanted")

    assert file.getvalue() == "to a file\n"
    assert capsys.readouterr() == ("outside\nnot wanted\n", "to stderr\n")
    assert lines == ["told"]


def test_two_runs_in_two_threads_keep_their_lines_apart() -> None:
    lines: dict[str, list[str]] = {"a": [], "b": []}
    together = threading.Barrier(2)

    def work(name: str) -> None:
        with running(context(lines[name])), logged():
            for number in range(3):
                together.wait(5)
                print(name, number)

    threads = [threading.Thread(target=work, args=(name,)) for name in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert lines == {name: [f"{name} {number}" for number in range(3)] for name in lines}


def test_print_itself_is_back_when_the_last_run_is_over() -> None:
    before = builtins.print

    with logged(), logged(False), logged():
        assert builtins.print is not before

    assert builtins.print is before
