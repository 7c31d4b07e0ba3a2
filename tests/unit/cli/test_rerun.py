from pathlib import Path

import pytest

from fanfold.engine import registry
from fanfold.values.records import FlowRunRecord, FlowRuns, TaskTotals
from fanfold.values.states import StateName
from tests.unit.cli.command_lines import Ended, fanfold, python

PIPELINE = """
import os
from dataclasses import dataclass
from fanfold import flow, task
from fanfold.caching import NO_CACHE

@dataclass(frozen=True)
class Point:
    x: int

def note(what):
    with open("calls.txt", "a") as file:
        print(what, file=file)

@task
def prepare(point):
    note(f"prepare {point.x}")
    return point

@task
def parse(point, scale=1):
    note(f"parse {point.x}")
    if point.x == 3 and not os.path.exists("repaired"):
        raise ValueError(f"bad point {point.x}")
    return Point(point.x * scale)

@flow
def inner(point: Point):
    return prepare(point)

@flow(persist_result=True)
def main(count: int, first: Point = Point(0)):
    inner(first)
    points = prepare.map([Point(first.x + n) for n in range(count)])
    return parse.map(points, scale=10).result()

@task(persist_result=True, cache_policy=NO_CACHE)
def drawn(x):
    note(f"drawn {x}")
    return x

@flow(persist_result=True)
def alone(count: int):
    numbers = drawn.map(range(count)).result()
    points = prepare.map([Point(n) for n in numbers])
    return parse.map(points).result()

@flow
def unkept(count: int):
    points = prepare.map([Point(n) for n in range(count)])
    return parse.map(points).result()

@flow(persist_result=True)
def dying(count: int):
    drawn.map(range(count)).result()
    if not os.path.exists("repaired"):
        from fanfold.engine.recording.recorder import close_all
        close_all()
        os._exit(1)

@task
def heavy(data):
    if not os.path.exists("repaired"):
        raise ValueError(f"{len(data)} bytes")
    return len(data)

@flow(persist_result=True)
def big(count: int, kept: bool = True):
    tasks = prepare if kept else prepare.with_options(persist_result=False)
    sizes = tasks.map([Point(n) for n in range(count)]).result()
    return heavy.map([b"x" * (200_000 + each.x) for each in sizes]).result()

@task
async def awaited(n):
    raise ValueError(n)

@flow
async def asynchronous(given):
    await awaited(given)

@flow
def unpicklable(lock):
    raise ValueError("as ever")

def make():
    @flow
    def local():
        raise ValueError("as ever")
    return local

if __name__ == "__main__":
    import sys, threading
    call = {
        "main": lambda: main(5, first=Point(1)),
        "alone": lambda: alone(5),
        "dying": lambda: dying(5),
        "unkept": lambda: unkept(5),
        "big": lambda: big(3),
        "big-unkept": lambda: big(3, kept=False),
        "asynchronous": lambda: __import__("asyncio").run(asynchronous(1)),
        "unpicklable": lambda: unpicklable(threading.Lock()),
        "local": lambda: make()(),
    }[sys.argv[1]]
    call()
"""


class Project:
    """A folder with a pipeline, and the history of its runs."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self._url = f"sqlite:///{home / 'history.db'}"

    def runs_as_script(self, flow: str) -> Ended:
        ended = python(self.folder, "pipeline.py", flow)
        assert ended.code == 1, ended.err
        self.calls()
        return ended

    def does(self, *arguments: str, typed: str = "") -> Ended:
        return fanfold(self.folder, "runs", *arguments, typed=typed)

    def repair(self) -> None:
        (self.folder / "repaired").touch()

    def calls(self) -> list[str]:
        """Return what was called since the last time, sorted."""
        file = self.folder / "calls.txt"
        lines = sorted(file.read_text().split("\n"))[1:] if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def runs(self) -> list[FlowRunRecord]:
        """Return the outermost runs, the latest first."""
        history = registry.history(self._url)
        try:
            return history.read(FlowRuns(parent_id=""))
        finally:
            history.close()

    def counts(self, run: FlowRunRecord, task: str) -> dict[StateName, int]:
        history = registry.history(self._url)
        try:
            totals = history.read(TaskTotals(flow_run_ids=(run.id,)))
        finally:
            history.close()
        return next(dict(total.counts) for total in totals if total.task == task)


@pytest.fixture
def project(tmp_path: Path, fanfold_home: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pipeline.py").write_text(PIPELINE)
    return Project(folder, fanfold_home)


def test_a_retry_runs_only_what_the_old_run_has_not_kept(project: Project) -> None:
    project.runs_as_script("main")
    project.repair()

    ended = project.does("retry", "last")

    retry, old = project.runs()
    assert ended.code == 0, ended.err
    assert (
        "Kept are 10 of 11 elements; 1 element runs again, and what has other code now."
        in ended.out
    )
    assert project.calls() == ["parse 3"]
    assert (retry.state, retry.retry_of) == (StateName.COMPLETED, old.id)
    assert project.counts(retry, "parse") == {StateName.CACHED: 4, StateName.COMPLETED: 1}


def test_a_retry_of_a_retry_still_finds_what_the_first_run_has_kept(project: Project) -> None:
    project.runs_as_script("main")
    first = project.does("retry", "last")
    project.calls()
    project.repair()

    second = project.does("retry", "last")

    assert (first.code, second.code) == (1, 0)
    assert "Kept are 10 of 11 elements" in second.out
    assert project.calls() == ["parse 3"]


def test_a_fresh_retry_reads_nothing_from_the_cache(project: Project) -> None:
    project.runs_as_script("main")
    project.repair()

    ended = project.does("retry", "last", "--fresh")

    assert ended.code == 0
    assert "Nothing is read from the cache, so all runs again." in ended.out
    assert len(project.calls()) == 11


def test_a_retry_says_when_nothing_was_kept(project: Project) -> None:
    project.runs_as_script("unkept")

    ended = project.does("retry", "last")

    assert ended.code == 1
    assert "Nothing was kept, so all runs again." in ended.out
    assert len(project.calls()) == 10


def test_a_retry_of_a_flow_inside_of_a_function_says_why_not(project: Project) -> None:
    project.runs_as_script("local")

    ended = project.does("retry", "last")

    assert ended.code == 2
    assert "The flow local can't be found again: it was written in a notebook" in ended.err
    assert len(project.runs()) == 1


def test_a_retry_without_arguments_says_why_not(project: Project) -> None:
    project.runs_as_script("unpicklable")

    ended = project.does("retry", "last")

    assert ended.code == 2
    assert "called with isn't kept: it can't be pickled, or is larger than 1 MiB. " in ended.err
    assert len(project.runs()) == 1


def test_a_retry_of_a_file_that_was_moved_says_so(project: Project) -> None:
    project.runs_as_script("unkept")
    (project.folder / "pipeline.py").rename(project.folder / "moved.py")

    ended = project.does("retry", "last")

    assert ended.code == 2
    assert f"There is no file {project.folder / 'pipeline.py'}. Run unkept was" in ended.err
    assert "call the flow where it is now: fanfold run FILE.PY" in ended.err


def test_the_first_element_that_failed_is_called_as_it_was(project: Project) -> None:
    project.runs_as_script("unkept")

    ended = project.does("debug", "last/parse")

    assert ended.code == 1
    assert "The first that failed: parse[3]" in ended.err
    assert ended.out == "parse[3] is called with:\n  point = Point(x=3)\n"
    assert "ValueError: bad point 3" in ended.err
    assert project.calls() == ["parse 3"]
    assert len(project.runs()) == 1


def test_it_is_the_code_as_it_is_now_that_is_debugged(project: Project) -> None:
    project.runs_as_script("unkept")
    file = project.folder / "pipeline.py"
    file.write_text(file.read_text().replace("point.x == 3", "point.x == 33"))

    ended = project.does("debug", "last/parse[3]")

    assert ended.code == 0, ended.err
    assert "It succeeded this time: Point(x=3)" in ended.out


def test_pdb_opens_where_the_users_code_failed(project: Project) -> None:
    project.runs_as_script("unkept")

    ended = project.does("debug", "last/parse[3]", "--pdb", typed="p point.x * 100\nq\n")

    assert ended.code == 1
    assert "parse()" in ended.out
    assert "(Pdb) 300\n" in ended.out


def test_an_async_call_is_debugged_too(project: Project) -> None:
    project.runs_as_script("asynchronous")

    ended = project.does("debug", "last/awaited")

    assert ended.code == 1
    assert "awaited is called with:\n  n = 1\n" in ended.out
    assert "ValueError: 1" in ended.err


def test_inputs_that_are_too_large_are_made_again_from_what_is_kept(project: Project) -> None:
    project.runs_as_script("big")
    project.repair()

    ended = project.does("debug", "last/heavy[2]")

    assert ended.code == 0, ended.err
    assert "It succeeded this time: 200002" in ended.out
    assert project.calls() == []
    assert len(project.runs()) == 1


def test_what_isnt_kept_is_named_and_run_only_where_that_is_wanted(project: Project) -> None:
    project.runs_as_script("big-unkept")
    project.repair()

    refused = project.does("debug", "last/heavy[2]")
    calls_of_refused = project.calls()
    allowed = project.does("debug", "last/heavy[2]", "--rerun-upstream")

    assert refused.code == 1
    assert "prepare isn't kept (persist_result isn't on for it)" in refused.err
    assert "--rerun-upstream" in refused.err
    assert calls_of_refused == []
    assert allowed.code == 0, allowed.err
    assert "It succeeded this time: 200002" in allowed.out
    assert project.calls() == ["prepare 0", "prepare 1", "prepare 2"]


def test_a_flow_itself_is_debugged_with_what_its_tasks_have_kept(project: Project) -> None:
    project.runs_as_script("main")

    ended = project.does("debug", "last", "--pdb", typed="p point.x * 100\nq\n")

    assert ended.code == 1
    assert "(Pdb) 300\n" in ended.out
    assert project.calls() == ["parse 3"]
    assert len(project.runs()) == 1


@pytest.mark.parametrize(
    ("element", "told"),
    [
        ("last/prse", "Did you mean parse?"),
        ("last/parse[5]", "There is no parse[5]: they go from 0 to 4."),
        ("last/parse#2", "There is no parse#2: run unkept has 1 call or map of it."),
        ("last/prepare", "No element of prepare failed. Name the one that is meant:"),
        ("none/parse", "There is no run none."),
    ],
)
def test_an_element_that_isnt_there_is_told(project: Project, element: str, told: str) -> None:
    project.runs_as_script("unkept")

    ended = project.does("debug", element)

    assert ended.code == 2
    assert told in ended.err


def test_a_resumed_run_is_the_same_run_and_runs_only_what_is_left(project: Project) -> None:
    project.runs_as_script("alone")
    (before,) = project.runs()
    project.repair()

    ended = project.does("resume", "last")

    assert ended.code == 0, ended.err
    assert "Resuming alone" in ended.out
    assert "Kept are 14 of 15 elements; 1 element runs again" in ended.out
    assert project.calls() == ["parse 3"]
    (after,) = project.runs()
    assert (after.id, after.state, after.resumed) == (before.id, StateName.COMPLETED, 1)
    shown = project.does("show", before.id)
    assert "Resumed\t1 time, last " in shown.out


def test_of_a_run_that_failed_again_when_it_was_resumed_its_last_try_is_told(
    project: Project,
) -> None:
    project.runs_as_script("alone")

    project.does("resume", "last")
    again = project.does("resume", "last")

    assert again.code == 1
    assert "Kept are 14 of 15 elements; 1 element runs again" in again.out
    shown = project.does("show", "last").out
    assert "parse\t5\t4 Cached (80 %), 1 Failed" in shown
    assert "1\tparse\t3\tValueError: bad point 3" in shown
    assert "State\tCached" in fanfold(project.folder, "cache", "explain", "last/parse[0]").out


def test_what_a_run_that_died_has_kept_is_told_as_about_so_much(project: Project) -> None:
    project.runs_as_script("dying")
    project.repair()

    ended = project.does("resume", "last")

    assert ended.code == 0, ended.err
    assert "Crashed" in ended.out
    assert (
        "Kept are about 5 of 5 elements; 0 elements run again, what hadn't begun, and what has "
        "other code now." in ended.out
    )
    assert project.calls() == []


def test_a_run_that_cannot_go_on_as_it_was_called_is_left_as_it_was(project: Project) -> None:
    project.runs_as_script("alone")
    (before,) = project.runs()
    no_runner = project.does("resume", "last", "--runner", "nope")
    file = project.folder / "pipeline.py"
    file.write_text(
        file.read_text().replace("def alone(count: int)", "def alone(count: list[int])")
    )

    ended = project.does("resume", "last")

    assert (ended.code, no_runner.code) == (2, 2)
    assert "Resuming" not in no_runner.out
    assert "doesn't fit the flow as it is now, alone(count: list[int]): The flow alone" in ended.err
    assert "Traceback" not in ended.err
    assert project.runs() == [before]


def test_a_run_of_which_nothing_is_kept_says_so_before_it_is_resumed(project: Project) -> None:
    project.runs_as_script("unkept")
    project.repair()

    ended = project.does("resume", "last", "--runner", "inline")

    assert ended.code == 0, ended.err
    assert "Nothing was kept, so all runs again." in ended.out
    assert len(project.calls()) == 10


def test_a_run_that_is_completed_or_not_there_is_not_resumed(project: Project) -> None:
    project.runs_as_script("unkept")
    project.repair()
    project.does("resume", "last")

    completed, missing = project.does("resume", "last"), project.does("resume", "nobody")

    assert (completed.code, missing.code) == (2, 2)
    assert "is Completed, so there is nothing to resume" in completed.err
    assert "There is no run nobody." in missing.err


def test_a_resumed_run_takes_the_code_as_it_is(project: Project) -> None:
    project.runs_as_script("alone")
    file = project.folder / "pipeline.py"
    file.write_text(file.read_text().replace("point.x == 3 and", "point.x == 99 and"))

    ended = project.does("resume", "last")

    assert ended.code == 0, ended.err
    assert project.calls() == [f"parse {x}" for x in range(5)]


def test_a_retry_of_what_failed_takes_what_policies_do_not_share(project: Project) -> None:
    project.runs_as_script("alone")
    project.repair()

    whole = project.does("retry", "last", "--failed-only")
    only_missing = project.calls()
    plain = project.does("retry", "last")

    assert (whole.code, plain.code) == (0, 0), whole.err
    assert only_missing == ["parse 3"]
    assert project.calls() == [f"drawn {x}" for x in range(5)]
    assert len({run.id for run in project.runs()}) == 3


def test_a_retry_from_a_task_runs_it_and_what_came_after_it(project: Project) -> None:
    project.runs_as_script("alone")
    project.repair()

    ended = project.does("retry", "last", "--from", "prepare")

    assert ended.code == 0, ended.err
    assert "Anew runs what came from prepare on: prepare, parse." in ended.out
    assert "Kept are 5 of 15 elements; 10 elements run again" in ended.out
    anew = [f"{task} {x}" for task in ("parse", "prepare") for x in range(5)]
    assert project.calls() == anew
    from_first = project.does("retry", "last", "--from", "drawn")
    assert "Nothing else was kept, so all runs again." in from_first.out


def test_ways_to_retry_exclude_each_other_and_from_names_a_task(project: Project) -> None:
    project.runs_as_script("alone")

    both = project.does("retry", "last", "--fresh", "--failed-only")
    unknown = project.does("retry", "last", "--from", "prepre")

    assert (both.code, unknown.code) == (2, 2)
    assert "Only one of --fresh, --failed-only and --from." in both.err
    assert "Did you mean prepare?" in unknown.err
