"""Every option that there is, and the test that fails where it is ignored."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from fanfold.adapters.runners.inline import InlineTaskRunner
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.engine import settings
from fanfold.flows import Flow, FlowOptions
from fanfold.tasks import MAP_OPTIONS, SUBMIT_OPTIONS, Task, TaskOptions
from fanfold_dask.runner import DaskTaskRunner
from fanfold_ray.runner import RayTaskRunner

RUNNERS: dict[str, type[Any]] = {
    "inline": InlineTaskRunner,
    "threads": ThreadPoolTaskRunner,
    "processes": ProcessTaskRunner,
    "dask": DaskTaskRunner,
    "ray": RayTaskRunner,
}
CALLS: dict[str, Callable[..., Any]] = {
    **{"Task.__call__": Task.__call__, "Task.submit": Task.submit, "Task.map": Task.map},
    **{"Flow.__call__": Flow.__call__, "Flow.submit": Flow.submit, "Flow.map": Flow.map},
}
EFFECTS = (
    "tests/unit/test_option_effects.py",
    "tests/unit/test_flow_option_effects.py",
    "tests/unit/test_call_keyword_effects.py",
    "tests/unit/test_setting_effects.py",
)
"""Files whose tests are run with their option and with it ignored; `effect` says which is whose."""

ELSEWHERE = {
    "settings.progress": "tests/unit/engine/test_watching.py"
    "::test_the_mode_follows_the_setting_and_the_terminal",
    "settings.logging.colors": "tests/unit/display/test_logs.py"
    "::test_colours_follow_the_setting_no_color_and_the_terminal",
    "dask.client": "runners/dask/tests/test_dask_borrowed.py"
    "::test_a_borrowed_client_is_clean_after_close",
    "dask.address": "runners/dask/tests/test_dask_borrowed.py"
    "::test_a_session_at_an_address_leaves_the_cluster_alive",
    "dask.cluster_kwargs": "runners/dask/tests/test_dask_own.py"
    "::test_an_own_cluster_that_cannot_start_says_why",
    "dask.cluster": "runners/dask/tests/test_dask_borrowed.py"
    "::test_a_borrowed_cluster_is_used_adapted_and_left_alive",
    "dask.cluster_class": "runners/dask/tests/test_dask_custom.py"
    "::test_a_class_makes_a_cluster_for_each_session",
    "dask.adapt_kwargs": "runners/dask/tests/test_dask_own.py"
    "::test_workers_come_when_there_is_work_and_go_when_there_is_none",
    "dask.client_kwargs": "runners/dask/tests/test_dask_borrowed.py"
    "::test_certificates_open_a_door_that_is_closed_to_others",
    "dask.performance_report_path": "runners/dask/tests/test_dask_own.py"
    "::test_dasks_report_is_written_at_the_end",
    "ray.address": "runners/ray/tests/test_ray.py::test_an_unreachable_ray_is_told",
    "ray.init_kwargs": "runners/ray/tests/test_ray_options.py"
    "::test_ray_is_started_with_what_it_is_told",
    "ray.head_timeout_seconds": "runners/ray/tests/test_ray_heads.py"
    "::test_a_flow_whose_head_never_comes_back_is_crashed_in_time",
}
"""Options whose effect another test shows."""

UNHEEDED: dict[str, str] = {}
"""Options that are taken and do nothing, and what happens instead."""


def options() -> Iterator[str]:
    """Yield the name of every option, as users give them."""
    yield from (f"task.{name}" for name in TaskOptions.__annotations__)
    yield from (f"flow.{name}" for name in FlowOptions.__annotations__)
    yield from (f"map.{name}" for name in MAP_OPTIONS)
    yield from (f"submit.{name}" for name in SUBMIT_OPTIONS)
    yield from (f"{way}.{name}" for way, call in CALLS.items() for name in keywords(call))
    yield from (f"settings.{name}" for name in settings.TABLE)
    for runner, kind in RUNNERS.items():
        yield from (f"{runner}.{field.name}" for field in fields(kind) if field.init)


def keywords(call: Callable[..., Any]) -> tuple[str, ...]:
    """Return what a way of calling takes by keyword alone."""
    parameters = inspect.signature(call).parameters.values()
    return tuple(one.name for one in parameters if one.kind is one.KEYWORD_ONLY)
