"""Where tasks run on this machine; Dask and Ray have packages of their own."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanfold.adapters.runners.inline import InlineTaskRunner as InlineTaskRunner
    from fanfold.adapters.runners.processes import ProcessTaskRunner as ProcessPoolTaskRunner
    from fanfold.adapters.runners.processes import ProcessTaskRunner as ProcessTaskRunner
    from fanfold.adapters.runners.threads import ThreadPoolTaskRunner as ConcurrentTaskRunner
    from fanfold.adapters.runners.threads import ThreadPoolTaskRunner as ThreadPoolTaskRunner
    from fanfold.ports.runner import TaskRunner as TaskRunner

_HOMES = {
    "ConcurrentTaskRunner": "fanfold.adapters.runners.threads:ThreadPoolTaskRunner",
    "InlineTaskRunner": "fanfold.adapters.runners.inline:InlineTaskRunner",
    "ProcessPoolTaskRunner": "fanfold.adapters.runners.processes:ProcessTaskRunner",
    "ProcessTaskRunner": "fanfold.adapters.runners.processes:ProcessTaskRunner",
    "TaskRunner": "fanfold.ports.runner:TaskRunner",
    "ThreadPoolTaskRunner": "fanfold.adapters.runners.threads:ThreadPoolTaskRunner",
}

__all__ = [
    "ConcurrentTaskRunner",
    "InlineTaskRunner",
    "ProcessPoolTaskRunner",
    "ProcessTaskRunner",
    "TaskRunner",
    "ThreadPoolTaskRunner",
]


def __getattr__(name: str) -> Any:
    """Load a runner on first use: each brings what the others don't need."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)
