"""What the history tells: runs, elements, lines and artifacts, and the questions for them.

All times are whole microseconds since 1970 in UTC (`..._us`). An empty field of a question asks
for nothing; several that are given all have to hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fanfold.values.facts import Problem, Span
from fanfold.values.states import StateName

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRunRecord:
    """A flow run as far as it is recorded."""

    id: str
    flow: str
    name: str
    version: str | None
    state: StateName
    label: str
    message: str
    problem: Problem | None
    tries: int
    parent_id: str
    parent_task_run_id: str
    retry_of: str
    tags: tuple[str, ...]
    parameters: Mapping[str, str]
    entrypoint: str
    runner: str
    host: str
    process: int
    owner: str
    """Who holds its lease; empty once it is over."""
    epoch: int
    """Of its lease: the highest that anybody wrote under."""
    cancel_asked: bool
    """Whether somebody asked for it to be cancelled."""
    created_us: int
    started_us: int | None
    ended_us: int | None
    lines_dropped: int
    resumed: int = 0
    """How often it was opened again after its end."""
    driver_epoch: int = 1
    """Under which `host` and `process` drive it; below `epoch` once somebody has taken it over."""
    driver_since_us: int = 0
    """Since when they do; 0 where an older version recorded it."""

    @property
    def resumed_us(self) -> int:
        """When it was resumed last; 0 if it never was. What it ran before was made before."""
        return self.driver_since_us if self.resumed else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRunRecord:
    """A call of a task or a map, as far as it is recorded."""

    id: str
    flow_run_id: str
    task: str
    name: str
    count: int
    single: bool
    first: int
    stream: str
    parent_id: str
    tags: tuple[str, ...]
    entrypoint: str
    created_us: int
    ended_us: int | None
    """None while it isn't over."""
    seconds: float
    """That its elements took together, so far."""
    cpu_s: float = 0.0
    """CPU time, likewise; 0 where that can't be told."""
    peak_bytes: int = 0
    """The most memory that a process held while it ran some of them; 0 where nobody can tell."""
    rise_bytes: int = 0
    """How much more that was, at most, than what the process held before."""
    counts: Mapping[StateName, int]
    """How many elements are in which state; those that nothing was heard of are PENDING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRecord:
    """A chunk that came home."""

    task_run_id: str
    chunk: str
    worker: str
    spans: tuple[Span, ...]
    states: tuple[tuple[int, int], ...]
    seconds: float
    cpu_s: float = 0.0
    before_bytes: int = 0
    """What its process held in memory when it began."""
    peak_bytes: int = 0
    """What its process held at most until it ended."""
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementRecord:
    """An element that failed, crashed, or was tried again."""

    task_run_id: str
    index: int
    """Its column, from 0; a streamed part's `first` is not added."""
    state: StateName
    attempts: int
    name: str
    label: str
    message: str
    problem: Problem | None
    seconds: float
    has_arguments: bool
    """Whether what it was called with is kept."""
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRecord:
    """A line of a log."""

    id: int
    """Ascending in the order of recording."""
    flow_run_id: str
    task_run_id: str
    index: int | None
    attempt: int
    level: int
    logger: str
    message: str
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord:
    """An artifact."""

    id: str
    kind: str
    key: str
    version: int
    """Among those of its key, from 1; 1 for one without key."""
    data: str
    description: str
    flow_run_id: str
    task_run_id: str
    index: int | None
    created_us: int
    changed_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What a cache key was made from, or a part of it."""

    of: str
    """The call or map, or the digest of a task's code."""
    index: int | None
    """The element, its column from 0; None for what all elements share."""
    parts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(Generic[T]):
    """A question to the history; the answer is a list of T."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRuns(Query[FlowRunRecord]):
    """Flow runs, the latest first (by id, which begins with the time of birth)."""

    ids: tuple[str, ...] = ()
    id_prefix: str = ""
    name: str = ""
    flow: str = ""
    states: tuple[StateName, ...] = ()
    tags: tuple[str, ...] = ()
    """All of which it must have."""
    parent_id: str | None = None
    """"" for those that no flow called."""
    owner: str = ""
    since_us: int | None = None
    """Created then or later."""
    before_id: str = ""
    """Those that come after this one in the answer: for the next page."""
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRuns(Query[TaskRunRecord]):
    """Calls and maps, the oldest first."""

    flow_run_ids: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    task: str = ""
    """Name of the task, or of the run."""
    open_only: bool = False
    """Those that aren't over."""
    after_id: str = ""
    limit: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTotals(Query["TaskTotal"]):
    """Sums over all calls and maps of each task of some flow runs, in the order of their first."""

    flow_run_ids: tuple[str, ...]
    since_us: int = 0
    """Of calls and maps that were made then or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTotal:
    """What became of all runs of one task in one flow run."""

    flow_run_id: str
    task: str
    runs: int
    """Calls and maps."""
    counts: Mapping[StateName, int]
    """Of elements; a call is one."""
    retries: int
    """Attempts after the first of each element."""
    seconds: float
    cpu_s: float = 0.0
    """CPU time, likewise; 0 where that can't be told."""
    peak_bytes: int = 0
    """The most memory that a process held while it ran some of them; 0 where nobody can tell."""
    rise_bytes: int = 0
    """How much more that was, at most, than what the process held before."""
    first_us: int
    """When the first was handed out."""
    last_us: int | None
    """When the last was over; None while one isn't."""


@dataclass(frozen=True, slots=True, kw_only=True)
class States(Query[bytes]):
    """The states of a call's or map's elements, one byte each, as one answer.

    Of a run that isn't over: as far as its chunks told; the others are Pending.
    """

    task_run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunks(Query[ChunkRecord]):
    """Chunks of a map, in the order in which they came home."""

    task_run_id: str
    limit: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Elements(Query[ElementRecord]):
    """Elements that had something to say, by run and index."""

    task_run_ids: tuple[str, ...]
    indices: tuple[int, ...] = ()
    states: tuple[StateName, ...] = ()
    after: tuple[str, int] | None = None
    """Task run and index after which to begin: for the next page."""
    limit: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroups(Query["FailureGroup"]):
    """Failures of elements by task, type and first frame, the most frequent first."""

    flow_run_ids: tuple[str, ...]
    since_us: int = 0
    """Of calls and maps that were made then or later."""
    limit: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Failures that look the same."""

    flow_run_id: str
    task: str
    state: StateName
    kind: str
    where: str
    count: int
    message: str
    """Of the first one."""
    task_run_id: str
    """Of the first one."""
    index: int
    """Of the first one; its column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments(Query[bytes]):
    """What one element was called with, pickled; no answer if that isn't kept."""

    task_run_id: str
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys(Query[KeyRecord]):
    """What cache keys were made from: first what all elements share, then by element."""

    flow_run_id: str
    of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowArguments(Query[bytes]):
    """What a flow run was called with, pickled; no answer if that isn't kept."""

    flow_run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines(Query[LineRecord]):
    """Lines of logs, in the order of recording."""

    flow_run_ids: tuple[str, ...] = ()
    task_run_ids: tuple[str, ...] = ()
    index: int | None = None
    attempt: int | None = None
    level: int = 0
    """The least."""
    logger: str = ""
    """Its name, or that of one above it."""
    words: str = ""
    """That stand in this order, next to each other, whatever their case and what is between them;
    the last may be only begun. Words are what letters and digits make up."""
    after_id: int = 0
    limit: int = 1_000
    last: bool = False
    """The last so many instead of the first, still in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts(Query[ArtifactRecord]):
    """Artifacts, the latest first."""

    ids: tuple[str, ...] = ()
    key: str = ""
    kind: str = ""
    flow_run_id: str = ""
    latest_only: bool = False
    """Only the last version of each key."""
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write for something, for a while."""

    name: str
    """Of what is leased: a flow run's id, or what else only one may do at a time."""
    owner: str
    epoch: int
    """Rises by one with each new owner. What is written under an older one is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A named JSON object in the catalog."""

    kind: str
    name: str
    version: int
    """From 1; rises by one with each change."""
    body: str
    """JSON."""
    changed_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which flow runs may go: how long after their end, by the name of their state."""

    keep_us: int
    by_state: Mapping[StateName, int] = field(default_factory=dict[StateName, int])
    """Microseconds for states that differ from the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a history is."""

    place: str
    """Where it is kept, without secrets."""
    schema: int
    """Number of the last migration that was applied."""
    latest_schema: int
    """That this version of Fanfold knows."""
    size_bytes: int
    counts: Mapping[str, int]
    """Rows by table; of big tables it may be an estimate."""
    oldest_us: int | None
    """When the oldest run was made; None if there is none."""
    engine: str
    """Such as "SQLite 3.45.1"."""
