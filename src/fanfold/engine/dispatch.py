"""The dispatcher: one thread that owns all runs of a process and a heap of timers."""

import heapq
import logging
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

from fanfold.engine import watching
from fanfold.engine.announcing import call_hooks
from fanfold.engine.chunking import Span
from fanfold.engine.context import running
from fanfold.engine.drive import Story
from fanfold.engine.effects import (
    Announce,
    Claim,
    Commit,
    Drop,
    Event,
    Look,
    Publish,
    Record,
    Release,
    Remake,
    Submit,
    Wait,
)
from fanfold.engine.recording.hearing import EARS
from fanfold.engine.recording.sinks import LINE
from fanfold.engine.results.claiming import claim, let_go
from fanfold.engine.results.clerk import clerk
from fanfold.engine.results.committing import tidy, write_index
from fanfold.engine.results.leasing import Granted
from fanfold.engine.run import Run
from fanfold.engine.shift import MARK
from fanfold.engine.single import OnePerProcess
from fanfold.engine.story import story
from fanfold.ports.runner import Ref, Session
from fanfold.values.errors import InfrastructureError, RunTakenOver
from fanfold.values.messages import Report

logger = logging.getLogger("fanfold.engine")

What = dict[str, Any]
"""The fields of an Event that say what happened."""


@dataclass(slots=True)
class _Desk:
    """What the dispatcher holds of a run that isn't over."""

    session: Session
    story: Story | None = None
    due: float | None = None
    shared: list[Ref] = field(default_factory=list)
    """The run's spec on the cluster, held until the run is over (R11)."""


class Dispatcher:
    """Carries out what the stories of runs ask for; its methods may be called from any thread."""

    def __init__(self) -> None:
        self._inbox: SimpleQueue[tuple[Run | None, What]] = SimpleQueue()
        self._desks: WeakKeyDictionary[Run, _Desk] = WeakKeyDictionary()
        self._active: set[Run] = set()
        self._timers: list[tuple[float, int, ref[Run]]] = []
        self._order = count()
        self._news: deque[tuple[Run, What]] = deque()
        self._announcer = ThreadPoolExecutor(1, thread_name_prefix="fanfold-hooks")
        self._by_id: WeakValueDictionary[str, Run] = WeakValueDictionary()
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="fanfold-commit")
        self._performers: dict[type, Callable[[Run, _Desk, Any], Any]] = {
            Submit: self._submit,
            Look: self._look,
            Drop: self._drop,
            Publish: self._publish,
            Commit: self._commit,
            Claim: self._claim,
            Release: self._give_back,
            Announce: self._announce,
            Record: self._record,
            Remake: self._remake,
        }
        self._thread = threading.Thread(target=self._loop, name="fanfold-dispatch", daemon=True)
        self._thread.start()

    def start(self, run: Run) -> None:
        """Begin to drive a run on its session."""
        self._inbox.put((run, {"begin": True}))

    def cancel(self, runs: Iterable[Run], *, interrupt: bool = False) -> None:
        """Let nothing of these runs start any more; returns when that holds.

        With `interrupt` running calls are stopped too, where their runner can do that.
        """
        heard = threading.Event()
        for run in runs:
            self._inbox.put((run, {"cancel": True, "interrupt": interrupt}))
        self._inbox.put((None, {"heard": heard}))
        heard.wait()

    def lost(self, run: Run, refs: Iterable[Ref]) -> None:
        """Say that values are gone; the run makes them again."""
        self._inbox.put((run, {"lost": list(refs)}))

    def heard(self, chunk_id: str, message: bytes) -> None:
        """Take what a running chunk said; the `heard` of all sessions."""
        if message[:1] == LINE:
            EARS.take(chunk_id, message)
            return
        now, begins = time.monotonic(), None
        if message[:1] == MARK:
            # By the worker's clock: what it said last may come here when its process is long dead.
            position, at = pickle.loads(memoryview(message)[1:])
            begins = position, now - max(0.0, time.time() - at)
        self._inbox.put((None, {"spoke": (chunk_id, now, begins)}))

    def _loop(self) -> None:
        while True:
            run, what = self._next()
            if run is None:
                self._note(what)
                continue
            self._news.append((run, what))
            del run, what  # a run is let go of while nothing happens
            while self._news:
                self._try_step(*self._news.popleft())

    def _note(self, what: What) -> None:
        """Take in what needs no story."""
        if "heard" in what:
            what["heard"].set()
            return
        chunk_id, now, begins = what["spoke"]
        run = self._by_id.get(chunk_id.rpartition("-")[0])
        if run is not None:
            run.flights.speaks(chunk_id, now, begins)

    def _try_step(self, run: Run, what: What) -> None:
        try:
            self._step(run, what)
        except Exception as error:  # a bug of ours: told, and nobody waits for ever
            logger.exception("%s can't go on", run.name)
            self._break(run, error)

    def _next(self) -> tuple[Run | None, What]:
        while True:
            wait = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            try:
                return self._inbox.get(timeout=wait)
            except Empty:
                due, _, waiting = heapq.heappop(self._timers)
                run = waiting()
                desk = self._desks.get(run) if run is not None else None
                if run is not None and desk is not None and desk.due == due:
                    return run, {}
                del run

    def _step(self, run: Run, what: What) -> None:
        desk = self._desk(run, what)
        if desk is None or desk.story is None:
            return
        if what.get("cancel"):
            desk.session.cancel(run.flights.refs(), interrupt=what.pop("interrupt"))
        what = {key: value for key, value in what.items() if key != "begin"}
        session, want = desk.session, run.call.want
        answer: Any = Event(
            now=time.monotonic(),
            slots=session.slots().holding(want),
            lacking=session.lacking(want),
            **what,
        )
        try:
            while True:
                with run.changed:
                    effect = desk.story.send(answer)
                if isinstance(effect, Wait):
                    self._wait(run, desk, effect.until)
                    break
                answer = self._performers[type(effect)](run, desk, effect)
        except StopIteration:
            self._warn(run)  # while the run around it goes on, and its lines are taken
            self._finish(run, desk)
        if "lost" in what or "committed" in what:
            self._notify(run)
        self._warn(run)

    def _warn(self, run: Run) -> None:
        """Say what there is to say of a run, as lines of the one around it."""
        if not run.warnings:
            return
        with running(run.owner.context if run.owner is not None else None):
            while run.warnings:  # the thread that commits may add some meanwhile
                logger.warning("%s", run.warnings.pop(0))

    def _desk(self, run: Run, what: What) -> _Desk | None:
        """Return the run's desk; opened at the start, and again when values were lost."""
        desk = self._desks.get(run)
        if "begin" in what or ("lost" in what and (desk is None or desk.story is None)):
            self._by_id[run.id] = run
            if run.finished and run.owner is not None:
                run.owner.tally.take_back(run)
            watching.watch(run, run.call.stream)
            desk = self._desks[run] = _Desk(session=run.session, story=story(run))
            assert desk.story is not None
            next(desk.story)
            self._active.add(run)
            run.finished = False
            for upstream in run.upstream:
                if run not in upstream.dependents:
                    upstream.dependents.append(run)
        return desk

    def _wait(self, run: Run, desk: _Desk, until: float | None) -> None:
        if until != desk.due:
            desk.due = until
            if until is not None:
                heapq.heappush(self._timers, (until, next(self._order), ref(run)))

    def _submit(self, run: Run, desk: _Desk, effect: Submit) -> Ref:
        def done(report: Report) -> None:
            # After the lines that its chunk said before.
            EARS.then(partial(self._inbox.put, (run, {"report": report})))

        try:
            if run.shares and not desk.shared:
                parts = enumerate(run.payload)
                desk.shared = [desk.session.share(f"{run.id}/{at}", part) for at, part in parts]
            return desk.session.submit(
                effect.work, effect.needs, desk.shared, want=run.call.want, done=done
            )
        except InfrastructureError as error:
            done(Report(chunk=effect.work.id, error=error, started=False))
            return None

    def _look(self, run: Run, desk: _Desk, effect: Look) -> None:
        def look() -> None:
            stuck = set(desk.session.stuck(list(effect.chunks.values())))
            found = [one for one, chunk_ref in effect.chunks.items() if chunk_ref in stuck]
            self._inbox.put((run, {"looked": (list(effect.chunks), found)}))

        threading.Thread(target=look, name="fanfold-look", daemon=True).start()

    def _drop(self, run: Run, desk: _Desk, effect: Drop) -> None:
        desk.session.cancel([one for one in effect.refs if one is not None])

    def _publish(self, run: Run, desk: _Desk, effect: Publish) -> None:
        if run.call.part is not None:
            run.call.part.news(run, effect.spans)
        self._notify(run, effect.spans)
        for dependent in run.dependents:
            self._news.append((dependent, {"arrived": (run, effect.spans)}))

    def _notify(self, run: Run, spans: list[Span] | None = None) -> None:
        with run.changed:
            run.changed.notify_all()
            watchers = list(run.watchers)
        for watch in watchers:
            watch(spans)

    def _commit(self, run: Run, desk: _Desk, effect: Commit) -> None:
        if run.call.part is not None and run.call.part.hold(effect):
            self._inbox.put((run, {"committed": effect.number}))
            return

        def write() -> None:
            try:
                write_index(run, effect)
            except RunTakenOver as error:
                run.warnings.append(f"Results of {run.name} aren't kept: {error}")
                run.owner.lost(error)
            except Exception as error:  # the run has its values; only later runs miss them
                run.warnings.append(f"Results of {run.name} aren't kept: {error}")
            self._inbox.put((run, {"committed": effect.number}))
            tidy(run)

        self._committer.submit(write)

    def _claim(self, run: Run, desk: _Desk, effect: Claim) -> None:
        def tell(granted: Granted) -> None:
            self._inbox.put((run, {"granted": granted}))

        claim(run, effect.keys, tell)

    def _give_back(self, run: Run, desk: _Desk, effect: Release) -> None:
        clerk().release(effect.leases)

    def _announce(self, run: Run, desk: _Desk, effect: Announce) -> None:
        def announce() -> None:
            if effect.committed and run.call.part is not None:
                run.call.part.tell_committed(effect.indices)
            else:
                call_hooks(run, effect.indices)
            self._inbox.put((run, {"announced": True}))

        self._announcer.submit(announce)

    def _record(self, run: Run, desk: _Desk, effect: Record) -> None:
        if run.account is not None:
            run.account.put(effect.notes)

    def _remake(self, run: Run, desk: _Desk, effect: Remake) -> None:
        for upstream in run.upstream:
            self._news.append((upstream, {"lost": effect.refs}))

    def _finish(self, run: Run, desk: _Desk) -> None:
        desk.story = None
        desk.shared = []
        let_go(run)
        watching.unwatch(run, run.call.stream)
        if run.owner is not None:
            run.owner.tally.add(run)
        if run.account is not None:
            run.account.over(run.states, run.details.get(0))
        self._active.discard(run)
        with run.changed:
            run.finished = True
        self._notify(run)
        self._release(run)

    def _release(self, run: Run) -> None:
        """Let a finished run go of its upstream, once nothing may need its values made again."""
        if run.dependents or not run.finished:
            return
        upstreams = run.upstream
        run.release()
        for upstream in upstreams:
            if run in upstream.dependents:
                upstream.dependents.remove(run)
                self._release(upstream)

    def _break(self, run: Run, error: Exception) -> None:
        with run.changed:
            run.give_up(f"Fanfold failed: {type(error).__name__}: {error}")
        desk = self._desks.get(run)
        if desk is not None:
            self._publish(run, desk, Publish(spans=[(0, run.count)]))
            self._finish(run, desk)


@OnePerProcess
def dispatcher() -> Dispatcher:
    """Return the process's dispatcher, started on first use."""
    return Dispatcher()
