"""Calls the hooks of elements whose end no worker saw: something failed before them."""

from collections.abc import Iterable

from fanfold.engine import hooks
from fanfold.engine.context import Element, RunContext, running
from fanfold.engine.failures import restore
from fanfold.engine.run import Run
from fanfold.values.runs import TaskRun
from fanfold.values.states import State, StateName


def call_hooks(run: Run, indices: Iterable[int]) -> None:
    """Call the failure hooks of these elements; blocks, and never raises."""
    spec = run.call.spec
    assert spec.hooks is not None
    for index in indices:
        told = _task_run(run, index)
        element = Element(index=index, run_count=told.run_count)
        with running(RunContext(info=spec.info, at=lambda element=element: element)):
            hooks.told(hooks.calling(spec.hooks.failure, spec.task, told, told.state))


def _task_run(run: Run, index: int) -> TaskRun:
    info, failure = run.call.spec.info, run.error(index)
    state = State(
        code=StateName(run.states[index]),
        message=failure.message if failure is not None else "",
        error=restore(failure) if failure is not None else None,
    )
    return TaskRun(
        id=info.element_id(index),
        name=run.label(index),
        task_name=info.of,
        flow_run_id=info.flow_run_id,
        tags=info.tags,
        run_count=run.details[index].attempts,
        map_index=None if info.single else info.first + index,
        state=state,
    )
