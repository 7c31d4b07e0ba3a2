"""Flows through Ray's client server, from a process that has no core of Ray's."""

from collections.abc import Iterator

import pytest
from runners.ray.tests.heads import Head, Program

pytestmark = pytest.mark.slow

PROGRAM = """
import time
from pathlib import Path
import ray
from fanfold import flow, task
from fanfold.futures import as_completed
from fanfold_ray import RayTaskRunner, remote_options

runner = RayTaskRunner({address!r})

@task
def double(number):
    return number * 2

@task
def plus(number, other):
    return number + other

@task(log_prints=True)
def speaking():
    print("hello from afar")
    time.sleep(1.0)
    print("and again")
    return bytes(3_000_000)

@task(retries=1)
def failing(number):
    if number == 7:
        raise ValueError("seven")
    return number

@task
def holding(folder):
    Path(folder, "began").touch()
    time.sleep(100)

@flow(task_runner=runner)
def working():
    doubled = double.map(range(20_000))
    chained = plus.map(doubled, other=double.submit(50))
    big = speaking.submit()
    states = failing.map(range(10), return_state=True)
    with remote_options(num_cpus=2):
        wide = double.submit(4)
    return sum(chained.result()), len(big.result()), [state.name for state in states], wide.result()

print("VALUE", *working(), flush=True)
print("LEFT", ray.is_initialized())

@flow(task_runner=runner, timeout_seconds=20)
def stopped():
    holding.submit({folder!r}).wait()

began = time.monotonic()
state = stopped(return_state=True)
print("STATE", state.name, time.monotonic() - began < 30)

session = runner.open(print)
from runners.ray.tests import chunks
work = chunks.Work(call=chunks.until_stopped, given="")
session.submit(work, done=lambda report: print("DONE", type(report.error).__name__))
session.close()
print("LEFT", ray.is_initialized())
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    started = Head(client=True)
    yield started
    started.close()


def test_flows_run_through_a_client_server(head: Head) -> None:
    body = PROGRAM.format(address=head.client_address, folder=str(head.folder))
    program = Program(body, {**head.settings, "FANFOLD_HOME": str(head.home)})
    try:
        out, errors = program.end()
    finally:
        program.close()

    lines = [line for line in out.splitlines() if line.split()[0].isupper()]
    total = sum(2 * number + 100 for number in range(20_000))
    names = ["Completed"] * 7 + ["Failed"] + ["Completed"] * 2
    assert lines == [
        f"VALUE {total} 3000000 {names} 8",
        "LEFT False",
        "STATE TimedOut True",
        "DONE ChunkCancelled",
        "LEFT False",
    ]
    assert "hello from afar" in errors
    assert errors.index("hello from afar") < errors.index("and again")
    assert (head.folder / "began").exists()
