"""Carries out the effects that stories yield; the only place where sync and async differ."""

from collections.abc import Callable, Generator
from inspect import isawaitable
from typing import Any

Story = Generator[Any, Any, Any]
"""A sequence of decisions: yields effects, is sent their outcomes, returns its result."""


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
