"""Keys of calls that share no results: only the run itself finds them, when it goes on.

A call is known again by its run, its task, its inputs, and which of the equal calls of its flow's
code it is. What can soon be told at the driver takes part in what is equal: small arguments that
are the same for all elements, and the first item of what is mapped over. So a call that is new in
the code, or comes earlier than it did, doesn't shift the numbers of all others; and what is mapped
over may grow at its end.
"""

import datetime
import decimal
import enum
import pathlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fanfold.engine import keys
from fanfold.engine.context import current
from fanfold.engine.dataflow import ATOMS, held_in
from fanfold.engine.sources import From, Given
from fanfold.engine.spec import Layout, TaskSpec
from fanfold.values.errors import KeyNotStable

LONGEST_TEXT = 256
"""Characters or bytes of a text that tells calls apart at the driver."""
MOST_PARTS = 100
"""The same of a container, with all that is in it; so many take 50 µs."""
_SMALL = (
    *(datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo),
    *(decimal.Decimal, enum.Enum, pathlib.PurePath, uuid.UUID),
)
"""Types of small values that hold nothing, beside the atoms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKey:
    """Makes the keys of one call, or of the elements of one map."""

    run: str
    """Stands for the flow run in keys."""
    folder: str
    """The task's folder in the store."""
    nth: int
    """Which of the equal calls it is."""
    like: bytes = b""
    """What the equal ones have in common."""
    first: int = 0
    """Index of the first element, where it is a part of a streamed map."""

    def __call__(self, spec: TaskSpec, arguments: dict[str, Any]) -> bytes:
        """Return an element's key; one that is never found again, if its inputs have none."""
        context = current()
        element = context.element if context is not None else None
        index = self.first + (element.index if element is not None else 0)
        try:
            place = (self.run, self.folder, self.like, self.nth, index)
            return keys.digest(("call", *place, keys.digest(arguments, "")))
        except KeyNotStable:
            return keys.digest(("call", spec.info.id, index))


def alike(single: bool, layout: Layout, columns: Iterable[Given | From]) -> bytes:
    """Return what equal calls of a task have in common, as far as that can soon be told.

    Args:
        single: Whether it is one call and no map.
        layout: Its arguments that are the same for all elements.
        columns: What it is mapped over.
    """
    static = [(where, _shown(value)) for where, value in layout.static()]
    return keys.digest((single, static, [_shown_first(column) for column in columns]))


def _shown_first(column: Given | From) -> bytes:
    """Return what tells the first item of a column apart, nothing where it isn't at hand."""
    return _shown(column.items[0]) if isinstance(column, Given) and len(column.items) else b""


def _shown(value: Any) -> bytes:
    """Return what tells a small value apart, nothing for others."""
    if not _small(value):
        return b""
    try:
        return keys.digest(value)
    except KeyNotStable:
        return b""


def _small(value: Any) -> bool:
    """Return whether it, and whatever is in it, is small and plain."""
    rest, seen = [value], 0
    while rest:
        each = rest.pop()
        seen += 1
        if isinstance(each, (str, bytes, bytearray)):
            if len(each) > LONGEST_TEXT:
                return False
        elif type(each) not in ATOMS and not isinstance(each, _SMALL):
            parts = held_in(each)
            if parts is None or seen + len(rest) + len(parts) > MOST_PARTS:
                return False
            rest.extend(parts)
    return True
