"""What starts runs, and ends what it has started: a flow run, or the elements of a chunk."""

import threading
from abc import ABC, abstractmethod
from typing import Any
from weakref import WeakSet

from fanfold.engine import watching
from fanfold.engine.calls import Call
from fanfold.engine.context import RunContext, RunInfo, count_nested, current
from fanfold.engine.dispatch import dispatcher
from fanfold.engine.recording import accounts
from fanfold.engine.recording.sinks import FACTS, LINE, Sink
from fanfold.engine.run import Run
from fanfold.engine.tally import Tally
from fanfold.engine.waiting import callbacks_called, slot_free
from fanfold.ports.runner import Session
from fanfold.values.errors import RunTakenOver, SessionClosed


class Owner(ABC):
    """Starts runs on one session, opened at first use. Thread-safe.

    Args:
        info: Of the run whose code starts others.
        recorder: Takes what is to be recorded; None where no history is kept.
    """

    def __init__(self, info: RunInfo, recorder: Sink | None) -> None:
        self.info = info
        self.recorder = recorder
        self.streams: dict[Any, None] = {}
        """Maps over iterators that haven't come to their end, the oldest first."""
        self.tally = Tally()
        self._session: Session | None = None
        self._over = False
        self._lock = threading.Lock()
        self._runs: WeakSet[Run] = WeakSet()

    @property
    @abstractmethod
    def context(self) -> RunContext:
        """What is told of the runs is told in."""

    @abstractmethod
    def _open(self) -> Session:
        """Connect to where the runs go."""

    @abstractmethod
    def _tell(self, message: bytes) -> bool:
        """Take home facts or lines that a chunk told; return whether there was somewhere to go."""

    @abstractmethod
    def lost(self, error: RunTakenOver) -> None:
        """Take in that somebody else goes on with the flow run."""

    @property
    def over(self) -> bool:
        """Whether nothing more can run in it, and what its workers held is gone."""
        return self._over

    def session(self) -> Session:
        """Return the connection to where tasks run, opened at first use.

        Raises:
            SessionClosed: It is over.
        """
        with self._lock:
            if self._over:
                raise SessionClosed(
                    f"The run of {self.info.of} is over, so nothing more can run in it. "
                    "Do this inside of it, or take the values out of it."
                )
            if self._session is None:
                self._session = self._open()
            return self._session

    def heard(self, chunk_id: str, message: bytes) -> None:
        """Take what a running chunk said; some goes on to where this run tells its own."""
        if message[:1] in (FACTS, LINE) and self._tell(message):
            return
        dispatcher().heard(chunk_id, message)

    def start(self, call: Call) -> Run:
        """Hand a run to the dispatcher.

        Raises:
            NotPicklable: The task can't travel to where it should run.
        """
        around = current()
        if around is not None and around.at is not None:
            count_nested()
        run = Run(call, self.session())
        run.owner = self
        run.account = accounts.opened(self.recorder, call)
        with self._lock:
            self._runs.add(run)
        watching.place(run)
        dispatcher().start(run)
        return run

    def started(self) -> list[Run]:
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
        while runs := [run for run in self.started() if run not in waited]:
            for run in runs:
                with slot_free(run), run.changed:
                    run.changed.wait_for(lambda run=run: run.finished or run not in self._runs)
            callbacks_called(runs)
            waited.update(runs)

    def stop_runs(self) -> None:
        """Stop what was started, where the runner can do that, and wake who waits for it.

        A waiting thread that is to be stopped is struck only at a step of Python code.
        """
        runs = [run for run in self.started() if not run.finished]
        if runs:
            dispatcher().cancel(runs, interrupt=True)
        for run in runs:
            with run.changed:
                run.changed.notify_all()

    def close(self) -> None:
        """Close the session, if one was opened. Values that nobody has read go with it."""
        with self._lock:
            session, self._session = self._session, None
            self._over = True
        if session is not None:
            session.close()
