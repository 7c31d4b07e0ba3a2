"""How far runs are, read from their columns, and how a flow run ended."""

from dataclasses import replace

import pytest

from fanfold.engine.chunking import Batch
from fanfold.engine.tally import (
    MOST_DETAILS,
    Alike,
    Counts,
    First,
    FlowFacts,
    Tally,
    count,
    share,
    shortened,
    span,
    summary,
)
from fanfold.engine.tally import alike as alike_of
from fanfold.values.messages import Detail
from fanfold.values.states import StateName
from tests.unit.engine.runs_at_hand import done, failed, made


def test_a_run_of_which_nothing_is_done_counts_nothing() -> None:
    assert count(made("embed", 5)) == Counts(total=5)


def test_every_state_is_counted_under_its_word() -> None:
    run = made("embed", 20)
    done(run, 0, 5)
    done(run, 5, 8, StateName.CACHED)
    failed(run, 8, "bad date", attempts=3)
    failed(run, 9, "overran", state=StateName.TIMED_OUT)
    failed(run, 10, "lost", state=StateName.CRASHED)
    failed(run, 11, "embed[2]", state=StateName.UPSTREAM_FAILED)
    done(run, 12, 14, StateName.CANCELLED)
    run.states[14] = StateName.AWAITING_RETRY

    counted = count(run)

    assert counted == Counts(
        total=20,
        done=12,
        cached=3,
        failed=2,
        crashed=1,
        upstream_failed=1,
        cancelled=2,
        waiting=1,
        retries=2,
        first=First(text="ValueError: bad date", index=8),
    )


def test_what_was_handed_to_workers_and_is_not_home_is_counted() -> None:
    run = made("embed", 20)
    run.flights.leave("1", Batch(spans=((0, 5),)), [], 0.0)
    run.flights.leave("2", Batch(spans=((5, 8),)), [], 0.0)
    done(run, 0, 5)
    run.flights.land("1")

    assert count(run) == Counts(total=20, done=5, out=3)


def test_failures_of_some_elements_are_grouped_as_those_of_all_are() -> None:
    run = made("embed", 20)
    for index in (3, 5, 7):
        failed(run, index, "bad date", where="embed.py:12 in embed")
    failed(run, 9, "lost", state=StateName.CRASHED)

    assert [str(one) for one in alike_of(run, range(20))] == [
        "3 x embed: ValueError: bad date (elements 3, 5, 7; embed.py:12 in embed)",
        "1 x embed: ValueError: lost (element 9)",
    ]
    assert [one.count for one in alike_of(run, range(5, 8))] == [2]


def test_the_failure_that_was_shown_stays_the_first() -> None:
    run = made("embed", 20)
    failed(run, 17, "bad date")
    shown = count(run).first
    failed(run, 3, "worse")

    assert str(count(run, shown).first) == "ValueError: bad date, element 17"


def test_an_element_of_a_stream_is_named_by_its_place_in_the_whole_stream() -> None:
    run = made("embed", 100, first=5_000)
    failed(run, 17, "bad date")

    assert str(count(run).first) == "ValueError: bad date, element 5,017"


def test_a_cause_is_told_before_what_it_caused() -> None:
    run = made("embed", 3)
    failed(run, 0, "embed[2]", kind="fanfold.values.errors.X", state=StateName.UPSTREAM_FAILED)
    failed(run, 2, "", kind="__main__.make.<locals>.BadDate")

    assert str(count(run).first) == "BadDate, element 2"


def test_retries_are_not_counted_where_that_would_take_long() -> None:
    run = made("embed", MOST_DETAILS + 1)
    run.details = dict.fromkeys(range(run.count), Detail(attempts=2))

    assert count(run).retries is None


def test_counts_of_parts_add_up_and_an_unknown_total_stays_unknown() -> None:
    one = Counts(total=10, done=5, retries=1, first=First(text="one"))
    other = Counts(total=10, done=2, retries=2, first=First(text="other"))

    assert one + other == Counts(total=20, done=7, retries=3, first=First(text="one"))
    assert (one + Counts(total=None)).total is None
    assert (one + Counts(total=0, retries=None)).retries is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("bad date", "bad date"),
        ("\n  two\nlines", "two"),
        ("a\x1b[2Jb\tc", "a [2Jb c"),
        ("x" * 200, "x" * 99 + "…"),
        ("", ""),
    ],
)
def test_messages_become_one_harmless_line(text: str, line: str) -> None:
    assert shortened(text) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (4.24, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (65, "1 min 05 s"),
        (7380, "2 h 03 min"),
    ],
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_share_is_never_rounded_to_nothing_or_to_everything() -> None:
    assert share(1, 1000) == "<1 %"
    assert share(999, 1000) == "99 %"
    assert share(1000, 1000) == "100 %"
    assert share(0, 0) == "0 %"


def alike(count: int, task: str = "embed") -> Alike:
    return Alike(task=task, state=StateName.FAILED, count=count, failure="KeyError: 'x'")


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (FlowFacts(state="Completed", seconds=0.012), "Completed in 12 ms"),
        (FlowFacts(state="Completed", seconds=0.012, runs=1), "Completed in 12 ms: 1 task run"),
        (
            FlowFacts(
                state="Completed", seconds=4.2, runs=1003, cached=350, retries=1, show="more"
            ),
            "Completed in 4.2 s: 1,003 task runs, 350 cached (34 %), 1 retry (more)",
        ),
    ],
)
def test_a_flow_without_failures_ends_with_one_line(facts: FlowFacts, line: str) -> None:
    assert summary(facts) == line


def test_what_failed_is_told_below_with_the_command_that_shows_more() -> None:
    facts = FlowFacts(
        state="Completed",
        seconds=4.2,
        runs=1003,
        failed=3,
        upstream_failed=2,
        crashed=1,
        failures=(
            Alike(
                task="embed",
                state=StateName.FAILED,
                count=1200,
                failure="ValueError: bad date",
                where="embed.py:12 in embed",
                elements=(3, 17, 1020),
            ),
            Alike(
                task="load",
                state=StateName.FAILED,
                count=1,
                failure="OSError: no such file",
                elements=(4,),
            ),
        ),
        show="fanfold runs show 0192f0",
    )

    assert summary(facts).splitlines() == [
        "Completed in 4.2 s: 1,003 task runs, 3 failed, 1 crashed, 2 upstream-failed",
        "  1,200 x embed: ValueError: bad date (elements 3, 17, 1020, ...; embed.py:12 in embed)",
        "  1 x load: OSError: no such file (element 4)",
        "  fanfold runs show 0192f0",
    ]


def test_a_flows_own_error_comes_first_and_few_kinds_of_failures_are_told() -> None:
    facts = FlowFacts(
        state="Failed",
        seconds=4.2,
        error="KeyError: 'x'",
        runs=9,
        cancelled=2,
        failures=tuple(alike(count, f"t{count}") for count in (5, 4, 3, 2, 1)),
    )

    assert summary(facts).splitlines() == [
        "Failed in 4.2 s with KeyError: 'x'",
        "  9 task runs, 2 cancelled",
        "  5 x t5: KeyError: 'x'",
        "  4 x t4: KeyError: 'x'",
        "  3 x t3: KeyError: 'x'",
        "  3 in 2 more ways",
    ]


def test_a_flow_that_failed_before_it_did_anything_has_one_line() -> None:
    facts = FlowFacts(state="Failed", seconds=0.001, error="KeyError: 'x'", show="more")

    assert summary(facts) == "Failed in 1 ms with KeyError: 'x' (more)"


def test_a_tally_counts_calls_and_maps_and_groups_failures_by_task_type_and_place() -> None:
    tally = Tally()
    one, many, bad = made("load", 1), made("embed", 10, first=100), made("load", 1)
    done(one, 0, 1, StateName.CACHED)
    done(many, 0, 4)
    failed(many, 8, "bad date", where="embed.py:9 in embed")
    failed(many, 9, "bad date", where="embed.py:9 in embed")
    failed(many, 6, "worse date", where="embed.py:9 in embed")
    failed(many, 5, "bad date", where="embed.py:12 in embed")
    failed(many, 4, "bad date", state=StateName.UPSTREAM_FAILED, kind="x.UpstreamFailed")
    failed(many, 7, "lost", state=StateName.CRASHED, kind="x.Crashed")
    failed(bad, 0, "no such file", kind="OSError")

    for run in (one, many, bad):
        tally.add(run)

    facts = tally.facts("Completed", 1.0)
    assert replace(facts, failures=()) == FlowFacts(
        state="Completed", seconds=1.0, runs=12, cached=1, failed=5, crashed=1, upstream_failed=1
    )
    assert [str(alike) for alike in facts.failures] == [
        "3 x embed: ValueError: worse date (elements 106, 108, 109; embed.py:9 in embed)",
        "1 x embed: ValueError: bad date (element 105; embed.py:12 in embed)",
        "1 x embed: Crashed: lost (element 107)",
        "1 x load: OSError: no such file",
        "1 x embed: UpstreamFailed: bad date (element 104)",
    ]


def test_a_tally_counts_retries_of_elements_that_failed_and_of_those_that_did_not() -> None:
    tally = Tally()
    many, one = made("embed", 10), made("load", 1)
    done(many, 0, 9)
    many.details[3] = Detail(attempts=3)
    failed(many, 9, "bad date", attempts=2)
    done(one, 0, 1)
    one.details[0] = Detail(attempts=2)

    for run in (many, one):
        tally.add(run)

    assert tally.facts("Completed", 1.0).retries == 4


def test_a_failure_that_a_function_returned_as_a_state_is_told_by_its_message() -> None:
    tally = Tally()
    run = made("load", 1)
    done(run, 0, 1, StateName.FAILED)
    run.details[0] = Detail(message="no rows today")

    tally.add(run)

    assert [str(alike) for alike in tally.facts("Failed", 1.0).failures] == [
        "1 x load: no rows today"
    ]


def test_what_is_taken_back_of_a_tally_was_never_counted() -> None:
    tally = Tally()
    run = made("embed", 10)
    done(run, 0, 9)
    failed(run, 9, "bad date", attempts=3)
    tally.add(run)

    tally.take_back(run)

    assert tally.facts("Completed", 1.0) == FlowFacts(state="Completed", seconds=1.0)


def test_a_flows_error_is_told_in_one_line() -> None:
    facts = Tally().facts("Failed", 1.0, ValueError("bad\ndate"))

    assert summary(facts) == "Failed in 1.0 s with ValueError: bad"
