"""How a run waits: for workers that could run it, and for a word of those that do."""

import pytest

from fanfold.engine.patience import LOOK_S, TOLD_AFTER_S, Patience
from fanfold.engine.run import Run
from fanfold.values.errors import WorkerLost
from tests.unit.engine.rehearsal import C, Rehearsal, Sent, labels

NO_GPU = "no worker offers gpu; the cluster offers cpu=2"


@pytest.fixture
def play() -> Rehearsal:
    return Rehearsal()


class TestWorkers:
    def test_a_short_wait_is_not_spoken_of(self, play: Rehearsal) -> None:
        play.lacking = "there are no workers"
        run = play.over_items("map", range(4))
        play.pass_time(TOLD_AFTER_S - LOOK_S)

        play.lacking = ""
        play.all_home()

        assert run.over and run.warnings == []
        assert labels(run) == ["Completed"] * 4

    def test_a_long_one_is_told_once_and_ends_when_a_worker_comes(self, play: Rehearsal) -> None:
        play.lacking = NO_GPU
        run = play.over_items("map", range(4))
        play.pass_time(60.0)

        assert [told.startswith("map waits up to ") for told in run.warnings] == [True]
        assert NO_GPU in run.warnings[0]
        assert run.wait.what == NO_GPU
        play.lacking = ""
        play.all_home()
        assert labels(run) == ["Completed"] * 4
        assert run.wait.what == ""

    def test_patience_ends(self, play: Rehearsal) -> None:
        play.lacking = NO_GPU
        run = play.over_items("map", range(3), chunk_size=1, patience=Patience(worker_s=30.0))
        sent = list(play.air)
        play.pass_time(29.0)
        assert not run.over

        play.pass_time(2.0)

        assert run.over and run.finished
        assert labels(run) == ["Crashed"] * 3
        failure = run.error(2)
        assert failure is not None
        assert failure.message == f"map: no worker could run it for 30 s: {NO_GPU}"
        # What waits on the cluster is taken back.
        assert sorted(play.dropped) == [one.ref for one in sent]

    def test_each_wait_has_its_own_time(self, play: Rehearsal) -> None:
        run = play.over_items("map", range(3), chunk_size=1, patience=Patience(worker_s=30.0))
        for _ in range(3):
            play.lacking = NO_GPU
            play.tell(run)
            play.pass_time(20.0)
            play.lacking = ""
            play.pass_time(LOOK_S)

        play.all_home()
        assert labels(run) == ["Completed"] * 3


class TestSilence:
    def silent(self, play: Rehearsal, **patience: float) -> tuple[Run, Sent]:
        """Return a map whose second chunk has said nothing since it was handed out."""
        run = play.over_items("map", range(4), chunk_size=2, patience=Patience(**patience))
        first, second = play.air
        play.home(first)
        return run, second

    def test_who_is_not_stuck_is_left_alone(self, play: Rehearsal) -> None:
        run, second = self.silent(play)
        play.pass_time(200.0)

        assert play.looks == 3
        assert play.air == [second]
        assert run.warnings == []

    def test_who_spoke_before_is_spoken_of(self, play: Rehearsal) -> None:
        run, second = self.silent(play)
        run.flights.speaks(second.work.id, play.now)
        play.tell(run)

        play.pass_time(61.0)

        assert len(run.warnings) == 1 and "1 running chunks of map" in run.warnings[0]

    def test_words_put_the_look_off(self, play: Rehearsal) -> None:
        run, second = self.silent(play)
        for _ in range(10):
            play.pass_time(50.0)
            run.flights.speaks(second.work.id, play.now)
            play.tell(run)

        assert play.looks == 0

    @pytest.mark.parametrize("first_home", ["copy", "original"])
    def test_a_stuck_chunk_gets_a_copy_and_whichever_is_first_counts(
        self, play: Rehearsal, first_home: str
    ) -> None:
        run, second = self.silent(play)
        play.stuck = {second.ref}
        play.pass_time(60.0)
        (copy,) = [sent for sent in play.air if sent is not second]
        assert copy.indices == second.indices

        winner, loser = (copy, second) if first_home == "copy" else (second, copy)
        play.home(winner)

        assert run.over
        assert play.dropped == [loser.ref]
        assert play.results(run) == [f"map({x})" for x in range(4)]
        assert run.locations.holds(winner.ref)
        play.home(loser)
        assert not run.locations.holds(loser.ref)

    def test_what_the_first_left_undone_goes_out_again(self, play: Rehearsal) -> None:
        run, second = self.silent(play)
        play.stuck = {second.ref}
        play.pass_time(60.0)
        copy = play.air[-1]

        play.home(copy, C)
        play.land(second)

        assert [sent.indices for sent in play.air] == [[3]]
        play.all_home()
        assert labels(run) == ["Completed"] * 4

    def test_a_copy_that_is_lost_costs_nothing(self, play: Rehearsal) -> None:
        run, second = self.silent(play)
        play.stuck = {second.ref}
        play.pass_time(60.0)

        play.lose(play.air[-1], WorkerLost("killed by signal 9"))

        assert play.air == [second]
        play.home(second)
        assert labels(run) == ["Completed"] * 4

    def test_one_copy_at_a_time_is_enough(self, play: Rehearsal) -> None:
        _, second = self.silent(play)
        play.stuck = {second.ref}
        play.pass_time(300.0)

        assert len(play.air) == 2

    def test_a_speculative_task_asks_nobody(self, play: Rehearsal) -> None:
        run, second = self.silent(play, speculative=True)
        run.flights.speaks(second.work.id, play.now)
        play.tell(run)

        play.pass_time(60.0)

        assert play.looks == 0
        assert [sent.indices for sent in play.air] == [second.indices] * 2
