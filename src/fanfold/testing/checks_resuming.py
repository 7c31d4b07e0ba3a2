"""Checks of how a history opens flow runs again that have ended: rules H4 and H5 of its port."""

from fanfold.ports.history import History
from fanfold.testing.checks_recording import path_to
from fanfold.testing.places import OnPlaces, Place
from fanfold.testing.scribes import (
    PROBLEM,
    T0_US,
    Scribe,
    finished,
    flow_run,
    key,
    line,
    moved,
    resumed,
)
from fanfold.values.facts import Fact, FlowRunNamed, Receipt
from fanfold.values.records import FlowRunRecord, FlowRuns
from fanfold.values.states import RESUMABLE, StateName

RUN = key(1)


def record_of(history: History, run: str = RUN) -> FlowRunRecord:
    """Return what a history says of a flow run."""
    return history.read(FlowRuns(ids=(run,)))[0]


class ResumeChecks(OnPlaces):
    """Checks of `record`: flow runs that are resumed."""

    def test_h5_a_resumed_run_is_as_if_it_had_not_ended(self, history: History) -> None:
        """It keeps what it was called with, and says who drives it now."""
        scribe, owner = Scribe(history), history.owner()
        named = FlowRunNamed(flow_run_id=RUN, name="calm-otter", parameters={"x": "1"})
        scribe.must(flow_run(RUN, host="one", process=1, runner="threads"), named)
        scribe.must(moved(RUN, StateName.RUNNING, tries=2), moved(RUN, StateName.FAILED,
                    label="Broken", message="no", problem=PROBLEM))  # fmt: skip
        history.take(RUN, owner)

        again = resumed(RUN, runner="processes", host="two", process=2, at_us=T0_US + 7)
        scribe.must(again, epochs={RUN: 2})

        found = record_of(history)
        assert (found.state, found.label, found.message) == (StateName.PENDING, "", "")
        assert (found.problem, found.ended_us, found.started_us) == (None, None, T0_US + 1)
        assert (found.name, found.parameters, found.tries) == ("calm-otter", {"x": "1"}, 2)
        assert (found.runner, found.host, found.process) == ("processes", "two", 2)
        assert (found.driver_epoch, found.resumed) == (2, 1)
        assert found.driver_since_us == T0_US + 7

    def test_h5_a_resumed_run_goes_on_to_its_end(self, history: History) -> None:
        """It moves as a new one does, ends its lease, and may be resumed again."""
        scribe, owner = Scribe(history), history.owner()
        scribe.must(flow_run(RUN, owner=owner), *finished(RUN, StateName.CRASHED))

        for epoch in (2, 3):
            history.take(RUN, owner)
            scribe.must(resumed(RUN), *finished(RUN, StateName.CANCELLED, at_us=T0_US + epoch),
                        epochs={RUN: epoch})  # fmt: skip

        found = record_of(history)
        assert (found.state, found.resumed) == (StateName.CANCELLED, 2)
        assert (found.started_us, found.ended_us) == (T0_US + 1, T0_US + 3)

    def test_h5_only_what_ended_without_a_value_is_resumed(self, history: History) -> None:
        """From every state; others are refused and stay as they are."""
        states = [state for state in StateName if state is not StateName.RESUMING]
        before = {key(number): state for number, state in enumerate(states)}
        facts: list[Fact] = []
        for run, state in before.items():
            facts += [flow_run(run), *(moved(run, each) for each in path_to(state))]
        Scribe(history).must(*facts)

        receipt = Scribe(history).tell(*map(resumed, before))

        refused = {refusal.fact.flow_run_id for refusal in receipt.refused}
        assert {before[run] for run in before.keys() - refused} == set(RESUMABLE)
        found = {run.id: run.state for run in history.read(FlowRuns(limit=100))}
        assert found == {
            run: state if run in refused else StateName.PENDING for run, state in before.items()
        }

    def test_h4_who_is_refused_learns_in_which_epoch_his_run_was_taken_over(
        self, history: History
    ) -> None:
        """Also before it is opened again; who is refused for another reason learns of none."""
        one, two = Scribe(history), Scribe(history)
        one.must(flow_run(RUN), *finished(RUN, StateName.CRASHED))
        history.take(RUN, history.owner())

        late = one.tell(line(RUN, "late"))
        two.must(resumed(RUN), epochs={RUN: 2})
        later = one.tell(moved(RUN, StateName.RUNNING))
        illegal = two.tell(resumed(RUN), epochs={RUN: 2})

        told = [*late.refused, *later.refused]
        assert {refusal.epoch for refusal in told} <= {2}
        assert [refusal.epoch for refusal in illegal.refused] == [0]

    def test_a_wish_to_cancel_is_of_the_run_before(self, place: Place, history: History) -> None:
        """A run that was cancelled isn't cancelled again; it may be asked anew."""
        scribe, owner = Scribe(history), history.owner()
        scribe.must(flow_run(RUN, owner=owner))
        history.cancel(RUN)
        scribe.must(moved(RUN, StateName.CANCELLED))
        history.take(RUN, owner)

        scribe.must(resumed(RUN), epochs={RUN: 2})
        before = history.cancelled(owner)

        assert before == []
        assert place.open().cancel(RUN)
        assert history.cancelled(owner) == [RUN]

    def test_a_resumed_run_that_dies_is_reaped(self, place: Place, history: History) -> None:
        """In the epoch after; its driver's own is told until somebody resumes it again."""
        scribe = Scribe(history)
        scribe.must(flow_run(RUN), *finished(RUN, StateName.CRASHED))
        place.dead_owner(RUN)
        scribe.must(resumed(RUN), epochs={RUN: 2})

        leases = history.reap(history.owner())
        receipt = scribe.tell(moved(RUN, StateName.CRASHED), epochs={RUN: 3})

        assert [(lease.name, lease.epoch) for lease in leases] == [(RUN, 3)]
        assert receipt == Receipt()
        found = record_of(history)
        assert (found.state, found.driver_epoch) == (StateName.CRASHED, 2)
