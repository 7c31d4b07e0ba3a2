"""A flow run: the session that its tasks run on, the runs it started, the story of its calls."""

import atexit
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import WeakSet

from fanfold.engine import loading, watching
from fanfold.engine.attempt import RETRIED, retry_delay_s
from fanfold.engine.calls import Call
from fanfold.engine.context import FLOW_RUN, RunContext, RunInfo, count_nested, current
from fanfold.engine.direct import call_here
from fanfold.engine.dispatch import dispatcher
from fanfold.engine.failures import users_frames
from fanfold.engine.here import HERE
from fanfold.engine.joined import JoinedSession
from fanfold.engine.nest import Nest
from fanfold.engine.owner import Owner
from fanfold.engine.recording import recorder as recorders
from fanfold.engine.recording import sinks
from fanfold.engine.recording.sinks import FACTS, Sink
from fanfold.engine.run import Run
from fanfold.engine.telling import show
from fanfold.ports.runner import Session, TaskRunner
from fanfold.values.errors import RunTakenOver
from fanfold.values.ids import new_id
from fanfold.values.states import State, StateName
from fanfold.values.times import now_us


@dataclass(frozen=True, slots=True)
class Prepare:
    """Check the arguments, wait for what the flow needs; answered by a State that ends it early."""


@dataclass(frozen=True, slots=True)
class CallFlow:
    """Call the flow's function; answered by the State that it came to."""

    tries: int


@dataclass(frozen=True, slots=True)
class AnnounceFlow:
    """Call the hooks of a state."""

    state: State
    tries: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """Let time pass; answered by a State if something ended the run meanwhile."""

    seconds: float


def flow_story(
    retries: int, delays_s: tuple[float, ...]
) -> Generator[Prepare | CallFlow | AnnounceFlow | Sleep, Any, State]:
    """Tell what to do for a flow run until it is final."""
    tries = 0
    state: State | None = yield Prepare()
    if state is None:
        yield AnnounceFlow(State(code=StateName.RUNNING), 1)
    while True:
        delay = None
        if state is None:
            state = ended = yield CallFlow(tries)
            tries += 1
            if ended.code in RETRIED:
                delay = retry_delay_s(retries, delays_s, tries)
        if state is not None and delay is None:
            yield AnnounceFlow(state, tries)
            return state
        state = (yield Sleep(delay)) if delay else None


class FlowRun(Owner):
    """One execution of a flow. Thread-safe: its tasks may be submitted from any thread."""

    def __init__(self, info: RunInfo, runner: TaskRunner, recorder: Sink | None = None) -> None:
        super().__init__(info, recorder)
        self.runner = runner
        around = current()
        self._send = around.send if around is not None else None
        """Takes log lines home, where the flow itself runs in another process."""
        self._nest = around.nest if around is not None else None
        self._caller: FlowRun | None = around.owner if around is not None else None
        self.stop: Callable[[RunTakenOver], None] | None = None
        """Stops the flow's own code."""
        self._executions: WeakSet[Any] = WeakSet()
        self._calls: Counter[Any] = Counter()
        self._streamed: dict[str, tuple[Any, int]] = {}
        self._finished: dict[Any, State] = {}
        show()
        watching.begin()

    def lost(self, error: RunTakenOver) -> None:
        """Stop the outermost flow run, with all that it has called."""
        run = self
        while run._caller is not None:
            run = run._caller
        stop = run.stop
        if stop is not None:
            stop(error)

    @property
    def context(self) -> RunContext:
        """What the flow's code runs in."""
        return RunContext(
            info=self.info,
            send=self._send,
            owner=self,
            recorder=self.recorder,
            nest=self._nest,
        )

    def _open(self) -> Session:
        """Connect; on the cluster of the calling flow run where that has an equal runner.

        Or each of a hundred subflows would start a cluster. Threads are cheap, and shared by none.
        """
        caller = self._caller
        if caller is not None and not caller.over and caller.runner == self.runner:
            session = caller.session()
            if session.traits.remote:
                return JoinedSession(session)
        session = _sessions[self] = self.runner.open(self.heard)
        return session

    def _tell(self, message: bytes) -> bool:
        if message[:1] == FACTS:
            if self.recorder is not None:
                self.recorder.put(sinks.travelled, message)
            return True
        if self._send is None:
            return False
        self._send(message)
        return True

    async def settle_streams(self) -> None:
        """Run maps over iterators to their end; each is advanced in the loop's thread."""
        for stream in reversed(list(self.streams)):
            await stream.settle_async()

    def add_execution(self, execution: Any) -> None:
        """Note that its code calls a flow."""
        with self._lock:
            self._executions.add(execution)

    def executions(self) -> list[Any]:
        """Return the calls of flows in it that are still held by somebody."""
        with self._lock:
            return list(self._executions)

    def abandon(self, *, interrupt: bool) -> None:
        """Let nothing start any more of what was started.

        Args:
            interrupt: Stop running calls where the runner can, and wait for none. Otherwise wait
                until they have come to their end.
        """
        for stream in list(self.streams):
            stream.close()
        open_runs = [run for run in self.started() if not run.finished]
        if open_runs:
            dispatcher().cancel(open_runs, interrupt=interrupt)
        if not interrupt:
            self.settle()
            return
        with self._lock:
            left, self._runs = list(self._runs), WeakSet()
        for run in left:
            if run.account is not None and not run.finished:
                run.account.given_up(run.states, run.details.get(0))
            with run.changed:
                run.changed.notify_all()

    def close(self) -> None:
        """Close the session, if one was opened. Values that nobody has read go with it."""
        watching.over(self)
        _sessions.pop(self, None)
        # It reaches the flow's function and all that is bound to it, and others may hold on to
        # this run's context for long: a cancelled timer of an event loop does until it is due.
        self.stop = None
        super().close()

    # What earlier tries of this run have finished, so that a retry doesn't do it again.

    def begin_try(self, info: RunInfo) -> None:
        """Begin to count calls of subflows anew."""
        self.info = info
        self._calls.clear()

    def nth_call(self, key: Any) -> Any:
        """Return a key of this call among equal ones of the current try."""
        with self._lock:
            self._calls[key] += 1
            return key, self._calls[key]

    def nth_of(self, key: Any, stream: str) -> tuple[Any, int]:
        """Return which of equal calls and maps of the current try one is, from 1, and their key.

        Args:
            key: What they have in common.
            stream: Id of the streamed map that it is a part of: all of its parts are one, which has
                the key of the first.
        """
        if stream in self._streamed:
            return self._streamed[stream]
        counted = self.nth_call(key)
        if stream:
            self._streamed[stream] = counted
        return counted

    def finished(self, call: Any) -> State | None:
        """Return what an earlier try's call came to, if it was kept."""
        return self._finished.get(call)

    def finish(self, call: Any, state: State) -> None:
        """Keep what a call came to, for later tries."""
        self._finished[call] = state


class ElementRuns(Owner):
    """What the elements of a chunk have started: on their cluster, if their runner can do that.

    Otherwise it runs in the element's own thread, so a chunk never waits for a slot that it holds.
    """

    def __init__(self, nest: Nest, context: RunContext) -> None:
        super().__init__(context.info, context.recorder)
        self._nest = nest
        self._send = context.send
        # Which of the elements has started a run isn't known; and the running one may be another.
        self._context = replace(context, at=None)

    @property
    def context(self) -> RunContext:
        """What the chunk's code runs in."""
        return self._context

    def _open(self) -> Session:
        return self._nest.site.session(self.heard) or HERE

    def _tell(self, message: bytes) -> bool:
        if self._send is None:
            return False
        self._send(message)
        return True

    def lost(self, error: RunTakenOver) -> None:
        """Do nothing: the driver's own commits are refused too, and end it."""

    def start(self, call: Call) -> Run:
        """Hand a run to the cluster, or run all its elements now, one after the other."""
        if self.session() is not HERE:
            return super().start(call)
        count_nested()
        run = call_here(call, recorder())
        run.owner = self
        return run


_sessions: dict[FlowRun, Session] = {}
"""Of flow runs that go on."""


def dashboards(runner: TaskRunner) -> list[str]:
    """Return the web pages of clusters where flow runs have a runner's sessions open now."""
    sessions = [session for run, session in list(_sessions.items()) if run.runner == runner]
    return sorted({session.dashboard for session in sessions if session.dashboard})


AD_HOC = "ad-hoc"
"""The flow that what was called outside of all flows is recorded under."""
_ad_hoc: FlowRun | None = None
_ad_hoc_lock = threading.Lock()


def owner(default_runner: Callable[[], TaskRunner]) -> Owner:
    """Return what the caller's submits and maps belong to.

    That is the flow run around it, also for a task that it calls directly; inside a running element
    what its chunk has started; and outside of everything an ad-hoc flow run, which lives as long as
    the process.
    """
    context = current()
    if context is None:
        return _outside(default_runner)
    starter = context.owner or context.starter
    if isinstance(starter, Nest):
        found: Owner = starter.owner(partial(ElementRuns, starter, context))
        return found
    return _outside(default_runner) if starter is None else starter


def recorder(default_runner: Callable[[], TaskRunner] | None = None) -> Sink | None:
    """Return what takes the records of the caller's direct calls, None where no history is kept.

    Args:
        default_runner: Makes the runner of the ad-hoc flow run, outside of everything.
    """
    context = current()
    if context is not None:
        return context.recorder
    return _outside(default_runner).recorder if default_runner is not None else None


def recorded_under(default_runner: Callable[[], TaskRunner]) -> str:
    """Return the flow run that the caller's calls are recorded under, empty if none."""
    context = current()
    info = _outside(default_runner).info if context is None else context.info
    return info.recorded_under


def _outside(default_runner: Callable[[], TaskRunner]) -> FlowRun:
    global _ad_hoc
    loading.refuse("a task")
    kept = recorders.current()
    found = _ad_hoc
    if found is not None and found.recorder is kept:
        return found
    with _ad_hoc_lock:
        if _ad_hoc is None:
            info = RunInfo(kind=FLOW_RUN, id=new_id(), name=AD_HOC, of=AD_HOC)
            _ad_hoc = FlowRun(info, default_runner())
            atexit.register(_end_ad_hoc, _ad_hoc)
        if _ad_hoc.recorder is not kept:
            _end_ad_hoc(_ad_hoc)
            _begin_ad_hoc(_ad_hoc, kept)
        return _ad_hoc


def _begin_ad_hoc(run: FlowRun, kept: Sink | None) -> None:
    """Record an ad-hoc run anew, in the history that is kept now."""
    run_id = new_id()
    run.recorder = kept
    run.info = replace(run.info, id=run_id, recorded_under=run_id if kept is not None else "")
    if kept is not None:
        kept.put(sinks.flow_run_made, run.info, None, "", now_us())
        kept.put(sinks.flow_run_moved, run_id, StateName.RUNNING, "", "", 1, None, now_us())


def _end_ad_hoc(run: FlowRun) -> None:
    kept, run.recorder = run.recorder, None
    if kept is not None:
        ended = (StateName.COMPLETED, "", "", 1, None, now_us())
        kept.put(sinks.flow_run_moved, run.info.id, *ended)


@contextmanager
def ad_hoc_apart() -> Generator[None]:
    """Give what is submitted outside of flows a run of its own, which ends with this block.

    For tests: they see neither the runner nor the work of whoever submitted before.
    """
    global _ad_hoc
    with _ad_hoc_lock:
        before, _ad_hoc = _ad_hoc, None
    try:
        yield
    finally:
        with _ad_hoc_lock:
            mine, _ad_hoc = _ad_hoc, before
        if mine is not None:
            mine.abandon(interrupt=False)
            mine.close()
            _end_ad_hoc(mine)


def trimmed(error: BaseException) -> BaseException:
    """Return the error with the user's frames alone."""
    error.__traceback__ = users_frames(error.__traceback__)
    return error
