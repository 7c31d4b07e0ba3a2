"""One map run at the driver: what each event does to its columns. Does no I/O.

A call is a run of one element, a submit too.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fanfold.engine import chunking, wire
from fanfold.engine.attempt import retry_delay_s
from fanfold.engine.calls import Call
from fanfold.engine.chunking import Batch, Pace, Span
from fanfold.engine.columns import FINAL_STRETCH
from fanfold.engine.effects import Event, Submit
from fanfold.engine.ends import Ends
from fanfold.engine.failures import capture
from fanfold.engine.flights import Flight
from fanfold.engine.inputs import Inputs
from fanfold.engine.narrowing import narrowed
from fanfold.engine.packing import Packed, pack_inputs, pack_spec
from fanfold.engine.patience import Wait
from fanfold.engine.readiness import Readiness
from fanfold.engine.results.lookup import Lookup
from fanfold.engine.results.segments import Index
from fanfold.engine.sources import Sources
from fanfold.engine.spec import TaskSpec
from fanfold.engine.work import Work
from fanfold.ports.runner import Ref, Session
from fanfold.values.errors import (
    ChunkCancelled,
    ClusterLost,
    Crashed,
    CrashedWithCluster,
    InputsUnreadable,
    TimedOut,
    UpstreamFailed,
    ValuesLost,
    WorkerLost,
)
from fanfold.values.messages import Detail, Report
from fanfold.values.resources import Slots
from fanfold.values.states import WITH_VALUE, StateName, check, present

SHARED_BYTES = 65_536
"""Below, a spec travels with each chunk: cheaper than a round trip to put it there first."""


_VALUE_STRETCH = re.compile(b"[" + re.escape(bytes(sorted(WITH_VALUE))) + b"]+")


class Run(Ends):
    """One map run. One thread drives it; readers hold `changed`."""

    def __init__(self, call: Call, session: Session) -> None:
        call = narrowed(call) if session.traits.remote else call
        super().__init__(call)
        self.session = session
        self.owner: Any = None
        """The flow run that started it, which can start more on the same session."""
        self.remote = session.traits.remote
        self.payload: wire.Buffers = []
        """What all chunks need, pickled, where they run in other processes."""
        if self.remote:
            self.payload = pack_spec(call.spec, session)
        self.remade = False
        """Whether values of it were ever lost."""
        self.depth = 1 + max((run.depth for run in call.sources.upstream()), default=0)
        self.dependents: list[Run] = []
        self.chunks_made = 0
        self._ready = Readiness(call.sources, self.count)
        self._pace = Pace()
        self.wait = Wait(call.patience.worker_s)
        self._cancelled = False
        self._now = 0.0
        self._told: set[str] = set()
        self.warnings: list[str] = []
        self.inputs_of_failed: Sources | None = None
        """Once it is over: what it was called with, if some element has no value."""
        self.lost_needs: list[Ref] = []
        self._kept: dict[str, Mapping[str, bytes]] = {}
        """What chunks staged that others come after, by their ids."""
        self.announcing = 0
        """Calls of hooks that are under way."""
        if call.part is not None:
            part = call.part.of(self)
            inside = part if call.spec.part is not None else None
            self.call = replace(call, part=part, spec=replace(call.spec, part=inside))

    @property
    def upstream(self) -> list["Run"]:
        """The runs whose values this one still needs; none once it is over."""
        return self._sources.upstream() if self._sources else []

    @property
    def shares(self) -> bool:
        """Whether the spec is big enough to be shared instead of sent with each chunk."""
        return sum(map(len, self.payload)) > SHARED_BYTES

    @property
    def over(self) -> bool:
        """Whether all elements are final and all that was staged is committed."""
        return not (self.left or self.commits or self.flights or self.announcing)

    # What events do. Each returns the spans that became final by it.

    def begin(self) -> list[Span]:
        """Take in what upstream runs have finished before this one was there."""
        news: list[Span] = []
        for run in self.upstream:
            news += self.arrive(run, [m.span() for m in FINAL_STRETCH.finditer(run.states)])
        self._enqueue(self._ready.ready(0, self.count))
        return news

    def arrive(self, run: "Run", spans: Iterable[Span]) -> list[Span]:
        """Take in that elements of an upstream run became final."""
        if self._cancelled:
            return []
        news: list[Span] = []
        for index, cause in self._ready.arrive(run, spans):
            self._end(index, StateName.UPSTREAM_FAILED, UpstreamFailed, cause)
            news.append((index, index + 1))
        self._enqueue(self._ready.news())
        self._todo.extend(self._stalled)
        self._stalled.clear()
        return chunking.joined(news)

    def accept(self, report: Report) -> list[Span]:
        """Take in what became of a chunk; a second report of the same chunk is dropped."""
        flight = self.flights.land(report.chunk)
        if flight is None:
            return []
        if self.flights.twin(flight):
            if report.error:
                return []
            if (more := self.flights.outrun(flight)) is not None:
                self._todo.appendleft(more)
        self.warnings += [told for told in report.warnings if told not in self._told]
        self._told.update(report.warnings)
        news = self._not_done(flight, report) if report.error else self._done(flight, report)
        return news + self._cancel(flight.batch.spans) if self._cancelled else news

    def _done(self, flight: Flight, report: Report) -> list[Span]:
        done, rest = flight.batch.split(report.reached)
        if report.reached == 0:
            done, rest = Batch(spans=()), flight.batch
        if rest is not None:
            self._todo.appendleft(rest)
        self._place(done, report, flight.ref)
        self._note(done, report)
        if self.account is not None:
            self.account.chunk(report, done.spans)
        self.costs.add_chunk(report)
        self._losses.forgive()
        if any(code != StateName.FAILED for code, _ in report.states):
            self._losses.read()
        self._pace.learn(report.reached - len(report.wanted), report.seconds)
        news = [
            match.span()
            for start, stop in done.spans
            for match in FINAL_STRETCH.finditer(self.states, start, stop)
        ]
        self._let_others_go(news, flight.id, report)
        self.commits.stage(report.staged, done, self._now, self.leasing.taken_kept())
        return news

    def _let_others_go(self, news: list[Span], chunk_id: str, report: Report) -> None:
        """Send out who waited for what a chunk has done, and note who waits from now on."""
        cache, elements = self.call.spec.cache, len(self._todo)
        self._todo.extend(self._twins.freed(news, chunk_id))
        if cache is not None and cache.serial:
            kept = bool(report.staged)
            for index in (index for span in news for index in range(*span)):
                self._send(self.leasing.ended(index, self.states[index], kept=kept), chunk_id)
        if len(self._todo) != elements:
            self._kept[chunk_id] = report.staged

    def looked(self, chunks: list[str], stuck: list[str]) -> list[Span]:
        """Take in which silent chunks are stuck."""
        busy = self.flights.looked(chunks, stuck, self._now)
        if busy:
            self.warnings.append(
                f"{busy} running chunks of {self.name} have said nothing for "
                f"{self.call.patience.word_s:g} s, though their processes are there: C code that "
                "holds the GIL is silent too"
            )
        return []

    def lose(self, refs: Iterable[Ref]) -> list[Span]:
        """Put elements whose values are gone back to work; their states start anew.

        Once what they were made from is gone too, they are Crashed.
        """
        news: list[Span] = []
        self.remade = True
        for ref in refs:
            for start, stop in self.locations.forget(ref):
                for match in _VALUE_STRETCH.finditer(self.states, start, stop):
                    news += self._remade(Batch(spans=(match.span(),)))
        return news

    def _sifted(self, batch: Batch) -> tuple[Batch, list[Span]]:
        """Hold back elements that need a value which was lost: until it is there, or for good."""
        if not any(run.remade for run in self.upstream):
            return batch, []
        ready: list[Span] = []
        waiting: list[Span] = []
        failed: list[Span] = []
        for index in batch.indices():
            cause = self._ready.failure(index)
            if cause is not None:
                self._end(index, StateName.UPSTREAM_FAILED, UpstreamFailed, cause)
            kind = ready if self._ready.complete(index) else waiting
            (kind if cause is None else failed).append((index, index + 1))
        if waiting:
            self.stall(replace(batch, spans=tuple(chunking.joined(waiting))))
        return replace(batch, spans=tuple(chunking.joined(ready))), chunking.joined(failed)

    def _remade(self, batch: Batch) -> list[Span]:
        start, stop = batch.spans[0]
        self.states[start:stop] = bytes(stop - start)
        self.left += stop - start
        if self._sources is None:
            gone = ValuesLost(
                "the value is gone from the cluster, and so is what it was made from", ()
            )
            return self._finish_all(batch, StateName.CRASHED, gone)
        self._todo.append(batch)
        return []

    def committed(self, number: int) -> list[Span]:
        """Let readers at what the index names."""
        self.commits.done(number)
        return []

    def cancel(self) -> list[Span]:
        """Let nothing more start; what runs comes to its own end."""
        self._cancelled = True
        return self._cancel(self._grounded())

    def give_up(self, message: str) -> None:
        """End all that isn't final as Crashed; nothing more will be heard."""
        self.flights.clear()
        self.commits.give_up()
        self._crash(Crashed, message)

    # What is to be done next.

    def next_batch(self, slots: Slots) -> Batch | None:
        """Take the elements of the next chunk off the queue, None if nothing may go now."""
        if (copy := self.flights.next_copy()) is not None:
            return copy
        if not self._todo or len(self.flights) >= chunking.wanted_in_flight(slots):
            return None
        limits = self.call.limits
        size = limits.chunk_size or chunking.size(self._unpromised(slots), slots, self._pace)
        if limits.max_in_flight is not None:
            room = limits.max_in_flight - self.flights.elements()
            share = limits.chunk_size or chunking.share(limits.max_in_flight, slots)
            size = min(size, room, share)
        return chunking.take(self._todo, size) if size > 0 else None

    def _unpromised(self, slots: Slots) -> float:
        """Return how many elements chunks in flight won't get done within their budgets."""
        reach = chunking.reach(slots, self._pace)
        return self.left - self.flights.promised(reach)

    def chunk(self, batch: Batch, slots: Slots) -> tuple[Submit | None, list[Span]]:
        """Return the chunk for a batch, and the elements of it that failed on the way.

        None if no element may go now. Fails what can't travel and what can never have a value that
        it needs; sets aside what must wait until a lost value is made again.
        """
        assert self._sources is not None
        if batch.copy_of and not all(map(self._ready.complete, batch.indices())):
            return None, []
        batch, failed = self._sifted(batch)
        try:
            inputs, needs = self._sources.inputs(batch, travels=self.remote)
        except LookupError:
            if not batch.copy_of:
                self.stall(batch)
            return None, failed
        taken: Inputs | bytes = inputs
        if self.remote and len(batch):
            packed = self._take_along(batch, inputs, needs)
            taken, batch, needs = packed.inputs, packed.batch, packed.needs
            failed += [(index, index + 1) for index, _ in packed.stuck]
        if not len(batch):
            return None, failed
        self.chunks_made += 1
        chunk_id = f"{self.id}-{self.chunks_made}"
        limited = self.call.limits.chunk_size is None
        work = Work(
            id=chunk_id,
            label=self.name,
            priority=self.depth,
            spec_key=self.id,
            spec=self._travelling_spec(),
            inputs=taken,
            batch=batch,
            tries=self._tries.of(batch),
            unasked=self._tries.unasked(batch),
            spent=self._tries.spent(batch),
            budget_s=chunking.budget_s(slots) if limited else None,
            remote=self.remote,
            slots=slots.now,
            kills=self.session.traits.kills,
            known=self._known(),
            made=self._made(batch),
            held=self.leasing.held(batch.indices()),
            rerun=self.session.traits.recovers,
        )
        self.flights.leave(chunk_id, batch, needs, self._now)
        return Submit(work=work, needs=needs), failed

    def stall(self, batch: Batch) -> None:
        """Set elements aside until an upstream run has something new."""
        self._stalled.append(batch)

    def due(self) -> float | None:
        """Return when something is to be done without any event."""
        waits = (self.wait.due(self._now), self.flights.due())
        times = (self._tries.next(), self.commits.due(), *waits)
        return min((at for at in times if at is not None), default=None)

    def release(self) -> None:
        """Let go of other runs' values; it is over, and so is all that needs its own.

        What the caller brought is kept, so that lost values can be made again from it.
        """
        self._ready = Readiness(Sources(), 0)
        self._kept.clear()
        if any(self.states[index] not in WITH_VALUE for index in self.details):
            self.inputs_of_failed = self.inputs_of_failed or self.call.sources
        if self._sources is not None:
            self._sources = self._sources.brought()
        if self._sources is not self.call.sources:
            self.call = replace(self.call, sources=self._sources or Sources())

    # How.

    def _enqueue(self, spans: Iterable[Span]) -> None:
        self._todo.extend(Batch(spans=(span,)) for span in self._twins.first(spans))

    def _place(self, done: Batch, report: Report, ref: Ref) -> None:
        codes = b"".join(bytes([code]) * count for code, count in report.states)
        at = 0
        for start, stop in done.spans:
            new = codes[at : at + stop - start]
            check(present(self.states, start, stop), present(new, 0, len(new)))
            self.states[start:stop] = new
            self.locations.put(start, stop - start, ref, at)
            at += stop - start
        self.left -= len(codes) - codes.count(StateName.AWAITING_RETRY) - len(report.wanted)

    def _note(self, done: Batch, report: Report) -> None:
        """Keep what elements have to say; delayed retries go to the heap."""
        indices = done.elements()
        for position, detail in report.details.items():
            index = indices[position]
            self.details[index] = detail
            again = None if detail.again_in_s is None else self._now + detail.again_in_s
            self._tries.note(index, detail.attempts, again, seconds=detail.seconds)
        for position, key in report.wanted.items():
            if self.leasing.want(indices[position], key):
                self._send([indices[position]])

    def hear(self, event: Event) -> list[Span]:
        """Take in an event; return what became final by it."""
        self._now = event.now
        news = self._waits(event.lacking if self._todo or self.flights else "")
        return news + self._heard(event)

    def _waits(self, lacking: str) -> list[Span]:
        """Take in what keeps chunks from starting; give up when patience is over."""
        self.wait.lacks(lacking, self._now)
        if told := self.wait.news(self._now):
            self.warnings.append(f"{self.name} {told}")
        if not (reason := self.wait.over(self._now)):
            return []
        self.flights.give_up()
        return self._crash(Crashed, reason)

    def _heard(self, event: Event) -> list[Span]:
        due = self._tries.due(event.now)
        if due is not None:
            self._todo.append(due)
        if event.report is not None:
            return self.accept(event.report)
        if event.arrived is not None:
            return self.arrive(*event.arrived)
        if event.committed is not None:
            return self.committed(event.committed)
        if event.lost is not None:
            return self.lose(event.lost)
        if event.looked is not None:
            return self.looked(*event.looked)
        if event.granted is not None:
            return self.granted(event.granted)
        if event.announced:
            self.announcing -= 1
        return self.cancel() if event.cancel else []

    def _known(self) -> Lookup | None:
        """Return what need not be done again where values were lost."""
        cache = self.call.spec.cache
        if cache is None or not self.remade:
            return None
        known = self.commits.lookup(cache.store)
        # Even an empty one tells the chunk to try what it finds: it may be damaged.
        return Lookup.merge(cache.store, []) if known is None else known

    def _made(self, batch: Batch) -> Lookup | None:
        """Return what others have made under keys that these elements may have."""
        cache = self.call.spec.cache
        tables, found = self._kept.get(batch.after), self.leasing.found(batch.indices())
        if cache is None or not (tables or found):
            return None
        return Lookup.merge(cache.store, [*found, Index(tables=tables or {})])

    def _travelling_spec(self) -> TaskSpec | bytes | None:
        if not self.remote:
            return self.call.spec
        return None if self.shares else self.payload[0]

    def _take_along(self, batch: Batch, inputs: Inputs, needs: list[Ref]) -> Packed:
        """Pickle a chunk's inputs; what is too much goes back into the queue, what can't, fails."""
        assert self._sources is not None
        packed = pack_inputs(self.name, self._sources, batch, inputs, needs)
        if packed.rest is not None:
            self._pace.bytes_in = packed.bytes_each
            if not batch.copy_of:
                self._todo.appendleft(packed.rest)
        for index, error in packed.stuck:
            self._finish(index, StateName.FAILED, capture(error, travels=False))
        return packed

    def _not_done(self, flight: Flight, report: Report) -> list[Span]:
        """Decide what becomes of a chunk that the infrastructure lost."""
        batch, error = flight.batch, report.error
        assert error is not None
        if isinstance(error, ChunkCancelled) and self._cancelled:
            return []  # whoever accepts the report ends them
        if isinstance(error, ValuesLost):
            self._miss([flight.needs[at] for at in error.lost], batch)
            return []
        if isinstance(error, ClusterLost):
            news = self._finish_all(batch, StateName.CRASHED, error)
            return news + self._crash(CrashedWithCluster, str(error), self._grounded())
        overran = flight.overran(self.call.spec.timeout_s, self._now)
        if overran is not None and isinstance(error, WorkerLost):
            return self._ended_by_limit(batch, overran)
        again = self._losses.again(batch, error, started=report.started)
        self._todo.extendleft(reversed(again))
        if again:
            return []
        unreadable = isinstance(error, InputsUnreadable)
        state = StateName.FAILED if unreadable else StateName.CRASHED
        return self._finish_all(batch, state, error)

    def _ended_by_limit(self, batch: Batch, index: int) -> list[Span]:
        """End the element that overran its limit, or try it again; its mates go out uncharged."""
        self._todo.extendleft(Batch(spans=(span,)) for span in batch.without(index))
        spec = self.call.spec
        assert spec.timeout_s is not None
        tries = self._tries.behind(index) + 1
        failure = capture(TimedOut(self.label(index), spec.timeout_s, "hard"), travels=False)
        delay = retry_delay_s(spec.retries, spec.delays_s, tries, spec.jitter)
        again = None if delay is None else self._now + delay
        self._tries.note(index, tries, again, asked=spec.condition is None)
        if delay is None:
            self._finish(index, StateName.TIMED_OUT, failure)
            return [(index, index + 1)]
        self.states[index] = StateName.AWAITING_RETRY
        self.details[index] = Detail(attempts=tries, failure=failure, again_in_s=delay)
        return []

    def _miss(self, lost: list[Ref], batch: Batch) -> None:
        """Have needed values made again; the elements wait, unless that happened already."""
        self.lost_needs += lost
        held = any(run.locations.holds(ref) for run in self.upstream for ref in lost)
        (self._stalled if held else self._todo).append(batch)
