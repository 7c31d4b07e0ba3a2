"""The driver's story of one map run: hand out, take in, hand out again. Decides; does no I/O."""

from collections.abc import Generator
from typing import Any

from fanfold.engine.chunking import Span, wanted_in_flight
from fanfold.engine.effects import (
    Announce,
    Claim,
    Drop,
    Effect,
    Event,
    Look,
    Publish,
    Record,
    Release,
    Remake,
    Wait,
)
from fanfold.engine.run import Run
from fanfold.values.resources import Slots


def story(run: Run) -> Generator[Effect, Any, None]:
    """Tell what to do for a run until it is over."""
    event: Event = yield Wait(until=None)
    news = run.begin()
    while True:
        news += run.hear(event)
        if news:
            yield Publish(spans=news)
        if run.flights.unneeded:
            refs, run.flights.unneeded = run.flights.unneeded, []
            yield Drop(refs=refs)
        if silent := run.flights.silent(event.now):
            yield Look(chunks=silent)
        while news := (yield from _hand_out(run, event.slots)):
            yield Publish(spans=news)
        if keys := run.leasing.ask(wanted_in_flight(event.slots)):
            yield Claim(keys=keys)
        if leases := run.leasing.taken_unneeded():
            yield Release(leases=leases)
        if run.unannounced:
            indices, run.unannounced = run.unannounced, []
            run.announcing += 1
            yield Announce(indices=indices)
        index = run.commits.next(event.now, last=not run.left)
        if index is not None:
            yield index
        if run.account is not None and (notes := run.account.taken()):
            yield Record(notes=notes)
        if run.call.part is not None and (due := run.call.part.due(run)):
            run.announcing += 1
            yield Announce(indices=due, committed=True)
        if run.over:
            return
        event = yield Wait(until=run.due())
        news = []


def _hand_out(run: Run, slots: Slots) -> Generator[Effect, Any, list[Span]]:
    """Submit what may go; return the elements that failed on the way."""
    failed: list[Span] = []
    if run.lost_needs:
        yield Remake(refs=run.lost_needs)
        run.lost_needs = []
    while (batch := run.next_batch(slots)) is not None:
        submit, ended = run.chunk(batch, slots)
        failed += ended
        if submit is not None:
            run.flights.sent(submit.work.id, (yield submit))
    return failed
