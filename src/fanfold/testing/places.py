"""Where checks of histories get histories from, and what they can do to them."""

import multiprocessing
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import pytest

from fanfold.ports.history import History

A = TypeVar("A")
DEADLINE_S = 60.0
"""For another process or thread to answer; only a check that fails takes so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What an adapter's fixture `places` gives to the checks."""

    open: Callable[[str], History]
    """Makes an object from a URL, such as the adapter's class. It pickles where `shared`."""
    fresh: Callable[[], str]
    """Returns the URL of a history that nobody has used yet."""
    unreachable: Callable[[], History]
    """Returns a history that can't be reached, of which a password isn't shown."""
    pass_time: Callable[[str], None] | None = None
    """Lets all owners of a URL look as if they hadn't renewed their leases for long enough. None
    where nobody renews: the histories have `renewal_s` None."""
    shared: bool = True
    """Whether other processes see it too; else another object stands for them."""


class Place:
    """One history, fresh, and the objects that a check has opened on it.

    Args:
        places: What the adapter has.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.url = places.fresh()
        self._opened: list[History] = []

    def open(self) -> History:
        """Return another object on it, closed at the end of the check."""
        opened = self.places.open(self.url)
        self._opened.append(opened)
        return opened

    def close(self) -> None:
        """Close all that was opened."""
        while self._opened:
            self._opened.pop().close()

    def dead_owner(self, *names: str) -> str:
        """Return an owner that holds leases, and whose process has been killed since.

        Args:
            *names: What it holds.
        """
        with self.elsewhere(own, *names) as owner:
            pass
        if self.places.pass_time is not None:
            self.places.pass_time(self.url)
        return owner

    @contextmanager
    def elsewhere(self, act: Callable[..., A], *args: Any) -> Generator[A]:
        """Do something in another process, which lives on until the block ends: then it is killed.

        Args:
            act: A function of a module, called with a history of that process and the arguments.
            *args: They pickle, as does what it returns.
        """
        if not self.places.shared:
            forgotten = self.places.open(self.url)  # never closed, as it is when a process dies
            yield act(forgotten, *args)
            return
        with elsewhere(partial(self.places.open, self.url), act, *args) as answer:
            yield answer


class OnPlaces:
    """Fixtures of a history's checks: `places` comes from the adapter."""

    @pytest.fixture
    def place(self, places: Places) -> Generator[Place]:
        """Have a fresh history."""
        made = Place(places)
        yield made
        made.close()

    @pytest.fixture
    def history(self, place: Place) -> History:
        """Have an object on it."""
        return place.open()


def own(history: History, *names: str) -> str:
    """Return a new owner that holds leases."""
    owner = history.owner()
    for name in names:
        assert history.take(name, owner) is not None
    return owner


def at_once(*acts: Callable[[], A]) -> list[A]:
    """Return what several functions return that begin together, each in a thread of its own."""
    start = threading.Barrier(len(acts))

    def run(act: Callable[[], A]) -> A:
        start.wait(DEADLINE_S)
        return act()

    with ThreadPoolExecutor(len(acts)) as threads:
        answers = [threads.submit(run, act) for act in acts]
        return [answer.result(DEADLINE_S) for answer in answers]


@contextmanager
def elsewhere(make: Callable[[], Any], act: Callable[..., A], *args: Any) -> Generator[A]:
    """Do something in another process, which lives on until the block ends: then it is killed.

    Args:
        make: Makes there what is acted on; it pickles.
        act: A function of a module, called with that and the arguments.
        *args: They pickle, as does what it returns.
    """
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=_elsewhere, args=(theirs, make, act, args), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.poll(DEADLINE_S), "the other process didn't answer"
        yield ours.recv()
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def _elsewhere(
    answers: Connection, make: Callable[[], Any], act: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    """Answer, and wait for the end, which comes by a signal or with the one who asked."""
    made = make()
    answers.send(act(made, *args))
    try:
        answers.recv()
    except EOFError:
        return
