"""What the runs of a flow are made from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fanfold.engine import hooks
from fanfold.engine.context import ResultOptions, RunInfo
from fanfold.engine.naming import RunName
from fanfold.engine.results.segments import Stored
from fanfold.ports.runner import TaskRunner
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
