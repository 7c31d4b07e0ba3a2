"""Where checks of result stores get stores from, and what can be done to their storage."""

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

import pytest

from fanfold.ports.results import ResultStore
from fanfold.testing.places import DEADLINE_S, elsewhere

A = TypeVar("A")


class Fault(StrEnum):
    """What a storage does to one request."""

    BROKEN = "broken"
    """It fails inside, and nothing was done: 500."""
    BUSY = "busy"
    """It asks for fewer requests: 503."""
    RESET = "reset"
    """The connection ends before anything was done."""
    TRUNCATED = "truncated"
    """Half of the answer comes."""
    LOST = "lost"
    """What was asked for is done, but no answer comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What an adapter's fixture `grounds` gives to the checks."""

    fresh: Callable[[], ResultStore]
    """Returns a store that holds nothing; it pickles where `shared`."""
    unreachable: Callable[[], ResultStore]
    """Returns a store that can't be reached, and never will be."""
    private: bool
    """Whether only this user can write there."""
    shared: bool = True
    """Whether other processes see it too; else a copy of the description stands for them."""
    exclusive: bool = True
    """Whether the storage keeps to the condition of an exclusive create. If not, the store warns,
    and of those who race more than one may win."""
    atomic: bool = True
    """Whether it does so in a race too."""
    strike: Callable[[ResultStore, Fault], AbstractContextManager[None]] | None = None
    """Lets the first request of a block fail so; None where there are no requests, or none that
    can be made to fail."""


class OnGrounds:
    """Fixtures of a store's checks: `grounds` comes from the adapter."""

    @pytest.fixture
    def store(self, grounds: Grounds) -> ResultStore:
        """Have a store that holds nothing."""
        return grounds.fresh()


def struck(grounds: Grounds, store: ResultStore, fault: Fault) -> AbstractContextManager[None]:
    """Let the first request of a block fail, where that can be done."""
    return grounds.strike(store, fault) if grounds.strike else nullcontext()


@contextmanager
def another(
    grounds: Grounds, store: ResultStore, act: Callable[..., A], *args: Any
) -> Generator[A]:
    """Do something with a store in another process, which is killed at the end of the block."""
    if not grounds.shared:
        yield act(store, *args)
        return
    with elsewhere(partial(_same, store), act, *args) as answer:
        yield answer


@contextmanager
def meanwhile(act: Callable[[], None]) -> Generator[None]:
    """Do something again and again in another thread, at least once, until the block ends."""
    over = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            while True:
                act()
                if over.is_set():
                    return
        except BaseException as error:  # raised at the end of the block
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(DEADLINE_S)
    assert not thread.is_alive(), "the other thread didn't end"
    if failed:
        raise failed[0]


def _same(store: ResultStore) -> ResultStore:
    return store
