"""Carries out the effects that stories yield; the only place where sync and async differ."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, suppress
from inspect import isawaitable
from typing import Any

Story = Generator[Any, Any, Any]
"""A sequence of decisions: yields effects, is sent their outcomes, returns its result."""


class Stream:
    """An outcome that comes bit by bit: its items are for the caller, `outcome` for the story."""

    def __init__(self, items: Any) -> None:
        self.items = items
        """A generator, or an async one."""
        self.outcome: Any = None
        """Set by the generator at its end."""


def drive(story: Story, perform: Callable[[Any], Any]) -> Any:
    """Run a story to its end in this thread and return its result."""
    try:
        effect = next(story)
        while True:
            effect = story.send(perform(effect))
    except StopIteration as end:
        return end.value


async def drive_async(story: Story, perform: Callable[[Any], Any]) -> Any:
    """Run a story to its end in the running loop; outcomes that are awaitable are awaited."""
    try:
        effect = next(story)
        while True:
            outcome = perform(effect)
            effect = story.send(await outcome if isawaitable(outcome) else outcome)
    except StopIteration as end:
        return end.value


def drive_yielding(
    story: Story, perform: Callable[[Any], Any], end_with: Callable[[Any], None]
) -> Generator[Any]:
    """Run a story to its end, yielding the items of outcomes that are streams.

    A consumer that stops early ends the stream, not the story: that goes on with the outcome which
    the stream has then. `end_with` gets the result, for a generator that is closed returns none.
    """
    effect = next(story)
    while True:
        outcome = perform(effect)
        if isinstance(outcome, Stream):
            with suppress(GeneratorExit):
                yield from outcome.items
            outcome = outcome.outcome
        try:
            effect = story.send(outcome)
        except StopIteration as end:
            end_with(end.value)
            return


async def drive_yielding_async(
    story: Story, perform: Callable[[Any], Any], end_with: Callable[[Any], None]
) -> AsyncGenerator[Any]:
    """Do the same in the running loop."""
    effect = next(story)
    while True:
        outcome = perform(effect)
        if isinstance(outcome, Stream):
            with suppress(GeneratorExit):
                async with aclosing(outcome.items) as items:
                    async for item in items:
                        yield item
            outcome = outcome.outcome
        elif isawaitable(outcome):
            outcome = await outcome
        try:
            effect = story.send(outcome)
        except StopIteration as end:
            end_with(end.value)
            return
