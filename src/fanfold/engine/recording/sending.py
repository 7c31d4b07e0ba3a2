"""Records what code inside a run has to say, wherever it runs."""

from typing import TYPE_CHECKING

from fanfold.engine.context import RunContext, current
from fanfold.engine.recording import recorder
from fanfold.engine.recording.homeward import Homeward
from fanfold.engine.recording.sinks import Sink

if TYPE_CHECKING:
    from fanfold.values.facts import Fact


def record(fact: "Fact") -> bool:
    """Have a fact recorded: from here, or by the driver if this is a worker's process.

    From a worker it goes home at once, not with the chunk's end, so that people can see it; and
    without the secrets that only this process may know. Never blocks on the history.

    Returns:
        Whether a history is kept.
    """
    sink = sink_of(current())
    if sink is None:
        return False
    if isinstance(sink, Homeward):
        sink.put(_as_it_is, fact)
        sink.send()
    else:
        sink.put(_as_it_is, fact)
    return True


def sink_of(context: RunContext | None) -> Sink | None:
    """Return what takes facts of a run, or of code outside of any; None where none are kept."""
    if context is not None and (context.recorder is not None or not context.info.recorded_under):
        return context.recorder
    # Nothing is around a call outside of flows that could hand it down.
    return recorder.current()


def _as_it_is(fact: "Fact") -> "Fact":
    return fact
