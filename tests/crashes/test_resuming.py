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

from fanfold.engine import registry
from fanfold.values.records import FlowRunRecord, FlowRuns, Query, TaskRuns, TaskTotals
from fanfold.values.states import StateName
from tests.unit.cli.command_lines import fanfold

T = TypeVar("T")
PIPELINE = """
import os, sys, time
from fanfold import flow, task
from fanfold.engine.results import fencing

def note(what):
    with open("calls.txt", "a") as file:
        print(what, file=file)

@task(persist_result=True)
def slow(x):
    note(x)
    if x >= 20 and not os.path.exists("go"):
        time.sleep(60)
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
        (folder / "pipeline.py").write_text(PIPELINE)

    def begun(self, flow: str, **variables: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "pipeline.py", flow],
            cwd=self.folder,
            env={**os.environ, **variables},
            stderr=subprocess.PIPE,
            text=True,
        )

    def calls(self) -> list[str]:
        file = self.folder / "calls.txt"
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
        return any(self._home.rglob("index/[0-9a-f]*.*.*.*"))

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


@pytest.mark.parametrize("runner", ["threads", "processes"])
def test_after_the_death_of_its_driver_a_run_goes_on_with_what_is_not_committed(
    project: Project, monkeypatch: pytest.MonkeyPatch, runner: str
) -> None:
    monkeypatch.setenv("RUNNER", runner)
    driver = project.begun("mapped")
    until(lambda: any(int(x) >= 20 for x in project.calls()) and project.has_committed())
    until(project.has_begun)
    driver.kill()
    driver.communicate()
    before = project.calls()
    (project.folder / "go").touch()

    ended = fanfold(project.folder, "runs", "resume", "last")

    assert ended.code == 0, ended.err
    run = project.run()
    assert (run.state, run.resumed) == (StateName.COMPLETED, 1)
    ran = project.calls()[len(before) :]
    assert {*map(int, before), *map(int, ran)} == set(range(40))
    assert len(ran) == len(set(ran))
    assert 0 < project.cached(run) == 40 - len(ran)


def test_a_frozen_driver_that_wakes_up_is_refused_at_its_next_commit(project: Project) -> None:
    old = project.begun("frozen", OLD="1")
    until(lambda: "half" in project.calls() and project.has_recorded_a_task())
    time.sleep(1.0)  # so that it isn't stopped while it holds the history's lock
    os.kill(old.pid, signal.SIGSTOP)
    project.abandon()
    (project.folder / "go").touch()

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
    old = project.begun("frozen", OLD="1")
    until(lambda: "half" in project.calls() and project.has_recorded_a_task())
    time.sleep(1.0)  # so that it isn't stopped while it holds the history's lock
    os.kill(old.pid, signal.SIGSTOP)
    project.abandon()
    (project.folder / "go").touch()
    fanfold(project.folder, "runs", "resume", "last")
    before = project.run()

    os.kill(old.pid, signal.SIGCONT)
    old.communicate(timeout=LONGEST_S)

    assert project.run() == before
    assert (before.state, before.resumed) == (StateName.COMPLETED, 1)
    assert before.process != old.pid
