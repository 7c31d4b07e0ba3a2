"""A flow run: the session that its tasks run on, the runs it started, the story of its calls."""

import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from fanfold.engine.attempt import retry_delay_s
from fanfold.engine.context import RunContext, RunInfo, current
from fanfold.engine.direct import HERE, call_here
from fanfold.engine.dispatch import dispatcher
from fanfold.engine.failures import users_frames
from fanfold.engine.run import Call, Run
from fanfold.engine.telling import retell, show, tell
from fanfold.ports.runner import Session, TaskRunner
from fanfold.values.errors import SessionClosed
from fanfold.values.ids import new_id
from fanfold.values.states import StateName


@dataclass(frozen=True, slots=True)
class CallFlow:
    """Call the flow's function; answered by (value, None) or (None, exception)."""

    tries: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """Let time pass."""

    seconds: float


@dataclass(slots=True, kw_only=True)
class FlowOutcome:
    """What a flow's story came to."""

    state: StateName
    value: Any = None
    error: BaseException | None = None


class FlowRun:
    """One execution of a flow. Thread-safe: its tasks may be submitted from any thread."""

    def __init__(self, info: RunInfo, runner: TaskRunner) -> None:
        self.info = info
        self.runner = runner
        self._session: Session | None = None
        self._over = False
        self._lock = threading.Lock()
        self._runs: WeakSet[Run] = WeakSet()
        show()

    @property
    def context(self) -> RunContext:
        """What the flow's code runs in."""
        return RunContext(info=self.info, tell=lambda line: tell(self.info, line), owner=self)

    def session(self) -> Session:
        """Return the connection to where tasks run, opened at first use.

        Raises:
            SessionClosed: The flow run is over.
        """
        with self._lock:
            if self._over:
                raise SessionClosed(
                    f"The run of the flow {self.info.name} is over, so nothing more can run in it. "
                    "Do this inside the flow, or take the values out of it."
                )
            if self._session is None:
                self._session = self.runner.open(retell)
            return self._session

    def start(self, call: Call) -> Run:
        """Hand a run to the dispatcher.

        Raises:
            NotPicklable: The task can't travel to where it should run.
        """
        run = Run(call, self.session())
        run.owner = self
        self._runs.add(run)
        dispatcher().start(run)
        return run

    def settle(self) -> None:
        """Wait until everything that was started is over."""
        for run in list(self._runs):
            with run.changed:
                run.changed.wait_for(lambda run=run: run.finished)

    def abandon(self) -> None:
        """Let nothing start any more of what was started."""
        open_runs = [run for run in list(self._runs) if not run.finished]
        if open_runs:
            dispatcher().cancel(open_runs)

    def close(self) -> None:
        """Close the session, if one was opened. Values that nobody has read go with it."""
        with self._lock:
            session, self._session = self._session, None
            self._over = True
        if session is not None:
            session.close()


class InlineRuns:
    """Takes the place of a flow run inside a running element: what it submits runs in its thread.

    So a chunk never waits for a slot that it holds itself.
    """

    def session(self) -> Any:
        """Return the calling thread as a session."""
        return HERE

    def start(self, call: Call) -> Run:
        """Run all elements now, one after the other."""
        run = call_here(call)
        run.owner = self
        return run


_ad_hoc: FlowRun | None = None
_ad_hoc_lock = threading.Lock()


def owner(default_runner: Callable[[], TaskRunner]) -> FlowRun | InlineRuns:
    """Return what the caller's submits and maps belong to.

    That is the flow run around it; inside a running element its own thread; and outside of
    everything an ad-hoc flow run, which lives as long as the process.
    """
    global _ad_hoc
    context = current()
    if context is not None:
        return context.owner if context.owner is not None else InlineRuns()
    with _ad_hoc_lock:
        if _ad_hoc is None:
            info = RunInfo(kind="Flow run", id=new_id(), name="ad-hoc")
            _ad_hoc = FlowRun(info, default_runner())
        return _ad_hoc


def flow_story(
    retries: int, delays_s: tuple[float, ...]
) -> Generator[CallFlow | Sleep, Any, FlowOutcome]:
    """Tell what to do for a flow run until it is final."""
    tries = 0
    while True:
        value, error = yield CallFlow(tries)
        tries += 1
        if error is None:
            return FlowOutcome(state=StateName.COMPLETED, value=value)
        if not isinstance(error, Exception):
            return FlowOutcome(state=StateName.CRASHED, error=error)
        delay = retry_delay_s(retries, delays_s, tries)
        if delay is None:
            return FlowOutcome(state=StateName.FAILED, error=error)
        if delay:
            yield Sleep(delay)


def trimmed(error: BaseException) -> BaseException:
    """Return the error with the user's frames alone."""
    error.__traceback__ = users_frames(error.__traceback__)
    return error
