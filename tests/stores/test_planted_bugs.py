"""Each check of the store suite turns red at the bug planted for it, and no other check does."""

import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.testing.grounds import Grounds
from fanfold.testing.stores import StoreSuite
from fanfold.values.errors import StoreError
from fanfold.values.ids import new_id
from tests.stores import planted
from tests.stores.planted import Bug

PLANTINGS: dict[str, list[type[Bug]]] = {
    "what_is_written_is_read": [planted.CutsFromTheWrongEnd],
    "what_is_written_is_replaced": [planted.AppendsToWhatIsLonger],
    "an_empty_object_is_one": [planted.HidesEmptyObjects],
    "a_big_object_is_read_as_it_was_written": [planted.CutsBigOnes],
    "s1_readers_see_an_object_as_a_whole": [planted.WritesInPieces],
    "s1_what_is_created_is_seen_as_a_whole": [planted.CreatesInPieces],
    "s2_what_was_written_outlives_its_writer": [planted.KeepsTheEndForLater],
    "s3_a_name_that_is_taken_is_left_as_it_is": [planted.CreatesOverOthers],
    "s3_of_those_who_create_one_name_at_once_one_wins": [planted.LooksAndThenCreates],
    "s3_a_storage_that_ignores_the_condition_is_warned_of": [planted.WarnsForNothing],
    "s4_names_are_sorted_below_the_root_and_by_prefix": [planted.TakesPrefixesForFolders],
    "s4_where_nothing_is_nothing_is_listed": [planted.ListsFolders],
    "s4_what_was_just_written_is_listed": [planted.RemembersListings],
    "s4_what_another_process_wrote_is_listed_at_once": [planted.SeesItsOwnAlone],
    "s4_many_objects_are_listed_and_removed": [planted.ListsOnePage],
    "a_listing_tells_sizes_and_times": [planted.TellsNoTimes],
    "s5_a_read_that_fails_says_what_is_missing_where": [planted.ReadsShort],
    "s5_a_store_out_of_reach_says_so": [planted.HidesWhereItIs],
    "s6_names_that_leave_the_root_or_hide_are_refused": [planted.TakesDots],
    "s6_any_other_name_is_taken_as_it_is": [planted.DecodesNames],
    "what_is_removed_is_gone_and_nothing_else": [planted.RemovesNeighbours],
    "objects_are_no_folders_and_folders_no_objects": [planted.TakesObjectsForFolders],
    "a_store_is_a_value": [planted.EqualsItselfAlone],
    "whether_others_may_write_is_told": [planted.SaysThatOthersMayWrite],
    "s7_a_fault_that_passes_is_not_noticed": [planted.GivesUpWhenBusy],
    "s7_what_is_missing_stays_missing_when_a_fault_comes_first": [planted.MistakesFaultsForAbsence],
    "s8_a_winner_is_told_so_though_the_acknowledgement_was_lost": [
        planted.LosesWithTheAcknowledgement,
        planted.WinsWithTheAcknowledgement,
    ],
    "s8_what_is_done_twice_is_as_done_once": [planted.RemovesOnce],
}
CHECKS: dict[str, Callable[..., None]] = {
    name.removeprefix("test_"): check
    for name, check in inspect.getmembers(StoreSuite, inspect.isfunction)
    if name.startswith("test_")
}


def grounds_with(kind: type[Bug]) -> Grounds:
    return Grounds(
        fresh=lambda: kind(f"memory://{new_id()}"),
        unreachable=lambda: kind("/dev/null/below"),
        private=True,
        shared=False,
        strike=planted.strike,
    )


def parameters(check: Callable[..., None]) -> Iterator[dict[str, Any]]:
    """Return each set of values that pytest would call a check with."""
    marks = [m for m in getattr(check, "pytestmark", []) if m.name == "parametrize"]
    if not marks:
        yield {}
    for mark in marks:
        name, rows = mark.args
        yield from ({name: row} for row in rows)


class Logged:
    """What checks use of pytest's `caplog`, which is one for all of a test."""

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []

    def at_level(self, level: int, name: str) -> "Logged":
        return self

    def __enter__(self) -> None:
        self._handler = logging.Handler(logging.WARNING)
        self._handler.emit = self.records.append  # type: ignore[method-assign]
        logging.getLogger("fanfold").addHandler(self._handler)

    def __exit__(self, *error: object) -> None:
        logging.getLogger("fanfold").removeHandler(self._handler)


def is_red(name: str, bug: type[Bug]) -> bool:
    check = CHECKS[name]
    wanted = inspect.signature(check).parameters
    for values in parameters(check):
        grounds = grounds_with(bug)
        given = {"grounds": grounds, "store": grounds.fresh(), "caplog": Logged(), **values}
        try:
            check(StoreSuite(), **{key: given[key] for key in wanted if key != "self"})
        except (AssertionError, pytest.fail.Exception, StoreError):
            return True
        finally:
            planted.pending.clear()
    return False


def test_every_check_has_a_bug_planted_for_it() -> None:
    assert set(CHECKS) == set(PLANTINGS)


def test_the_store_without_a_bug_is_green() -> None:
    assert [name for name in CHECKS if is_red(name, Bug)] == []
    assert issubclass(Bug, FsspecStore)


@pytest.mark.parametrize(
    ("name", "bug"),
    [(name, bug) for name, bugs in PLANTINGS.items() for bug in bugs],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_bug_turns_exactly_its_check_red(name: str, bug: type[Bug]) -> None:
    assert is_red(name, bug)
    # Those that move much are asked about their own bugs alone.
    others = [other for other in CHECKS if other != name and not is_slow(other)]
    assert [other for other in others if is_red(other, bug)] == []


def is_slow(name: str) -> bool:
    return any(mark.name == "slow" for mark in getattr(CHECKS[name], "pytestmark", []))
