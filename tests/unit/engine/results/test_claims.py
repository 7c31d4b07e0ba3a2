"""Leases on a store: one holder at a time, whoever dies or comes between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.results.claims import BEATS_MISSED, Claimant, Lease
from fanfold.values.ids import new_id

RENEW_S = 1.0
PREFIX = "claims/f/key"


@dataclass
class World:
    """A store at which others act between any two requests, and the time there."""

    moves: list[tuple[str, int]] = field(default_factory=list)
    """What others do between requests; taken from the end."""
    now: float = 0.0
    depth: int = 0
    busy: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)
    holding: dict[int, Lease] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = FsspecStore(f"memory://{new_id()}")
        meddled: Any = Meddled(self)
        self.claimants = [
            Claimant(
                store=meddled,
                prefix=PREFIX,
                who=b"%d" % who,
                renew_s=RENEW_S,
                clock=lambda: self.now,
            )
            for who in range(3)
        ]

    def meddle(self) -> None:
        """Let somebody else act before a request."""
        if self.moves:
            self.act(*self.moves.pop())

    def act(self, what: str, who: int) -> None:
        """Do one thing, unless who is to do it is dead, or in the middle of something else.

        In a relay the next one has the lease right after the first: claims are made and removed.
        """
        if what == "pass" and not self.busy:
            self.pass_time()
        if what == "relay":
            for one in [("attempt", who), ("release", who), ("attempt", (who + 1) % 3)]:
                self.act(*one)
        if who in self.busy or who in self.dead:
            return
        self.busy.add(who)
        try:
            if what == "attempt" and who not in self.holding:
                self.attempt(who)
            elif what == "release" and who in self.holding:
                self.holding.pop(who).release()
            elif what == "die":
                self.holding.pop(who, None)
                self.dead.add(who)
        finally:
            self.busy.discard(who)

    def attempt(self, who: int) -> None:
        lease = self.claimants[who].attempt()
        if lease is not None and who not in self.dead:
            assert not self.holding, "two hold it at once"
            self.holding[who] = lease

    def pass_time(self) -> None:
        """Let half a renewal pass, in which who holds the lease renews it."""
        self.now += RENEW_S / 2
        moves, self.moves = self.moves, []
        for lease in self.holding.values():
            lease.renew()
        self.moves = moves


class Meddled:
    """A store that lets others act before each request."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def asked(*args: Any) -> Any:
            self._world.meddle()
            return getattr(self._world.store, name)(*args)

        return asked


moves = st.lists(
    st.tuples(
        st.sampled_from(["attempt", "relay", "release", "die", "pass"]),
        st.integers(0, 2),
    ),
    max_size=40,
)


@given(moves, moves)
def test_one_holds_it_at_a_time_whatever_comes_between_requests(
    first: list[tuple[str, int]], between: list[tuple[str, int]]
) -> None:
    world = World(moves=between)

    for what, who in first:
        world.act(what, who)

    world.moves.clear()
    alive = [who for who in range(3) if who not in world.dead]
    for _ in range(4 * BEATS_MISSED):
        world.pass_time()
        for who in alive:
            world.act("attempt", who)
    assert len(world.holding) == (1 if alive else 0)


@pytest.fixture
def world() -> World:
    return World()


def test_the_next_one_has_it_at_once_when_it_is_released(world: World) -> None:
    world.act("attempt", 0)
    world.act("attempt", 1)
    assert list(world.holding) == [0]

    world.act("release", 0)
    world.act("attempt", 1)

    assert list(world.holding) == [1]
    assert world.store.names("") == [f"{PREFIX}/000002"]


def test_what_is_no_claim_keeps_nobody_from_the_lease(world: World) -> None:
    for name in ("zzz", "000009/zzz", "99999999"):
        world.store.write(f"{PREFIX}/{name}", [b"released"])

    assert world.claimants[0].attempt() is not None
    assert world.claimants[1].attempt() is None


def test_a_dead_holders_lease_expires_after_some_renewals_that_did_not_come(world: World) -> None:
    world.act("attempt", 0)
    world.act("die", 0)
    waited = 0.0

    while not world.holding and waited < 60.0:
        world.act("attempt", 1)
        world.pass_time()
        waited = world.now

    assert list(world.holding) == [1]
    assert waited == BEATS_MISSED * RENEW_S + RENEW_S / 2


def test_a_long_sleep_of_all_processes_lets_no_lease_expire(world: World) -> None:
    world.act("attempt", 0)
    world.act("attempt", 1)

    world.now += 1_000.0
    world.act("attempt", 1)

    assert list(world.holding) == [0]


def test_who_took_too_long_to_get_it_gives_it_back(world: World) -> None:
    slow = world.claimants[0]
    ticks = iter([0.0, 1_000.0])
    slow.clock = lambda: next(ticks)

    assert slow.attempt() is None

    world.act("attempt", 1)
    assert list(world.holding) == [1]


def test_a_claim_that_was_won_without_hearing_of_it_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = FsspecStore.create

    def unheard(self: FsspecStore, name: str, payload: bytes) -> bool:
        create(self, name, payload)
        return False

    monkeypatch.setattr(FsspecStore, "create", unheard)
    world.act("attempt", 0)

    assert list(world.holding) == [0]
    assert world.holding[0].first


def test_claims_of_one_key_say_nothing_of_another(world: World) -> None:
    other: Sequence[str] = [f"{PREFIX}1", "claims/f/ke", f"{PREFIX}/../g"][:2]
    for prefix in other:
        claimant = Claimant(store=world.store, prefix=prefix, who=b"x", renew_s=RENEW_S)
        assert claimant.attempt() is not None

    world.act("attempt", 0)

    assert world.holding[0].first
