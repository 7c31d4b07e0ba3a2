"""Keys of calls that share no results: only the run itself finds them, when it goes on.

A call is known again by its run, its task, its inputs, and which of the equal calls of its flow's
code it is. What can be told at the driver without looking into anything takes part in what is
equal, so a call that is new in the code doesn't shift the numbers of all others.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fanfold.engine import keys
from fanfold.engine.context import current
from fanfold.engine.dataflow import ATOMS
from fanfold.engine.spec import TaskSpec
from fanfold.values.errors import KeyNotStable

LONGEST_TEXT = 256
"""Characters or bytes of an argument that tells calls apart at the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKey:
    """Makes the keys of one call, or of the elements of one map."""

    run: str
    """Stands for the flow run in keys."""
    folder: str
    """The task's folder in the store."""
    nth: int
    """Which of the equal calls it is."""
    first: int = 0
    """Index of the first element, where it is a part of a streamed map."""

    def __call__(self, spec: TaskSpec, arguments: dict[str, Any]) -> bytes:
        """Return an element's key; one that is never found again, if its inputs have none."""
        context = current()
        element = context.element if context is not None else None
        index = self.first + (element.index if element is not None else 0)
        try:
            place = (self.run, self.folder, self.nth, index)
            return keys.digest(("call", *place, keys.digest(arguments, "")))
        except KeyNotStable:
            return keys.digest(("call", spec.info.id, index))


def alike(arguments: Iterable[tuple[int | str, Any]]) -> tuple[tuple[int | str, str], ...]:
    """Return what equal calls have in common, as far as that can be told without digesting.

    Args:
        arguments: Those that are the same for all elements, each with its place or name.
    """
    return tuple((where, _shown(value)) for where, value in arguments)


def _shown(value: Any) -> str:
    """Return what tells a small plain value apart, nothing for others."""
    if type(value) not in ATOMS:
        return ""
    if isinstance(value, (str, bytes, bytearray)) and len(value) > LONGEST_TEXT:
        return ""
    return f"{type(value).__name__} {value!r}"
