"""A flow run: the session that its tasks run on, the runs it started, the story of its calls."""

import atexit
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakSet

from fanfold.engine import watching
from fanfold.engine.attempt import RETRIED, retry_delay_s
from fanfold.engine.calls import Call
from fanfold.engine.context import FLOW_RUN, RunContext, RunInfo, count_nested, current
from fanfold.engine.direct import HERE, call_here
from fanfold.engine.dispatch import dispatcher
from fanfold.engine.failures import users_frames
from fanfold.engine.recording import accounts, sinks
from fanfold.engine.recording import recorder as recorders
from fanfold.engine.recording.sinks import FACTS, Sink
from fanfold.engine.run import Run
from fanfold.engine.tally import Tally
from fanfold.engine.telling import LINE, show
from fanfold.engine.waiting import callbacks_called
from fanfold.ports.runner import Session, TaskRunner
from fanfold.values.errors import SessionClosed
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


class FlowRun:
    """One execution of a flow. Thread-safe: its tasks may be submitted from any thread."""

    def __init__(self, info: RunInfo, runner: TaskRunner, recorder: Sink | None = None) -> None:
        self.info = info
        self.runner = runner
        self.recorder = recorder
        """Takes what is to be recorded; None where no history is kept."""
        around = current()
        self._send = around.send if around is not None else None
        """Takes log lines home, where the flow itself runs in another process."""
        self.streams: dict[Any, None] = {}
        """Maps over iterators that haven't come to their end, the oldest first."""
        self.tally = Tally()
        self._session: Session | None = None
        self._over = False
        self._lock = threading.Lock()
        self._runs: WeakSet[Run] = WeakSet()
        self._executions: WeakSet[Any] = WeakSet()
        self._calls: Counter[Any] = Counter()
        self._finished: dict[Any, State] = {}
        show()
        watching.begin()

    @property
    def context(self) -> RunContext:
        """What the flow's code runs in."""
        return RunContext(info=self.info, send=self._send, owner=self, recorder=self.recorder)

    @property
    def over(self) -> bool:
        """Whether nothing more can run in it, and what its workers held is gone."""
        return self._over

    def session(self) -> Session:
        """Return the connection to where tasks run, opened at first use.

        Raises:
            SessionClosed: The flow run is over.
        """
        with self._lock:
            if self._over:
                raise SessionClosed(
                    f"The run of the flow {self.info.of} is over, so nothing more can run in it. "
                    "Do this inside the flow, or take the values out of it."
                )
            if self._session is None:
                self._session = self.runner.open(self._heard)
            return self._session

    def _heard(self, chunk_id: str, message: bytes) -> None:
        """Take what a running chunk said; some goes on to where this run tells its own."""
        if message[:1] == FACTS:
            if self.recorder is not None:
                self.recorder.put(sinks.travelled, message)
        elif self._send is not None and message[:1] == LINE:
            self._send(message)
        else:
            dispatcher().heard(chunk_id, message)

    def start(self, call: Call) -> Run:
        """Hand a run to the dispatcher.

        Raises:
            NotPicklable: The task can't travel to where it should run.
        """
        run = Run(call, self.session())
        run.owner = self
        run.account = accounts.opened(self.recorder, call)
        with self._lock:
            self._runs.add(run)
        dispatcher().start(run)
        return run

    def _started(self) -> list[Run]:
        """Return the runs that were started and not let go of; other threads may start more."""
        with self._lock:
            return list(self._runs)

    def settle(self) -> None:
        """Wait until everything that was started is over."""
        # The last first: it may walk over one that was there before.
        for stream in reversed(list(self.streams)):
            stream.settle()
        waited = set[Run]()
        # Callbacks, and other threads, may start more meanwhile.
        while runs := [run for run in self._started() if run not in waited]:
            for run in runs:
                with run.changed:
                    run.changed.wait_for(lambda run=run: run.finished or run not in self._runs)
            callbacks_called(runs)
            waited.update(runs)

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

    def stop_runs(self) -> None:
        """Stop what was started, where the runner can do that, and wake who waits for it.

        A waiting thread that is to be stopped is struck only at a step of Python code.
        """
        runs = [run for run in self._started() if not run.finished]
        if runs:
            dispatcher().cancel(runs, interrupt=True)
        for run in runs:
            with run.changed:
                run.changed.notify_all()

    def abandon(self, *, interrupt: bool) -> None:
        """Let nothing start any more of what was started.

        Args:
            interrupt: Stop running calls where the runner can, and wait for none. Otherwise wait
                until they have come to their end.
        """
        for stream in list(self.streams):
            stream.close()
        open_runs = [run for run in self._started() if not run.finished]
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
        with self._lock:
            session, self._session = self._session, None
            self._over = True
        watching.over(self)
        if session is not None:
            session.close()

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

    def finished(self, call: Any) -> State | None:
        """Return what an earlier try's call came to, if it was kept."""
        return self._finished.get(call)

    def finish(self, call: Any, state: State) -> None:
        """Keep what a call came to, for later tries."""
        self._finished[call] = state


class InlineRuns:
    """Takes the place of a flow run inside a running element: what it submits runs in its thread.

    So a chunk never waits for a slot that it holds itself.
    """

    over = False

    def __init__(self) -> None:
        self.streams: dict[Any, None] = {}

    def session(self) -> Any:
        """Return the calling thread as a session."""
        return HERE

    def start(self, call: Call) -> Run:
        """Run all elements now, one after the other."""
        count_nested()
        run = call_here(call, recorder())
        run.owner = self
        return run


AD_HOC = "ad-hoc"
"""The flow that what was called outside of all flows is recorded under."""
_ad_hoc: FlowRun | None = None
_ad_hoc_lock = threading.Lock()


def owner(default_runner: Callable[[], TaskRunner]) -> FlowRun | InlineRuns:
    """Return what the caller's submits and maps belong to.

    That is the flow run around it; inside a running element its own thread; and outside of
    everything an ad-hoc flow run, which lives as long as the process.
    """
    context = current()
    if context is not None:
        return context.owner if context.owner is not None else InlineRuns()
    return _outside(default_runner)


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
