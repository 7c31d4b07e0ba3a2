"""What the runs of a flow are made from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fanfold.engine import hooks
from fanfold.engine.context import (
    FLOW_RUN,
    Again,
    Parameters,
    ResultOptions,
    RunInfo,
    current_tags,
    parent_id,
)
from fanfold.engine.naming import RunName
from fanfold.engine.results.stored import Stored
from fanfold.engine.telling import level
from fanfold.ports.runner import TaskRunner
from fanfold.values.ids import new_id
from fanfold.values.states import StateType

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSpec:
    """A flow, as its executions need it."""

    flow: Any
    """What hooks are called with."""
    fn: Callable[..., Any]
    name: str
    version: str | None = None
    tags: frozenset[str] = frozenset()
    run_name: RunName = None
    retries: int = 0
    delays_s: tuple[float, ...] = ()
    timeout_s: float | None = None
    log_prints: bool | None = None
    loggers: tuple[str, ...] = ()
    results: ResultOptions
    runner: Callable[[], TaskRunner]
    validate: Callable[..., Arguments]
    """Returns a call's arguments checked and coerced."""
    bind: Callable[..., Mapping[str, Any]]
    """Returns a call's arguments by name, defaults included."""
    hooks: Mapping[StateType, tuple[hooks.Hook, ...]]
    is_async: bool = False
    yields: bool = False
    keep: Callable[[RunInfo, Any], Stored | None]
    """Writes a run's value where it is kept, None where it isn't; raises if that fails."""
    in_memory: bool = True
    """Whether the value itself stays with the run, too."""

    def begun(self, parent: RunInfo | None, older: Again | None, *, recorded: bool) -> RunInfo:
        """Return what is known of a run that begins now.

        Args:
            parent: The flow run or task run that calls it.
            older: The run that it does anew, or that goes on.
            recorded: Whether a history is kept of it.
        """
        resumed = older.resumed if older is not None else None
        run_id = resumed.id if resumed is not None else new_id()
        prints = self.log_prints
        replay = older.replay if older is not None else None
        return RunInfo(
            kind=FLOW_RUN,
            id=run_id,
            name=resumed.name if resumed is not None else self.name,
            of=self.name,
            version=self.version,
            tags=self.tags | current_tags() | (parent.tags if parent is not None else frozenset()),
            log_prints=prints if prints is not None else bool(parent and parent.log_prints),
            flow=parent,
            parameters=Parameters(),
            retry_of=older.retry_of if older is not None else "",
            key_id=older.key_id if older is not None else "",
            epoch=resumed.epoch if resumed is not None else 1,
            replay=parent.replays if parent is not None else replay,
            started=datetime.now(UTC),
            results=self.results.over(parent.results) if parent is not None else self.results,
            log_level=level(),
            loggers=self.loggers,
            parent_id=parent_id(),
            recorded_under=run_id if recorded else "",
        )
