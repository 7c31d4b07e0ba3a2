"""What calls take besides the function's arguments does what it says, in tasks and in flows."""

from typing import Any

import pytest

from fanfold import State, flow, task
from fanfold.values.errors import UpstreamFailed
from tests.unit.option_effects import Make, effect


@task
def fails() -> None:
    raise OSError("gone")


@task
def same(x: int) -> int:
    return x


@flow
def same_flow(x: int) -> int:
    return x


def inside(call: Any) -> Any:
    """Return what is returned inside a flow, which futures and states don't leave."""
    found: list[Any] = []
    flow(lambda: found.append(call()))()
    return found[0]


@effect("Task.__call__.return_state")
def test_a_call_returns_its_state(make: Make) -> None:
    state = same(3, **make.keywords("Task.__call__", return_state=True))
    assert isinstance(state, State) and state.result() == 3


@effect("Task.__call__.wait_for")
def test_a_call_waits_for_what_fails(make: Make) -> None:
    def call() -> Any:
        with pytest.raises(UpstreamFailed):
            same(3, **make.keywords("Task.__call__", wait_for=[fails.submit()]))

    inside(call)


@effect("Task.submit.return_state")
def test_a_submit_returns_its_state(make: Make) -> None:
    keywords = make.keywords("Task.submit", return_state=True)
    assert inside(lambda: isinstance(same.submit(3, **keywords), State))


@effect("Task.submit.wait_for")
def test_a_submit_waits_for_what_fails(make: Make) -> None:
    def call() -> Any:
        keywords = make.keywords("Task.submit", wait_for=[fails.submit()])
        return same.submit(3, return_state=True, **keywords)

    assert inside(call).name == "UpstreamFailed"


@effect("Task.map.return_state")
def test_a_map_returns_its_states(make: Make) -> None:
    keywords = make.keywords("Task.map", return_state=True)
    assert inside(lambda: [type(one) for one in same.map([3, 4], **keywords)]) == [State, State]


@effect("Task.map.wait_for")
def test_a_map_waits_for_what_fails(make: Make) -> None:
    def call() -> Any:
        keywords = make.keywords("Task.map", wait_for=[fails.submit()])
        return [state.name for state in same.map([3, 4], return_state=True, **keywords)]

    assert inside(call) == ["UpstreamFailed"] * 2


@effect("Flow.__call__.return_state")
def test_a_call_of_a_flow_returns_its_state(make: Make) -> None:
    state = same_flow(3, **make.keywords("Flow.__call__", return_state=True))
    assert isinstance(state, State) and state.result() == 3


@effect("Flow.__call__.wait_for")
def test_a_call_of_a_flow_waits_for_what_fails(make: Make) -> None:
    def call() -> Any:
        with pytest.raises(UpstreamFailed):
            same_flow(3, **make.keywords("Flow.__call__", wait_for=[fails.submit()]))

    inside(call)


@effect("Flow.submit.return_state")
def test_a_submit_of_a_flow_returns_its_state(make: Make) -> None:
    keywords = make.keywords("Flow.submit", return_state=True)
    assert inside(lambda: isinstance(same_flow.submit(3, **keywords), State))


@effect("Flow.submit.wait_for")
def test_a_submit_of_a_flow_waits_for_what_fails(make: Make) -> None:
    def call() -> Any:
        keywords = make.keywords("Flow.submit", wait_for=[fails.submit()])
        return same_flow.submit(3, return_state=True, **keywords)

    assert inside(call).name == "UpstreamFailed"


@effect("Flow.map.return_state")
def test_a_map_of_a_flow_returns_its_states(make: Make) -> None:
    keywords = make.keywords("Flow.map", return_state=True)
    found = inside(lambda: [type(one) for one in same_flow.map([3, 4], **keywords)])
    assert found == [State, State]


@effect("Flow.map.wait_for")
def test_a_map_of_a_flow_waits_for_what_fails(make: Make) -> None:
    def call() -> Any:
        keywords = make.keywords("Flow.map", wait_for=[fails.submit()])
        return [state.name for state in same_flow.map([3, 4], return_state=True, **keywords)]

    assert inside(call) == ["UpstreamFailed"] * 2
