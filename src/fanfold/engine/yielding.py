"""A direct call of a generator task: its items go to the caller as they are made."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

from fanfold.engine.attempt import Call, Effect, Keep, attempt
from fanfold.engine.drive import Story, Stream, drive_yielding, drive_yielding_async
from fanfold.engine.limits.alarms import Interrupt
from fanfold.engine.limits.deadlines import call_async
from fanfold.engine.shift import Shift
from fanfold.values.states import State, StateName

_END = object()


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
            iterate = self._iterated_async if self.spec.is_async else self._iterated
            stream.items = iterate(effect, stream)
            return stream
        if self.spec.is_async:
            return self._performed_inside(effect)
        with self.entered():
            return self._perform(effect)

    async def _performed_inside(self, effect: Effect) -> Any:
        with self.entered():
            outcome = self._perform(effect)
            return await outcome if hasattr(outcome, "__await__") else outcome

    def _iterated(self, effect: Call, stream: Stream) -> Generator[Any]:
        """Yield a generator's items; only its own steps run inside the task's context."""
        items: list[Any] = []
        try:
            with self.entered():
                self._begin(effect)
                iterator = iter(self.call(*effect.row))
            while (item := self._step(iterator)) is not _END:
                if self.keeper is not None:
                    items.append(item)
                try:
                    yield item
                except GeneratorExit:
                    self.left = True
                    with self.entered():
                        iterator.close()
                    break
        except Interrupt:
            raise
        except BaseException as error:  # the story decides what becomes of it
            if self.left:
                raise
            stream.outcome = self._ended(error)
            return
        stream.outcome = self._yielded(items), None

    def _yielded(self, items: list[Any]) -> Any:
        if not self.left:
            return items
        # Source: Prefect 3, a generator whose consumer stops early has done what was asked of it.
        return State(code=StateName.COMPLETED, message="Its consumer stopped before its end.")

    def _step(self, iterator: Iterator[Any]) -> Any:
        """Return a generator's next item; the time limit holds for each."""
        with self.entered():
            if self.spec.timeout_s is None:
                return next(iterator, _END)
            return self._in_time(next, iterator, _END)

    async def _iterated_async(self, effect: Call, stream: Stream) -> AsyncGenerator[Any]:
        items: list[Any] = []
        try:
            with self.entered():
                self._begin(effect)
                iterator = aiter(self.call(*effect.row))
            while (item := await self._step_async(iterator)) is not _END:
                if self.keeper is not None:
                    items.append(item)
                try:
                    yield item
                except GeneratorExit:
                    self.left = True
                    with self.entered():
                        await iterator.aclose()
                    break
        except Interrupt:
            raise
        except BaseException as error:  # the story decides what becomes of it
            if self.left:
                raise
            stream.outcome = self._ended(error)
            return
        stream.outcome = self._yielded(items), None

    async def _step_async(self, iterator: AsyncIterator[Any]) -> Any:
        with self.entered():
            if self.spec.timeout_s is None:
                return await anext(iterator, _END)
            following = anext(iterator, _END)
            return await call_async(self.spec.timeout_s, following, name=self._label())

    def _kept(self, effect: Keep) -> Any:
        # There may have been more to come.
        return effect.value if self.left else super()._kept(effect)
