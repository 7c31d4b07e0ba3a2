"""What hooks and conditions are told of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fanfold.values.cards import WithCard
from fanfold.values.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun(WithCard):
    """One call of a task."""

    id: str
    name: str
    task_name: str
    flow_run_id: str = ""
    """Empty outside of a flow."""
    tags: frozenset[str] = frozenset()
    run_count: int = 1
    """Attempts so far, the running one included."""
    map_index: int | None = None
    """Its place in a map; None for a single call."""
    parent_task_run_id: str | None = None
    """The task run whose code called it."""
    total_run_time: timedelta = timedelta()
    """That its attempts took together, without the delays between them."""
    state: State | None = None
    start_time: datetime | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Its arguments by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRun(WithCard):
    """One execution of a flow."""

    id: str
    name: str
    flow_name: str
    flow_version: str | None = None
    tags: frozenset[str] = frozenset()
    run_count: int = 1
    state: State | None = None
    start_time: datetime | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    parent_flow_run_id: str | None = None
