"""Each check of the runner suite turns red at the bugs planted for it, and no other check does."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.ports.runner import TaskRunner
from fanfold.testing import checks_closing, checks_reports
from fanfold.testing.traits import pinned
from fanfold.values.resources import Traits
from tests.conformance import planted, planted_waits
from tests.conformance.test_local_runners import LocalSuite

FAST_CHUNKS = 2 * planted.SOME
SLOW = frozenset({"02", "14", "17", "25", "28", "29", "31"})
"""Checks that aren't run beside a bug on processes, unless it is theirs: a second each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planting:
    """Where a bug is planted, and which check must find it."""

    bug: type[planted.Bug]
    check: str
    """The beginning of its name."""
    into: type[Any] = ThreadPoolTaskRunner
    by: type[planted.Planted] = planted.Planted
    deadline_s: float = 60.0
    """Short for checks that find their bug by waiting in vain."""


PLANTINGS = [
    Planting(bug=planted.DeclaresLess, check="00_traits_are", into=ProcessTaskRunner),
    Planting(bug=planted.RunsInSubmit, check="01", deadline_s=2.0),
    Planting(bug=planted.DropsADone, check="02", deadline_s=2.0),
    Planting(bug=planted.TellsTwice, check="02"),
    Planting(bug=planted.DiesOfAnExit, check="03"),
    Planting(bug=planted.TurnsValues, check="04"),
    Planting(bug=planted.TurnsNeeds, check="05"),
    Planting(bug=planted.ComputesAgain, check="06"),
    Planting(bug=planted.LooksInside, check="07", into=ProcessTaskRunner),
    Planting(bug=planted.FailsDependents, check="08"),
    Planting(bug=planted.SubmitsTwice, check="09"),
    Planting(bug=planted.PicklesTheTask, check="10", into=ProcessTaskRunner),
    Planting(bug=planted_waits.CancelsNoneThatWait, check="13", deadline_s=2.0),
    Planting(bug=planted_waits.StopsNobody, check="14", deadline_s=2.0),
    Planting(
        bug=planted_waits.InterruptsNobody, check="14", into=ProcessTaskRunner, deadline_s=2.0
    ),
    Planting(bug=planted_waits.TellsOfEachCancel, check="15"),
    Planting(bug=planted_waits.ReportsInOrder, check="16", deadline_s=2.0),
    Planting(bug=planted.RepeatsAfterADeath, check="17", into=ProcessTaskRunner),
    Planting(bug=planted.HidesDeaths, check="18", into=ProcessTaskRunner),
    Planting(bug=planted.FailsTheChunk, check="19", into=ProcessTaskRunner),
    Planting(bug=planted.LosesTheWords, check="20", into=ProcessTaskRunner),
    Planting(bug=planted.LeavesAProcess, check="21_close_ends"),
    Planting(bug=planted.LeavesAThread, check="21_close_leaves"),
    Planting(bug=planted_waits.NestsOnTheCluster, check="22", deadline_s=2.0),
    Planting(bug=planted_waits.SaysItAtTheEnd, check="23", into=ProcessTaskRunner, deadline_s=2.0),
    Planting(bug=planted_waits.EndsAfterOneElement, check="24"),
    Planting(bug=planted_waits.HoldsTheGil, check="25"),
    Planting(bug=planted.NoBug, by=planted.Singular, check="26"),
    Planting(bug=planted_waits.GivesUpForAll, check="27"),
    Planting(bug=planted.SharesTwice, check="28"),
    Planting(bug=planted.BringsAllHome, check="29", into=ProcessTaskRunner),
    Planting(bug=planted_waits.WaitsInTheSlot, check="30", deadline_s=2.0),
    Planting(bug=planted_waits.HasNoLimits, check="31"),
]
CHECKS: dict[str, Callable[..., None]] = {
    name.removeprefix("test_"): check
    for name, check in inspect.getmembers(LocalSuite, inspect.isfunction)
    if name.startswith("test_")
}


@pytest.fixture(autouse=True)
def small_and_tidy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the checks find their bugs sooner, and end what some bugs leave behind."""
    monkeypatch.setattr(checks_reports, "FAST_CHUNKS", FAST_CHUNKS)
    monkeypatch.setattr(checks_closing, "GONE_S", 0.5)
    monkeypatch.setattr(checks_closing, "CLEAN_S", 0.5)
    ends = (planted.LeavesAThread.end, planted_waits.Lingering.end)
    for end in ends:
        end.clear()
    yield
    for end in ends:
        end.set()
    for process in planted.LeavesAProcess.left:
        process.communicate()
    planted.LeavesAProcess.left.clear()


def runner_with(planting: Planting, fixture: str) -> TaskRunner:
    # With fewer threads, the elements of the smallest maps would share chunks.
    workers = 2 if planting.into is ProcessTaskRunner else 4
    inner = planting.into(1 if fixture == "narrow_runner" else workers)
    return planting.by(inner, planting.bug)


class Suite(LocalSuite):
    def pinned(self, runner: Any, *, borrowed: bool) -> Traits:
        return pinned(runner.inner, borrowed=borrowed)


def is_red(name: str, planting: Planting, folder: Path) -> bool:
    suite = Suite()
    suite.deadline_s = planting.deadline_s
    folder.mkdir()
    wanted = list(inspect.signature(CHECKS[name]).parameters)[1:]
    given = [folder if what == "tmp_path" else runner_with(planting, what) for what in wanted]
    try:
        CHECKS[name](suite, *given)
    except AssertionError:
        return True
    return False


def test_every_check_has_a_bug_planted_for_it() -> None:
    found = {name for name in CHECKS for planting in PLANTINGS if name.startswith(planting.check)}

    # The traits are checked by one line in two places.
    assert set(CHECKS) - found == {"00_traits_where_workers_die_are_as_pinned"}


@pytest.mark.parametrize("planting", PLANTINGS, ids=lambda p: f"{p.check}-{p.bug.__name__}")
def test_a_bug_turns_exactly_its_check_red(planting: Planting, tmp_path: Path) -> None:
    number = planting.check[:2]
    skipped = SLOW - {number} if planting.into is ProcessTaskRunner else frozenset[str]()

    red = {
        name
        for name in CHECKS
        if name[:2] not in skipped and is_red(name, planting, tmp_path / name[:30])
    }

    assert {name[:2] for name in red} == {number}
    assert any(name.startswith(planting.check) for name in red)
