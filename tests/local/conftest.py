"""What tests of the local runners stand on: each runner, and what its elements really did."""

from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fanfold import flow
from fanfold.adapters.runners.inline import InlineTaskRunner
from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.ports.runner import TaskRunner
from fanfold.testing.ledger import Gate, Latch, Ledger


def made(kind: str, workers: int = 2) -> TaskRunner:
    if kind == "inline":
        return InlineTaskRunner()
    return {"threads": ThreadPoolTaskRunner, "processes": ProcessTaskRunner}[kind](workers)


@pytest.fixture(params=["inline", "threads", "processes"])
def runner(request: pytest.FixtureRequest) -> TaskRunner:
    """Return each of the runners that are always there, with two slots where it can have them."""
    return made(request.param)


@pytest.fixture(params=["threads", "processes"])
def wide(request: pytest.FixtureRequest) -> TaskRunner:
    """Return each runner that runs several elements at a time, with three slots."""
    return made(request.param, 3)


@pytest.fixture(params=["inline", "threads", "processes"])
def narrow(request: pytest.FixtureRequest) -> TaskRunner:
    """Return each runner with a single slot."""
    return made(request.param, 1)


@pytest.fixture
def inside(runner: TaskRunner) -> Callable[[Callable[[], Any]], Any]:
    """Return what runs a function as a flow on the runner."""
    return lambda body: flow(body, task_runner=runner)()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path))


@pytest.fixture
def gates(tmp_path: Path) -> Generator[Callable[[str], tuple[Gate, Latch]], None, None]:
    """Return what makes a gate that elements wait at; all are open in the end."""
    with ExitStack() as stack:

        def gate(name: str = "gate") -> tuple[Gate, Latch]:
            made_one = Gate(str(tmp_path / name))
            return made_one, stack.enter_context(made_one.kept())

        yield gate
