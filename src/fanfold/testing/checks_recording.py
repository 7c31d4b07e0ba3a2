"""Checks of what a history records, and what it refuses: rules H1 to H8 of its port."""

import threading
from itertools import product

import pytest

from fanfold.adapters.history.rules import storable
from fanfold.ports.history import History
from fanfold.testing.places import OnPlaces, Place, Places, at_once
from fanfold.testing.scribes import (
    Scribe,
    artifact,
    chunk,
    element,
    ended,
    finished,
    flow_run,
    key,
    line,
    mapped,
    moved,
    resumed,
    task_run,
)
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.facts import (
    ArtifactChanged,
    Fact,
    FlowRunMade,
    FlowRunNamed,
    LinesDropped,
    Receipt,
)
from fanfold.values.records import (
    Artifacts,
    Chunks,
    Elements,
    FlowRuns,
    Lines,
    Retention,
    States,
    TaskRuns,
)
from fanfold.values.states import NEXT, StateName

RUN, OTHER = key(1), key(2)
TASK = key(11)
WRITTEN = 40
"""Batches that are recorded while another reads."""


def states_of(history: History, run: str = RUN) -> list[StateName]:
    """Return the state that a flow run is recorded in, none if it isn't."""
    return [found.state for found in history.read(FlowRuns(ids=(run,)))]


def tell_a_run(history: History) -> Receipt:
    """Record, in whatever process, that a flow run was made and runs."""
    return Scribe(history).tell(flow_run(RUN), moved(RUN, StateName.RUNNING))


def path_to(state: StateName) -> list[StateName]:
    """Return by which moves a new run comes to a state; the last is the state itself."""
    paths: dict[StateName, list[StateName]] = {StateName.PENDING: []}
    while state not in paths:
        for known, path in list(paths.items()):
            for after in sorted(NEXT[known]):
                paths.setdefault(after, [*path, after])
    return paths[state]


class RecordChecks(OnPlaces):
    """Checks of `record` and its rules."""

    def test_h1_a_reader_sees_all_of_a_batch_or_nothing(self, place: Place) -> None:
        """Two runs that are made in one batch are never seen apart."""
        scribe, reader = Scribe(place.open()), place.open()
        done = threading.Event()

        def write() -> None:
            try:
                for number in range(0, 2 * WRITTEN, 2):
                    scribe.must(flow_run(key(number)), flow_run(key(number + 1)))
            finally:
                done.set()

        def read() -> list[int]:
            counts: list[int] = []
            while not done.is_set():
                counts.append(len(reader.read(FlowRuns(limit=1_000))))
            return counts

        _, counts = at_once(write, read)

        assert not [count for count in counts or () if count % 2]

    def test_h1_states_outlive_the_process_that_recorded_them(
        self, place: Place, history: History
    ) -> None:
        """What was recorded before a process was killed is there."""
        with place.elsewhere(tell_a_run) as receipt:
            pass

        assert receipt == Receipt()
        assert states_of(history) == [StateName.RUNNING]

    def test_h2_a_batch_that_is_told_again_changes_nothing(
        self, place: Place, history: History
    ) -> None:
        """Neither the last one of its writer, nor one before; also told to another object."""
        scribe = Scribe(history)
        batches = [scribe.batch(flow_run(RUN)), scribe.batch(line(RUN, "once"))]
        first = [history.record(batch) for batch in batches]

        again = [place.open().record(batch) for batch in batches]

        assert first == [Receipt(), Receipt()]
        assert again == [Receipt(again=True), Receipt(again=True)]
        assert len(history.read(Lines())) == 1

    def test_h2_each_writer_counts_by_itself(self, history: History) -> None:
        """A writer's first batch is recorded, whatever others have told."""
        scribes = [Scribe(history), Scribe(history)]

        scribes[0].must(flow_run(RUN))
        scribes[0].must(line(RUN, "one"))
        scribes[1].must(line(RUN, "two"))

        assert [told.message for told in history.read(Lines())] == ["one", "two"]

    def test_h2_of_those_who_tell_the_same_batch_one_is_heard(self, place: Place) -> None:
        """A batch that two deliver at the same time is recorded once."""
        objects = [place.open(), place.open()]
        scribe = Scribe(objects[0])
        scribe.must(flow_run(RUN))
        batch = scribe.batch(line(RUN, "once"))

        receipts = at_once(*[lambda told=told: told.record(batch) for told in objects])

        assert sorted(receipt.again for receipt in receipts) == [False, True]
        assert len(objects[0].read(Lines())) == 1

    def test_h3_a_refused_fact_is_named_and_the_others_are_recorded(self, history: History) -> None:
        """Also those that come after it."""
        lost = line(OTHER, "of a run that nobody knows")

        receipt = Scribe(history).tell(flow_run(RUN), lost, line(RUN, "kept"))

        assert [refusal.fact for refusal in receipt.refused] == [lost]
        assert all(OTHER in refusal.reason for refusal in receipt.refused)
        assert [told.message for told in history.read(Lines())] == ["kept"]

    def test_h4_facts_of_an_unknown_flow_run_are_refused(self, history: History) -> None:
        """Facts of every kind but the one that it was made."""
        facts: list[Fact] = [
            FlowRunNamed(flow_run_id=RUN, name="x"),
            moved(RUN, StateName.RUNNING),
            resumed(RUN),
            task_run(RUN, TASK),
            chunk(RUN, TASK, "c1"),
            element(RUN, TASK, 0),
            ended(RUN, TASK, [StateName.COMPLETED]),
            line(RUN, "x"),
            line("", "x"),
            LinesDropped(flow_run_id=RUN, count=1),
            artifact(RUN, key(30)),
            ArtifactChanged(flow_run_id=RUN, artifact_id=key(30), data="1", at_us=1),
        ]

        receipt = Scribe(history).tell(*facts)

        assert [refusal.fact for refusal in receipt.refused] == facts

    def test_h4_an_artifact_of_no_flow_run_is_recorded(self, history: History) -> None:
        """It is made and changed outside of every run."""
        change = ArtifactChanged(flow_run_id="", artifact_id=key(30), data="2", at_us=9)

        Scribe(history).must(artifact("", key(30)), change)

        assert [shown.data for shown in history.read(Artifacts())] == ["2"]

    def test_h4_who_has_lost_his_lease_is_refused(self, place: Place, history: History) -> None:
        """Of a run that was taken over nothing is recorded but in the new epoch."""
        scribe = Scribe(history)
        dead, reaper = place.dead_owner(), history.owner()
        scribe.must(flow_run(RUN, owner=dead), flow_run(OTHER, owner=reaper))
        leases = history.reap(reaper)

        late = scribe.tell(moved(RUN, StateName.RUNNING), line(OTHER, "of another run"))
        scribe.must(moved(RUN, StateName.CRASHED), epochs={RUN: 2})
        too_late = scribe.tell(line(RUN, "after the end"))

        assert [(lease.name, lease.epoch) for lease in leases] == [(RUN, 2)]
        assert [refusal.fact.flow_run_id for refusal in late.refused] == [RUN]
        assert len(too_late.refused) == 1
        assert states_of(history) == [StateName.CRASHED]
        assert [told.message for told in history.read(Lines())] == ["of another run"]

    def test_h5_moves_follow_the_table(self, history: History) -> None:
        """From every state to every other; what the table lacks is refused and changes nothing."""
        pairs = [(one, two) for one, two in product(StateName, StateName) if one is not two]
        facts: list[Fact] = []
        for number, (before, after) in enumerate(pairs):
            run = key(number)
            facts += [flow_run(run), *(moved(run, state) for state in path_to(before))]
            facts.append(moved(run, after, message="the last"))

        receipt = Scribe(history).tell(*facts)

        refused = {refusal.fact.flow_run_id for refusal in receipt.refused}
        found = {run.id: run.state for run in history.read(FlowRuns(limit=1_000))}
        for number, (before, after) in enumerate(pairs):
            legal = after in NEXT[before]
            assert (key(number) not in refused) is legal, f"{before.label} to {after.label}"
            assert found[key(number)] is (after if legal else before)

    def test_h5_a_move_is_judged_by_what_earlier_batches_said(self, history: History) -> None:
        """An end that was recorded isn't taken back."""
        scribe = Scribe(history)
        scribe.must(flow_run(RUN), *finished(RUN, StateName.FAILED))

        receipt = scribe.tell(moved(RUN, StateName.COMPLETED))

        assert ["Failed" in refusal.reason for refusal in receipt.refused] == [True]
        assert states_of(history) == [StateName.FAILED]

    def test_h5_being_told_its_state_again_is_no_move(self, history: History) -> None:
        """It isn't refused, and changes nothing."""
        scribe = Scribe(history)
        scribe.must(flow_run(RUN), moved(RUN, StateName.RUNNING, message="first", tries=1))

        scribe.must(moved(RUN, StateName.RUNNING, message="second", tries=2))

        record = history.read(FlowRuns())[0]
        assert (record.message, record.tries) == ("first", 1)

    def test_h5_a_final_state_ends_the_lease(self, history: History) -> None:
        """Another may take it then; and a run's record has no owner."""
        scribe, owner = Scribe(history), history.owner()
        scribe.must(flow_run(RUN, owner=owner))
        held = history.read(FlowRuns())[0].owner

        scribe.must(*finished(RUN))

        assert held == owner
        assert history.read(FlowRuns())[0].owner == ""
        lease = history.take(RUN, history.owner())
        assert lease is not None and lease.epoch == 2

    def test_h5_a_task_run_ends_again_only_in_other_states(self, history: History) -> None:
        """A transaction may roll it back; telling the same twice is refused."""
        scribe = Scribe(history)
        one = ended(RUN, TASK, [StateName.COMPLETED])
        scribe.must(flow_run(RUN), task_run(RUN, TASK), one)

        again = scribe.tell(one)
        other = scribe.tell(ended(RUN, TASK, [StateName.ROLLED_BACK]))

        assert [refusal.fact for refusal in again.refused] == [one]
        assert other == Receipt()
        assert history.read(States(task_run_id=TASK)) == [bytes([StateName.ROLLED_BACK])]

    def test_h6_nothing_is_recorded_twice(self, history: History) -> None:
        """Neither in one batch nor in another: what was there first stays."""
        scribe = Scribe(history)
        made = [flow_run(RUN), task_run(RUN, TASK), chunk(RUN, TASK, "c1"), artifact(RUN, key(30))]
        twice = [
            flow_run(RUN, flow="other"),
            task_run(RUN, TASK, task="other"),
            chunk(RUN, TASK, "c1", worker="other"),
            artifact(RUN, key(30), data="other"),
        ]

        in_one = scribe.tell(*made, *twice)
        in_another = scribe.tell(*twice)

        assert [refusal.fact for refusal in in_one.refused] == twice
        assert [refusal.fact for refusal in in_another.refused] == twice
        assert [run.flow for run in history.read(FlowRuns())] == ["etl"]
        assert [run.task for run in history.read(TaskRuns())] == ["parse"]
        assert [home.worker for home in history.read(Chunks(task_run_id=TASK))] == [""]
        assert [shown.data for shown in history.read(Artifacts())] == ['"# Sums"']

    def test_h6_of_an_element_the_later_fact_counts(self, history: History) -> None:
        """The one that was told last replaces the others, in one batch or several."""
        scribe = Scribe(history)
        told = [element(RUN, TASK, 3, attempts=number) for number in (1, 2)]

        scribe.must(flow_run(RUN), mapped(RUN, TASK, 5), *told)
        first = history.read(Elements(task_run_ids=(TASK,)))
        scribe.must(element(RUN, TASK, 3, attempts=3, state=StateName.COMPLETED, problem=None))

        assert [found.attempts for found in first] == [2]
        last = history.read(Elements(task_run_ids=(TASK,)))
        assert [(found.attempts, found.state) for found in last] == [(3, StateName.COMPLETED)]

    def test_h6_facts_of_an_unknown_task_run_are_refused(self, history: History) -> None:
        """There is nothing that they could be added to."""
        facts: list[Fact] = [
            chunk(RUN, TASK, "c1"),
            element(RUN, TASK, 0),
            ended(RUN, TASK, [StateName.COMPLETED]),
            ArtifactChanged(flow_run_id=RUN, artifact_id=key(30), data="1", at_us=1),
        ]

        receipt = Scribe(history).tell(flow_run(RUN), *facts)

        assert [refusal.fact for refusal in receipt.refused] == facts

    def test_h7_another_object_sees_what_was_recorded(self, place: Place) -> None:
        """At once, also one that has read before."""
        reader, scribe = place.open(), Scribe(place.open())
        before = reader.read(FlowRuns())

        scribe.must(flow_run(RUN))

        assert before == []
        assert [run.id for run in reader.read(FlowRuns())] == [RUN]

    def test_h7_another_process_sees_what_was_recorded(
        self, place: Place, history: History
    ) -> None:
        """And this one sees what that one records."""
        Scribe(history).must(flow_run(OTHER))

        with place.elsewhere(see_and_tell) as seen:
            found = [run.id for run in history.read(FlowRuns())]

        assert seen == [OTHER]
        assert found == [OTHER, RUN]

    def test_h8_a_history_out_of_reach_says_so(self, places: Places) -> None:
        """Every method raises, and names the history, but no password."""
        history = places.unreachable()
        acts = [
            lambda: history.record(Scribe(history).batch(flow_run(RUN))),
            lambda: history.read(FlowRuns()),
            lambda: history.prune(Retention(keep_us=1), 1, 1),
            history.vacuum,
            history.upgrade,
            history.owner,
            lambda: history.take("x", "owner"),
            lambda: history.reap("owner"),
            lambda: history.cancel(RUN),
            lambda: history.cancelled("owner"),
            lambda: history.put("kind", "name", "{}"),
            lambda: history.get("kind", "name"),
            lambda: history.list("kind"),
            lambda: history.drop("kind", "name"),
        ]

        for act in acts:
            with pytest.raises(HistoryUnavailable) as caught:
                act()
            assert "history" in str(caught.value)
            assert "secret" not in str(caught.value)
        history.close()

    def test_text_that_databases_do_not_take_is_recorded(self, history: History) -> None:
        """NUL and halves of surrogates are replaced, where they can't be kept."""
        odd = "from \0 to \ud800 and \U0001f980"
        problem = element(RUN, TASK, 0).problem
        assert problem is not None

        Scribe(history).must(
            flow_run(RUN, name=odd, tags=(odd,)),
            FlowRunNamed(flow_run_id=RUN, name=odd, parameters={"x": odd}),
            moved(RUN, StateName.RUNNING, message=odd, label=odd),
            mapped(RUN, TASK, 1, name=odd),
            element(RUN, TASK, 0, message=odd),
            line(RUN, odd, logger=odd),
            artifact(RUN, key(30), data=odd, description=odd),
        )

        assert history.read(FlowRuns())[0].message == storable(odd)
        assert history.read(Lines())[0].message == storable(odd)

    def test_threads_may_record_through_one_object(self, history: History) -> None:
        """Each tells of its own runs, and none is lost."""

        def write(thread: int) -> list[FlowRunMade]:
            scribe = Scribe(history)
            runs = [flow_run(key(100 * thread + number)) for number in range(10)]
            for run in runs:
                scribe.must(run)
            return runs

        told = at_once(*[lambda thread=thread: write(thread) for thread in range(4)])

        found = {run.id for run in history.read(FlowRuns(limit=1_000))}
        assert found == {run.flow_run_id for runs in told for run in runs}


def see_and_tell(history: History) -> list[str]:
    """Return which runs another process sees, and record one there."""
    seen = [run.id for run in history.read(FlowRuns())]
    Scribe(history).must(flow_run(RUN))
    return seen
