"""The story of a generator's call: its items go to whoever called it, one by one.

Told once for flows and tasks, sync and async. A consumer may leave before the end; then the
generator is closed, and what it raises meanwhile is the consumer's.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from fanfold.engine.drive import Story, Stream
from fanfold.engine.limits.alarms import Interrupt

END = object()
"""What stands for the item after the last one."""

Outcome = tuple[Any, BaseException | None]


@dataclass(frozen=True, slots=True)
class Open:
    """Call the function; answered by (iterator, None) or (None, exception)."""


@dataclass(frozen=True, slots=True)
class Step:
    """Take the next item; answered by (item or END, None) or (None, exception)."""

    iterator: Any


@dataclass(frozen=True, slots=True)
class Give:
    """Hand an item to the consumer; answered by whether it wants more."""

    item: Any


@dataclass(frozen=True, slots=True)
class Close:
    """Close the iterator; answered by (None, None) or (None, exception)."""

    iterator: Any


@dataclass(frozen=True, slots=True)
class Over:
    """Say what the call came to; answered by that."""

    items: list[Any]
    left: bool
    """Whether the consumer left before the end."""
    error: BaseException | None


def consuming(*, keep: bool) -> Story:
    """Tell what to do until a generator's call is over; returns what `Over` is answered by.

    Args:
        keep: Whether the items are wanted in the end.
    """
    items: list[Any] = []
    left = False
    item: Any = None
    iterator, error = yield Open()
    while error is None and not left:
        item, error = yield Step(iterator)
        if error is not None or item is END:
            break
        if keep:
            items.append(item)
        left = not (yield Give(item))
    if left:
        _, error = yield Close(iterator)
        if error is not None:
            raise error
    return (yield Over(items, left, error))


def given(story: Story, perform: Callable[[Any], Any], stream: Stream) -> Generator[Any]:
    """Carry such a story out for a generator; its result becomes the stream's outcome."""
    effect = next(story)
    while True:
        if isinstance(effect, Give):
            try:
                yield effect.item
                outcome: Any = True
            except GeneratorExit:
                outcome = False
        else:
            outcome = perform(effect)
        try:
            effect = story.send(outcome)
        except StopIteration as end:
            stream.outcome = end.value
            return


async def given_async(
    story: Story, perform: Callable[[Any], Any], stream: Stream
) -> AsyncGenerator[Any]:
    """Do so for an async generator; outcomes that are awaitable are awaited."""
    effect = next(story)
    while True:
        if isinstance(effect, Give):
            try:
                yield effect.item
                outcome: Any = True
            except GeneratorExit:
                outcome = False
        else:
            outcome = perform(effect)
            outcome = await outcome if isawaitable(outcome) else outcome
        try:
            effect = story.send(outcome)
        except StopIteration as end:
            stream.outcome = end.value
            return


Within = Callable[[], AbstractContextManager[Any]]
"""Makes what a step of the user's code runs in: between steps the context is the consumer's."""


def tried(within: Within, function: Callable[[], Any]) -> Outcome:
    """Return what a step of the user's code came to."""
    try:
        with within():
            return function(), None
    except Interrupt:  # the time of something around this is over
        raise
    except BaseException as error:  # the story decides what becomes of it
        return None, error


async def tried_async(within: Within, function: Callable[[], Awaitable[Any]]) -> Outcome:
    """Return what an async step came to."""
    try:
        with within():
            return await function(), None
    except Interrupt:  # the time of something around this is over
        raise
    except BaseException as error:  # the story decides what becomes of it
        return None, error
