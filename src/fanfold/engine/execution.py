"""One call of a flow: carries out what its story asks for, in a thread or a loop."""

import logging
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from fanfold.engine import hooks, keys, settings
from fanfold.engine.attempt import ended
from fanfold.engine.binding import resolved, settled
from fanfold.engine.consuming import (
    END,
    Close,
    Open,
    Outcome,
    Over,
    consuming,
    given,
    given_async,
    tried,
    tried_async,
)
from fanfold.engine.context import Parameters, again, current, running
from fanfold.engine.drive import (
    Story,
    Stream,
    drive,
    drive_async,
    drive_yielding,
    drive_yielding_async,
)
from fanfold.engine.flow import (
    AnnounceFlow,
    CallFlow,
    FlowRun,
    Prepare,
    Sleep,
    flow_story,
    trimmed,
)
from fanfold.engine.flow_spec import FlowSpec
from fanfold.engine.limits.alarms import Interrupt
from fanfold.engine.limits.deadlines import Limiter, call_async
from fanfold.engine.naming import run_name
from fanfold.engine.prints import logged
from fanfold.engine.recording import masking
from fanfold.engine.recording import recorder as recorders
from fanfold.engine.recording.accounts import FlowAccount
from fanfold.engine.recording.sinks import Sink
from fanfold.engine.results.stored import StoredResult
from fanfold.engine.returning import state_of
from fanfold.engine.signals import EXIT_CODE, Terminated, cancellable, terminable
from fanfold.engine.stopping import Stop, ended_by, reach
from fanfold.engine.tally import showing, summary
from fanfold.engine.telling import tell
from fanfold.engine.wording import said
from fanfold.values import runs
from fanfold.values.errors import KeyNotStable, RunError, RunTakenOver, TimedOut, UpstreamFailed
from fanfold.values.states import WITH_VALUE, State, StateName


class Execution:
    """One call of a flow."""

    def __init__(
        self,
        spec: FlowSpec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        wait_for: Iterable[Any] | None = None,
    ) -> None:
        self.spec = spec
        self.args, self.kwargs = args, kwargs
        self.wait_for = wait_for
        self.began = time.monotonic()
        around = current()
        parent = around.info if around is not None else None
        self.parent: FlowRun | None = around.owner if around is not None else None
        self.stop = Stop()
        self.thread = threading.get_ident()
        self.tries = 0
        sink: Sink | None = recorders.current() if around is None else around.recorder
        older = again() if parent is None else None
        self._resumes = older.resumed if older is not None else None
        info = spec.begun(parent, older, recorded=sink is not None)
        runner = spec.runner()
        self.run = FlowRun(info, runner, sink)
        self.run.stop = self.cancel
        if self.parent is not None:
            self.parent.add_execution(self)
        self.account = FlowAccount(sink, info, self._resumes)
        self.account.made(info, spec.fn, type(runner).__name__)
        self.call: Any = None
        self._before: State | None = None
        """What an earlier try of the calling flow got from this call."""
        self._left = False
        """Whether its consumer wants no more of what it yields."""
        self._meant: Callable[[BaseException], BaseException] = lambda error: error
        """Turns a cancellation into what it stands for."""
        self._performers: dict[type, Callable[[Any], Any]] = {
            Prepare: self._prepared,
            CallFlow: self._called,
            AnnounceFlow: self._announced,
            Sleep: self._slept,
        }

    # The four ways to go through the story: here or in the loop, at once or item by item.

    def finish(self) -> State:
        """Run to the end and return the final state."""
        with terminable(), self._ending():
            state = self._closed(self._kept(drive(self._story(), self._perform)))
        self.account.flush()
        return state

    async def finish_async(self) -> State:
        """Do so in the running loop."""
        with cancellable() as self._meant, self._ending():
            state = await drive_async(self._story(), self._perform)
            state = self._closed(await self._in_thread(partial(self._kept, state)))
        await self._flushed()
        return state

    def items(self) -> Generator[Any, None, State]:
        """Yield what a generator flow yields; return the final state."""
        finals: list[State] = []

        def end_with(state: State) -> None:
            finals.append(self._closed(self._kept(state)))

        with self._ending():
            yield from drive_yielding(self._story(), self._perform_streaming, end_with)
        self.account.flush()
        return finals[0]

    async def items_async(self, end_with: Callable[[State], None]) -> AsyncGenerator[Any]:
        """Yield what an async generator flow yields; `end_with` gets the final state."""
        finals: list[State] = []
        told = drive_yielding_async(self._story(), self._perform_streaming, finals.append)
        with self._ending():
            with suppress(GeneratorExit):  # a consumer that stops early ends the run
                async with aclosing(told) as items:
                    async for item in items:
                        yield item
            end_with(self._closed(await self._in_thread(partial(self._kept, finals[0]))))
        await self._flushed()

    def answer(self, state: State, return_state: bool) -> Any:
        """Return what the call returns: the state, or its value.

        Raises:
            BaseException: Why there is no value; what interrupts, even if the state was asked for.
        """
        interrupted = state.is_crashed() and not isinstance(state.failure(), Exception)
        return state if return_state and not interrupted else self.value(state)

    def value(self, state: State) -> Any:
        """Return the final state's value, or raise why there is none.

        Raises:
            SystemExit: The process was told to end.
            Exception: What the flow raised.
        """
        if state.code in WITH_VALUE:
            return state.result()
        error = state.failure()
        if isinstance(error, Terminated):
            raise SystemExit(EXIT_CODE) from error
        raise trimmed(error)

    def _story(self) -> Any:
        return flow_story(self.spec.retries, self.spec.delays_s)

    def _kept(self, state: State) -> State:
        """Keep the value of a run that has one; a failure to do so is only told."""
        if state.code not in WITH_VALUE or state is self._before or self._left:
            return state
        try:
            stored = self.spec.keep(self.run.info, state.data)
        except RunTakenOver as error:
            return State(code=StateName.CRASHED, message=str(error), error=error)
        except Exception as error:  # the caller gets the value all the same
            told = f"The result of {self.spec.name} isn't kept: {type(error).__name__}: {error}"
            tell(self.run.context, told, logging.WARNING)
            return state
        if stored is None or self.spec.in_memory:
            return state
        return replace(state, data=None, source=StoredResult(stored))

    def _closed(self, state: State) -> State:
        self.run.close()
        self.account.moved(state, self.tries)
        self._tell_end(state)
        self.account.over()
        kept = state.code in WITH_VALUE and not self._left
        if self.parent is not None and self.call is not None and kept:
            self.parent.finish(self.call, state)
        return state

    @contextmanager
    def _ending(self) -> Generator[None]:
        """See that nothing stays open, whatever strikes where no story catches it."""
        with self.account.watched(self.cancel):
            try:
                yield
            except BaseException as error:
                self.run.abandon(interrupt=True)
                self.run.close()
                self.account.moved(ended_by(self.stop, error), self.tries)
                self.account.over()
                raise

    async def _flushed(self) -> None:
        if self.account.flushes:
            await self._in_thread(self.account.flush)

    def cancel(self, error: RunError | None = None) -> None:
        """Stop the run, by an error or as cancelled; from any thread, not waiting for its end."""
        self.stop.ask(error)
        self._let_go()

    def _let_go(self) -> None:
        """Have nothing in it hold up the thread that is to be stopped."""
        self.run.stop_runs()
        for inner in self.run.executions():
            if inner.thread != self.thread:
                inner.cancel()
            else:  # what strikes the thread is meant for this run, and passes through the inner one
                inner.stop.nudge()
                inner._let_go()

    def _perform(self, effect: Any) -> Any:
        return self._performers[type(effect)](effect)

    def _perform_streaming(self, effect: Any) -> Any:
        if not isinstance(effect, CallFlow):
            return self._perform(effect)
        self._begin(effect)
        stream = Stream(None)
        give = given_async if self.spec.is_async else given
        stream.items = give(consuming(keep=True), self._consumed, stream)
        return stream

    # Before the call.

    def _prepared(self, effect: Prepare) -> Any:
        if self.spec.is_async:
            return self._in_thread(self._ready)
        return self._ready()

    def _ready(self) -> State | None:
        """Bind the arguments; return a state that ends the run before it began, None to go on."""
        try:
            cause = settled(self.wait_for)
            if cause is not None:
                raise UpstreamFailed(cause)
            self.args, self.kwargs = resolved((self.args, self.kwargs))
            self.args, self.kwargs = self.spec.validate(*self.args, **self.kwargs)
            self._name()
            self.account.named(self.run.info, self.args, self.kwargs)
        except UpstreamFailed as error:
            return State(code=StateName.UPSTREAM_FAILED, message=str(error), error=error)
        except Exception as error:  # the run fails by it, and its hooks hear of it
            return State(code=StateName.FAILED, message=said(error), error=error)
        return self._replayed()

    def _name(self) -> None:
        parameters = Parameters(self.spec.bind(*self.args, **self.kwargs))
        masking.learn(parameters)
        self.run.info = replace(self.run.info, parameters=parameters)
        if self._resumes is not None:  # it has its name
            return
        with running(self.run.context):
            name = run_name(self.spec.run_name, self.spec.name, lambda: parameters)
        self.run.info = replace(self.run.info, name=name)

    def _replayed(self) -> State | None:
        """Return what an earlier try of the calling flow got from this very call, if it was kept.

        Source: Prefect 3, a retried flow takes the results of its completed, persisted subflows.
        """
        if self.parent is None:
            return None
        try:
            key = keys.digest(dict(self.run.info.parameters), "")
        except KeyNotStable:  # it runs again, as it can't be told whether the call is the same
            return None
        call = self.parent.nth_call((self.spec.name, key))
        # The same for the same call in a later try or a retry of the caller, so that what its own
        # tasks have kept is found there.
        key_id = keys.digest((self.parent.info.key_run_id, call)).hex()
        self.run.info = replace(self.run.info, key_id=key_id)
        if not self.run.info.results.kept(settings.current().results_persist_by_default):
            return None
        self.call = call
        self._before = self.parent.finished(self.call)
        return self._before

    # The call.

    def _called(self, effect: CallFlow) -> Any:
        self._begin(effect)
        if self.spec.is_async:
            return self._called_async()
        try:
            with self._entered():
                return self._limited(self._value)
        except BaseException as error:  # the story decides what becomes of it
            if isinstance(error, Interrupt) and not self.stop.asked:
                raise  # the time of a flow around this one is over
            return self._stopped(error)

    async def _called_async(self) -> State:
        try:
            with self._entered():
                return await self._limited_async(self._value_async())
        except Interrupt:  # the time of a flow around this one is over
            raise
        except BaseException as error:  # the story decides what becomes of it
            return await self._stopped_async(self._meant(error))

    def _value(self) -> State:
        value = self.spec.fn(*self.args, **self.kwargs)
        self.run.settle()
        return state_of(value)

    async def _value_async(self) -> State:
        value = await self.spec.fn(*self.args, **self.kwargs)
        await self.run.settle_streams()
        await self._in_thread(self.run.settle)
        return await self._in_thread(partial(state_of, value))

    def _limited(self, call: Callable[[], Any]) -> Any:
        if self.spec.timeout_s is None:
            return call()
        limiter = Limiter(self.spec.timeout_s, kills=False, name=self.spec.name)
        try:
            return limiter.call(self._reached, call)
        finally:
            limiter.close()

    def _reached(self, call: Callable[[], Any]) -> Any:
        """Call it within reach in the thread that the limit gives it, which waits for nothing."""
        with reach(self.stop):
            return call()

    async def _limited_async(self, called: Awaitable[Any]) -> Any:
        if self.spec.timeout_s is None:
            return await called
        return await call_async(self.spec.timeout_s, called, name=self.spec.name)

    def _consumed(self, effect: Any) -> Any:
        """Carry out a step of a generator; only these run inside the flow's context."""
        if isinstance(effect, Open):
            return self._tried(self._opened)
        if isinstance(effect, Over):
            return (
                self._items_over_async(effect) if self.spec.is_async else self._items_over(effect)
            )
        # The time limit holds for each item: what the consumer takes isn't the flow's.
        self._left = isinstance(effect, Close)
        if self.spec.is_async:
            step = partial(self._next_async, effect.iterator)
            return tried_async(self._entered, effect.iterator.aclose if self._left else step)
        step = partial(self._limited, partial(next, effect.iterator, END))
        return self._tried(effect.iterator.close if self._left else step)

    def _tried(self, step: Callable[[], Any], *, in_loop: bool = True) -> Outcome:
        try:
            return tried(partial(self._entered, in_loop=in_loop), step)
        except Interrupt as struck:
            if not self.stop.asked:  # the time of a flow around this one is over
                raise
            return None, struck

    def _opened(self) -> Any:
        return (aiter if self.spec.is_async else iter)(self.spec.fn(*self.args, **self.kwargs))

    def _next_async(self, iterator: Any) -> Awaitable[Any]:
        return self._limited_async(anext(iterator, END))

    def _items_over(self, effect: Over) -> State:
        if effect.error is not None:
            return self._stopped(effect.error)
        if effect.left:
            self.run.abandon(interrupt=True)
        _, error = self._tried(self.run.settle, in_loop=False)
        if error is not None:
            return self._stopped(error)
        # Source: Prefect 3, a generator whose consumer stops early has done what was asked of it.
        message = f"Its consumer stopped after {len(effect.items)} items." if effect.left else ""
        return State(code=StateName.COMPLETED, message=message, data=effect.items)

    async def _items_over_async(self, effect: Over) -> State:
        error = effect.error
        if error is None:
            try:
                return await self._in_thread(partial(self._items_over, effect))
            except BaseException as cancelled:  # the run ends by it
                error = self._meant(cancelled)
        return await self._stopped_async(error)

    def _begin(self, effect: CallFlow) -> None:
        self.tries = effect.tries + 1
        if effect.tries:
            self.account.moved(State(code=StateName.RETRYING), self.tries)
        self.run.begin_try(replace(self.run.info, run_count=self.tries))

    @contextmanager
    def _entered(self, *, in_loop: bool = True) -> Generator[None]:
        within = reach(self.stop, in_loop=self.spec.is_async and in_loop)
        prints = logged(self.run.info.log_prints)
        with within, settings.staying(), running(self.run.context), prints:
            yield

    def _stopped(self, error: BaseException) -> State:
        """Return the state that an error brings the run to; what the flow started ends with it."""
        if self.stop.asked:
            self.run.abandon(interrupt=True)
            return ended_by(self.stop, error)
        overran = isinstance(error, TimedOut) and error.name == self.spec.name
        self.run.abandon(interrupt=overran or not isinstance(error, Exception))
        if overran:
            return State(code=StateName.TIMED_OUT, message=str(error), error=error)
        return ended(None, error)

    # Around the call.

    def _announced(self, effect: AnnounceFlow) -> Any:
        state, info = effect.state, self.run.info
        if state.code is StateName.RUNNING:
            self.account.moved(state, 1)
            tell(self.run.context, f"{'Goes on' if self._resumes else 'Began'} ({info.id})")
        called = self.spec.hooks.get(state.type, ())
        run = runs.FlowRun(
            id=info.id,
            name=info.name,
            flow_name=info.of,
            flow_version=info.version,
            tags=info.tags,
            run_count=max(1, effect.tries),
            state=state,
            start_time=info.started,
            parameters=info.parameters,
            parent_flow_run_id=info.flow.flow_run_id if info.flow is not None else None,
        )
        story = hooks.calling(called, self.spec.flow, run, state)
        if self.spec.is_async:
            return self._told_async(story)
        with running(self.run.context):
            return hooks.told(story)

    async def _told_async(self, story: Story) -> None:
        with running(self.run.context):
            await hooks.told_async(story)

    def _tell_end(self, state: State) -> None:
        good = state.code in WITH_VALUE
        error = None if good or state.is_cancelled() else state.failure()
        shown = self.run.info.flow is None and recorders.current() is not None
        show = showing(self.run.info.id) if shown else ""
        facts = self.run.tally.facts(state.name, time.monotonic() - self.began, error, show)
        asked = logging.WARNING if state.is_cancelled() else logging.ERROR
        tell(self.run.context, summary(facts), logging.INFO if good else asked)

    def _slept(self, effect: Sleep) -> Any:
        self.account.moved(State(code=StateName.AWAITING_RETRY), self.tries)
        if self.spec.is_async:
            return self._slept_async(effect.seconds)
        try:
            return self.stop.wait(effect.seconds)
        except Interrupt:  # the time of a flow around this one is over
            raise
        except BaseException as error:  # the run ends by it
            return self._stopped(error)

    async def _slept_async(self, seconds: float) -> State | None:
        import asyncio  # 10 ms, which only async flows need

        try:
            with reach(self.stop, in_loop=True):
                return await asyncio.sleep(seconds)
        except BaseException as error:  # the run ends by it
            return self._stopped(self._meant(error))

    async def _stopped_async(self, error: BaseException) -> State:
        """Do as `_stopped` without holding up the loop; a cancellation meanwhile ends the run."""
        try:
            return await self._in_thread(partial(self._stopped, error))
        except BaseException as cancelled:  # the run ends by it
            return self._stopped(self._meant(cancelled))

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        import asyncio  # 10 ms, which only async flows need

        return await asyncio.to_thread(function)
