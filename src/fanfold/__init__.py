"""Fan out on Dask or Ray, fold the results back: flows and tasks in plain Python."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanfold.annotations import unmapped as unmapped
    from fanfold.caching import INPUTS as INPUTS
    from fanfold.caching import task_input_hash as task_input_hash
    from fanfold.engine.context import tagged as tags
    from fanfold.engine.futures import MapFuture as MapFuture
    from fanfold.engine.futures import TaskFuture as TaskFuture
    from fanfold.flows import Flow as Flow
    from fanfold.flows import flow as flow
    from fanfold.tasks import Task as Task
    from fanfold.tasks import task as task
    from fanfold.values.states import State as State

_HOMES = {
    "INPUTS": "fanfold.caching:INPUTS",
    "Flow": "fanfold.flows:Flow",
    "MapFuture": "fanfold.engine.futures:MapFuture",
    "State": "fanfold.values.states:State",
    "Task": "fanfold.tasks:Task",
    "TaskFuture": "fanfold.engine.futures:TaskFuture",
    "flow": "fanfold.flows:flow",
    "tags": "fanfold.engine.context:tagged",
    "task": "fanfold.tasks:task",
    "task_input_hash": "fanfold.caching:task_input_hash",
    "unmapped": "fanfold.annotations:unmapped",
}

__all__ = [
    "INPUTS",
    "Flow",
    "MapFuture",
    "State",
    "Task",
    "TaskFuture",
    "flow",
    "tags",
    "task",
    "task_input_hash",
    "unmapped",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fanfold' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
