"""Each check of the history suite turns red at the bug planted for it, and no other check does."""

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest

from fanfold.testing import checks_comparing
from fanfold.testing.histories import HistorySuite
from fanfold.testing.places import Place
from fanfold.values.errors import HistoryUnavailable
from tests.histories import planted, planted_answers, planted_resumes
from tests.histories.memory_places import memory_places
from tests.histories.planted import Bug

PLANTINGS: dict[str, type[Bug]] = {
    "h1_a_reader_sees_all_of_a_batch_or_nothing": planted.WritesHalves,
    "h1_states_outlive_the_process_that_recorded_them": planted.LosesWithTheProcess,
    "h2_a_batch_that_is_told_again_changes_nothing": planted.KnowsTheLastBatchOnly,
    "h2_each_writer_counts_by_itself": planted.CountsAllWriters,
    "h2_of_those_who_tell_the_same_batch_one_is_heard": planted.HearsTwoAtOnce,
    "h3_a_refused_fact_is_named_and_the_others_are_recorded": planted.DropsTheRest,
    "h4_facts_of_an_unknown_flow_run_are_refused": planted.TakesDropsOfUnknownRuns,
    "h4_an_artifact_of_no_flow_run_is_recorded": planted.RefusesLooseArtifacts,
    "h4_who_has_lost_his_lease_is_refused": planted.IgnoresEpochs,
    "h5_moves_follow_the_table": planted.NeverResumes,
    "h5_a_move_is_judged_by_what_earlier_batches_said": planted.ForgetsEnds,
    "h5_being_told_its_state_again_is_no_move": planted.TakesRepeatsForMoves,
    "h5_a_final_state_ends_the_lease": planted.KeepsTheLease,
    "h5_a_task_run_ends_again_only_in_other_states": planted.EndsTaskRunsAgain,
    "h5_a_resumed_run_is_as_if_it_had_not_ended": planted_resumes.KeepsTheHost,
    "h5_a_resumed_run_goes_on_to_its_end": planted_resumes.CountsOneResume,
    "h5_only_what_ended_without_a_value_is_resumed": planted_resumes.ResumesNoTimedOut,
    "h4_who_is_refused_learns_in_which_epoch_his_run_was_taken_over": planted_resumes.HidesTheEpoch,
    "a_wish_to_cancel_is_of_the_run_before": planted_resumes.KeepsTheWish,
    "a_resumed_run_that_dies_is_reaped": planted_resumes.TakesReapersForDrivers,
    "h6_nothing_is_recorded_twice": planted.TakesChunksTwice,
    "h6_of_an_element_the_later_fact_counts": planted.KeepsTheFirstOfAnElement,
    "h6_facts_of_an_unknown_task_run_are_refused": planted.DropsElementsOfUnknownRuns,
    "h7_another_object_sees_what_was_recorded": planted.ReadsOnce,
    "h7_another_process_sees_what_was_recorded": planted.SeesItsOwnRuns,
    "h8_a_history_out_of_reach_says_so": planted.HidesOutages,
    "text_that_databases_do_not_take_is_recorded": planted.CutsAtNul,
    "threads_may_record_through_one_object": planted.KnowsOneThread,
    "a_flow_run_is_told_as_it_was_recorded": planted_answers.LosesTheVersion,
    "times_of_a_flow_run_are_those_of_its_first_start_and_end": planted.MovesTheStart,
    "what_a_flow_was_called_with_is_kept": planted_answers.CutsArguments,
    "flow_runs_come_the_latest_first_in_pages": planted_answers.RepeatsTheLastRun,
    "flow_runs_are_found_by": planted_answers.TakesAnyTag,
    "flow_runs_are_found_by_their_owner": planted_answers.IgnoresOwners,
    "a_task_run_is_told_as_it_was_recorded": planted_answers.LosesTheStream,
    "of_an_open_map_is_told_what_its_chunks_told": planted_answers.KnowsNoOpenStates,
    "of_a_map_that_is_over_is_told_what_its_end_told": planted_answers.AddsUpChunks,
    "states_of_an_unknown_task_run_have_no_answer": planted_answers.ForgetsEmptyMaps,
    "task_runs_come_the_oldest_first_in_pages": planted_answers.RepeatsTheLastTask,
    "task_runs_are_found_by": planted_answers.ShowsEndedTasks,
    "totals_are_sums_of_a_flow_runs_tasks": planted_answers.LosesRetries,
    "chunks_come_in_the_order_in_which_they_came_home": planted_answers.SortsChunks,
    "an_element_is_told_as_it_was_recorded": planted_answers.LosesTheLabel,
    "elements_are_found_by": planted_answers.IgnoresIndices,
    "failures_are_grouped_by_what_they_look_like": planted_answers.ShowsAllGroups,
    "parts_of_keys_are_told_as_they_were_recorded": planted_answers.MixesUpKeys,
    "a_line_is_told_as_it_was_recorded": planted_answers.LosesTheAttempt,
    "lines_are_found_by": planted_answers.IgnoresLevels,
    "lines_come_in_pages": planted_answers.RepeatsTheLastLine,
    "lines_are_found_by_words": planted_answers.WantsWholeWords,
    "words_are_looked_for_among_the_lines_that_are_asked_for": planted_answers.LimitsTooSoon,
    "an_artifact_is_told_as_it_was_recorded": planted.DropsDescriptions,
    "artifacts_of_a_key_are_its_versions": planted_answers.CountsVersionsPerRun,
    "artifacts_are_found_by": planted_answers.ShowsOldVersions,
    "each_owner_is_another": planted.NamesOwnersTwice,
    "what_is_free_is_leased_in_epoch_1": planted.CutsNames,
    "what_another_holds_is_not_leased": planted.YieldsToOthers,
    "of_those_who_ask_at_once_one_gets_the_lease": planted.LeasesToAll,
    "the_epoch_rises_with_each_new_owner": planted.KeepsTheEpoch,
    "only_the_owner_releases_and_only_what_he_names": planted.ReleasesForOthers,
    "a_flow_run_is_leased_to_its_owner_from_the_beginning": planted_answers.LosesTheEpoch,
    "leases_of_the_living_are_not_reaped": planted.NeverRenews,
    "leases_of_the_dead_are_reaped": planted.ReapsItsOwn,
    "a_lease_of_the_dead_may_be_taken": planted.WaitsForReapers,
    "death_is_seen_no_sooner_than_it_is_declared": planted.SeesDeathTooSoon,
    "an_owner_that_the_history_did_not_make_is_dead": planted.TrustsStrangers,
    "reaping_takes_so_many_at_most": planted.ReapsAll,
    "each_lease_goes_to_one_reaper": planted.ReapsForAll,
    "a_dead_reaper_is_reaped_himself": planted.ReapsOnce,
    "what_was_abandoned_is_reaped_at_once": planted.OnlyReleases,
    "cancelling_is_asked_of_the_owner": planted.TellsItselfAlone,
    "a_run_that_is_over_is_not_asked": planted.CancelsWhatIsOver,
    "closing_releases_the_leases_of_its_owners": planted.KeepsLeasesWhenClosed,
    "a_document_is_read_as_it_was_written": planted_answers.WritesAscii,
    "the_version_rises_with_each_change": planted_answers.GoesOnCounting,
    "who_knows_another_version_writes_nothing": planted_answers.BelievesHigherVersions,
    "of_those_who_replace_one_version_one_succeeds": planted_answers.ComparesTooSoon,
    "who_replaces_whatever_is_there_always_succeeds": planted_answers.GivesUpInARace,
    "documents_are_listed_by_name": planted_answers.TakesUnderscoresForAnything,
    "a_document_is_dropped_at_its_version_only": planted_answers.DropsAnyVersion,
    "runs_go_when_they_were_kept_long_enough": planted_answers.KeepsALittleLonger,
    "all_that_belongs_to_a_run_goes_with_it": planted_answers.LeavesArguments,
    "a_run_that_is_removed_may_be_told_anew": planted_answers.RemembersWhatIsGone,
    "a_called_run_goes_with_its_outermost_caller": planted_answers.RemovesCalledRuns,
    "a_run_whose_caller_is_not_recorded_goes_by_itself": planted_answers.WaitsForCallers,
    "so_many_runs_go_at_most_the_oldest_first": planted_answers.RemovesAll,
    "artifacts_of_no_run_go_as_those_of_completed_ones": planted_answers.KeepsLooseArtifacts,
    "the_status_tells_how_a_history_is": planted_answers.HasNoAge,
    "an_upgrade_leaves_nothing_to_be_upgraded": planted_answers.UpgradesAgain,
    "those_who_open_it_first_may_be_several": planted_answers.FailsInARace,
    "giving_space_back_keeps_what_is_there": planted_answers.VacuumsLines,
    "what_was_closed_is_kept": planted_answers.EmptiesWhenClosed,
    "a_random_life_is_the_same_as_in_memory": planted.ForgetsToCancel,
}
CHECKS: dict[str, Callable[..., None]] = {
    name.removeprefix("test_"): check
    for name, check in inspect.getmembers(HistorySuite, inspect.isfunction)
    if name.startswith("test_")
}
OF_ALL = "a_random_life_is_the_same_as_in_memory"
"""Finds most bugs that others find, and what they don't think of."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no failure made smaller: nobody reads it."""
    monkeypatch.setattr(checks_comparing, "PHASES", (hypothesis.Phase.generate,))


def parameters(check: Callable[..., None]) -> Iterator[dict[str, Any]]:
    """Return each set of values that pytest would call a check with."""
    columns: list[list[dict[str, Any]]] = []
    for mark in getattr(check, "pytestmark", []):
        names, rows = mark.args
        names = names if isinstance(names, tuple) else (names,)
        rows = [row if len(names) > 1 else (row,) for row in rows]
        columns.append([dict(zip(names, row, strict=True)) for row in rows])
    for row in itertools.product(*columns):
        yield {name: value for values in row for name, value in values.items()}


def is_red(name: str, bug: type[Bug]) -> bool:
    check = CHECKS[name]
    wanted = inspect.signature(check).parameters
    for values in parameters(check):
        places = memory_places(bug)
        place = Place(places)
        given = {"places": places, "place": place, **values}
        if "history" in wanted:
            given["history"] = place.open()
        try:
            check(HistorySuite(), **{key: given[key] for key in wanted if key != "self"})
        except (AssertionError, pytest.fail.Exception, HistoryUnavailable):
            return True
        finally:
            place.close()
    return False


def test_every_check_has_a_bug_planted_for_it() -> None:
    assert set(CHECKS) == set(PLANTINGS)


@pytest.mark.parametrize("name", PLANTINGS)
def test_a_bug_turns_exactly_its_check_red(name: str) -> None:
    bug = PLANTINGS[name]

    others = {other for other in CHECKS if other not in {OF_ALL, name} and is_red(other, bug)}

    assert is_red(name, bug)
    assert others == set()
