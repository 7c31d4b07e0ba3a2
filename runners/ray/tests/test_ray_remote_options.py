"""Options of Ray for what is submitted inside a block."""

from collections.abc import Iterator
from typing import Any

import pytest
import ray
from runners.ray.tests.ground import running_ray

from fanfold import flow, task
from fanfold.ports.wants import wanted
from fanfold.task_runners import ThreadPoolTaskRunner
from fanfold.values.errors import ResourcesUnavailable, UsageError
from fanfold.values.resources import PLAIN, Resources
from fanfold_ray import RayTaskRunner, remote_options
from fanfold_ray.remote_options import options_for


@pytest.fixture(scope="module", autouse=True)
def borrowed() -> Iterator[None]:
    with running_ray(num_cpus=2, resources={"licence": 3}):
        yield


def asked(want: Resources = PLAIN) -> dict[str, Any]:
    return options_for(wanted(want))


def test_nothing_is_asked_for_outside() -> None:
    assert asked() == {}
    with remote_options():
        assert asked() == {}
    assert wanted(PLAIN) is PLAIN


def test_what_is_known_becomes_what_the_task_wants() -> None:
    with remote_options(num_cpus=2, num_gpus=0.5, memory=1 << 20, resources={"licence": 1}):
        want = wanted(Resources.of({"disk": 2}))

    assert want == Resources.of({"cpu": 2, "gpu": 0.5, "memory": 1 << 20, "licence": 1, "disk": 2})
    assert options_for(want) == {
        "num_cpus": 2,
        "num_gpus": 0.5,
        "memory": 1 << 20,
        "resources": {"disk": 2, "licence": 1},
    }


def test_an_inner_block_comes_on_top() -> None:
    with remote_options(num_cpus=2, scheduling_strategy="SPREAD"):
        with remote_options(num_cpus=1, runtime_env={"env_vars": {"KEY": "geheim"}}):
            inner = wanted(PLAIN)
        outer = asked()

    assert options_for(inner)["runtime_env"] == {"env_vars": {"KEY": "geheim"}}
    assert options_for(inner)["scheduling_strategy"] == "SPREAD"
    assert options_for(inner)["num_cpus"] == 1
    assert str(inner) == "remote_options(runtime_env, scheduling_strategy)"
    assert outer == {"num_cpus": 2, "scheduling_strategy": "SPREAD"}
    assert asked() == {}


@pytest.mark.parametrize(
    "option", ["max_retries", "retry_exceptions", "num_returns", "name", "max_calls"]
)
def test_what_fanfold_decides_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=option), remote_options(**{option: 1}):
        pass


@pytest.mark.parametrize("options", [{"no_such": 1}, {"num_cpus": -1}, {"resources": 3}])
def test_what_ray_does_not_understand_is_refused_where_it_is_said(options: Any) -> None:
    with pytest.raises(UsageError, match="Ray"), remote_options(**options):
        pass


@task
def granted(_: int = 0) -> tuple[dict[str, float], str]:
    import os

    return ray.get_runtime_context().get_assigned_resources(), os.environ.get("MARK", "")


def test_tasks_get_what_was_said_where_they_were_submitted() -> None:
    @flow(task_runner=RayTaskRunner())
    def asking() -> Any:
        with remote_options(num_cpus=2, resources={"licence": 2}):
            first = granted.submit()
            many = granted.map(range(3))
        plain = granted.submit()
        with remote_options(runtime_env={"env_vars": {"MARK": "there"}}):
            marked = granted.submit()
        return first.result(), many.result(), plain.result(), marked.result()

    first, many, plain, marked = asking()

    assert first[0] == {"CPU": 2.0, "licence": 2.0}
    assert [one for one, _ in many] == [{"CPU": 2.0, "licence": 2.0}] * 3
    assert plain == ({"CPU": 1.0}, "")
    assert marked == ({"CPU": 1.0}, "there")


def test_what_no_node_has_is_refused_at_once() -> None:
    @flow(task_runner=RayTaskRunner())
    def asking() -> Any:
        with remote_options(num_gpus=4):
            return granted.submit().result()

    with pytest.raises(ResourcesUnavailable, match="gpu=4"):
        asking()


def test_other_runners_refuse_what_is_rays() -> None:
    @flow(task_runner=ThreadPoolTaskRunner())
    def asking() -> Any:
        with remote_options(scheduling_strategy="SPREAD"):
            return granted.submit().result()

    with pytest.raises(ResourcesUnavailable, match="remote_options"):
        asking()


@pytest.mark.parametrize("name", ["memory", "licence"])
def test_more_than_ray_can_count_is_not_taken_for_none(name: str) -> None:
    nothing = ray.remote(lambda: None)
    ray.get(nothing.remote())  # there is a worker now

    absurd = nothing.options(**options_for(Resources.of({name: 1 << 60}))).remote()
    done, _ = ray.wait([absurd], timeout=1.0)

    ray.cancel(absurd)
    assert done == []
