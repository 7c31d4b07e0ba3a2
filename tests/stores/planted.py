"""Bugs to plant into the store in memory, and faults that it is made to survive."""

import logging
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.ports.results import Buffer, Listed, ResultStore
from fanfold.testing.grounds import Fault
from fanfold.values.errors import StoreError

A = TypeVar("A")
MET_S = 0.2
"""For threads to meet at the place of a race; longer than that none is waited for."""
pending: dict[str, list[Fault]] = {}
"""Of each URL: what the next request meets."""
shared: dict[str, dict[str, Any]] = {}
"""Of each URL: what the bugs of all copies share."""


@contextmanager
def strike(store: ResultStore, fault: Fault) -> Generator[None]:
    assert isinstance(store, Bug)
    pending.setdefault(store.url, []).append(fault)
    yield
    assert pending.pop(store.url) == [], "the fault struck nothing"


class Struck(ConnectionError):
    """A fault, as the storage's library would raise it."""


class Bug(FsspecStore):
    """The store without a bug: each method is one request, asked again after a fault."""

    @property
    def at(self) -> dict[str, Any]:
        return shared.setdefault(self.url, {})

    def __reduce__(self) -> Any:
        return type(self), (self.url,)

    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        self.patiently(lambda: self.ask(lambda: super(Bug, self).write(name, parts)))

    def create(self, name: str, payload: bytes) -> bool:
        return self.patiently(lambda: self.ask(lambda: super(Bug, self).create(name, payload)))

    def names(self, prefix: str) -> list[str]:
        return self.patiently(lambda: self.ask(lambda: super(Bug, self).names(prefix)))

    def listing(self, prefix: str) -> list[Listed]:
        return self.patiently(lambda: self.ask(lambda: super(Bug, self).listing(prefix)))

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Buffer:
        return self.patiently(lambda: self.ask(lambda: super(Bug, self).read(name, offset, length)))

    def remove(self, names: Sequence[str]) -> None:
        if names:
            self.patiently(lambda: self.ask(lambda: super(Bug, self).remove(names)))

    def ask(self, do: Callable[[], A]) -> A:
        faults = pending.get(self.url)
        if not faults:
            return do()
        fault = faults.pop()
        if fault in (Fault.LOST, Fault.TRUNCATED):
            do()
        raise Struck(fault)

    def patiently(self, request: Callable[[], A]) -> A:
        try:
            return request()
        except Struck:
            return request()

    def meet(self, parties: int) -> None:
        """Wait for other threads at the place of a race."""
        barrier = self.at.setdefault("barrier", threading.Barrier(parties))
        with suppress(threading.BrokenBarrierError):
            barrier.wait(MET_S)


class WritesInPieces(Bug):
    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        for number in range(1, len(parts) if len(parts) > 1_000 else 0, 30_000):
            super().write(name, parts[:number])
        super().write(name, parts)


class CreatesInPieces(Bug):
    def create(self, name: str, payload: bytes) -> bool:
        if len(payload) < 100_000:
            return super().create(name, payload)
        super().write(name, [payload[:10]])
        self.at.setdefault("seen", threading.Event()).wait(MET_S)
        super().write(name, [payload])
        return True

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Buffer:
        self.at.setdefault("seen", threading.Event()).set()
        return super().read(name, offset, length)


class KeepsTheEndForLater(Bug):
    def create(self, name: str, payload: bytes) -> bool:
        kept = payload[:40_000] if len(payload) == 70_000 else payload
        return super().create(name, kept)


class CreatesOverOthers(Bug):
    def create(self, name: str, payload: bytes) -> bool:
        won = super().create(name, payload)
        if not won and payload == b"second":
            super().write(name, [payload])
        return won


class LooksAndThenCreates(Bug):
    def create(self, name: str, payload: bytes) -> bool:
        if not name.startswith("turns/"):
            return super().create(name, payload)
        if super().names(name):
            return False
        self.meet(8)
        super().write(name, [payload])
        return True


class WarnsForNothing(Bug):
    def create(self, name: str, payload: bytes) -> bool:
        if name == "a/0":
            logging.getLogger("fanfold.results").warning("%s may not be exclusive", self)
        return super().create(name, payload)


class GivesUpWhenBusy(Bug):
    def patiently(self, request: Callable[[], A]) -> A:
        try:
            return request()
        except Struck as error:
            if error.args[0] is Fault.BROKEN:
                raise StoreError(f"Store {self} is broken") from error
            return request()


class MistakesFaultsForAbsence(Bug):
    def read(self, name: str, offset: int = 0, length: int | None = None) -> Buffer:
        if name == "none" and pending.get(self.url):
            pending[self.url].clear()
            return b""
        return super().read(name, offset, length)


class LosesWithTheAcknowledgement(Bug):
    def create(self, name: str, payload: bytes) -> bool:
        lost = pending.get(self.url) == [Fault.LOST]
        return super().create(name, payload) and not lost


class WinsWithTheAcknowledgement(Bug):
    def create(self, name: str, payload: bytes) -> bool:
        lost = pending.get(self.url) == [Fault.LOST]
        return super().create(name, payload) or lost


class RemovesOnce(Bug):
    def remove(self, names: Sequence[str]) -> None:
        lost = pending.get(self.url) == [Fault.LOST]
        super().remove(names)
        if lost:
            raise StoreError(f"Store {self} could not remove {names[0]}: it isn't there")


class CutsFromTheWrongEnd(Bug):
    def read(self, name: str, offset: int = 0, length: int | None = None) -> Buffer:
        if offset < -6:
            return super().read(name)[1:]
        return super().read(name, offset, length)


class AppendsToWhatIsLonger(Bug):
    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        if parts == [b"new"]:
            parts = [b"newer"]
        super().write(name, parts)


class HidesEmptyObjects(Bug):
    def names(self, prefix: str) -> list[str]:
        return [one.name for one in super().listing(prefix) if one.size_bytes]


class TakesPrefixesForFolders(Bug):
    def names(self, prefix: str) -> list[str]:
        found = super().names(prefix)
        if prefix and not prefix.endswith("/"):
            found = [name for name in found if name == prefix or name.startswith(prefix + "/")]
        return found


class TakesObjectsForFolders(Bug):
    def names(self, prefix: str) -> list[str]:
        return super().names("a" if prefix == "a/b/c" else prefix)


class ListsFolders(Bug):
    def names(self, prefix: str) -> list[str]:
        return super().names(prefix) or ([prefix] if prefix == "none/" else [])


class RemembersListings(Bug):
    def names(self, prefix: str) -> list[str]:
        found = super().names(prefix)
        if prefix == "a/" and len(found) == 2 and "a/w0" in found:
            self.at["kept"] = found
        return self.at.get("kept", found) if prefix == "a/" else found


class SeesItsOwnAlone(Bug):
    def names(self, prefix: str) -> list[str]:
        return [name for name in super().names(prefix) if "theirs" not in name]


class ListsOnePage(Bug):
    def names(self, prefix: str) -> list[str]:
        return super().names(prefix)[:1_000]


class TellsNoTimes(Bug):
    def listing(self, prefix: str) -> list[Listed]:
        return [
            Listed(name=one.name, size_bytes=one.size_bytes, modified_s=0.0)
            for one in super().listing(prefix)
        ]


class ReadsShort(Bug):
    def read(self, name: str, offset: int = 0, length: int | None = None) -> Buffer:
        if name == "a/b" and (offset, length) == (0, 4):
            return super().read(name)
        return super().read(name, offset, length)


class HidesWhereItIs(Bug):
    def listing(self, prefix: str) -> list[Listed]:
        try:
            return super().listing(prefix)
        except StoreError as error:
            raise StoreError("something failed") from error


class TakesDots(Bug):
    def read(self, name: str, offset: int = 0, length: int | None = None) -> Buffer:
        return super().read(name.removeprefix("./"), offset, length) if name != "./a" else b""


class DecodesNames(Bug):
    def names(self, prefix: str) -> list[str]:
        return [name.replace("%20", "+") for name in super().names(prefix)]


class RemovesNeighbours(Bug):
    def remove(self, names: Sequence[str]) -> None:
        super().remove([*names, "a/2"] if "a/1" in names else names)


class EqualsItselfAlone(Bug):
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return hash(self.url)


class SaysThatOthersMayWrite(Bug):
    @property
    def private(self) -> bool:
        return False


class CutsBigOnes(Bug):
    def read(self, name: str, offset: int = 0, length: int | None = None) -> Buffer:
        return super().read(name, offset, length)[: 32 << 20]
