"""Fan out on Dask or Ray, fold the results back: flows and tasks in plain Python."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanfold import runtime as runtime
    from fanfold.annotations import allow_failure as allow_failure
    from fanfold.annotations import opaque as opaque
    from fanfold.annotations import quote as quote
    from fanfold.annotations import unmapped as unmapped
    from fanfold.caching import DEFAULT as DEFAULT
    from fanfold.caching import FLOW_PARAMETERS as FLOW_PARAMETERS
    from fanfold.caching import INPUTS as INPUTS
    from fanfold.caching import NO_CACHE as NO_CACHE
    from fanfold.caching import RUN_ID as RUN_ID
    from fanfold.caching import TASK_SOURCE as TASK_SOURCE
    from fanfold.caching import CachePolicy as CachePolicy
    from fanfold.caching import task_input_hash as task_input_hash
    from fanfold.engine.context import tagged as tags
    from fanfold.engine.futures import MapFuture as MapFuture
    from fanfold.engine.futures import TaskFuture as TaskFuture
    from fanfold.engine.telling import get_run_logger as get_run_logger
    from fanfold.flows import Flow as Flow
    from fanfold.flows import flow as flow
    from fanfold.futures import as_completed as as_completed
    from fanfold.futures import wait as wait
    from fanfold.options import exponential_backoff as exponential_backoff
    from fanfold.tasks import Task as Task
    from fanfold.tasks import task as task
    from fanfold.transactions import transaction as transaction
    from fanfold.values.secrets import Secret as Secret
    from fanfold.values.states import State as State

_HOMES = {
    "CachePolicy": "fanfold.caching:CachePolicy",
    "DEFAULT": "fanfold.caching:DEFAULT",
    "FLOW_PARAMETERS": "fanfold.caching:FLOW_PARAMETERS",
    "Flow": "fanfold.flows:Flow",
    "INPUTS": "fanfold.caching:INPUTS",
    "MapFuture": "fanfold.engine.futures:MapFuture",
    "NO_CACHE": "fanfold.caching:NO_CACHE",
    "RUN_ID": "fanfold.caching:RUN_ID",
    "Secret": "fanfold.values.secrets:Secret",
    "State": "fanfold.values.states:State",
    "TASK_SOURCE": "fanfold.caching:TASK_SOURCE",
    "Task": "fanfold.tasks:Task",
    "TaskFuture": "fanfold.engine.futures:TaskFuture",
    "allow_failure": "fanfold.annotations:allow_failure",
    "as_completed": "fanfold.futures:as_completed",
    "exponential_backoff": "fanfold.options:exponential_backoff",
    "flow": "fanfold.flows:flow",
    "get_run_logger": "fanfold.engine.telling:get_run_logger",
    "opaque": "fanfold.annotations:opaque",
    "quote": "fanfold.annotations:quote",
    "tags": "fanfold.engine.context:tagged",
    "task": "fanfold.tasks:task",
    "task_input_hash": "fanfold.caching:task_input_hash",
    "transaction": "fanfold.transactions:transaction",
    "unmapped": "fanfold.annotations:unmapped",
    "wait": "fanfold.futures:wait",
}

_MODULES = frozenset(
    {
        *(
            "annotations",
            "artifacts",
            "cache_policies",
            "caching",
            "context",
            "exceptions",
            "flows",
            "futures",
        ),
        *("logging", "runs", "runtime", "serializers", "states", "task_runners", "tasks"),
        *("testing", "transactions"),
    }
)
"""Loaded as attributes too, so that `import fanfold` is enough."""

__all__ = [
    "DEFAULT",
    "FLOW_PARAMETERS",
    "INPUTS",
    "NO_CACHE",
    "RUN_ID",
    "TASK_SOURCE",
    "CachePolicy",
    "Flow",
    "MapFuture",
    "Secret",
    "State",
    "Task",
    "TaskFuture",
    "allow_failure",
    "as_completed",
    "exponential_backoff",
    "flow",
    "get_run_logger",
    "opaque",
    "quote",
    "runtime",
    "tags",
    "task",
    "task_input_hash",
    "transaction",
    "unmapped",
    "wait",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that importing the package costs nothing."""
    if name in _MODULES:
        return import_module(f"fanfold.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'fanfold' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
