"""Which run the current code belongs to: context variables, one for the run and one for tags."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fanfold.engine.dataflow import ATOMS

if TYPE_CHECKING:
    from fanfold.engine.meter import Meter
    from fanfold.engine.recording.outbox import Outbox

FLOW_RUN = "Flow run"
TASK_RUN = "Task run"
TRAVELLING_BYTES = 1024
"""Parameters of a flow up to about this size go along with its tasks."""


class Parameters(dict[str, Any]):
    """A flow's parameters; only small plain ones travel to other processes with its tasks."""

    def __reduce__(self) -> tuple[Any, ...]:
        small = {
            name: value
            for name, value in self.items()
            if type(value) in ATOMS
            and (not isinstance(value, (str, bytes)) or len(value) <= TRAVELLING_BYTES)
        }
        return Parameters, (small,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOptions:
    """Whether and where results are kept, as a flow hands it down to what runs inside."""

    persist: bool | None = None
    storage: Any = None
    """A URL, a path or a store; None: the default one."""
    serializer: Any = None
    """A name or an object; None: the default one."""

    def kept(self, by_default: bool) -> bool:
        """Return whether results are kept, where nobody says so: by default."""
        return by_default if self.persist is None else self.persist

    def over(self, others: "ResultOptions") -> "ResultOptions":
        """Return these options, the unset ones as the others have them."""
        return ResultOptions(
            persist=others.persist if self.persist is None else self.persist,
            storage=others.storage if self.storage is None else self.storage,
            serializer=others.serializer if self.serializer is None else self.serializer,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a run that does an older one anew takes of what that has kept."""

    whole: bool = False
    """Whether that is all: also results of tasks whose policy shares none, or that refresh them."""
    since: str = ""
    """Id of the run that it does anew: a task that refreshes its results takes no older ones."""
    anew: frozenset[str] = frozenset()
    """Names of tasks of which it takes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What a run's code and log lines may know of it; travels to workers."""

    kind: str
    """"Flow run" or "Task run", as log lines call it."""
    id: str
    name: str
    of: str = ""
    """Name of the flow or task."""
    version: str | None = None
    tags: frozenset[str] = frozenset()
    log_prints: bool = False
    flow: "RunInfo | None" = None
    """Of a task run: the flow run around it. Of a flow run: the one that called it."""
    parameters: Mapping[str, Any] = field(default_factory=Parameters)
    """Of a flow run: its arguments by name, defaults included."""
    retry_of: str = ""
    """Of a flow run: id of the one that it does anew."""
    key_id: str = ""
    """Of a flow run: stands for it in keys; its own id where empty. Runs that share one find each
    other's results: a retry has that of the run that it does anew, a subflow one that is made of
    its caller's and of the call."""
    epoch: int = 1
    """Of a flow run: that of the lease under which it is driven; higher where it was resumed."""
    replay: "Replay | None" = None
    """Of a flow run: what it and those that it calls take of what an older run has kept."""
    run_count: int = 1
    started: datetime | None = None
    first: int = 0
    """Index of the first element among those of a streamed map."""
    parent_id: str = ""
    """Id of the task run whose code started it; empty if none did."""
    single: bool = True
    """Whether it is one call, not a map."""
    results: ResultOptions = field(default_factory=ResultOptions)
    """What tasks and subflows inside take over."""
    log_level: int = 0
    """Lines below it don't travel home from a worker."""
    loggers: tuple[str, ...] = ()
    """Other loggers whose lines belong to the run."""
    recorded_under: str = ""
    """Id of the flow run that the driver records it under; empty where no history is kept."""

    @property
    def flow_run_id(self) -> str:
        """Id of the flow run that it belongs to; its own if it is one."""
        if self.kind == FLOW_RUN:
            return self.id
        return self.flow.id if self.flow is not None else ""

    @property
    def key_run_id(self) -> str:
        """What stands in keys for the flow run that it belongs to; empty outside of flows."""
        flow = self if self.kind == FLOW_RUN else self.flow
        return flow.key_id or flow.id if flow is not None else ""

    @property
    def replays(self) -> Replay:
        """What is taken of what an older run has kept."""
        flow = self if self.kind == FLOW_RUN else self.flow
        return flow.replay or Replay() if flow is not None else Replay()

    @property
    def recorded(self) -> bool:
        """Whether a history is kept, so that workers tell what only they know."""
        return bool(self.recorded_under)

    def element_id(self, index: int) -> str:
        """Return the task run id of an element; a single call is its run."""
        return self.id if self.single else f"{self.id}-{self.first + index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One call of a task, as its own code may know it."""

    index: int
    """Its place in the map."""
    position: int = 0
    """Its place in the chunk."""
    run_count: int = 1
    name: str = ""
    started: datetime | None = None
    arguments: Callable[[], Mapping[str, Any]] = dict
    """Returns the call's arguments by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """The run that the current code belongs to."""

    info: RunInfo
    send: "Outbox | None" = None
    """Takes log lines home, and ready messages; None where the driver's own logging is at hand."""
    owner: Any = None
    """The live flow run, at the driver; None inside tasks."""
    at: Callable[[], Element] | None = None
    """Derives the running element; None in flow runs."""
    recorder: Any = None
    """Takes what is to be recorded of runs that are started here (`recording.notes.Sink`); None
    where no history is kept."""
    meter: "Meter | None" = None
    """Measures the chunk whose elements run here."""
    starter: Any = None
    """Inside tasks: the `Nest` of the chunk, or for a direct call the `Owner` around it; None where
    there is none."""
    nest: Any = None
    """The `Nest` of the chunk whose slot the code holds; None where it holds none."""

    @property
    def element(self) -> Element | None:
        """The running element of a task run."""
        return self.at() if self.at is not None else None


_CURRENT: ContextVar[RunContext | None] = ContextVar("fanfold_run", default=None)
_TAGS: ContextVar[frozenset[str]] = ContextVar("fanfold_tags", default=frozenset[str]())


_nested = 0


def nested() -> int:
    """Return how many runs were started inside of running elements of this process.

    A chunk looks for futures among returned values only if it changed.
    """
    return _nested


def count_nested() -> None:
    """Note that a running element starts a run."""
    global _nested
    _nested += 1


def current() -> RunContext | None:
    """Return the run that the caller's code belongs to, None outside any."""
    return _CURRENT.get()


def parent_id() -> str:
    """Return the id of the task run whose code this is; empty outside of task runs."""
    around = current()
    element = around.element if around is not None else None
    return around.info.element_id(element.index) if around is not None and element else ""


@contextmanager
def running(context: RunContext | None) -> Generator[RunContext | None]:
    """Let the code inside belong to a run, or to none."""
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """A flow run that goes on, as it was before."""

    id: str
    name: str
    epoch: int
    """Of the lease that was taken for it."""
    tries: int
    """Calls of its function so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What an outermost flow run does anew."""

    retry_of: str = ""
    """Id of an older run, for the record; empty for none."""
    key_id: str
    """Stands for the run in keys, so that what is kept under it is found."""
    replay: Replay | None = None
    resumed: "Resumed | None" = None
    """The run itself, where that goes on; None where a new one does it anew."""


_AGAIN: ContextVar[Again | None] = ContextVar("fanfold_again", default=None)


def again() -> Again | None:
    """Return what an outermost flow run that begins here does anew, None for nothing."""
    return _AGAIN.get()


@contextmanager
def doing_again(what: Again) -> Generator[None]:
    """Let the outermost flow runs that begin inside do an older one anew."""
    token = _AGAIN.set(what)
    try:
        yield
    finally:
        _AGAIN.reset(token)


def current_tags() -> frozenset[str]:
    """Return the tags that `tags(...)` put on whatever starts here."""
    return _TAGS.get()


@contextmanager
def tagged(*names: str) -> Generator[frozenset[str]]:
    """Put tags on whatever starts inside; nested uses add up."""
    both = _TAGS.get() | frozenset(names)
    token = _TAGS.set(both)
    try:
        yield both
    finally:
        _TAGS.reset(token)
