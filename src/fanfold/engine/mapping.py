"""Maps over arguments of unknown length: decides what is read bit by bit, and begins to."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fanfold.engine.arguments import resolved
from fanfold.engine.binding import mappable, unmarked
from fanfold.engine.futures import MapFuture, TaskFuture
from fanfold.engine.pulling import Puller
from fanfold.engine.streams import SMALLEST, Start, StreamFuture
from fanfold.values.errors import MappingLengthMismatch
from fanfold.values.ids import new_id
from fanfold.values.states import State

FIRST_ROWS = 1_000
"""An iterator that ends within so many rows, and within a moment, is mapped over like a list."""

StartCall = Callable[[tuple[Any, ...], dict[str, Any], int, str], MapFuture[Any]]
"""Starts a map with these arguments; takes what `Start` does, too."""


def unfinished(argument: Any) -> bool:
    """Return whether an argument of a map is read bit by bit: an iterator, or another stream."""
    if isinstance(argument, StreamFuture):
        return True
    without_end = hasattr(argument, "__next__") and not hasattr(argument, "__len__")
    return without_end and mappable(argument)


def map_streamed(
    start: StartCall,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    max_in_flight: int | None = None,
) -> MapFuture[Any] | None:
    """Start a map bit by bit if some argument's length is unknown; None if none is.

    Args:
        start: Called for each batch, in the reader's thread, with lists in the places of what is
            mapped over.
        args: Of the map, marks and all.
        kwargs: Alike.
        max_in_flight: Most elements that are started and not walked over.

    Raises:
        Exception: What an iterator raised for the first row.
        MappingLengthMismatch: The inputs differ in length, and end at once.
    """
    given: dict[int | str, Any] = {**dict(enumerate(args)), **kwargs}
    marks = {name: unmarked(value) for name, value in given.items()}
    walked = {name: mark.value for name, mark in marks.items() if not mark.static}
    if not any(map(unfinished, walked.values())):
        return None
    for name, value in walked.items():
        if isinstance(value, (TaskFuture, State)):
            walked[name] = resolved(marks[name].marked(value))
    walked = {name: value for name, value in walked.items() if mappable(value)}

    def start_rows(columns: list[list[Any]], first: int, of: str) -> MapFuture[Any]:
        rows = zip(walked, columns, strict=True)
        now = {**given, **{name: marks[name].marked(column) for name, column in rows}}
        positional = tuple(now[at] for at in range(len(args)))
        return start(positional, {name: now[name] for name in kwargs}, first, of)

    return stream(start_rows, *walked.values(), max_in_flight=max_in_flight)


def stream(
    start: Start, *iterables: Iterable[Any], max_in_flight: int | None = None
) -> MapFuture[Any]:
    """Map over iterables of which some may be iterators of unknown or endless length, in step.

    Args:
        start: Called for each batch, in the reader's thread.
        *iterables: What gives the rows.
        max_in_flight: Most elements that are started and not walked over.

    Returns:
        A `StreamFuture`, or an ordinary one where the iterators ended at once.

    Raises:
        Exception: What an iterator raised for the first row.
        MappingLengthMismatch: They differ in length, and end at once.
    """
    puller = Puller(iterables)
    puller.fill(min(FIRST_ROWS, max_in_flight or FIRST_ROWS))
    error = puller.error
    if error is not None and (not len(puller) or isinstance(error, MappingLengthMismatch)):
        raise error
    if puller.exhausted and error is None:
        return start(puller.take(len(puller)), 0, "")
    stream_id = new_id()
    first = start(puller.take(max_in_flight or SMALLEST), 0, stream_id)
    return StreamFuture(start, puller, first, max_in_flight, stream_id)
