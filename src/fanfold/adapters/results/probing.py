"""Whether a storage creates objects exclusively, and what is done on one that doesn't."""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol
from uuid import uuid4

from fanfold.adapters.results.faults import refused_condition, without_conditions
from fanfold.ports.results import TEMPORARY, Buffer

_logger = logging.getLogger("fanfold.results")


class Place(Protocol):
    """What is tried, and what is left to do without exclusive creation."""

    def put_new(self, name: str, payload: bytes) -> None:
        """Put an object if there is none of that name; raises what the storage raises."""
        ...

    def write(self, name: str, parts: Sequence[Buffer]) -> None: ...

    def read(self, name: str, offset: int, length: int | None) -> Buffer: ...

    def remove(self, names: Sequence[str]) -> None: ...


class Creation:
    """Creates objects at one place, which it tries first: once, by an object of its own.

    A storage may ignore the condition that it is asked for, and then the last writer wins, unseen.
    There, and where a storage knows no condition, an object is looked for, written and read back,
    which isn't exclusive: two writers who look at the same time may both win. That is warned of.

    Args:
        place: Where.
        told: What warnings call it.
        exclusive: Whether it is known to create exclusively; None to try it.
    """

    def __init__(self, place: Place, told: Callable[[], str], exclusive: bool | None) -> None:
        self._place, self._told = place, told
        self._exclusive = exclusive
        self._lock = threading.Lock()

    def create(self, name: str, payload: bytes) -> bool:
        """Put an object unless there is one of that name; return whether it was put."""
        with self._lock:
            if self._exclusive is None:
                self._exclusive = self._probe()
                if not self._exclusive:
                    self._warn()
        return (
            self._exclusively(name, payload) if self._exclusive else self._by_looking(name, payload)
        )

    def _probe(self) -> bool:
        name = f"{TEMPORARY}probe-{uuid4().hex}"
        try:
            self._place.put_new(name, b"1")
            self._place.put_new(name, b"2")
        except Exception as error:
            if refused_condition(error):
                return True
            if not without_conditions(error):
                raise
        finally:
            with suppress(Exception):  # it isn't listed, and may have to stay
                self._place.remove([name])
        return False

    def _exclusively(self, name: str, payload: bytes) -> bool:
        try:
            self._place.put_new(name, payload)
        except Exception as error:
            if not refused_condition(error):
                raise
            # Perhaps by an own try before, whose acknowledgement was lost below.
            return self._holds(name, payload)
        return True

    def _by_looking(self, name: str, payload: bytes) -> bool:
        try:
            self._place.read(name, 0, 0)
        except FileNotFoundError:
            self._place.write(name, [payload])
        return self._holds(name, payload)

    def _holds(self, name: str, payload: bytes) -> bool:
        try:
            return self._place.read(name, 0, None) == payload
        except FileNotFoundError:
            return False

    def _warn(self) -> None:
        _logger.warning(
            "%s doesn't create objects exclusively: two drivers that write at the same time could "
            "both believe that a name is theirs. Fanfold looks before it writes, and reads back; "
            "let one driver at a time work there, or choose a storage with conditional writes.",
            self._told(),
        )
