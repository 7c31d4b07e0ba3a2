import threading
import time
import tracemalloc
from types import ModuleType
from typing import Any

import cloudpickle
import numpy as np
import pytest

from fanfold import flow, task
from fanfold.engine import registry
from fanfold.engine.recording import arguments
from fanfold.engine.recording.arguments import (
    MOST_OF_CHUNK,
    packed,
    packed_flow,
    unpacked,
    unpacked_flow,
)
from fanfold.values.errors import UsageError
from fanfold.values.records import Arguments, FlowRuns, TaskRuns
from tests.peak import peak_bytes

LIMIT = 65_536


def script_with(**names: Any) -> ModuleType:
    module = ModuleType("__mp_main__")
    vars(module).update(names)
    return module


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


class PointOfScript:
    """Stands in a script's module in these tests."""


PointOfScript.__module__ = "__main__"


@task
def fails(n: int, text: str = "", *, more: int = 0) -> None:
    if n % 2:
        raise ValueError(n)


class Steps:
    def __init__(self, start: int) -> None:
        self.start = start

    @task
    def step(self, n: int) -> None:
        raise ValueError(self.start + n)


def held_of(url: str, index: int) -> Any:
    history = registry.history(url)
    [run] = history.read(FlowRuns())
    [made] = history.read(TaskRuns(flow_run_ids=(run.id,)))
    kept = history.read(Arguments(task_run_id=made.id, index=index))
    return cloudpickle.loads(kept[0]) if kept else None


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    url = f"memory://{request.node.name}"
    monkeypatch.setenv("FANFOLD_HISTORY_URL", url)
    return url


def test_arguments_come_back_as_they_were() -> None:
    held = packed((1, [Point(2)]), {"name": "x", "rows": np.arange(3)}, LIMIT)

    assert held is not None
    args, kwargs = unpacked(held, None)
    assert (args[0], args[1][0].x, kwargs["name"], kwargs["rows"].tolist()) == (
        1,
        2,
        "x",
        [0, 1, 2],
    )


@pytest.mark.parametrize("value", [threading.Lock(), "x" * LIMIT, b"x" * LIMIT, [0.5] * LIMIT])
def test_what_cant_be_pickled_or_is_too_large_is_none(value: object) -> None:
    assert packed((value,), {}, LIMIT) is None


def test_an_array_of_a_gigabyte_costs_nothing() -> None:
    def body() -> None:
        big = np.empty(125_000_000)
        tracemalloc.reset_peak()
        rest, _ = tracemalloc.get_traced_memory()
        began = time.perf_counter()
        held = [packed((value,), {}, LIMIT) for value in (big, [big], big[::2])]
        took_s = time.perf_counter() - began
        _, peak = tracemalloc.get_traced_memory()
        assert held == [None, None, None]
        assert peak - rest < 1_000_000
        assert took_s < 1

    assert peak_bytes(body) > 1_000_000_000


def test_classes_of_the_script_are_those_of_the_loaded_script() -> None:
    held = packed((PointOfScript(), PointOfScript), {}, LIMIT)

    class Another:
        pass

    assert held is not None
    (instance, kind), _ = unpacked(held, script_with(PointOfScript=Another))
    assert kind is Another
    assert type(instance) is Another


def test_arguments_that_need_a_script_cant_be_read_without_it() -> None:
    held = packed((PointOfScript,), {}, LIMIT)

    assert held is not None
    with pytest.raises(UsageError, match="PointOfScript is of the script that was run"):
        unpacked(held, None)


def test_a_flows_arguments_say_whether_it_was_of_the_script() -> None:
    def of_script() -> None: ...

    of_script.__module__ = "__main__"

    told = [packed_flow(each, (1,), {"n": 2}) for each in (of_script, script_with)]

    held = [unpacked_flow(each) for each in told if each is not None]
    assert [main for main, _ in held] == [True, False]
    assert unpacked(held[0][1], None) == ((1,), {"n": 2})


def test_a_failed_element_keeps_what_it_was_called_with(history: str) -> None:
    @flow(task_runner="threads")
    def main() -> None:
        fails.map([0, 1, 2, 3], "same", more=[5, 6, 7, 8], chunk_size=4).wait()

    main(return_state=True)

    assert held_of(history, 3) == ((3, "same"), {"more": 8})
    assert held_of(history, 2) is None


def test_a_failed_element_of_another_process_keeps_it_too(history: str) -> None:
    @flow(task_runner="processes")
    def main() -> None:
        fails.map([0, 1]).wait()

    main(return_state=True)

    assert held_of(history, 1) == ((1,), {})


def test_a_method_keeps_its_instance_first(history: str) -> None:
    @flow
    def main() -> None:
        Steps(10).step.submit(1).wait()

    main(return_state=True)

    (steps, n), kwargs = held_of(history, 0)
    assert (steps.start, n, kwargs) == (10, 1, {})


def test_an_element_that_is_tried_again_keeps_nothing_until_it_failed_for_good(
    history: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packings: list[Any] = []
    original = arguments.packed
    monkeypatch.setattr(arguments, "packed", lambda *call: packings.append(call) or original(*call))

    @flow
    def main() -> None:
        fails.with_options(retries=3).map([1, 2]).wait()

    main(return_state=True)

    assert held_of(history, 0) == ((1,), {})
    assert sum(limit == arguments.ELEMENT_BYTES for *_, limit in packings) == 1


def test_only_the_first_failures_of_a_chunk_keep_them(history: str) -> None:
    @flow
    def main() -> None:
        numbers = range(1, 2 * MOST_OF_CHUNK + 3, 2)
        fails.map(numbers, chunk_size=len(numbers)).wait()

    main(return_state=True)

    assert held_of(history, MOST_OF_CHUNK - 1) is not None
    assert held_of(history, MOST_OF_CHUNK) is None
