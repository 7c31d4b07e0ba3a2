"""Checks of documents, and of what keeps a history small and sound."""

import pytest

from fanfold.ports.history import History
from fanfold.testing.places import OnPlaces, Place, at_once
from fanfold.testing.scribes import (
    T0_US,
    Scribe,
    artifact,
    chunk,
    element,
    finished,
    flow_run,
    key,
    key_parts,
    line,
    mapped,
    moved,
)
from fanfold.values.facts import Fact, FlowRunNamed
from fanfold.values.records import (
    Arguments,
    Artifacts,
    Chunks,
    Document,
    Elements,
    FlowArguments,
    FlowRuns,
    Keys,
    Lines,
    Retention,
    States,
    TaskRuns,
)
from fanfold.values.states import StateName

RUN, OTHER, THIRD = key(1), key(2), key(3)
TASK = key(11)
DAY_US = 24 * 60 * 60 * 1_000_000
KEEP = Retention(keep_us=DAY_US)
LATER_US = T0_US + 2 * DAY_US


def left(history: History) -> list[str]:
    """Return the ids of the flow runs that are there, the oldest first."""
    return [run.id for run in reversed(history.read(FlowRuns(limit=1_000)))]


def of_a_run(run: str, task: str) -> list[Fact]:
    """Return all that can belong to a flow run."""
    return [
        flow_run(run),
        FlowRunNamed(flow_run_id=run, name="x", arguments=b"x"),
        mapped(run, task, 3),
        chunk(run, task, "c1"),
        element(run, task, 1, arguments=b"x"),
        key_parts(run, task, code="c0de"),
        line(run, "unmistakable"),
        artifact(run, f"{task[:12]}{'a' * 12}"),
        *finished(run),
    ]


class DocumentChecks(OnPlaces):
    """Checks of `put`, `get`, `list` and `drop`."""

    def test_a_document_is_read_as_it_was_written(self, place: Place, history: History) -> None:
        """By another object too; one that isn't there is None."""
        written = history.put("deployment", "etl/näme", '{"x": "é \\u0000"}')

        read = place.open().get("deployment", "etl/näme")

        assert written is not None
        assert read == written
        assert (written.version, written.body) == (1, '{"x": "é \\u0000"}')
        assert history.get("deployment", "etl") is None
        assert history.get("pool", "etl/näme") is None

    def test_the_version_rises_with_each_change(self, history: History) -> None:
        """It begins anew when the document was removed."""
        versions = [history.put("pool", "a", body) for body in ("1", "2", "2")]
        history.drop("pool", "a")
        versions.append(history.put("pool", "a", "3"))

        assert [written.version for written in versions if written] == [1, 2, 3, 1]

    def test_who_knows_another_version_writes_nothing(self, history: History) -> None:
        """0 is for one that isn't there yet."""
        early = history.put("pool", "a", "early", version=1)
        first = history.put("pool", "a", "first", version=0)
        second = [history.put("pool", "a", "second", version=at) for at in (0, 2, 1)]

        assert early is None and first is not None
        assert [written and written.version for written in second] == [None, None, 2]
        read = history.get("pool", "a")
        assert read is not None and read.body == "second"

    @pytest.mark.parametrize("version", [0, 1])
    def test_of_those_who_replace_one_version_one_succeeds(
        self, place: Place, version: int
    ) -> None:
        """Also of those who create one."""
        histories = [place.open() for _ in range(4)]
        for number in range(version):
            histories[0].put("pool", "a", str(number))

        written = at_once(
            *[lambda by=by: by.put("pool", "a", "x", version=version) for by in histories]
        )

        assert [done.version for done in written if done] == [version + 1]

    def test_who_replaces_whatever_is_there_always_succeeds(self, place: Place) -> None:
        """Those who do it at the same time write a version each."""
        histories = [place.open() for _ in range(4)]

        written = at_once(*[lambda by=by: by.put("pool", "a", "x") for by in histories])

        assert sorted(done.version for done in written if done) == [1, 2, 3, 4]

    def test_documents_are_listed_by_name(self, history: History) -> None:
        """In the order of code points, those of one kind, whose names begin so to the letter."""
        names = ["a", "B", "a_b", "ab", "é", "a%b", "A", "a-b", "aé", "a\\b"]
        for name in names:
            history.put("pool", name, "{}")
        history.put("deployment", "other", "{}")

        def found(prefix: str) -> list[str]:
            return [document.name for document in history.list("pool", prefix)]

        assert found("") == sorted(names)
        assert found("a") == ["a", "a%b", "a-b", "a\\b", "a_b", "ab", "aé"]
        assert (found("a_"), found("a%"), found("a\\")) == (["a_b"], ["a%b"], ["a\\b"])
        assert history.list("nothing") == []
        first = history.list("pool")[0]
        assert first == Document(
            kind="pool", name="A", version=1, body="{}", changed_us=first.changed_us
        )

    def test_a_document_is_dropped_at_its_version_only(self, history: History) -> None:
        """It says whether it was there."""
        history.put("pool", "a", "1")
        history.put("pool", "a", "2")
        history.put("deployment", "a", "other")

        dropped = [history.drop("pool", "a", version=version) for version in (1, 2, 2, None)]

        assert dropped == [False, True, False, False]
        assert history.get("pool", "a") is None
        assert history.get("deployment", "a") is not None


class KeepChecks(OnPlaces):
    """Checks of `prune`, `status`, `vacuum`, `upgrade` and `close`."""

    def test_runs_go_when_they_were_kept_long_enough(self, history: History) -> None:
        """Counted from their end; each state may have its own time."""
        end_us = T0_US + DAY_US
        Scribe(history).must(
            *[flow_run(key(number)) for number in range(1, 5)],
            *finished(key(1), at_us=end_us),
            *finished(key(2), StateName.FAILED, at_us=end_us),
            *finished(key(3), at_us=end_us + 1),
            moved(key(4), StateName.RUNNING),
        )
        keep = Retention(keep_us=DAY_US, by_state={StateName.FAILED: 3 * DAY_US})

        counts = [history.prune(keep, LATER_US - 1, 10), history.prune(keep, LATER_US, 10)]

        assert counts == [0, 1]
        assert left(history) == [key(2), key(3), key(4)]
        assert history.prune(keep, LATER_US + 2 * DAY_US, 10) == 2
        assert left(history) == [key(4)], "a run that isn't over was removed"

    def test_all_that_belongs_to_a_run_goes_with_it(self, history: History) -> None:
        """And nothing that belongs to another."""
        scribe = Scribe(history)
        scribe.must(
            *of_a_run(RUN, TASK), *of_a_run(OTHER, key(12)), moved(OTHER, StateName.ROLLED_BACK)
        )

        gone = history.prune(
            Retention(keep_us=9 * DAY_US, by_state={StateName.COMPLETED: 0}), LATER_US, 9
        )

        assert gone == 1
        for run, task, count in ((RUN, TASK, 0), (OTHER, key(12), 1)):
            answers = [
                history.read(FlowRuns(ids=(run,))),
                history.read(FlowArguments(flow_run_id=run)),
                history.read(TaskRuns(ids=(task,))),
                history.read(States(task_run_id=task)),
                history.read(Chunks(task_run_id=task)),
                history.read(Elements(task_run_ids=(task,))),
                history.read(Arguments(task_run_id=task, index=1)),
                history.read(Keys(flow_run_id=run, of=task)),
                history.read(Lines(flow_run_ids=(run,))),
                history.read(Lines(flow_run_ids=(run,), words="unmistakable")),
                history.read(Artifacts(flow_run_id=run)),
            ]
            assert [len(answer) for answer in answers] == [count] * len(answers)
        assert scribe.tell(line(RUN, "late")).refused

    def test_a_run_that_is_removed_may_be_told_anew(self, history: History) -> None:
        """Nothing is left of it that stands in the way; its lease begins anew, too."""
        scribe = Scribe(history)
        scribe.must(*of_a_run(RUN, TASK))
        history.prune(KEEP, LATER_US, 10)

        receipt = scribe.tell(*of_a_run(RUN, TASK))

        assert receipt.refused == ()
        assert [run.epoch for run in history.read(FlowRuns())] == [1]
        assert [found.message for found in history.read(Lines())] == ["unmistakable"]

    def test_a_called_run_goes_with_its_outermost_caller(self, history: History) -> None:
        """Not before, however long ago it ended; nor does it stay behind."""
        scribe = Scribe(history)
        inner = [flow_run(OTHER, parent_id=RUN), flow_run(THIRD, parent_id=OTHER)]
        scribe.must(flow_run(RUN), *inner, *finished(THIRD), *finished(OTHER))
        before = history.prune(KEEP, LATER_US, 10)
        scribe.must(*finished(RUN))

        after = history.prune(KEEP, LATER_US, 10)

        assert (before, after) == (0, 1)
        assert left(history) == []

    def test_a_run_whose_caller_is_not_recorded_goes_by_itself(self, history: History) -> None:
        """Else it would stay for ever."""
        Scribe(history).must(flow_run(RUN, parent_id=key(9)), *finished(RUN))

        assert history.prune(KEEP, LATER_US, 10) == 1
        assert left(history) == []

    def test_so_many_runs_go_at_most_the_oldest_first(self, history: History) -> None:
        """Fewer than the limit say that no more are left."""
        runs = [key(number) for number in range(1, 6)]
        Scribe(history).must(*[fact for run in runs for fact in (flow_run(run), *finished(run))])

        counts = [history.prune(KEEP, LATER_US, 2)]
        rest = left(history)
        counts += [history.prune(KEEP, LATER_US, 2) for _ in range(3)]

        assert rest == runs[2:]
        assert counts == [2, 2, 1, 0]

    def test_artifacts_of_no_run_go_as_those_of_completed_ones(self, history: History) -> None:
        """They aren't counted as runs."""
        old, new = artifact("", key(30)), artifact("", key(31), at_us=LATER_US)
        Scribe(history).must(old, new)
        keep = Retention(keep_us=0, by_state={StateName.COMPLETED: DAY_US})

        assert history.prune(keep, T0_US + DAY_US, 10) == 0
        assert len(history.read(Artifacts())) == 2
        assert history.prune(keep, LATER_US, 10) == 0
        assert [shown.id for shown in history.read(Artifacts())] == [key(31)]

    def test_the_status_tells_how_a_history_is(self, history: History) -> None:
        """How much it holds, since when, and that nothing is to be migrated."""
        empty = history.status()
        Scribe(history).must(flow_run(RUN), flow_run(OTHER, at_us=T0_US + 1), line(RUN, "x"))

        status = history.status()

        assert empty.oldest_us is None
        assert status.oldest_us == T0_US
        assert (status.counts["flow_runs"], status.counts["lines"]) == (2, 1)
        assert status.schema == status.latest_schema
        assert status.size_bytes >= 0
        assert status.place and status.engine

    def test_an_upgrade_leaves_nothing_to_be_upgraded(self, place: Place) -> None:
        """A second one has nothing to do, whoever asks for it; what is recorded stays."""
        first, other = place.open(), place.open()
        applied = first.upgrade()
        Scribe(first).must(flow_run(RUN))

        assert applied == sorted(applied)
        assert (first.upgrade(), other.upgrade()) == ([], [])
        assert left(other) == [RUN]

    def test_those_who_open_it_first_may_be_several(self, place: Place) -> None:
        """What is missing is created once, and nobody fails by it."""
        histories = [place.open() for _ in range(4)]

        found = at_once(*[lambda by=by: by.read(FlowRuns()) for by in histories])

        assert found == [[]] * 4

    def test_giving_space_back_keeps_what_is_there(self, history: History) -> None:
        """It returns how many bytes."""
        Scribe(history).must(*of_a_run(RUN, TASK), *of_a_run(OTHER, key(12)))
        before = history.read(FlowRuns()), history.read(Lines()), history.read(TaskRuns())

        freed = history.vacuum()

        assert freed >= 0
        assert (history.read(FlowRuns()), history.read(Lines()), history.read(TaskRuns())) == before

    def test_what_was_closed_is_kept(self, place: Place) -> None:
        """Another object finds it."""
        first = place.open()
        Scribe(first).must(flow_run(RUN))

        first.close()

        assert left(place.open()) == [RUN]
