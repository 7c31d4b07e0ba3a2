"""Direct calls: a run of one element, driven by the calling thread or loop."""

import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from fanfold.engine.announcing import call_hooks
from fanfold.engine.calls import Call
from fanfold.engine.context import current
from fanfold.engine.drive import (
    Stream,
    drive,
    drive_async,
    drive_yielding,
    drive_yielding_async,
)
from fanfold.engine.effects import (
    Announce,
    Claim,
    Commit,
    Event,
    Publish,
    Record,
    Release,
    Remake,
    Submit,
    Wait,
)
from fanfold.engine.here import HERE
from fanfold.engine.recording import accounts
from fanfold.engine.recording.sinks import Sink
from fanfold.engine.results.claiming import claim, closing_claims
from fanfold.engine.results.clerk import clerk
from fanfold.engine.results.committing import tidy, write_index
from fanfold.engine.results.leasing import Granted
from fanfold.engine.run import Run
from fanfold.engine.story import story
from fanfold.engine.work import Work
from fanfold.ports.runner import Ref, Values
from fanfold.values.errors import RunTakenOver
from fanfold.values.messages import Report

logger = logging.getLogger("fanfold.engine")

LOOK_S = 0.5
"""A caller that waits for a lease hears of interrupts so often."""


class _Held:
    """The ref of a direct call."""

    __slots__ = ("values",)

    values: Values


class _Caller:
    """Carries out the effects of one run in the calling thread or loop."""

    def __init__(
        self,
        run: Run,
        sleep: Callable[[float], Any],
        *,
        in_loop: bool = False,
        streams: bool = False,
    ) -> None:
        self._run = run
        self._in_loop = in_loop
        self._streams = streams
        self._sleep = sleep
        self._heard: deque[dict[str, Any]] = deque([{}])
        self._granted: SimpleQueue[Granted] = SimpleQueue()
        self._wake: Callable[[], object] = lambda: None
        self._performers: dict[type, Callable[[Any], Any]] = {
            Submit: self._submit,
            Wait: self._wait,
            Commit: self._commit,
            Claim: self._claim,
            Release: self._release,
            Publish: self._publish,
            Announce: self._announce,
            Record: self._record,
            Remake: self._nothing,
        }

    def perform(self, effect: Any) -> Any:
        return self._performers[type(effect)](effect)

    def _submit(self, effect: Submit) -> Any:
        held = _Held()
        if self._streams:
            return self._streamed(effect.work, held)
        if self._in_loop and self._run.call.spec.is_async:
            return self._submit_async(effect.work, held)
        report, held.values = effect.work.run(HERE.fetch(effect.needs), (), HERE)
        self._heard.append({"report": report})
        return held

    async def _submit_async(self, work: Work, held: _Held) -> Ref:
        report, held.values = await work.run_async(HERE)
        self._heard.append({"report": report})
        return held

    def _streamed(self, work: Work, held: _Held) -> Stream:
        def end_with(ended: tuple[Report, Values]) -> None:
            report, held.values = ended
            self._heard.append({"report": report})

        run = work.run_yielding_async if self._in_loop else work.run_yielding
        stream = Stream(run(HERE, end_with))
        stream.outcome = held
        return stream

    def _wait(self, effect: Wait) -> Any:
        if self._heard:
            return self._event()
        if effect.until is None:
            return self._once_granted_async() if self._in_loop else self._once_granted()
        return self._later(effect.until - time.monotonic())

    def _once_granted(self) -> Event:
        """Wait for the lease of its key, which is all that there can be to wait for."""
        while True:
            with suppress(Empty):  # every now and then, so that what stops this thread can do so
                self._heard.append({"granted": self._granted.get(timeout=LOOK_S)})
                return self._event()

    async def _once_granted_async(self) -> Event:
        import asyncio  # 10 ms, which only async tasks need

        woken, loop = asyncio.Event(), asyncio.get_running_loop()
        self._wake = partial(loop.call_soon_threadsafe, woken.set)
        if self._granted.empty():
            await woken.wait()
        return self._once_granted()

    def _later(self, seconds: float) -> Any:
        pause = self._sleep(max(0.0, seconds))
        return self._event() if pause is None else self._event_after(pause)

    async def _event_after(self, pause: Any) -> Event:
        await pause
        return self._event()

    def _event(self) -> Event:
        what = self._heard.popleft() if self._heard else {}
        return Event(now=time.monotonic(), slots=HERE.slots(), **what)

    def _publish(self, effect: Publish) -> None:
        """Nobody depends on a direct call but the transaction that it is in."""
        part = self._run.call.part
        if part is not None and part.news(self._run, effect.spans):
            part.roll_back()

    def _commit(self, effect: Commit) -> None:
        part = self._run.call.part
        if part is not None and part.hold(effect):
            self._heard.append({"committed": effect.number})
            return
        try:
            write_index(self._run, effect)
            tidy(self._run)
        except RunTakenOver as error:
            self._run.warnings.append(f"The result of {self._run.name} isn't kept: {error}")
            around = current()
            if around is not None and around.owner is not None:
                around.owner.lost(error)
        except Exception as error:  # the run has its value; only later runs miss it
            self._run.warnings.append(f"The result of {self._run.name} isn't kept: {error}")
        self._heard.append({"committed": effect.number})

    def _claim(self, effect: Claim) -> None:
        def tell(granted: Granted) -> None:
            self._granted.put(granted)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._wake()

        claim(self._run, effect.keys, tell)

    def _release(self, effect: Release) -> None:
        clerk().release(effect.leases)

    def _announce(self, effect: Announce) -> None:
        part = self._run.call.part
        if effect.committed and part is not None:
            part.tell_committed(effect.indices)
        else:
            call_hooks(self._run, effect.indices)
        self._heard.append({"announced": True})

    def _record(self, effect: Record) -> None:
        if self._run.account is not None:
            self._run.account.put(effect.notes)

    def _nothing(self, effect: Remake) -> None:
        """Nobody depends on a direct call."""


def call_here(call: Call, sink: Sink | None = None) -> Run:
    """Run one element to its end in this thread and return its run.

    Args:
        call: What it is made from.
        sink: Takes what is to be recorded of it.
    """
    run = _begun(call, sink)
    with closing_claims(run):
        drive(story(run), _Caller(run, time.sleep).perform)
    return _over(run)


async def call_here_async(call: Call, sink: Sink | None = None) -> Run:
    """Run one async element to its end in this loop and return its run."""
    import asyncio  # 10 ms, which only async tasks need

    run = _begun(call, sink)
    with closing_claims(run):
        await drive_async(story(run), _Caller(run, asyncio.sleep, in_loop=True).perform)
    return _over(run)


def call_here_yielding(call: Call, sink: Sink | None = None) -> Generator[Any, None, Run]:
    """Run one call of a generator task, yielding its items; return its run at the end."""
    run = _begun(call, sink)
    caller = _Caller(run, time.sleep, streams=True)

    def end_with(_: Any) -> None:
        _over(run)

    with closing_claims(run):
        yield from drive_yielding(story(run), caller.perform, end_with)
    return run


async def call_here_yielding_async(
    call: Call, end_with: Callable[[Run], None], sink: Sink | None = None
) -> AsyncGenerator[Any]:
    """Do the same for an async generator task; `end_with` gets its run."""
    import asyncio  # 10 ms, which only async tasks need

    run = _begun(call, sink)
    caller = _Caller(run, asyncio.sleep, in_loop=True, streams=True)
    told = drive_yielding_async(story(run), caller.perform, lambda _: end_with(_over(run)))
    with closing_claims(run):
        async with aclosing(told) as items:
            async for item in items:
                yield item


def _begun(call: Call, sink: Sink | None) -> Run:
    run = Run(call, HERE)
    run.account = accounts.opened(sink, call)
    return run


def _over(run: Run) -> Run:
    for warning in run.warnings:
        logger.warning("%s", warning)
    run.release()
    run.finished = True
    if run.account is not None:
        run.account.over(run.states, run.details.get(0))
    context = current()
    if context is not None and context.owner is not None:
        context.owner.tally.add(run)
    return run
