"""What the history is to be told of one run, collected while its story goes on."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fanfold.engine.calls import Call
from fanfold.engine.chunking import Span
from fanfold.engine.context import Resumed, RunInfo
from fanfold.engine.failures import capture
from fanfold.engine.keys.makers import InParts, Parts
from fanfold.engine.recording import lines, sinks
from fanfold.engine.recording.arguments import packed_flow
from fanfold.engine.recording.recorder import Recorder
from fanfold.engine.recording.showing import shown
from fanfold.engine.recording.sinks import Sink
from fanfold.values.messages import Detail, Report
from fanfold.values.states import WITH_VALUE, State, StateName
from fanfold.values.times import now_us
from fanfold.values.usage import Costs

if TYPE_CHECKING:
    from fanfold.engine.recording.writer import Stopper

FLUSH_S = 1.0
"""That the end of an outermost flow run waits for the history, at most; a commit takes some ms."""
_GIVEN_UP = bytes(
    code if code not in set(StateName) or StateName(code).final else StateName.CANCELLED
    for code in range(256)
)
Note = tuple[Any, ...]
"""A function that makes facts, and its arguments."""


def opened(sink: Sink | None, call: Call) -> "Account | None":
    """Tell that a run came into being; return its account, None where no history is kept."""
    info = call.spec.info
    if sink is None or not info.recorded_under:
        return None
    made = (info, call.spec.fn, call.count, call.stream, now_us())
    sink.put(sinks.task_run_made, info.recorded_under, *made)
    keys = call.spec.cache.key if call.spec.cache is not None else None
    return Account(sink, info, keys.told() if isinstance(keys, InParts) else None)


class Account:
    """The notes of one run; used by who drives it.

    Args:
        sink: Takes the sinks.
        info: Of the run.
        shared: What the cache keys of all its elements are made from; told with the first of them.
    """

    __slots__ = (
        *("_costs", "_ended", "_flow_run_id", "_info", "_notes", "_shared", "_sink"),
        "_told",
    )

    def __init__(self, sink: Sink, info: RunInfo, shared: Parts | None = None) -> None:
        self._sink = sink
        self._flow_run_id = info.recorded_under
        self._info = info
        self._notes: list[Note] = []
        self._ended: list[tuple[int, StateName, Detail]] = []
        self._costs = Costs()
        self._told = b""
        self._shared = shared

    def chunk(self, report: Report, spans: tuple[Span, ...]) -> None:
        """Note what a chunk brought home."""
        self._costs.add_chunk(report)
        if report.details or not self._info.single:
            done = (self._info, report, spans, now_us())
            self._notes.append((sinks.chunk_done, self._flow_run_id, *done))
        if report.keyed:
            told = (self._info, self._shared, report.keyed, spans)
            self._notes.append((sinks.keys_told, self._flow_run_id, *told))
            self._shared = None

    def ended(self, index: int, state: StateName, detail: Detail) -> None:
        """Note an element that ended where no worker saw it."""
        self._ended.append((index, state, detail))

    def taken(self) -> list[Note]:
        """Return the notes since the last time."""
        if self._ended:
            ended, self._ended = self._ended, []
            told = (self._info.id, ended, now_us())
            self._notes.append((sinks.elements_ended, self._flow_run_id, *told))
        taken, self._notes = self._notes, []
        return taken

    def put(self, taken: list[Note]) -> None:
        """Hand notes over to be recorded."""
        for make, *args in taken:
            self._sink.put(make, *args)

    def given_up(self, states: bytearray, detail: Detail | None) -> None:
        """Tell that nobody waits for the elements that still run: the process may end before them.

        Once it is `over` after all, that is told as well, and counts.
        """
        self.over(states.translate(_GIVEN_UP), detail)

    def over(self, states: bytearray, detail: Detail | None) -> None:
        """Tell that all elements are final.

        Args:
            states: Their codes.
            detail: What a single call has to say.
        """
        if states == self._told:  # lost values were made again, and nothing else came of it
            return
        self._told = bytes(states)
        name = detail.name if detail is not None and self._info.single else ""
        ended = (self._info.id, states, name, replace(self._costs), now_us())
        self._sink.put(sinks.task_run_ended, self._flow_run_id, *ended)


class FlowAccount:
    """What the history is told of one flow run; does nothing where none is kept.

    Args:
        sink: Takes what is to be recorded.
        info: Of the run.
        resumes: How it was before, where it is one that is resumed.
    """

    def __init__(self, sink: Sink | None, info: RunInfo, resumes: Resumed | None = None) -> None:
        self.sink = sink
        self._resumes = resumes
        self._id = info.id
        self._fn: Callable[..., Any] | None = None
        self._outermost = info.flow is None and not info.parent_id
        self._over = False

    def made(self, info: RunInfo, fn: Callable[..., Any], runner: str) -> None:
        """Tell that it came into being, or that it is opened again."""
        self._fn = fn
        if self.sink is None:
            return
        if self._resumes is not None:
            self.sink.put(sinks.flow_run_resumed, info, runner, now_us())
        else:
            self.sink.put(sinks.flow_run_made, info, fn, runner, now_us())

    def named(self, info: RunInfo, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Tell what it is called, and what it was called with: now, before its code changes it."""
        if self.sink is None or self._resumes is not None:
            return
        texts = {name: shown(value) for name, value in info.parameters.items()}
        kept = packed_flow(self._fn, args, kwargs)
        self.sink.put(sinks.flow_run_named, self._id, info.name, texts, kept)

    def moved(self, state: State, tries: int) -> None:
        """Tell which state it is in; a final one is the last that is told."""
        if self.sink is None or self._over:
            return
        self._over = state.is_final()
        failed = self._over and state.code not in WITH_VALUE
        # Now, so that no exception keeps the frames of the run alive until it is recorded.
        why = sinks.problem(capture(state.failure(), travels=False)) if failed else None
        if self._resumes is not None:
            tries += self._resumes.tries
        moved = (state.code, state.label, state.message, tries, why, now_us())
        self.sink.put(sinks.flow_run_moved, self._id, *moved)

    def over(self) -> None:
        """Tell how many lines of its log weren't recorded; nothing more comes of it."""
        if self.sink is not None:
            lines.over(self._id)

    @contextmanager
    def watched(self, stop: "Stopper") -> Generator[None]:
        """Have a function called if the run is to be stopped meanwhile, see `Recorder.watch`."""
        if not isinstance(self.sink, Recorder):  # in another process; the driver's run is watched
            yield
            return
        self.sink.watch(self._id, stop)
        try:
            yield
        finally:
            self.sink.unwatch(self._id)

    @property
    def flushes(self) -> bool:
        """Whether its end is worth waiting for: an outermost run's, where a history is kept."""
        return self._outermost and isinstance(self.sink, Recorder)

    def flush(self) -> None:
        """Wait a little until all that was told is recorded."""
        if self._outermost and isinstance(self.sink, Recorder):
            self.sink.flush(FLUSH_S)
