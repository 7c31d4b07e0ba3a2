"""Faults as data, injected into tasks that know nothing of them."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanfold import flow, task
from fanfold.testing import Exit, Faults, Raise, Sleep
from fanfold.values.errors import UsageError


@task(retries=2)
def half(x: int) -> float:
    return x / 2


@task(retries=2)
async def half_later(x: int) -> float:
    await asyncio.sleep(0)
    return x / 2


@task(retries=2)
def halves(x: int) -> Iterator[float]:
    yield x / 2


class Halving:
    @task(retries=2)
    def half(self, x: int) -> float:
        return x / 2


def mapped(work: Any, *args: Any, runner: str = "inline") -> list[Any]:
    run = flow(lambda: work.map(*args).result(raise_on_failure=False), task_runner=runner)
    return run()


def gone() -> Raise:
    return Raise(OSError("gone"))


@pytest.mark.parametrize(("work", "two"), [(half, 2.0), (half_later, 2.0), (halves, [2.0])])
@pytest.mark.parametrize("runner", ["inline", "processes"])
def test_each_attempt_of_an_input_meets_its_fault(
    work: Any, two: Any, runner: str, tmp_path: Path
) -> None:
    faults = Faults(tmp_path, {4: [gone(), gone()], 6: [gone()] * 3})

    with faults.injected(work):
        _, found, failed = mapped(work, [2, 4, 6], runner=runner)

    assert found == two
    assert isinstance(failed, OSError)
    assert [faults.calls(x) for x in (2, 4, 6, 8)] == [1, 3, 3, 0]
    assert faults.total == 7


def test_afterwards_the_task_is_as_it_was(tmp_path: Path) -> None:
    before = half.fn
    faults = Faults(tmp_path, {4: [gone()] * 9})

    with pytest.raises(OSError, match="gone"), faults.injected(half):
        half(4)

    assert half.fn is before
    assert half(4) == 2.0


def test_a_function_can_be_given_faults_before_it_is_a_task(tmp_path: Path) -> None:
    faults = Faults(tmp_path, {4: [gone()]})
    faulty = task(faults.into(half.fn), retries=1)

    assert faulty.name == "half"
    assert faulty(x=4) == 2.0
    assert faults.calls(4) == 2


def test_methods_meet_faults_by_what_the_caller_names(tmp_path: Path) -> None:
    faults = Faults(tmp_path, {4: [gone()]}, by=lambda model, x: x)

    with faults.injected(Halving.half):
        assert Halving().half(4) == 2.0

    assert faults.calls(4) == 2


def test_inputs_that_do_not_hash_are_counted(tmp_path: Path) -> None:
    faults = Faults(tmp_path, {})
    total = faults.into(sum)

    assert total([1, 2]) == 3
    assert (faults.calls([1, 2]), faults.calls("[1, 2]"), faults.total) == (1, 0, 1)


@pytest.mark.parametrize("work", [half, half_later])
def test_a_slow_attempt_takes_longer_and_goes_well(work: Any, tmp_path: Path) -> None:
    faults = Faults(tmp_path, {4: [Sleep(0.1)]})
    began = time.monotonic()

    with faults.injected(work):
        assert mapped(work, [4]) == [2.0]

    assert time.monotonic() - began >= 0.1


def test_a_worker_that_exits_costs_no_retry(tmp_path: Path) -> None:
    faults = Faults(tmp_path, {4: [Exit(3)]})

    with faults.injected(half):
        assert mapped(half, [2, 4], runner="processes") == [1.0, 2.0]

    assert faults.calls(4) == 2


def test_the_process_of_the_test_itself_is_not_ended(tmp_path: Path) -> None:
    faults = Faults(tmp_path, {4: [Exit()] * 3})

    with pytest.raises(UsageError, match="processes"), faults.injected(half):
        half(4)
