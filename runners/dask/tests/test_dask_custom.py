"""Clusters that a class or function of the user's makes."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import LocalCluster, Nanny, Scheduler, SpecCluster
from distributed.core import Status
from runners.dask.tests import chunks, customs
from runners.dask.tests.chunks import Call
from runners.dask.tests.desk import DEADLINE_S, Driver, opened, until

from fanfold.values.errors import InfrastructureError, UsageError
from fanfold_dask import DaskTaskRunner

GO = Call(id="there", act=chunks.give, arguments=(b"value",))


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    "cluster_class",
    ["runners.dask.tests.customs.Noted", customs.Noted, "runners.dask.tests.customs:Noted"],
)
def test_a_class_makes_a_cluster_for_each_session(cluster_class: Any) -> None:
    runner = DaskTaskRunner(cluster_class=cluster_class, cluster_kwargs={"n_workers": 2})

    for _ in range(2):
        with opened(runner) as driver:
            assert driver.value(driver.run(GO)) == [b"value"]
            assert driver.session.slots().now == 4
            assert customs.made[-1].status is Status.running
        assert customs.made[-1].status is Status.closed
    assert customs.made[-1] is not customs.made[-2]


def test_a_function_may_make_it() -> None:
    with opened(
        DaskTaskRunner(cluster_class=customs.small, cluster_kwargs={"workers": 3})
    ) as driver:
        driver.run(GO)

        assert driver.session.slots().now == 6
    assert customs.made[-1].status is Status.closed


def test_a_specified_cluster_is_made_too() -> None:
    kwargs = {
        "scheduler": {"cls": Scheduler, "options": {"port": 0, "dashboard_address": "127.0.0.1:0"}},
        "workers": {"only": {"cls": Nanny, "options": {"nthreads": 1}}},
    }
    with opened(DaskTaskRunner(cluster_class=SpecCluster, cluster_kwargs=kwargs)) as driver:
        assert driver.value(driver.run(GO)) == [b"value"]


@pytest.mark.parametrize("cluster_class", [customs.Noted, customs.NotedAsync])
def test_it_is_adapted_by_a_method_or_a_coroutine(cluster_class: Any) -> None:
    asked = {"minimum": 0, "maximum": 3, "interval": "50ms"}
    runner = DaskTaskRunner(cluster_class=cluster_class, adapt_kwargs=asked)

    with opened(runner) as driver:
        assert customs.made[-1].adapted == asked
        assert driver.session.slots().grows
        driver.run(GO)


def test_what_is_no_cluster_of_dasks_own_is_adapted_and_closed() -> None:
    runner = DaskTaskRunner(cluster_class=customs.Detached, adapt_kwargs={"minimum": 1})

    with opened(runner) as driver:
        assert driver.value(driver.run(GO)) == [b"value"]

    assert customs.made[-1].status is Status.closed


@pytest.mark.parametrize(
    ("cluster_class", "kind", "told"),
    [
        (customs.refused, InfrastructureError, "refused didn't start: PermissionError: quota"),
        (customs.Broken, InfrastructureError, "Broken.adapt failed: OSError: the cloud gives no"),
        (customs.no_cluster, UsageError, "no_cluster made a dict, which is no Dask cluster"),
        (customs.coroutine, UsageError, "coroutine made a coroutine, which is no Dask cluster"),
    ],
)
def test_what_fails_to_start_says_why_and_leaves_nothing_behind(
    cluster_class: Any, kind: type[Exception], told: str
) -> None:
    runner = DaskTaskRunner(
        cluster_class=cluster_class, adapt_kwargs={"minimum": 1}, client_kwargs={"timeout": 1}
    )
    before, made = threads(), len(customs.made)

    with pytest.raises(kind, match=told) as caught:
        runner.open(lambda chunk, message: None)

    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert all(cluster.status is Status.closed for cluster in customs.made[made:])
    until(lambda: threads() <= before)


def test_workers_that_fail_to_start_say_why_and_leave_nothing_behind() -> None:
    kwargs = {"n_workers": 1, "no_such_argument": 1}
    before = psutil.Process().children(recursive=True)

    with pytest.raises(InfrastructureError, match=r"Noted didn't start.*no_such_argument"):
        DaskTaskRunner(cluster_class=customs.Noted, cluster_kwargs=kwargs).open(_unheard)

    assert psutil.Process().children(recursive=True) == before


def test_a_cluster_that_nobody_can_wait_for_is_refused_and_closed() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="asynchronous=True"):
            DaskTaskRunner(cluster_class=_asynchronous).open(_unheard)
        while customs.made[-1].status is not Status.closed:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


def test_threads_of_this_process_may_be_the_workers() -> None:
    for given in ({}, {"cluster_class": "distributed.LocalCluster"}):
        runner = DaskTaskRunner(cluster_kwargs={"processes": False, "n_workers": 1}, **given)
        with opened(runner) as driver:
            name = Call(id="who", act=_process)
            assert driver.value(driver.run(name)) == [str(os.getpid()).encode()]


UNGUARDED = """
from distributed import LocalCluster
from fanfold import flow, task
from fanfold_dask import DaskTaskRunner

class Own(LocalCluster):
    pass

@task
def double(x):
    return 2 * x

@flow(task_runner=DaskTaskRunner(cluster_class=CLASS, cluster_kwargs={"n_workers": 1}))
def doubled():
    return double.map([1, 2]).result()

"""


@pytest.mark.parametrize(
    ("cluster_class", "call", "told"),
    [
        ("'distributed.LocalCluster'", "print(doubled())", ""),
        ("LocalCluster", "print(doubled())", ""),
        ("Own", "if __name__ == '__main__': print(doubled())", ""),
        ("Own", "print(doubled())", "under `if __name__ == '__main__':`"),
    ],
)
def test_a_script_without_a_guard_works_or_says_what_is_missing(
    cluster_class: str, call: str, told: str, tmp_path: Path
) -> None:
    file = tmp_path / "script.py"
    file.write_text(textwrap.dedent(UNGUARDED).replace("CLASS", cluster_class) + call)

    ended = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.stdout == ("" if told else "[2, 4]\n"), ended.stderr
    assert told in ended.stderr


def _asynchronous() -> LocalCluster:
    made: Callable[..., LocalCluster] = customs.Noted
    return made(asynchronous=True)


def _process(needs: Any, shared: Any, site: Any) -> list[bytes]:
    return [str(os.getpid()).encode()]


def _unheard(chunk: str, message: bytes) -> None:
    """Nothing is said."""


def test_a_driver_can_be_made_of_it_again(tmp_path: Path) -> None:
    driver = Driver(DaskTaskRunner(cluster_class=customs.Noted))
    driver.session.close()
    driver.session.close()

    assert customs.made[-1].status is Status.closed
