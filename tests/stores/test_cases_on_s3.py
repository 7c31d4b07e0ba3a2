"""What users expect of caching, results and transactions, where results are kept on S3.

The same tests as for the local disk, with a bucket as the storage of the settings; and what looks
at the objects themselves.
"""

import json
import pickle
from typing import Any

import pytest

from fanfold import INPUTS, flow, task
from fanfold.transactions import transaction
from tests.stores.places import S3Place
from tests.unit import (
    test_caching,
    test_results,
    test_single_flight,
    test_transaction_modes,
    test_transactions,
)
from tests.unit.keeping_tasks import counted
from tests.unit.test_single_flight import ledger as ledger

AS_ON_DISK: list[Any] = [
    test_caching.test_a_call_with_equal_inputs_is_cached_whatever_flow_it_is_in,
    test_caching.test_however_the_arguments_are_given_the_key_is_the_same,
    test_caching.test_the_key_is_made_of_the_values_of_futures,
    test_caching.test_a_key_function_is_given_the_arguments_by_name_in_order_with_defaults,
    test_caching.test_a_result_of_none_is_cached_too,
    test_caching.test_exceptions_are_not_served_from_the_cache,
    test_caching.test_a_result_is_used_until_it_expires,
    test_caching.test_elements_of_a_map_share_results_with_calls_and_other_maps,
    test_caching.test_inputs_count_by_their_content,
    test_caching.test_instances_with_another_state_share_no_results,
    test_caching.test_an_input_that_cannot_be_encoded_is_named_and_the_call_runs_uncached,
    test_caching.test_a_result_that_cannot_be_stored_is_only_not_kept,
    test_caching.test_a_strict_policy_fails_the_call_that_has_no_key,
    test_caching.test_code_counts_where_the_policy_says_so,
    test_results.test_a_kept_task_that_is_called_twice_in_a_flow_runs_once,
    test_results.test_policies_add_up_in_any_order_and_no_cache_adds_nothing,
    test_results.test_a_refresh_runs_and_later_calls_get_what_it_returned,
    test_results.test_the_newest_result_counts_even_of_the_run_that_began_first,
    test_results.test_results_of_every_serializer_are_found_again,
    test_single_flight.test_a_hundred_elements_with_the_same_inputs_run_once,
    test_transactions.test_hooks_for_the_commit_are_called_when_the_block_ends,
    test_transactions.test_a_task_that_fails_has_the_others_taken_back_the_last_one_first,
    test_transactions.test_an_exception_of_the_block_takes_everything_back_and_goes_on,
    test_transactions.test_submits_and_maps_are_part_of_it_wherever_they_run,
    test_transactions.test_a_value_that_stays_in_storage_can_be_read_inside,
    test_transaction_modes.test_an_inner_transaction_is_committed_with_the_outer_one,
    test_transaction_modes.test_without_a_commit_mode_that_commits_it_is_rolled_back_unless_asked,
    test_transaction_modes.test_an_inner_one_of_mode_off_is_rolled_back_alone,
    test_transaction_modes.test_a_rollback_goes_up_to_all_around,
]
globals().update({test.__name__: test for test in AS_ON_DISK})


@pytest.fixture(autouse=True)
def on_s3(s3: S3Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep results on S3 wherever a test says nothing of the place."""
    s3.be_default(monkeypatch)


def named(s3: S3Place) -> list[str]:
    """Return the names of objects that users have named."""
    ours = ("tasks/", "flows/", "signatures/", "runs/", "claims/")
    return [name for name in s3.store().names("") if not name.startswith(ours)]


@pytest.mark.parametrize(
    ("serializer", "read"),
    [("json", json.loads), ("pickle", pickle.loads)],
    ids=["json", "pickle"],
)
def test_a_named_object_holds_what_its_serializer_wrote(
    serializer: str, read: Any, s3: S3Place
) -> None:
    calls: list[str] = []
    work = counted(
        calls,
        cache_policy=INPUTS,
        result_serializer=serializer,
        result_storage_key="models/{parameters[x]}.bin",
    )

    states = [work("ada", return_state=True) for _ in range(2)]

    assert [state.name for state in states] == ["Completed", "Cached"]
    assert named(s3) == ["models/ada.bin"]
    assert read(bytes(s3.store().read("models/ada.bin"))) == ["result", "ada"]


@pytest.mark.parametrize("way", ["called", "mapped"])
def test_what_was_deleted_is_made_again(way: str, s3: S3Place) -> None:
    calls: list[int] = []
    work = counted(calls, cache_policy=INPUTS)
    around = flow(lambda: work(1) if way == "called" else work.map([1]).result()[0])
    first = around()
    s3.store().remove([name for name in s3.store().names("tasks/") if "/segments/" in name])
    s3.store().remove(s3.store().names("tasks/") if way == "called" else [])

    assert around() == first == ["result", 1]
    assert calls == [1, 1]


def test_a_named_object_is_there_only_once_the_outermost_transaction_is_committed(
    s3: S3Place,
) -> None:
    @task(result_storage_key="of-{parameters[x]}", cache_policy=INPUTS)
    def work(x: int) -> int:
        return x

    with transaction():
        with transaction():
            work(1)
        before = named(s3)

    assert (before, named(s3)) == ([], ["of-1"])


def test_a_transaction_whose_record_is_there_begins_as_committed() -> None:
    with transaction(key="once") as first:
        first.stage({"rows": 3})

    with transaction(key="once") as again:
        found = again.is_committed(), again.read()

    assert found == (True, {"rows": 3})
