"""One execution of a chunk: takes its elements through their stories, and reports."""

import pickle
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from itertools import islice
from operator import is_
from typing import TYPE_CHECKING, Any

from fanfold.engine import hooks, wire
from fanfold.engine.attempt import Announce, Call, Effect, Find, Judge, Keep, Outcome, attempt
from fanfold.engine.context import Element, RunContext, current, nested, running
from fanfold.engine.dataflow import hollow
from fanfold.engine.drive import Story, drive, drive_async
from fanfold.engine.failures import capture
from fanfold.engine.here import HERE
from fanfold.engine.inputs import Needs
from fanfold.engine.limits.alarms import Interrupt
from fanfold.engine.limits.deadlines import Limiter, call_async
from fanfold.engine.marks import Future
from fanfold.engine.meter import Meter
from fanfold.engine.naming import run_name
from fanfold.engine.nest import Nest, fetched
from fanfold.engine.packing import unpack_inputs
from fanfold.engine.prints import logged
from fanfold.engine.pulse import beat_s, pulse
from fanfold.engine.recording.arguments import MOST_OF_CHUNK, packed_element
from fanfold.engine.recording.homeward import Homeward
from fanfold.engine.recording.outbox import Outbox
from fanfold.engine.results.keeping import Keeper
from fanfold.engine.results.leasing import wanted
from fanfold.engine.spec import TaskSpec
from fanfold.engine.telling import sent_home
from fanfold.ports.runner import Site, Values
from fanfold.values.errors import RunCancelled, TimedOut
from fanfold.values.messages import Detail, Report
from fanfold.values.runs import TaskRun
from fanfold.values.stand_ins import had, stood_for
from fanfold.values.states import WITH_VALUE, State, StateName, made, run_lengths

if TYPE_CHECKING:
    from fanfold.engine.work import Work

BLOCK_S = 0.001
"""The fast path looks at the clock and at `stopping` about this often."""
ASYNC_WIDTH = 32
"""Async elements of one chunk that run at a time."""
MARK = b"M"
"""First byte of a message that says which element begins now, and when."""

_COMPLETED = bytes([StateName.COMPLETED])


class Shift:
    """One execution of a chunk: what was done so far."""

    def __init__(self, work: "Work", spec: TaskSpec, needs: Sequence[Values], site: Site) -> None:
        self.work = work
        self.site = site
        self.began = time.perf_counter()
        self.meter = Meter(apart=work.remote)
        self.started = datetime.now(UTC)
        inputs = unpack_inputs(work.inputs, alone=len(work.batch) == 1)
        values = Needs(needs, work.remote)
        fills = {number: values.fill(taken) for number, taken in inputs.fills.items()}
        self.columns = [values.column(column, fills) for column in inputs.columns]
        self.spec = replace(spec, layout=spec.layout.filled(fills)) if fills else spec
        self.count = len(work.batch)
        self.call, self.rows = self._calling()
        self.values: list[Any] = []
        self.states = bytearray()
        self.details: dict[int, Detail] = {}
        self.packed = 0
        """Failed elements whose arguments were packed."""
        self.position: int | None = None
        """The element that runs, in the story's path; the fast path derives it."""
        self.tried: dict[int, int] = dict(work.tries)
        """User attempts behind the elements, by position."""
        self.spent: dict[int, float] = dict(work.spent)
        """Seconds that calls of the elements took, where hooks or conditions are told of it."""
        self.names: dict[int, str] = {}
        self.limiter: Limiter | None = None
        self.keeper = Keeper(work, self.spec, self.spec.cache) if self.spec.cache else None
        around = current()
        self.home = Homeward(site.say) if work.remote and self.spec.info.recorded else None
        """Takes home what is to be recorded of runs that elements start."""
        # What runs inside an element of another process tells its lines by the same way.
        self.outbox = Outbox(site.say, facts=self.home, slots=work.slots) if work.remote else None
        send = self.outbox or (around.send if around is not None else None)
        recorder = self.home or (around.recorder if around is not None else None)
        # What a direct call starts belongs to whatever the call belongs to.
        self.nest = None if site is HERE else Nest(site)
        outer = around if site is HERE else None
        self.context = RunContext(
            info=self.spec.info,
            send=send,
            at=self._element,
            recorder=recorder,
            meter=self.meter,
            starter=self.nest if outer is None else outer.owner or outer.starter,
            nest=self.nest if outer is None else outer.nest,
        )
        self.performers: dict[type, Callable[[Any], Any]] = {
            Call: self._called,
            Find: self._found,
            Keep: self._kept,
            Judge: self._judged,
            Announce: self._announced,
        }

    def _calling(self) -> tuple[Callable[..., Any], list[Any]]:
        """Return a function of one row, and the rows; what stands for a value gives that."""
        if not self.work.remote:
            return self.spec.layout.call(self.spec.fn, self.columns, self.count)
        layout = self.spec.layout.with_values()
        if layout is not self.spec.layout:
            self.spec = replace(self.spec, layout=layout)
        columns = [stood_for(column) for column in self.columns]
        call, rows = layout.call(self.spec.fn, columns, self.count)
        if all(map(is_, columns, self.columns)):
            return call, rows
        self.columns = columns
        return lambda *row: call(*had(row)), rows

    @contextmanager
    def entered(self) -> Generator[None]:
        """Make this the run that prints, log lines and context look-ups belong to."""
        info = self.spec.info
        home = sent_home(info) if self.work.remote else nullcontext()
        every_s = beat_s(self.work.slots)
        alive = nullcontext() if self.nest is None else pulse().of(self.nest, every_s)
        with running(self.context), logged(info.log_prints), home, alive:
            yield
            if self.nest is not None:
                self.nest.settle()

    def plainly(self) -> None:
        """Call the function at the speed of `map`: nothing is done per element in Python.

        `extend` keeps what came before an exception, so the list's length names the element that
        raised; a list that is too short without an exception means a StopIteration.
        """
        results, out, block = map(self.call, *self.rows), self.values, 1
        states, begun = made(), nested()
        while len(out) < self.count and not self._spent():
            have, began = len(out), time.perf_counter()
            wanted = min(block, self.count - have)
            error: BaseException | None = None
            try:
                out.extend(islice(results, wanted))
                if len(out) < have + wanted:
                    error = _stop_iteration()
            except Interrupt:  # the time of something around this is over
                raise
            except BaseException as raised:  # becomes the element's outcome below
                error = raised
            self.states.extend(_COMPLETED * (len(out) - have))
            # One that was made before shows in the first of a block, or not at all: a look at each
            # value would cost as much as the call.
            if made() != states or State in map(type, out[have : have + 1]):
                self._look_for_states(have)
                states = made()
            if nested() != begun:
                self._look_for_futures(have)
                begun = nested()
            if error is not None:
                self._by_the_book(len(out), self._ended(error))
            took = time.perf_counter() - began
            block = block * 2 if took < BLOCK_S / 2 else max(1, int(wanted * BLOCK_S / took))

    def one_by_one(self) -> None:
        """Take every element through its story."""
        for position, row in enumerate(zip(*self.rows, strict=False)):
            if self._spent():
                break
            self.position = position
            self._place(position, drive(self._story(position, row), self._perform))

    async def overlapping(self) -> None:
        """Take async elements through their stories, some at a time."""
        import asyncio  # 10 ms, which only async tasks need

        free = asyncio.Semaphore(ASYNC_WIDTH)
        tasks: list[asyncio.Task[None]] = []
        for position, row in enumerate(zip(*self.rows, strict=False)):
            await free.acquire()
            if self._spent():
                break
            self.values.append(None)
            self.states.append(StateName.RUNNING)
            task = asyncio.ensure_future(self._one_async(position, row))
            task.add_done_callback(lambda _: free.release())
            tasks.append(task)
        await asyncio.gather(*tasks)

    async def _one_async(self, position: int, row: tuple[Any, ...]) -> None:
        with running(replace(self.context, at=partial(self._element_at, position))):
            story = self._story(position, row)
            self._place(position, await drive_async(story, self._perform))

    def _story(self, position: int, row: tuple[Any, ...]) -> Story:
        """Return what an element goes through that may have tries behind it."""
        overran, limit = None, self.spec.timeout_s
        if position in self.work.unasked and limit is not None:
            overran = _timed_out(TimedOut(self._label(), limit, "hard"))
        return attempt(self.spec, row, tries=self.tried.get(position, 0), overran=overran)

    def handed_over(self) -> tuple[Report, Values]:
        """Return the report and the values, pickled where they travel."""
        self.close()
        if self.home is not None:
            self.home.send()
        if self.keeper is not None:
            self.keeper.stage(self.values)
        values: Values = self.values
        if self.work.remote:
            values, errors = wire.dump_list(self.values)
            for position, error in errors.items():
                self._cannot_travel(position, error)
        seconds = time.perf_counter() - self.began
        report = Report(
            chunk=self.work.id,
            worker=self.site.worker,
            reached=len(self.states),
            states=run_lengths(self.states),
            seconds=seconds,
            cpu_s=self.meter.cpu_s(seconds),
            before_bytes=self.meter.before_bytes,
            peak_bytes=self.meter.end(),
            details=self.details,
            staged=self.keeper.staged if self.keeper is not None else {},
            wanted=wanted(self.states, self.values),
            keyed=self.keeper.keyed if self.keeper is not None else {},
            warnings=tuple(self.keeper.warnings) if self.keeper is not None else (),
        )
        # In cycles with its own methods it lives on for a while; what users gave must not.
        self.columns, self.rows, self.values = [], [], []
        return report, values

    def close(self) -> None:
        """Give back what a time limit took, and let go of what elements started; idempotent."""
        if self.nest is not None:
            self.nest.close()
        if self.limiter is not None:
            self.limiter.close()
        if self.outbox is not None:
            self.outbox.close()

    def _spent(self) -> bool:
        if not self.states:
            return False
        if self.keeper is not None and self.keeper.caught_up:
            return True
        if self.site.stopping():
            return True
        budget = self.work.budget_s
        return budget is not None and time.perf_counter() - self.began > budget

    def _by_the_book(self, position: int, called: tuple[Any, BaseException | None]) -> None:
        """Take an element that the fast path called through the rest of its story."""
        row = self.spec.layout.row(self.columns, position)
        self.position = position
        self._place(position, drive(attempt(self.spec, row, called=called), self._perform))
        self.position = None

    def _look_for_states(self, start: int) -> None:
        """Let the states that functions returned be the states of their elements."""
        for position in range(start, len(self.values)):
            if type(self.values[position]) is State:
                self._by_the_book(position, (self.values[position], None))

    def _look_for_futures(self, start: int) -> None:
        """Put values in the places of the futures that functions returned."""
        for position in range(start, len(self.values)):
            if not hollow(self.values[position : position + 1], Future):
                self._by_the_book(position, fetched(self.values[position]))

    def _place(self, position: int, outcome: Outcome) -> None:
        if position == len(self.values):
            self.values.append(outcome.value)
            self.states.append(outcome.state)
        else:
            self.values[position] = outcome.value
            self.states[position] = outcome.state
        error, name = outcome.error, self.names.pop(position, "") if self.names else ""
        single_name = name if self.spec.info.single else ""
        told = outcome.message or outcome.label or single_name
        if error is not None or outcome.tries > 1 or told:
            recorded = self.spec.info.recorded
            self.details[position] = Detail(
                attempts=outcome.tries,
                failure=capture(error, travels=self.work.remote) if error else None,
                again_in_s=outcome.again_in_s,
                message=outcome.message,
                label=outcome.label,
                name=single_name,
                seconds=self.spent.get(position, 0.0),
                arguments=self._called_with(position, outcome) if recorded else None,
            )

    def _called_with(self, position: int, outcome: Outcome) -> bytes | None:
        """Return what an element that failed for good was called with, if it is among the first."""
        final = outcome.state.final and outcome.state not in WITH_VALUE
        if not final or self.packed >= MOST_OF_CHUNK:
            return None
        self.packed += 1
        row = self.spec.layout.row(self.columns, position)
        return packed_element(self.spec.fn, self.spec.layout, row)

    # Who runs, as its code may ask.

    def _element(self) -> Element:
        return self._element_at(len(self.values) if self.position is None else self.position)

    def _element_at(self, position: int) -> Element:
        return Element(
            index=self._indices[position],
            position=position,
            run_count=self.tried.get(position, 0) + 1,
            name=self.names.get(position, ""),
            started=self.started,
            arguments=lambda: self._arguments(self.spec.layout.row(self.columns, position)),
        )

    @cached_property
    def _indices(self) -> Sequence[int]:
        return self.work.batch.elements()

    @cached_property
    def _arguments(self) -> Callable[[Sequence[Any]], dict[str, Any]]:
        """Returns a row as arguments by name."""
        return self.spec.layout.binder(self.spec.fn)

    def _running(self) -> Element:
        """Return the element that an effect is of."""
        element = (current() or self.context).element
        assert element is not None
        return element

    def _task_run(self, effect: Judge | Announce) -> TaskRun:
        element, info = self._running(), self.spec.info
        with suppress(Exception):  # raised again by the call, which fails by it
            self._name(element.position, effect.row)
        return TaskRun(
            id=info.element_id(element.index),
            name=self.names.get(element.position) or info.name,
            task_name=info.of,
            flow_run_id=info.flow_run_id,
            tags=info.tags,
            run_count=max(1, effect.tries),
            map_index=None if info.single else info.first + element.index,
            state=effect.state,
            start_time=element.started,
            total_run_time=timedelta(seconds=self.spent.get(element.position, 0.0)),
            parent_task_run_id=info.parent_id or None,
            parameters=element.arguments(),
        )

    # How effects are carried out; where the task is async, some of them return what to await.

    def _perform(self, effect: Effect) -> Any:
        return self.performers[type(effect)](effect)

    def _begin(self, effect: Call) -> None:
        """Note how often the running element was tried, and what it is called."""
        if not effect.tries and self.spec.run_name is None:
            return
        position = self._running().position if self.position is None else self.position
        self.tried[position] = effect.tries
        self._name(position, effect.row)

    def _name(self, position: int, row: tuple[Any, ...]) -> None:
        if self.spec.run_name is not None and position not in self.names:
            arguments = partial(self._arguments, row)
            self.names[position] = run_name(self.spec.run_name, self.spec.info.of, arguments)

    def _within(self) -> AbstractContextManager[None]:
        """Return what the running element's code runs in: its own part of a transaction."""
        part = self.spec.part
        return nullcontext() if part is None else part.entered(self._running().index)

    def _called(self, effect: Call) -> Any:
        try:
            self._begin(effect)
            if self.spec.is_async:
                return self._awaited(effect)
            begun, began = nested(), time.perf_counter()
            try:
                with self._within():
                    if self.spec.timeout_s is None:
                        value = self._value(effect.row)
                    else:
                        value = self._in_time(self._value, effect.row)
            finally:
                self._spend(began)
            return (value, None) if nested() == begun else fetched(value)
        except Interrupt:  # the time of something around this is over
            raise
        except StopIteration:
            return None, _stop_iteration()
        except BaseException as error:  # the story decides what becomes of it
            return self._ended(error)

    def _ended(self, error: BaseException) -> tuple[Any, BaseException | None]:
        """Return what a call came to that raised.

        Its own time limit makes a state of its own, and so does its cancellation, which it hears of
        by that of what it has started.
        """
        if isinstance(error, RunCancelled) and self.site.stopping():
            return State(code=StateName.CANCELLED, message=str(error), error=error), None
        if isinstance(error, TimedOut) and error.name == self._label():
            return _timed_out(error), None
        return None, error

    def _label(self) -> str:
        element, info = self._running(), self.spec.info
        return info.of if info.single else f"{info.of}[{info.first + element.index}]"

    def _value(self, row: Sequence[Any]) -> Any:
        return list(self.call(*row)) if self.spec.yields else self.call(*row)

    def _in_time(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call within the time limit; the driver is told, should the process end by it."""
        assert self.spec.timeout_s is not None
        if self.limiter is None:
            self.limiter = Limiter(self.spec.timeout_s, kills=self.work.kills, name=self._label)
        if self.work.kills:
            mark = (self._running().position, time.time())
            self.site.say(MARK + pickle.dumps(mark, protocol=5))
        return self.limiter.call(function, *args)

    async def _awaited(self, effect: Call) -> tuple[Any, BaseException | None]:
        begun, began = nested(), time.perf_counter()
        try:
            with self._within():
                called = self._items(effect.row) if self.spec.yields else self.call(*effect.row)
                if self.spec.timeout_s is not None:
                    called = call_async(self.spec.timeout_s, called, name=self._label())
                value = await called
            return (value, None) if nested() == begun else fetched(value)
        except Interrupt:  # the time of something around this is over
            raise
        except BaseException as error:  # the story decides what becomes of it
            return self._ended(error)
        finally:
            self._spend(began)

    def _spend(self, began: float) -> None:
        """Count the time of a call, where somebody is told of it."""
        if self.spec.task is not None:
            position = self._running().position
            took = time.perf_counter() - began
            self.spent[position] = self.spent.get(position, 0.0) + took

    async def _items(self, row: Sequence[Any]) -> list[Any]:
        return [item async for item in self.call(*row)]

    def _found(self, effect: Find) -> Any:
        assert self.keeper is not None
        return self.keeper.found(self._arguments(effect.row))

    def _kept(self, effect: Keep) -> Any:
        assert self.keeper is not None
        return self.keeper.keep(effect.key, effect.value)

    def _judged(self, effect: Judge) -> Any:
        assert self.spec.condition is not None
        run = self._task_run(effect)
        return self._told(hooks.asking(self.spec.condition, self.spec.task, run, effect.state))

    def _announced(self, effect: Announce) -> Any:
        assert self.spec.hooks is not None
        called = self.spec.hooks.of(effect.state.code)
        run = self._task_run(effect)
        return self._told(hooks.calling(called, self.spec.task, run, effect.state))

    def _told(self, story: Story) -> Any:
        return hooks.told_async(story) if self.spec.is_async else hooks.told(story)

    def _cannot_travel(self, position: int, error: Exception) -> None:
        failure = capture(
            wire.not_picklable(f"A result of {self.spec.info.name}", error), travels=True
        )
        self.states[position] = StateName.FAILED
        self.details[position] = Detail(failure=failure)


def _timed_out(error: TimedOut) -> State:
    return State(code=StateName.TIMED_OUT, message=str(error), error=error)


def _stop_iteration() -> RuntimeError:
    return RuntimeError("The task raised StopIteration, which would end any loop around it.")
