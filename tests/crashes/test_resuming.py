"""Drivers that are killed or frozen: their runs are resumed, and nothing committed runs again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine import registry
from fanfold.values.records import FlowRunRecord, FlowRuns, Query, TaskRuns, TaskTotals
from fanfold.values.states import StateName
from tests.stores.places import S3Place
from tests.unit.cli.command_lines import fanfold

T = TypeVar("T")
PIPELINE = """
import os, sys, time
from fanfold import flow, task
from fanfold.engine.results import fencing

def note(what):
    with open(os.environ.get("LEDGER", "calls.txt"), "a") as file:
        print(what, file=file)

@task(persist_result=True)
def slow(x):
    note(x)
    deadline = time.monotonic() + 60
    while x >= 20 and not os.path.exists("go") and time.monotonic() < deadline:
        time.sleep(0.05)
    return x, os.getpid()

@flow(task_runner=os.environ.get("RUNNER", "threads"))
def mapped():
    return sorted(x for x, _ in slow.with_options(chunk_size=2).map(range(40)).result())

@flow(task_runner="threads")
def frozen():
    if os.environ.get("OLD"):
        fencing.CHECK_S = 0.0  # it looks before each commit
    values = slow.map(range(5)).result()
    note("half")
    while not os.path.exists("go"):
        time.sleep(0.05)
    # The old driver's are others, so that it finds none of them committed.
    first = 100 if os.environ.get("OLD") else 5
    values += slow.map(range(first, first + 5)).result()
    note("whole")
    return sorted(values)

if __name__ == "__main__":
    {"mapped": mapped, "frozen": frozen}[sys.argv[1]]()
"""
LONGEST_S = 180.0
"""Only a check that fails takes so long."""


class Project:
    """A folder with a pipeline, and the history of its runs."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self._home = home
        self._url = f"sqlite:///{home / 'history.db'}"
        self._store = FsspecStore(str(home / "results"))
        (folder / "pipeline.py").write_text(PIPELINE)

    def keep_results_on(self, s3: S3Place, environment: pytest.MonkeyPatch) -> None:
        s3.be_default(environment)
        self._store = s3.store()

    def begun(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, **variables},
            stderr=subprocess.PIPE,
            text=True,
        )

    def calls(self, ledger: str = "calls.txt") -> list[str]:
        file = self.folder / ledger
        return file.read_text().split() if file.exists() else []

    def run(self) -> FlowRunRecord:
        history = registry.history(self._url)
        try:
            (run,) = history.read(FlowRuns(parent_id=""))
            return run
        finally:
            history.close()

    def has_begun(self) -> bool:
        return bool(self.asked(FlowRuns()))

    def has_recorded_a_task(self) -> bool:
        return any(run.ended_us for run in self.asked(TaskRuns()))

    def asked(self, query: Query[T]) -> list[T]:
        history = registry.history(self._url)
        try:
            return history.read(query)
        finally:
            history.close()

    def has_committed(self) -> bool:
        return any("/index/" in name for name in self._store.names("tasks/"))

    def cached(self, run: FlowRunRecord) -> int:
        history = registry.history(self._url)
        try:
            (total,) = history.read(TaskTotals(flow_run_ids=(run.id,)))
            return total.counts[StateName.CACHED]
        finally:
            history.close()

    def abandon(self) -> None:
        """Let the lease of the only run expire, as if its process had been silent for long."""
        history = registry.history(self._url)
        try:
            history.abandon(self.run().owner)
        finally:
            history.close()


@pytest.fixture
def project(tmp_path: Path, fanfold_home: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder, fanfold_home)


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def killed(project: Project) -> None:
    """Kill a driver whose first half is done, and in part committed."""
    driver = project.begun("pipeline.py", "mapped")
    until(lambda: any(int(x) >= 20 for x in project.calls()) and project.has_committed())
    until(project.has_begun)
    driver.kill()
    driver.communicate()


def went_on(project: Project) -> bool:
    """Return whether a resumed run has called what was not committed, and nothing else.

    It has a ledger of its own, for workers of a cluster survive their driver by a moment.
    """
    run, before, ran = project.run(), project.calls(), project.calls("resumed.txt")
    assert (run.state, run.resumed) == (StateName.COMPLETED, 1)
    assert {*map(int, before), *map(int, ran)} == set(range(40))
    assert len(ran) == len(set(ran))
    return 0 < project.cached(run) == 40 - len(ran)


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_after_the_death_of_its_driver_a_run_goes_on_with_what_is_not_committed(
    project: Project, monkeypatch: pytest.MonkeyPatch, runner: str
) -> None:
    monkeypatch.setenv("RUNNER", runner)
    killed(project)
    (project.folder / "go").touch()

    ended = fanfold(project.folder, "runs", "resume", "last", LEDGER="resumed.txt")

    assert ended.code == 0, ended.err
    assert went_on(project)


@pytest.mark.parametrize(
    "runner", ["threads", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dask", "ray"))]
)
def test_a_run_whose_results_are_on_s3_goes_on_too(
    project: Project, monkeypatch: pytest.MonkeyPatch, s3: S3Place, runner: str
) -> None:
    monkeypatch.setenv("RUNNER", runner)
    project.keep_results_on(s3, monkeypatch)
    killed(project)
    (project.folder / "go").touch()

    ended = fanfold(project.folder, "runs", "resume", "last", LEDGER="resumed.txt")

    assert ended.code == 0, ended.err
    assert went_on(project)


def test_of_two_that_resume_a_run_one_works_and_the_other_is_told_who_does(
    project: Project,
) -> None:
    killed(project)
    resume = ["-m", "fanfold.cli", "runs", "resume", "last"]
    first = project.begun(*resume, LEDGER="resumed.txt")
    until(lambda: bool(project.calls("resumed.txt")))

    second = fanfold(project.folder, "runs", "resume", "last", LEDGER="third.txt")
    (project.folder / "go").touch()
    _, told = first.communicate(timeout=LONGEST_S)

    assert second.code != 0
    assert f"is driven by process {first.pid} on " in second.err
    assert (first.returncode, project.calls("third.txt")) == (0, []), told
    assert went_on(project)


def frozen(project: Project) -> "subprocess.Popen[str]":
    """Freeze a driver between its two maps, for longer than its lease."""
    old = project.begun("pipeline.py", "frozen", OLD="1")
    until(lambda: "half" in project.calls() and project.has_recorded_a_task())
    time.sleep(1.0)  # so that it isn't stopped while it holds the history's lock
    os.kill(old.pid, signal.SIGSTOP)
    project.abandon()
    (project.folder / "go").touch()
    return old


def test_a_frozen_driver_that_wakes_up_is_refused_at_its_next_commit(project: Project) -> None:
    old = frozen(project)

    ended = fanfold(project.folder, "runs", "resume", "last")
    resumed = project.calls()
    os.kill(old.pid, signal.SIGCONT)
    _, told = old.communicate(timeout=LONGEST_S)
    retried = fanfold(project.folder, "runs", "retry", "last", "--failed-only")

    assert ended.code == 0, ended.err
    assert resumed == [*resumed[:5], "half", "half", *resumed[7:12], "whole"]
    assert old.returncode != 0
    assert "was resumed by process" in told
    assert retried.code == 0, retried.err
    assert project.calls()[-2:] == ["half", "whole"]


def test_a_frozen_driver_changes_nothing_that_is_recorded_of_the_run(project: Project) -> None:
    old = frozen(project)
    fanfold(project.folder, "runs", "resume", "last")
    before = project.run()

    os.kill(old.pid, signal.SIGCONT)
    old.communicate(timeout=LONGEST_S)

    assert project.run() == before
    assert (before.state, before.resumed) == (StateName.COMPLETED, 1)
    assert before.process != old.pid
