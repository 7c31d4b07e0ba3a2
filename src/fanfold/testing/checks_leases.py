"""Checks of leases: who may write for what, and what becomes of it when he is gone."""

from fanfold.ports.history import History
from fanfold.testing.places import OnPlaces, Place, at_once, own
from fanfold.testing.scribes import Scribe, finished, flow_run, key, moved
from fanfold.values.records import FlowRuns, Lease
from fanfold.values.states import StateName

RUN, OTHER, THIRD = key(1), key(2), key(3)


def names(leases: list[Lease]) -> list[str]:
    """Return of what they are."""
    return [lease.name for lease in leases]


class LeaseChecks(OnPlaces):
    """Checks of `owner`, `take`, `renew`, `release`, `abandon`, `reap`, `cancel`, `cancelled`."""

    def test_each_owner_is_another(self, place: Place) -> None:
        """Also those of other objects."""
        owners = [history.owner() for history in (place.open(), place.open()) for _ in range(3)]

        assert len({*owners, ""}) == 7

    def test_what_is_free_is_leased_in_epoch_1(self, history: History) -> None:
        """Whatever its name is."""
        owner = history.owner()

        lease = history.take("tick of etl", owner)

        assert lease == Lease(name="tick of etl", owner=owner, epoch=1)

    def test_what_another_holds_is_not_leased(self, place: Place, history: History) -> None:
        """Nor is it through another object."""
        owner = own(history, "x")
        other = place.open()

        assert other.take("x", other.owner()) is None
        assert history.take("y", history.owner()) is not None
        assert history.take("x", owner) == Lease(name="x", owner=owner, epoch=1)

    def test_of_those_who_ask_at_once_one_gets_the_lease(self, place: Place) -> None:
        """Never two."""
        histories = [place.open() for _ in range(4)]
        owners = [history.owner() for history in histories]

        leases = at_once(
            *[
                lambda pair=pair: pair[0].take("x", pair[1])
                for pair in zip(histories, owners, strict=True)
            ]
        )

        assert len([lease for lease in leases if lease is not None]) == 1

    def test_the_epoch_rises_with_each_new_owner(self, history: History) -> None:
        """Also with one who had it before another, or before it was free."""
        one, two = history.owner(), history.owner()
        epochs: list[int] = []

        for owner in (one, two, one, one):
            lease = history.take("x", owner)
            epochs.append(lease.epoch if lease else 0)
            history.release(owner, ["x"])

        assert epochs == [1, 2, 3, 4]

    def test_only_the_owner_releases_and_only_what_he_names(self, history: History) -> None:
        """Without names: all of his."""
        one, two = own(history, "a", "b", "c"), own(history, "d")

        history.release(one, ["a", "d", "nobody has it"])
        third = history.owner()
        taken = [name for name in "abcd" if history.take(name, third)]
        history.release(one)
        rest = [name for name in "abcd" if history.take(name, third)]

        assert taken == ["a"]
        assert rest == ["a", "b", "c"]
        assert history.take("d", two) == Lease(name="d", owner=two, epoch=1)

    def test_a_flow_run_is_leased_to_its_owner_from_the_beginning(self, history: History) -> None:
        """In epoch 1; without an owner it is free."""
        owner, other = history.owner(), history.owner()

        Scribe(history).must(flow_run(RUN, owner=owner), flow_run(OTHER))

        assert history.take(RUN, other) is None
        assert history.take(RUN, owner) == Lease(name=RUN, owner=owner, epoch=1)
        assert history.take(OTHER, other) == Lease(name=OTHER, owner=other, epoch=2)
        found = {run.id: (run.owner, run.epoch) for run in history.read(FlowRuns())}
        assert found == {RUN: (owner, 1), OTHER: (other, 2)}

    def test_leases_of_the_living_are_not_reaped(self, place: Place, history: History) -> None:
        """Those of one who renews in time are his; so is what is free nobody's."""
        owner = own(history, "x", "y")
        history.release(owner, ["y"])
        if place.places.pass_time is not None:
            place.places.pass_time(place.url)
        history.renew(owner)

        other = place.open()

        assert other.reap(other.owner()) == []
        assert other.take("x", other.owner()) is None

    def test_leases_of_the_dead_are_reaped(self, place: Place, history: History) -> None:
        """With a higher epoch each; they are the reaper's, then."""
        place.dead_owner("x", "y")
        reaper = history.owner()

        reaped = history.reap(reaper)

        assert reaped == [
            Lease(name="x", owner=reaper, epoch=2),
            Lease(name="y", owner=reaper, epoch=2),
        ]
        assert history.reap(reaper) == []
        assert history.take("x", reaper) == Lease(name="x", owner=reaper, epoch=2)
        assert history.take("x", history.owner()) is None

    def test_a_lease_of_the_dead_may_be_taken(self, place: Place, history: History) -> None:
        """Without being reaped."""
        place.dead_owner("x")
        owner = history.owner()

        assert history.take("x", owner) == Lease(name="x", owner=owner, epoch=2)

    def test_death_is_seen_no_sooner_than_it_is_declared(
        self, place: Place, history: History
    ) -> None:
        """At once where nobody renews leases; else once their time has passed, not before."""
        reaper = history.owner()

        with place.elsewhere(own, "x"):
            alive = history.reap(reaper)
        after = history.reap(reaper)

        assert alive == []
        if history.renewal_s is None:
            assert names(after) == ["x"]
        else:
            assert place.places.pass_time is not None
            assert after == []
            place.places.pass_time(place.url)
            assert names(history.reap(reaper)) == ["x"]

    def test_an_owner_that_the_history_did_not_make_is_dead(self, history: History) -> None:
        """A run told by a process that has ended meanwhile is reaped, as others are."""
        Scribe(history).must(flow_run(RUN, owner="made-by-nobody"))

        assert names(history.reap(history.owner())) == [RUN]

    def test_what_was_abandoned_is_reaped_at_once(self, place: Place, history: History) -> None:
        """It is its owner's no more, whatever he does; he himself is alive."""
        owner = own(history, "a", "b")
        other = own(history, "c")

        history.abandon(owner)
        history.renew(owner)
        history.release(owner)
        own_again = history.take("b", owner)
        reaped = place.open().reap(history.owner())

        assert own_again == Lease(name="b", owner=owner, epoch=2)
        assert [(lease.name, lease.epoch) for lease in reaped] == [("a", 2)]
        assert history.take("c", other) == Lease(name="c", owner=other, epoch=1)

    def test_reaping_takes_so_many_at_most(self, place: Place, history: History) -> None:
        """By name; the rest is left for the next time."""
        place.dead_owner("c", "a", "b")
        one, two = history.owner(), history.owner()

        assert names(history.reap(one, limit=2)) == ["a", "b"]
        assert names(history.reap(two)) == ["c"]

    def test_each_lease_goes_to_one_reaper(self, place: Place) -> None:
        """Those who reap at the same time share what there is."""
        place.dead_owner(*"abcdefgh")
        reapers = [place.open() for _ in range(3)]

        reaped = at_once(*[lambda by=by: by.reap(by.owner()) for by in reapers])

        assert sorted(name for leases in reaped for name in names(leases)) == [*"abcdefgh"]

    def test_a_dead_reaper_is_reaped_himself(self, place: Place, history: History) -> None:
        """What he had taken over goes on to the next, an epoch higher."""
        place.dead_owner("x")
        with place.elsewhere(reap_all) as reaped:
            pass
        if place.places.pass_time is not None:
            place.places.pass_time(place.url)

        again = history.reap(history.owner())

        assert reaped == ["x"]
        assert [(lease.name, lease.epoch) for lease in again] == [("x", 3)]

    def test_cancelling_is_asked_of_the_owner(self, place: Place, history: History) -> None:
        """The owner is told of his own runs that are open, and so are those who look."""
        scribe, owner = Scribe(history), history.owner()
        runs = [flow_run(run, owner=owner) for run in (RUN, OTHER, THIRD)]
        scribe.must(*runs, flow_run(key(4), owner=history.owner()))

        asked = [place.open().cancel(run) for run in (OTHER, RUN, key(4), RUN)]

        assert asked == [True] * 4
        assert history.cancelled(owner) == [RUN, OTHER]
        found = [run.id for run in history.read(FlowRuns()) if run.cancel_asked]
        assert found == [key(4), OTHER, RUN]

    def test_a_run_that_is_over_is_not_asked(self, history: History) -> None:
        """Nor one that isn't known; and who was asked and is over is not told of again."""
        scribe, owner = Scribe(history), history.owner()
        scribe.must(flow_run(RUN, owner=owner), flow_run(OTHER, owner=owner), *finished(OTHER))

        asked = [history.cancel(run) for run in (RUN, OTHER, THIRD)]
        before = history.cancelled(owner)
        scribe.must(moved(RUN, StateName.CANCELLED))

        assert asked == [True, False, False]
        assert before == [RUN]
        assert history.cancelled(owner) == []

    def test_closing_releases_the_leases_of_its_owners(self, place: Place) -> None:
        """All of them, and those alone; twice is as once."""
        first, other = place.open(), place.open()
        own(first, "a")
        own(first, "b")
        own(other, "c")

        first.close()
        first.close()

        third = other.owner()
        assert [name for name in "abc" if other.take(name, third)] == ["a", "b"]


def reap_all(history: History) -> list[str]:
    """Return what another process has reaped."""
    return names(history.reap(history.owner()))
