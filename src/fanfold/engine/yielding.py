"""A direct call of a generator task: its items go to the caller as they are made."""

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from functools import partial
from typing import Any

from fanfold.engine.attempt import Call, Effect, Keep, attempt
from fanfold.engine.consuming import (
    END,
    Close,
    Open,
    Over,
    consuming,
    given,
    given_async,
    tried,
    tried_async,
)
from fanfold.engine.drive import Story, Stream, drive_yielding, drive_yielding_async
from fanfold.engine.limits.deadlines import call_async
from fanfold.engine.shift import Shift
from fanfold.values.states import State, StateName


class YieldingShift(Shift):
    """The execution of a chunk whose only element yields to whoever called it."""

    left = False
    """Whether its consumer wants no more of it."""

    def yielding(self) -> Generator[Any]:
        """Take the only element, a generator's call, through its story; yield its items."""
        place = partial(self._place, 0)
        yield from drive_yielding(self._only_story(), self._perform_streaming, place)

    async def yielding_async(self) -> AsyncGenerator[Any]:
        """Do the same for an async generator."""
        place = partial(self._place, 0)
        told = drive_yielding_async(self._only_story(), self._perform_streaming, place)
        async with aclosing(told) as items:
            async for item in items:
                yield item

    def _only_story(self) -> Story:
        self.position = 0
        row = next(zip(*self.rows, strict=False))
        return attempt(self.spec, row, tries=self.tried.get(0, 0))

    def _perform_streaming(self, effect: Effect) -> Any:
        if isinstance(effect, Call):
            stream = Stream(None)
            give = given_async if self.spec.is_async else given
            story = consuming(keep=self.keeper is not None)
            stream.items = give(story, partial(self._consumed, effect), stream)
            return stream
        if self.spec.is_async:
            return self._performed_inside(effect)
        with self.entered():
            return self._perform(effect)

    async def _performed_inside(self, effect: Effect) -> Any:
        with self.entered():
            outcome = self._perform(effect)
            return await outcome if hasattr(outcome, "__await__") else outcome

    def _consumed(self, call: Call, effect: Any) -> Any:
        """Carry out a step; only these run inside the task's context."""
        if isinstance(effect, Open):
            return tried(self.entered, partial(self._opened, call))
        if isinstance(effect, Over):
            return self._over(effect)
        self.left = isinstance(effect, Close)
        if self.spec.is_async:
            closed = partial(effect.iterator.aclose)
            step = partial(self._next_async, effect.iterator)
            return tried_async(self.entered, closed if self.left else step)
        step = partial(self._next, effect.iterator)
        return tried(self.entered, effect.iterator.close if self.left else step)

    def _opened(self, call: Call) -> Any:
        self._begin(call)
        return (aiter if self.spec.is_async else iter)(self.call(*call.row))

    def _next(self, iterator: Any) -> Any:
        """Return a generator's next item; the time limit holds for each."""
        if self.spec.timeout_s is None:
            return next(iterator, END)
        return self._in_time(next, iterator, END)

    async def _next_async(self, iterator: Any) -> Any:
        following = anext(iterator, END)
        if self.spec.timeout_s is None:
            return await following
        return await call_async(self.spec.timeout_s, following, name=self._label())

    def _over(self, effect: Over) -> Any:
        if effect.error is not None:
            return self._ended(effect.error)
        if not effect.left:
            return effect.items, None
        # Source: Prefect 3, a generator whose consumer stops early has done what was asked of it.
        told = "Its consumer stopped before its end."
        return State(code=StateName.COMPLETED, message=told), None

    def _kept(self, effect: Keep) -> Any:
        # There may have been more to come.
        return effect.value if self.left else super()._kept(effect)
