"""What a run is made from."""

from dataclasses import dataclass, field

from fanfold.engine.chunking import Limits
from fanfold.engine.patience import Patience
from fanfold.engine.results.keyring import Keyring
from fanfold.engine.results.parts import Part
from fanfold.engine.sources import Sources
from fanfold.engine.spec import TaskSpec
from fanfold.values.resources import PLAIN, Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a run is made from."""

    spec: TaskSpec
    sources: Sources
    count: int
    limits: Limits = field(default_factory=Limits)
    infrastructure_retries: int = 2
    want: Resources = PLAIN
    """What each element holds while it runs."""
    patience: Patience = field(default_factory=Patience)
    stream: str = ""
    """Id of the streamed map that it is a part of; empty if it is none."""
    part: Part | None = None
    """What it does in a transaction, or when the task's hooks for a commit are called."""
    keyring: Keyring | None = None
    """Signs what it commits; None where nobody else can write, or nothing is kept."""
