"""Each check of the runner suite turns red at the bugs planted for it, and no other check does."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.testing import checks_closing, checks_flows, checks_reports, checks_resources
from fanfold.testing.ground import Stock
from fanfold.testing.traits import Manners, manners, pinned
from fanfold.values.resources import Traits
from tests.conformance import planted, planted_resources, planted_waits, stocked
from tests.conformance.stocked import StockedTaskRunner
from tests.conformance.test_local_runners import LocalSuite

FAST_CHUNKS = 2 * planted.SOME
SLOW = frozenset({"02", "11", "14", "17", "25", "28", "29", "31", "32"})
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
    """Of that check; short where it finds the bug by waiting in vain."""


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
    Planting(bug=planted_resources.RefusesNothing, check="11_what_cannot"),
    Planting(bug=planted_resources.LacksNothing, check="11_what_no_worker", into=StockedTaskRunner),
    Planting(bug=planted_resources.HoldsNothing, check="12", into=StockedTaskRunner),
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
    Planting(bug=planted_waits.HoldsItsSlot, check="22_nested", deadline_s=2.0),
    Planting(bug=planted_resources.NestsInTheThread, check="22_siblings", deadline_s=2.0),
    Planting(bug=planted_waits.SaysItAtTheEnd, check="23", into=ProcessTaskRunner, deadline_s=2.0),
    Planting(bug=planted_waits.EndsAfterOneElement, check="24"),
    Planting(bug=planted_waits.HoldsTheGil, check="25"),
    Planting(bug=planted.NoBug, by=planted.Singular, check="26_a_runner"),
    Planting(bug=planted_resources.TakesWorkWhenClosed, check="26_a_closed"),
    Planting(bug=planted_waits.GivesUpForAll, check="27"),
    Planting(bug=planted.SharesTwice, check="28"),
    Planting(bug=planted.BringsAllHome, check="29", into=ProcessTaskRunner),
    Planting(bug=planted_waits.WaitsInTheSlot, check="30", deadline_s=2.0),
    Planting(bug=planted_waits.HasNoLimits, check="31_time"),
    Planting(bug=planted_resources.BlamesTheMates, check="31_who"),
    Planting(
        bug=planted_resources.NeverLooks,
        check="32_a_frozen",
        into=ProcessTaskRunner,
        deadline_s=4.0,
    ),
    Planting(bug=planted_resources.TakesBusyForStuck, check="32_only"),
    Planting(
        bug=planted_resources.NeedsAWorkerToBegin,
        check="33",
        into=StockedTaskRunner,
        deadline_s=2.0,
    ),
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
    monkeypatch.setattr(checks_flows, "OVERRUN_S", 0.5)
    monkeypatch.setattr(checks_resources, "PATIENCE_S", 0.3)
    monkeypatch.setattr(checks_resources, "TOLD_S", 2.0)
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


def given(planting: Planting, fixture: str) -> Any:
    # With fewer threads, the elements of the smallest maps would share chunks.
    workers = 2 if planting.into is ProcessTaskRunner else 4
    inner = planting.into(1 if fixture == "narrow_runner" else workers)
    if fixture not in ("stock", "growing_runner"):
        return planting.by(inner, planting.bug)
    if planting.into is not StockedTaskRunner:
        return None
    if fixture == "growing_runner":
        return planting.by(StockedTaskRunner(workers, grows=True), planting.bug)
    runner = planting.by(inner, planting.bug)
    return Stock(runner=runner, want=stocked.WANT, most=stocked.SEATS)


class Suite(LocalSuite):
    def pinned(self, runner: Any, *, borrowed: bool) -> Traits:
        if isinstance(runner.inner, StockedTaskRunner):
            return stocked.HONOURED
        return pinned(runner.inner, borrowed=borrowed)

    def manners(self, runner: Any) -> Manners:
        if isinstance(runner.inner, StockedTaskRunner):
            return Manners(nests=True, grows=True)
        return manners(runner.inner)


def is_red(name: str, planting: Planting, folder: Path) -> bool:
    suite = Suite()
    if name[:2] == planting.check[:2]:
        suite.deadline_s = planting.deadline_s
    folder.mkdir()
    wanted = list(inspect.signature(CHECKS[name]).parameters)[1:]
    arguments = [folder if what == "tmp_path" else given(planting, what) for what in wanted]
    try:
        CHECKS[name](suite, *arguments)
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
