"""What running code may know of its run: `runtime.flow_run.id`, `runtime.task_run.run_count`, ...

Outside of runs every attribute is None, or empty where it is a collection.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fanfold.engine.context import FLOW_RUN, TASK_RUN, Element, RunInfo, current


class _FlowRun:
    """The flow run that the caller's code belongs to, also from inside its tasks."""

    @property
    def id(self) -> str | None:
        """Its id."""
        info = _flow()
        return info.id if info else None

    @property
    def name(self) -> str | None:
        """What the run is called."""
        info = _flow()
        return info.name if info else None

    @property
    def flow_name(self) -> str | None:
        """Name of the flow."""
        info = _flow()
        return info.of if info else None

    @property
    def flow_version(self) -> str | None:
        """Version of the flow, if it says one."""
        info = _flow()
        return info.version if info else None

    @property
    def tags(self) -> list[str]:
        """Its tags, sorted."""
        info = _flow()
        return sorted(info.tags) if info else []

    @property
    def run_count(self) -> int | None:
        """Tries so far, the running one included."""
        info = _flow()
        return info.run_count if info else None

    @property
    def scheduled_start_time(self) -> datetime | None:
        """When it was to begin; for a run that nobody scheduled, when it began."""
        info = _flow()
        return info.started if info else None

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Its arguments by name; in tasks that run in other processes only small plain ones."""
        info = _flow()
        return info.parameters if info else {}

    @property
    def parent_flow_run_id(self) -> str | None:
        """Id of the flow run that called it."""
        info = _flow()
        return info.flow.flow_run_id or None if info and info.flow else None

    @property
    def root_flow_run_id(self) -> str | None:
        """Id of the outermost flow run around it; its own, if nobody called it."""
        info = found = _flow()
        while found is not None:
            info = found if found.kind == FLOW_RUN else info
            found = found.flow
        return info.id if info else None


class _TaskRun:
    """The task run that the caller's code belongs to; in a map, the running element."""

    @property
    def id(self) -> str | None:
        """Its id."""
        info, element = _task()
        return info.element_id(element.index) if info and element else None

    @property
    def name(self) -> str | None:
        """What the run is called."""
        info, element = _task()
        return element.name or info.name if info and element else None

    @property
    def task_name(self) -> str | None:
        """Name of the task."""
        info, _ = _task()
        return info.of if info else None

    @property
    def tags(self) -> list[str]:
        """Its tags, sorted."""
        info, _ = _task()
        return sorted(info.tags) if info else []

    @property
    def run_count(self) -> int | None:
        """Tries so far, the running one included."""
        _, element = _task()
        return element.run_count if element else None

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Its arguments by name, defaults included."""
        _, element = _task()
        return element.arguments() if element else {}

    @property
    def parent_task_run_id(self) -> str | None:
        """Id of the task run whose code called it."""
        info, _ = _task()
        return info.parent_id or None if info else None

    @property
    def map_index(self) -> int | None:
        """Its place in a map; None for a single call."""
        info, element = _task()
        return info.first + element.index if info and element and not info.single else None


flow_run = _FlowRun()
"""The flow run around the caller."""
task_run = _TaskRun()
"""The task run around the caller."""


def _flow() -> RunInfo | None:
    context = current()
    if context is None:
        return None
    return context.info if context.info.kind == FLOW_RUN else context.info.flow


def _task() -> tuple[RunInfo | None, Element | None]:
    context = current()
    if context is None or context.info.kind != TASK_RUN:
        return None, None
    return context.info, context.element
