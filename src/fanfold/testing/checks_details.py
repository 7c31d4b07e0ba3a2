"""Checks of what a history answers to questions for elements, lines of logs and artifacts."""

from dataclasses import replace

import pytest

from fanfold.ports.history import History
from fanfold.testing.places import OnPlaces
from fanfold.testing.scribes import (
    PROBLEM,
    T0_US,
    Scribe,
    artifact,
    element,
    flow_run,
    key,
    key_parts,
    line,
    mapped,
)
from fanfold.values.facts import ArtifactChanged, Problem
from fanfold.values.records import (
    Arguments,
    ArtifactRecord,
    Artifacts,
    ElementRecord,
    Elements,
    FailureGroup,
    FailureGroups,
    KeyRecord,
    Keys,
    LineRecord,
    Lines,
)
from fanfold.values.states import StateName

RUN, OTHER = key(1), key(2)
TASK, NEXT_TASK = key(11), key(12)


def places_of(history: History, query: Elements) -> list[tuple[str, int]]:
    """Return run and index of the elements that a history answers with."""
    return [(found.task_run_id, found.index) for found in history.read(query)]


def messages(history: History, query: Lines) -> list[str]:
    """Return the messages of the lines that a history answers with."""
    return [found.message for found in history.read(query)]


class DetailChecks(OnPlaces):
    """Checks of `read`: elements, lines and artifacts."""

    def test_an_element_is_told_as_it_was_recorded(self, history: History) -> None:
        """Every field comes back, and what it was called with by its own question."""
        told = element(
            RUN, TASK, 3, attempts=4, name="näme", label="Broken", message="no", seconds=0.5,
            arguments=b"\0\xff", problem=Problem(kind="a.B", message="é", traceback="T\nT"),
        )  # fmt: skip
        Scribe(history).must(flow_run(RUN), mapped(RUN, TASK, 9), told, element(RUN, TASK, 4))

        found = history.read(Elements(task_run_ids=(TASK,)))

        assert found[0] == ElementRecord(
            task_run_id=TASK, index=3, state=StateName.FAILED, attempts=4, name="näme",
            label="Broken", message="no", problem=told.problem, seconds=0.5, has_arguments=True,
            at_us=T0_US + 3,
        )  # fmt: skip
        assert not found[1].has_arguments
        kept = [history.read(Arguments(task_run_id=TASK, index=index)) for index in (3, 4, 5)]
        assert kept == [[b"\0\xff"], [], []]

    ELEMENTS_FOUND = (
        (Elements(task_run_ids=(TASK,)), [(TASK, 2), (TASK, 10)]),
        (
            Elements(task_run_ids=(NEXT_TASK, TASK), limit=3),
            [(TASK, 2), (TASK, 10), (NEXT_TASK, 0)],
        ),
        (
            Elements(task_run_ids=(TASK, NEXT_TASK), after=(TASK, 2)),
            [(TASK, 10), (NEXT_TASK, 0), (NEXT_TASK, 2)],
        ),
        (Elements(task_run_ids=(TASK, NEXT_TASK), indices=(2, 3)), [(TASK, 2), (NEXT_TASK, 2)]),
        (
            Elements(task_run_ids=(TASK, NEXT_TASK), states=(StateName.CRASHED,)),
            [(TASK, 10), (NEXT_TASK, 2)],
        ),
        (Elements(task_run_ids=()), []),
    )  # fmt: skip

    @pytest.mark.parametrize(("query", "found"), ELEMENTS_FOUND, ids=lambda value: str(value)[:70])
    def test_elements_are_found_by(
        self, history: History, query: Elements, found: list[tuple[str, int]]
    ) -> None:
        """Each field of the question; by run and index, in pages."""
        Scribe(history).must(
            flow_run(RUN), mapped(RUN, TASK, 20), mapped(RUN, NEXT_TASK, 20),
            element(RUN, NEXT_TASK, 2, state=StateName.CRASHED),
            element(RUN, TASK, 10, state=StateName.CRASHED),
            element(RUN, TASK, 2), element(RUN, NEXT_TASK, 0),
        )  # fmt: skip

        assert places_of(history, query) == found

    def test_failures_are_grouped_by_what_they_look_like(self, history: History) -> None:
        """By task, state, type and first frame; the message is that of the first."""
        other = Problem(kind="KeyError", message="'x'", where="etl.py:3 in load")
        retried = element(RUN, TASK, 0, state=StateName.COMPLETED, attempts=2)
        waiting = element(RUN, TASK, 1, state=StateName.AWAITING_RETRY)
        said = element(RUN, TASK, 2, problem=None, message="by hand")
        Scribe(history).must(
            flow_run(RUN), flow_run(OTHER),
            mapped(RUN, TASK, 20), mapped(RUN, NEXT_TASK, 20), mapped(OTHER, key(13), 5),
            retried, waiting, said,
            element(RUN, NEXT_TASK, 5, problem=Problem(kind="ValueError", message="second",
                                                      where=PROBLEM.where)),
            element(RUN, NEXT_TASK, 4), element(RUN, TASK, 7, problem=other),
            element(RUN, TASK, 6, problem=other), element(RUN, TASK, 8, problem=other),
            element(OTHER, key(13), 0),
        )  # fmt: skip

        groups = history.read(FailureGroups(flow_run_ids=(RUN,)))

        def group(count: int, kind: str, where: str, message: str, at: tuple[str, int]) -> object:
            return FailureGroup(
                flow_run_id=RUN, task="parse", state=StateName.FAILED, kind=kind, where=where,
                count=count, message=message, task_run_id=at[0], index=at[1],
            )  # fmt: skip

        assert groups == [
            group(3, "KeyError", "etl.py:3 in load", "'x'", (TASK, 6)),
            group(2, "ValueError", PROBLEM.where, "no", (NEXT_TASK, 4)),
            group(1, "", "", "by hand", (TASK, 2)),
        ]
        assert history.read(FailureGroups(flow_run_ids=(RUN,), limit=1)) == groups[:1]
        assert history.read(FailureGroups(flow_run_ids=(RUN,), since_us=T0_US + 99)) == []

    def test_parts_of_keys_are_told_as_they_were_recorded(self, history: History) -> None:
        """First those that all elements share; what was told last of one counts."""
        Scribe(history).must(
            flow_run(RUN), flow_run(OTHER), mapped(RUN, TASK, 9),
            key_parts(RUN, TASK, 3, day="é"), key_parts(RUN, TASK, 0, day="1"),
            key_parts(RUN, TASK, code="c0de"), key_parts(RUN, TASK, 0, day="2"),
            key_parts(OTHER, TASK, code="other"), key_parts(RUN, "c0de", body="b0d4"),
        )  # fmt: skip

        found = history.read(Keys(flow_run_id=RUN, of=TASK))

        assert found == [
            KeyRecord(of=TASK, index=None, parts={"code": "c0de"}),
            KeyRecord(of=TASK, index=0, parts={"day": "2"}),
            KeyRecord(of=TASK, index=3, parts={"day": "é"}),
        ]
        assert history.read(Keys(flow_run_id=RUN, of=NEXT_TASK)) == []

    def test_a_line_is_told_as_it_was_recorded(self, history: History) -> None:
        """Every field comes back; ids ascend in the order of recording."""
        told = line(RUN, "näme", task_run_id=TASK, index=0, attempt=2, level=30, logger="a.b")
        Scribe(history).must(flow_run(RUN), told, line(RUN, "second", at_us=T0_US))

        found = history.read(Lines())

        assert found[0] == LineRecord(
            id=found[0].id, flow_run_id=RUN, task_run_id=TASK, index=0, attempt=2, level=30,
            logger="a.b", message="näme", at_us=T0_US + 5,
        )  # fmt: skip
        assert found[1].index is None
        assert found[0].id < found[1].id

    LINES_FOUND = (
        (Lines(flow_run_ids=(OTHER,)), ["five"]),
        (Lines(task_run_ids=(TASK,)), ["two", "three", "four"]),
        (Lines(task_run_ids=(TASK,), index=0), ["two", "three"]),
        (Lines(attempt=0), ["one", "five"]),
        (Lines(attempt=2), ["three"]),
        (Lines(level=30), ["three", "four"]),
        (Lines(logger="app"), ["two", "three"]),
        (Lines(logger="app.db"), ["three"]),
        (Lines(flow_run_ids=(RUN,), task_run_ids=(TASK,), level=30, index=1), ["four"]),
        (Lines(limit=2), ["one", "two"]),
        (Lines(limit=2, last=True), ["four", "five"]),
        (Lines(limit=9, last=True, flow_run_ids=(RUN,)), ["one", "two", "three", "four"]),
    )

    @pytest.mark.parametrize(("query", "found"), LINES_FOUND, ids=lambda value: str(value)[:70])
    def test_lines_are_found_by(self, history: History, query: Lines, found: list[str]) -> None:
        """Each field of the question; a logger with those below it, and not those beside it."""
        Scribe(history).must(
            flow_run(RUN), flow_run(OTHER),
            line(RUN, "one", logger="apple"),
            line(RUN, "two", task_run_id=TASK, index=0, attempt=1, logger="app"),
            line(RUN, "three", task_run_id=TASK, index=0, attempt=2, level=40, logger="app.db"),
            line(RUN, "four", task_run_id=TASK, index=1, attempt=1, level=30, logger="ap"),
            line(OTHER, "five", logger="APP"),
        )  # fmt: skip

        assert messages(history, query) == found

    def test_lines_come_in_pages(self, history: History) -> None:
        """`after_id` goes on after the last of a page; with `last`, at the end of the rest."""
        Scribe(history).must(flow_run(RUN), *(line(RUN, f"line {at}") for at in range(5)))

        first = history.read(Lines(limit=2))
        after = first[-1].id

        assert messages(history, Lines(limit=2, after_id=after)) == ["line 2", "line 3"]
        assert messages(history, Lines(limit=2, after_id=after, last=True)) == ["line 3", "line 4"]
        assert messages(history, Lines(limit=9, after_id=after, last=True))[0] == "line 2"

    WORDS_FOUND = (
        ("time out", ["Time-out after 30 s", "time:\n\tout_of_band"]),
        ("time ou", ["Time-out after 30 s", "time:\n\tout_of_band"]),
        ("out time", []),
        ("after s", []),
        ("ime", []),
        ("TIME", ["Time-out after 30 s", "time:\n\tout_of_band", "timetable"]),
        ("ou", ["Time-out after 30 s", "time:\n\tout_of_band"]),
        ("tim out", []),
        ("out of", ["time:\n\tout_of_band"]),
        ("30", ["Time-out after 30 s"]),
        ("3", ["Time-out after 30 s"]),
        ("STRASSE", ["Straße nach Århus"]),
        ("århus", ["Straße nach Århus"]),
        ("arhus", []),
        ("100%", ["100 of 100"]),
        ("of_100", ["100 of 100"]),
        ('"time" OR (out*', []),
        ("'; DROP", []),
        ("日本", ["日本語のログ"]),
        ("語の", []),
        ("...", ["Time-out after 30 s", "time:\n\tout_of_band", "timetable", "Straße nach Århus",
                 "100 of 100", "日本語のログ"]),
    )  # fmt: skip

    @pytest.mark.parametrize(("wanted", "found"), WORDS_FOUND)
    def test_lines_are_found_by_words(
        self, history: History, wanted: str, found: list[str]
    ) -> None:
        """In this order, next to each other, whatever the case; the last may be only begun."""
        kept = ["Time-out after 30 s", "time:\n\tout_of_band", "timetable", "Straße nach Århus"]
        kept += ["100 of 100", "日本語のログ"]
        Scribe(history).must(flow_run(RUN), *(line(RUN, message) for message in kept))

        assert messages(history, Lines(words=wanted)) == found

    def test_words_are_looked_for_among_the_lines_that_are_asked_for(
        self, history: History
    ) -> None:
        """The limit counts lines that have the words, and are of the run."""
        noise = [line(OTHER, f"disk full {at}") for at in range(20)]
        Scribe(history).must(
            flow_run(RUN), flow_run(OTHER), *noise, line(RUN, "disk full, 1"), line(RUN, "idle"),
            line(RUN, "disk full, 2"), *noise,
        )  # fmt: skip
        query = Lines(flow_run_ids=(RUN,), words="disk full", limit=1)

        assert messages(history, query) == ["disk full, 1"]
        assert messages(history, replace(query, last=True)) == ["disk full, 2"]

    def test_an_artifact_is_told_as_it_was_recorded(self, history: History) -> None:
        """Every field comes back; a change leaves the description, unless it has one."""
        made = artifact(
            RUN, key(30), kind="table", key="sums", data="[1]", description="é", task_run_id=TASK,
            index=0,
        )  # fmt: skip
        change = ArtifactChanged(flow_run_id=RUN, artifact_id=key(30), data="[2]", at_us=T0_US + 9)
        scribe = Scribe(history)
        scribe.must(flow_run(RUN), made, change)

        assert history.read(Artifacts()) == [
            ArtifactRecord(
                id=key(30), kind="table", key="sums", version=1, data="[2]", description="é",
                flow_run_id=RUN, task_run_id=TASK, index=0, created_us=T0_US + 6,
                changed_us=T0_US + 9,
            )
        ]  # fmt: skip
        again = ArtifactChanged(
            flow_run_id=RUN, artifact_id=key(30), data="[2]", description="", at_us=T0_US + 9
        )
        scribe.must(again)
        assert history.read(Artifacts())[0].description == ""

    def test_artifacts_of_a_key_are_its_versions(self, history: History) -> None:
        """Counted over all runs, in one batch and in several; what has no key is version 1."""
        scribe = Scribe(history)
        scribe.must(flow_run(RUN), artifact(RUN, key(31), key="a"), artifact(RUN, key(32), key="a"))
        scribe.must(flow_run(OTHER), artifact(OTHER, key(33), key="a"), artifact("", key(34)))
        scribe.must(artifact(OTHER, key(35), key="A"), artifact("", key(36)))

        versions = {shown.id: shown.version for shown in history.read(Artifacts())}

        assert versions == {
            key(31): 1, key(32): 2, key(33): 3, key(34): 1, key(35): 1, key(36): 1,
        }  # fmt: skip

    ARTIFACTS_FOUND = (
        (Artifacts(), [35, 34, 33, 32, 31]),
        (Artifacts(limit=2), [35, 34]),
        (Artifacts(ids=(key(31), key(33))), [33, 31]),
        (Artifacts(key="a"), [34, 31]),
        (Artifacts(kind="table"), [32]),
        (Artifacts(flow_run_id=OTHER), [34]),
        (Artifacts(latest_only=True), [35, 34, 33, 32]),
        (Artifacts(latest_only=True, key="a"), [34]),
        (Artifacts(latest_only=True, flow_run_id=RUN), [33, 32]),
    )

    @pytest.mark.parametrize(("query", "found"), ARTIFACTS_FOUND, ids=lambda value: str(value)[:70])
    def test_artifacts_are_found_by(
        self, history: History, query: Artifacts, found: list[int]
    ) -> None:
        """Each field of the question, the latest first."""
        Scribe(history).must(
            flow_run(RUN), flow_run(OTHER),
            artifact(RUN, key(31), key="a", at_us=T0_US + 1),
            artifact(RUN, key(32), key="b", kind="table", at_us=T0_US + 2),
            artifact(RUN, key(33), at_us=T0_US + 3),
            artifact(OTHER, key(34), key="a", at_us=T0_US + 4),
            artifact("", key(35), at_us=T0_US + 5),
        )  # fmt: skip

        assert [shown.id for shown in history.read(query)] == [key(number) for number in found]
