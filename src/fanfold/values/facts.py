"""What the history is told: facts about runs, in the order in which they came to be.

A fact is of one flow run (`flow_run_id`), under whose lease it is written. All times are whole
microseconds since 1970 in UTC (`..._us`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fanfold.values.states import StateName
from fanfold.values.times import now_us as now_us

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why something has no value."""

    kind: str
    """The exception's type, such as "ValueError" or "botocore.exceptions.ClientError"."""
    message: str
    where: str = ""
    """The first frame of user code, such as "pipeline.py:12 in parse"; empty if there is none."""
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRunMade:
    """A flow run came into being, Pending or Scheduled; it is leased to its owner from here on."""

    flow_run_id: str
    flow: str
    name: str
    owner: str
    """Who holds the run's lease, in epoch 1: what `Leases.owner` returned."""
    version: str | None = None
    parent_id: str = ""
    """The flow run whose code called it; empty for one that nobody's flow called."""
    parent_task_run_id: str = ""
    """The task run inside of which it was called."""
    retry_of: str = ""
    """The flow run that it does anew."""
    tags: tuple[str, ...] = ()
    entrypoint: str = ""
    """Where its flow is written, such as "/home/ada/pipeline.py:main"; empty if unknown."""
    runner: str = ""
    """What its tasks run on, in short."""
    host: str = ""
    process: int = 0
    state: StateName = StateName.PENDING
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRunResumed:
    """It had ended without a value, and is Pending again: its batch's epoch is of a newer lease."""

    flow_run_id: str
    version: str | None = None
    runner: str = ""
    host: str = ""
    process: int = 0
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRunNamed:
    """Its arguments are bound, and it has its own name."""

    flow_run_id: str
    name: str
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    """By name, each as text to be read by people: shortened, secrets masked."""
    arguments: bytes | None = None
    """The same pickled, for those who run it again; None where they can't be, or are too large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRunMoved:
    """It is in another state now."""

    flow_run_id: str
    state: StateName
    label: str = ""
    """A name of the user's own for the state."""
    message: str = ""
    tries: int = 0
    """Calls of its function so far."""
    problem: Problem | None = None
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRunMade:
    """A call of a task, or a map over many, was handed out."""

    flow_run_id: str
    task_run_id: str
    task: str
    name: str
    count: int
    """Elements; 1 for a single call."""
    single: bool = True
    """Whether it is one call, not a map."""
    first: int = 0
    """Index of its first element, where it is a part of a streamed map."""
    stream: str = ""
    """Id of the streamed map that it is a part of."""
    parent_id: str = ""
    """The task run inside of which it was called."""
    tags: tuple[str, ...] = ()
    entrypoint: str = ""
    """Where its task is written, such as "/home/ada/pipeline.py:parse"."""
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkDone:
    """A chunk of a map is home."""

    flow_run_id: str
    task_run_id: str
    chunk: str
    worker: str = ""
    spans: tuple[Span, ...] = ()
    """Which elements came to a state, as ranges (start, stop) of columns, from 0."""
    states: tuple[tuple[int, int], ...] = ()
    """Their states, run-length coded in the order of the spans: (state code, count)."""
    seconds: float = 0.0
    """That they took together."""
    cpu_s: float = 0.0
    """CPU time, likewise; 0 where that can't be told."""
    before_bytes: int = 0
    """What the process held in memory when the chunk began; 0 where nobody can tell."""
    peak_bytes: int = 0
    """What it held at most until the chunk ended, likewise."""
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementTold:
    """An element has more to say than its state: it failed, crashed, or was tried again."""

    flow_run_id: str
    task_run_id: str
    index: int
    """Its column, from 0; a streamed part's `first` is not added."""
    state: StateName
    attempts: int = 1
    name: str = ""
    label: str = ""
    message: str = ""
    """Of a state that the user's function made itself."""
    problem: Problem | None = None
    """Why it failed; of one that is to be tried again, or succeeded then: why it failed before."""
    seconds: float = 0.0
    arguments: bytes | None = None
    """What it was called with, pickled (args, kwargs); None if that can't be, or is too large."""
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRunEnded:
    """All its elements are final."""

    flow_run_id: str
    task_run_id: str
    states: bytes
    """A byte for each element: its state's code."""
    name: str = ""
    """Of a single call that got a name of its own."""
    seconds: float = 0.0
    """That its elements took together."""
    cpu_s: float = 0.0
    """CPU time, likewise; 0 where that can't be told."""
    peak_bytes: int = 0
    """The most memory that a process held while it ran some of them; 0 where nobody can tell."""
    rise_bytes: int = 0
    """How much more that was, at most, than what the process held before."""
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTold:
    """What the cache key of a call was made from, or a part of it; the later one counts."""

    flow_run_id: str
    of: str
    """The call or map; or the digest of a task's code, whose parts many calls share."""
    index: int | None = None
    """The element, its column from 0; None for what all elements share."""
    parts: Mapping[str, str]
    """By name: short texts, or digests of what may be long or secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """Something was logged."""

    flow_run_id: str
    task_run_id: str = ""
    """The call or map; empty for a line of the flow's own code."""
    index: int | None = None
    """The element, counted from the beginning of a streamed map; None for single calls."""
    attempt: int = 0
    """Which attempt of the element, from 1; 0 for a line of a flow's own code."""
    level: int
    """As in `logging`: 20 is INFO."""
    logger: str
    message: str
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesDropped:
    """Lines were not kept, as there were too many."""

    flow_run_id: str
    count: int
    """More of them, since the last such fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactMade:
    """Something for people to look at was made; several of one key are its versions."""

    flow_run_id: str
    artifact_id: str
    kind: str
    """"table", "markdown", "link", "image" or "progress"."""
    key: str = ""
    """Empty for one without versions."""
    data: str
    """JSON: rows of a table, the markdown's text, a link, a URL, per cent done."""
    description: str = ""
    task_run_id: str = ""
    index: int | None = None
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactChanged:
    """An artifact's data are others now; no new version."""

    flow_run_id: str
    artifact_id: str
    data: str
    description: str | None = None
    """None leaves it as it is."""
    at_us: int


Fact = (
    FlowRunMade
    | FlowRunResumed
    | FlowRunNamed
    | FlowRunMoved
    | TaskRunMade
    | ChunkDone
    | ElementTold
    | TaskRunEnded
    | KeyTold
    | LogLine
    | LinesDropped
    | ArtifactMade
    | ArtifactChanged
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Facts that are recorded together, or not at all."""

    writer: str
    """Who made the batch: unique for the life of a process."""
    number: int
    """From 1, counted by the writer without gaps."""
    facts: tuple[Fact, ...]
    epochs: Mapping[str, int] = field(default_factory=dict[str, int])
    """Under which epoch of its lease each flow run writes; 1 for those not named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A fact that was not recorded."""

    fact: Fact
    reason: str
    """A sentence for the log."""
    epoch: int = 0
    """Of whoever has taken its flow run over since; 0 where it was refused for another reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a batch."""

    again: bool = False
    """It was recorded before; nothing was changed."""
    refused: tuple[Refusal, ...] = ()
