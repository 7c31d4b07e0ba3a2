"""What work may ask of a cluster, and what a cluster has to give."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """How many chunks a session can run at once."""

    now: int
    """Free or busy slots that exist at this moment; 0 while a cluster is still starting."""
    most: int
    """Slots the cluster can grow to; at least `now`."""
    offers: Mapping[str, float] = field(default_factory=dict)
    """Amount of every named resource over the whole cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a runner can do by its nature; the conformance suite pins the table of all runners."""

    remote: bool = False
    """Chunks, inputs and values cross a process boundary and are pickled."""
    interrupts: bool = False
    """A running Python call can be stopped."""
    kills: bool = False
    """A worker process can die without harming the work of others."""
    reruns: bool = False
    """A chunk is run again by the cluster itself after its worker died."""
    recovers: bool = False
    """Lost values are made again by the cluster itself."""
    honours: frozenset[str] = frozenset()
    """What work may ask for, by field of its resources; anything else is refused at once."""
