"""Checks of what races and deaths leave behind: rules S1 to S3 and S7 to S8 of a store's port."""

import logging
from collections.abc import Callable

import pytest

from fanfold.ports.results import ResultStore
from fanfold.testing.grounds import Fault, Grounds, OnGrounds, another, meanwhile, struck
from fanfold.testing.places import at_once
from fanfold.values.errors import StoreError

RACERS = 8
ROUNDS = 10
WHOLE_BYTES = 300_000
"""Of an object that is replaced while it is read: more than one system call or packet moves."""
REPLACED = 15


class CreateChecks(OnGrounds):
    """Checks of what `write` and `create` promise, whoever else writes, reads or dies."""

    def test_s1_readers_see_an_object_as_a_whole(self, store: ResultStore) -> None:
        """The one before or the one after, never a mixture or a part."""
        store.write("a", [b"0" * WHOLE_BYTES])
        seen: set[bytes] = set()

        with meanwhile(lambda: seen.add(bytes(store.read("a")))):
            for number in range(REPLACED):
                store.write("a", [b"%d" % (number % 10)] * WHOLE_BYTES)

        assert {len(content) for content in seen} == {WHOLE_BYTES}
        assert all(len(set(content)) == 1 for content in seen)

    def test_s1_what_is_created_is_seen_as_a_whole(self, store: ResultStore) -> None:
        """From the moment on at which it is there at all."""
        halves: list[str] = []

        def look() -> None:
            for name in store.names("a/"):
                if len(store.read(name)) != WHOLE_BYTES:
                    halves.append(name)

        with meanwhile(look):
            for number in range(10):
                store.create(f"a/{number}", b"x" * WHOLE_BYTES)

        assert halves == []
        assert len(store.names("a/")) == 10

    def test_s2_what_was_written_outlives_its_writer(
        self, grounds: Grounds, store: ResultStore
    ) -> None:
        """A process that is killed as soon as it has told of its objects."""
        with another(grounds, store, write_and_create) as won:
            pass

        assert won
        assert store.names("") == ["a/created", "a/written"]
        assert store.read("a/written") == b"written" * 10_000
        assert store.read("a/created") == b"created" * 10_000

    def test_s3_a_name_that_is_taken_is_left_as_it_is(self, store: ResultStore) -> None:
        """Whether it was created or written."""
        store.write("a/written", [b"first"])

        first = store.create("a/created", b"first")
        later = [store.create(name, b"second") for name in ("a/created", "a/written")]

        assert (first, later) == (True, [False, False])
        assert [store.read(name) for name in store.names("a/")] == [b"first", b"first"]

    def test_s3_of_those_who_create_one_name_at_once_one_wins(
        self, grounds: Grounds, store: ResultStore
    ) -> None:
        """What is there then is what the winner wrote; several may win only where that is told."""
        store.create("before", b"x")

        for turn in range(ROUNDS):
            won = at_once(*[_creating(store, f"turns/{turn}", racer) for racer in range(RACERS)])
            winners = [racer for racer in range(RACERS) if won[racer]]
            assert int(store.read(f"turns/{turn}")) in winners
            assert len(winners) == 1 or not (grounds.exclusive and grounds.atomic)

        assert len(store.names("turns/")) == ROUNDS

    def test_s3_a_storage_that_ignores_the_condition_is_warned_of(
        self, grounds: Grounds, store: ResultStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once, by its name; no other is."""
        with caplog.at_level(logging.WARNING, "fanfold"):
            for number in range(3):
                assert store.create(f"a/{number}", b"x")

        warned = [record.getMessage() for record in caplog.records]
        assert len(warned) == (not grounds.exclusive)
        assert all(str(store) in line for line in warned)
        assert store.names("") == ["a/0", "a/1", "a/2"]

    @pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.LOST])
    def test_s7_a_fault_that_passes_is_not_noticed(
        self, grounds: Grounds, store: ResultStore, fault: Fault
    ) -> None:
        """By whoever writes, creates, lists, reads or removes."""
        store.create("before", b"x")  # the connection is made, and tried

        with struck(grounds, store, fault):
            store.write("a", [b"1234", b"5678"])
        with struck(grounds, store, fault):
            created = store.create("b", b"12")
        with struck(grounds, store, fault):
            names = store.names("")
        with struck(grounds, store, fault):
            content = bytes(store.read("a")), bytes(store.read("a", 2, 4))
        with struck(grounds, store, fault):
            store.remove(["before", "b"])

        assert created
        assert names == ["a", "b", "before"]
        assert content == (b"12345678", b"3456")
        assert store.names("") == ["a"]

    def test_s7_what_is_missing_stays_missing_when_a_fault_comes_first(
        self, grounds: Grounds, store: ResultStore
    ) -> None:
        """It is told as it would be without."""
        store.create("before", b"x")

        with struck(grounds, store, Fault.BUSY), pytest.raises(StoreError) as told:
            store.read("none")

        assert isinstance(told.value.__cause__, FileNotFoundError)

    def test_s8_a_winner_is_told_so_though_the_acknowledgement_was_lost(
        self, grounds: Grounds, store: ResultStore
    ) -> None:
        """And a loser, whose answer was lost too, that he has lost."""
        store.create("before", b"x")

        with struck(grounds, store, Fault.LOST):
            winner = store.create("a", b"of the first attempt")
        with struck(grounds, store, Fault.LOST):
            loser = store.create("a", b"of the second attempt")

        assert (winner, loser) == (True, False)
        assert store.read("a") == b"of the first attempt"

    def test_s8_what_is_done_twice_is_as_done_once(
        self, grounds: Grounds, store: ResultStore
    ) -> None:
        """A write or removal whose acknowledgement was lost is repeated without a trace."""
        store.write("gone", [b"x"])

        with struck(grounds, store, Fault.LOST):
            store.write("a", [b"12"])
        with struck(grounds, store, Fault.LOST):
            store.remove(["gone"])

        assert store.names("") == ["a"]
        assert store.read("a") == b"12"


def write_and_create(store: ResultStore) -> bool:
    """Write in another process; return whether it could create."""
    store.write("a/written", [b"written"] * 10_000)
    return store.create("a/created", b"created" * 10_000)


def _creating(store: ResultStore, name: str, racer: int) -> Callable[[], bool]:
    return lambda: store.create(name, b"%d" % racer)
