"""How elements of a run come to an end without a worker: one by one, by chunks, or all together."""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from fanfold.engine import chunking
from fanfold.engine.calls import Call
from fanfold.engine.chunking import Batch, Span
from fanfold.engine.columns import FINAL_CODES, Columns
from fanfold.engine.flights import Flights
from fanfold.engine.losses import Losses
from fanfold.engine.recording.accounts import Account
from fanfold.engine.results.leasing import Granted, Leasing
from fanfold.engine.sources import Sources
from fanfold.engine.tries import Tries
from fanfold.engine.twins import twins
from fanfold.values.errors import (
    ClusterLost,
    CrashedWithCluster,
    InfrastructureError,
    RunCancelled,
    RunError,
    StoreError,
    WorkerLost,
)
from fanfold.values.messages import Detail, Failure
from fanfold.values.states import NO_VALUE, StateName, StateType, check, present

_OPEN_STRETCH = re.compile(b"[^" + FINAL_CODES + b"]+")


class Ends(Columns):
    """The elements of a run with what is to become of them. One thread drives it."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.account: Account | None = None
        """What the history is to be told; None where none is kept."""
        self.flights = Flights(call.patience)
        self.unannounced: list[int] = []
        """Elements that ended without a worker, whose hooks are still to be called."""
        self._sources: Sources | None = call.sources
        self._todo: deque[Batch] = deque()
        self._stalled: list[Batch] = []
        self._tries = Tries()
        self._losses = Losses(call.infrastructure_retries)
        self._twins = twins(call)
        self.leasing = Leasing()

    def _send(self, indices: list[int], after: str = "") -> None:
        """Put elements into the queue that had to wait for others."""
        if indices:
            spans = chunking.joined([(index, index + 1) for index in indices])
            self._todo.append(Batch(spans=tuple(spans), after=after))

    def granted(self, granted: Granted) -> list[Span]:
        """Let out who has the lease of its key now; where there never will be one, all fail."""
        indices = self.leasing.got(granted)
        if granted.error is None:
            self._send(indices)
            return []
        for index in indices:
            told = f"{self.label(index)} can't have the lease of its key: {granted.error}"
            self._finish(index, StateName.FAILED, _without_traceback(StoreError(told)))
        return [(index, index + 1) for index in indices]

    def _finish_all(self, batch: Batch, state: StateName, error: InfrastructureError) -> list[Span]:
        kind = CrashedWithCluster if isinstance(error, ClusterLost) else NO_VALUE[state.type]
        reason = self._losses.reason(batch, error)
        if isinstance(error, WorkerLost) and len(batch) == 1 and self._sources is not None:
            called = self._sources.called(self.call.spec.layout, batch.spans[0][0])
            reason += f" It was called with {called}."
        for index in batch.indices():
            self._end(index, state, kind, f"{self.label(index)}: {reason}")
        return list(batch.spans)

    def _end(self, index: int, state: StateName, kind: type[RunError], message: str) -> None:
        self._finish(index, state, _without_traceback(kind(message)))

    def _finish(self, index: int, state: StateName, failure: Failure) -> None:
        check({self.states[index]}, {state})
        self.states[index] = state
        detail = Detail(attempts=self._tries.behind(index), failure=failure)
        self.details[index] = detail
        self.left -= 1
        if self.account is not None:
            self.account.ended(index, state, detail)
        self._todo.extend(self._twins.freed([(index, index + 1)]))
        self._send(self.leasing.ended(index, state, kept=False))
        hooks = self.call.spec.hooks
        if hooks is not None and hooks.failure and state.type is StateType.FAILED:
            self.unannounced.append(index)

    def _grounded(self) -> list[Span]:
        """Return the stretches of elements that aren't final and not in flight."""
        waiting = bytearray(self.states)
        for start, stop in self.flights.spans():
            waiting[start:stop] = bytes([StateName.CANCELLED]) * (stop - start)
        return [match.span() for match in _OPEN_STRETCH.finditer(waiting)]

    def _cancel(self, spans: Iterable[Span]) -> list[Span]:
        return self._sweep(spans, StateName.CANCELLED, RunCancelled("cancelled"))

    def _crash(
        self, kind: type[RunError], why: str, spans: Iterable[Span] | None = None
    ) -> list[Span]:
        """End all, or what is open of some stretches, as Crashed; the first is told apart."""
        spans = [(0, len(self.states))] if spans is None else list(spans)
        news: list[Span] = []
        if first := next((found for span in spans if (found := self._open_in(span))), None):
            self._end(first[0], StateName.CRASHED, kind, f"{self.label(first[0])}: {why}")
            news = [(first[0], first[0] + 1)]
        return news + self._sweep(spans, StateName.CRASHED, kind(f"{self.name}: {why}"))

    def _open_in(self, span: Span) -> Span | None:
        found = _OPEN_STRETCH.search(self.states, *span)
        return None if found is None else found.span()

    def _sweep(self, spans: Iterable[Span], state: StateName, error: RunError) -> list[Span]:
        """End what is open of some stretches, and all that waits, without a value.

        0.1 s for a million elements: all have the same to say, and neither hooks nor the history
        are told of them one by one.
        """
        waiting = [span for batch in (*self._todo, *self._stalled) for span in batch.spans]
        self._todo.clear()
        self._stalled.clear()
        self._tries.drop()
        self._twins.drop()
        self.leasing.drop()
        detail = Detail(attempts=0, failure=_without_traceback(error))
        news: list[Span] = []
        for span in (*spans, *waiting):
            for start, stop in [m.span() for m in _OPEN_STRETCH.finditer(self.states, *span)]:
                check(present(self.states, start, stop), {state})
                self.states[start:stop] = bytes([state]) * (stop - start)
                self.left -= stop - start
                self.details.update(dict.fromkeys(range(start, stop), detail))
                news.append((start, stop))
        for index, attempts in self._tries.tried():
            if self.details.get(index) is detail:
                self.details[index] = replace(detail, attempts=attempts)
        return chunking.joined(news)


def _without_traceback(error: Exception) -> Failure:
    return Failure(kind=type(error).__name__, message=str(error), traceback="", live=error)
