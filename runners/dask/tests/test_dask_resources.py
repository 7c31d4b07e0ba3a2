"""What chunks want of a worker: who gets them, how many run at once, and what is lacking."""

import os
import pickle
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from runners.dask.tests import chunks
from runners.dask.tests.chunks import Call
from runners.dask.tests.daemons import Daemons, daemons
from runners.dask.tests.desk import DEADLINE_S, QUIET, Driver, opened, runs, until

from fanfold import flow, task
from fanfold.values.errors import ChunkCancelled, FanfoldError, ResourcesUnavailable
from fanfold.values.resources import PLAIN, Resources
from fanfold_dask import DaskTaskRunner

GPU = Resources(gpu=1)
LIMIT = 1024**3
SPAN_S = 0.05


@pytest.fixture(scope="module")
def wide() -> Iterator[Driver]:
    """One worker with four threads, a GPU and two licences."""
    arguments = {**QUIET, "threads_per_worker": 4, "memory_limit": LIMIT}
    with (
        LocalCluster(n_workers=1, resources={"GPU": 1, "licence": 2}, **arguments) as cluster,
        Client(cluster, set_as_default=False) as client,
        opened(DaskTaskRunner(client=client)) as driver,
    ):
        yield driver


@pytest.fixture
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    """A scheduler, to which each test adds workers."""
    with daemons(tmp_path_factory.mktemp("daemons")) as started:
        started.scheduler()
        yield started


Span = tuple[int, float, float]


def spans(driver: Driver, wants: Sequence[Resources]) -> list[Span]:
    """Return the process, beginning and end of chunks that want something."""
    refs = [
        driver.submit(Call(id=f"{want} {n}", act=chunks.span, arguments=(SPAN_S,)), want=want)
        for n, want in enumerate(wants)
    ]
    assert [driver.report().error for _ in refs] == [None] * len(refs)
    return [pickle.loads(driver.value(ref)[0]) for ref in refs]


def together(found: Sequence[Span]) -> int:
    """Return how many ran at once at most."""
    return max(sum(1 for _, low, high in found if low <= began < high) for _, began, _ in found)


@pytest.mark.parametrize(
    ("want", "most"),
    [
        (PLAIN, 4),
        (GPU, 1),
        (Resources(custom=(("licence", 1.0),)), 2),
        (Resources(custom=(("LICENCE", 1.0),)), 2),
        (Resources(cpu=2), 2),
        (Resources(cpu=3), 1),
        (Resources(memory=LIMIT // 2), 2),
        (Resources(memory=LIMIT * 2 // 3), 1),
    ],
    ids=str,
)
def test_what_is_held_limits_how_many_run_at_once(wide: Driver, want: Resources, most: int) -> None:
    assert together(spans(wide, [want] * 8)) == most


def test_wide_chunks_and_plain_ones_share_the_threads(wide: Driver) -> None:
    wants = [Resources(cpu=3), PLAIN, PLAIN, PLAIN] * 4

    found = spans(wide, wants)

    for at in (0, 4, 8, 12):
        pid, began, ended = found[at]
        beside = [
            one for one in found if one[2] > began and one[1] < ended and one[1:] != (began, ended)
        ]
        assert together(beside) <= 1 if beside else True
        assert all(low[0] == pid for low in beside)


def test_a_chunk_gets_only_to_workers_that_advertise_what_it_wants(mixed: Daemons) -> None:
    mixed.worker("--no-nanny")
    mixed.worker("--no-nanny", "--resources", "gpu=1")
    with opened(DaskTaskRunner(address=mixed.address)) as driver:
        until(lambda: driver.session.slots().now == 2)
        assert driver.session.slots().offers["gpu"] == 1

        with_gpu = {pid for pid, _, _ in spans(driver, [GPU] * 6)}
        plain = {pid for pid, _, _ in spans(driver, [PLAIN] * 12)}

        assert len(with_gpu) == 1
        assert len(plain) == 2
        assert driver.session.lacking(GPU) == ""


def test_what_no_worker_has_waits_for_one_that_joins(mixed: Daemons, tmp_path: Path) -> None:
    with opened(DaskTaskRunner(address=mixed.address)) as driver:
        assert driver.session.lacking(PLAIN) == f"there are no workers at {mixed.address}"
        mixed.worker("--no-nanny")
        until(lambda: driver.session.slots().now == 1)

        wants = [GPU, Resources(cpu=2), Resources(memory=10**15)]
        refs = [
            driver.submit(
                Call(id=str(want), act=chunks.note, arguments=(str(tmp_path), f"{n}")), want=want
            )
            for n, want in enumerate(wants)
        ]
        driver.run(Call(id="plain", act=chunks.give, arguments=(1,)))
        with pytest.raises(TimeoutError):
            driver.session.fetch(refs[1:2], 0.05)
        driver.session.cancel(refs[2:])
        told = driver.report()
        assert (told.chunk, type(told.error)) == ("memory=909.5TiB", ChunkCancelled)
        assert not told.started
        mixed.worker("--no-nanny", "--nthreads", "2", "--resources", "GPU=1")

        assert {driver.report().chunk for _ in refs[:2]} == {"gpu=1", "cpu=2"}
        assert [driver.value(ref) for ref in refs[:2]] == [[b"0"], [b"1"]]
        assert runs(tmp_path, "2") == 0


def test_what_was_meant_for_a_worker_that_left_goes_to_another(
    mixed: Daemons, tmp_path: Path
) -> None:
    leaver = mixed.worker("--no-nanny", "--nthreads", "2")
    mixed.worker("--no-nanny", "--resources", "stays=1")
    with opened(DaskTaskRunner(address=mixed.address)) as driver:
        until(lambda: driver.session.slots().now == 3)
        go_on = tmp_path / "go on"
        slow = driver.submit(
            Call(id="slow", act=chunks.stay_until, arguments=(str(go_on),)),
            want=Resources(custom=(("stays", 1.0),)),
        )
        driver.said.get(timeout=DEADLINE_S)
        wide = driver.submit(Call(id="wide", act=chunks.join), [slow], want=Resources(cpu=2))

        mixed.end(leaver)
        until(lambda: driver.session.slots().now == 1)
        assert "no worker has cpu=2" in driver.session.lacking(Resources(cpu=2))
        mixed.worker("--no-nanny", "--nthreads", "2")
        until(lambda: driver.session.slots().now == 3)
        go_on.touch()

        assert [driver.report().error for _ in range(2)] == [None, None]
        assert driver.value(wide) == []


def test_what_waits_is_told_at_the_sessions_end(wide: Driver) -> None:
    with opened(DaskTaskRunner(client=wide.session.client)) as driver:
        driver.submit(Call(id="held", act=chunks.give), want=Resources(cpu=64))

    assert isinstance(driver.report().error, ChunkCancelled)


def test_a_worker_that_has_too_little_refuses_what_was_sent_before_it_came(mixed: Daemons) -> None:
    with opened(DaskTaskRunner(address=mixed.address)) as driver:
        driver.submit(Call(id="wide", act=chunks.give), want=Resources(cpu=2))
        mixed.worker("--no-nanny")

        told = driver.report()

        assert isinstance(told.error, ResourcesUnavailable)
        assert not told.started
        assert "cpu=2 was asked for, but " in str(told.error)


@pytest.mark.parametrize(
    ("want", "told"),
    [
        (PLAIN, ""),
        (Resources(cpu=4, gpu=1, memory=LIMIT, custom=(("licence", 2.0),)), ""),
        (
            Resources(cpu=5),
            "no worker has cpu=5, the most is cpu=4; the cluster offers cpu=4, memory=1GiB, gpu=1, "
            "licence=2. Start workers with --nthreads 5",
        ),
        (
            Resources(gpu=2, custom=(("tape", 1.0),)),
            "no worker has gpu=2, the most is gpu=1, and no worker offers tape; .* Start workers "
            'with --resources "GPU=2 tape=1"',
        ),
        (
            Resources(memory=2 * LIMIT),
            f"no worker has memory=2GiB, .* Start workers with --memory-limit {2 * LIMIT}",
        ),
    ],
    ids=str,
)
def test_what_is_lacking_is_told_with_what_there_is(
    wide: Driver, want: Resources, told: str
) -> None:
    assert re.fullmatch(told, wide.session.lacking(want))


def test_memory_that_workers_advertise_is_what_counts(mixed: Daemons) -> None:
    mixed.worker("--no-nanny", "--nthreads", "2", "--resources", "MEMORY=1000")
    with opened(DaskTaskRunner(address=mixed.address)) as driver:
        until(lambda: driver.session.slots().now == 2)
        assert driver.session.slots().offers["memory"] == 1000

        found = spans(driver, [Resources(memory=600)] * 4)

        assert together(found) == 1
        assert driver.session.lacking(Resources(memory=1001)).endswith(
            'Start workers with --resources "MEMORY=1001"'
        )


def test_a_cluster_of_our_own_has_its_threads_and_its_memory(tmp_path: Path) -> None:
    kwargs = {"n_workers": 1, "threads_per_worker": 2, "memory_limit": LIMIT}
    with opened(DaskTaskRunner(cluster_kwargs=kwargs)) as driver:
        assert together(spans(driver, [Resources(cpu=2)] * 3)) == 1
        assert together(spans(driver, [Resources(memory=LIMIT // 2)] * 4)) == 2
        assert driver.session.lacking(GPU).startswith("no worker offers gpu")


@task(resources={"gpu": 1})
def process(x: int) -> int:
    return os.getpid()


@task(resources={"tape": 1})
def taped(x: int) -> int:
    return x


def test_tasks_of_a_flow_run_where_what_they_want_is(mixed: Daemons) -> None:
    mixed.worker("--no-nanny")
    mixed.worker("--no-nanny", "--resources", "GPU=1")
    runner = DaskTaskRunner(address=mixed.address)
    with opened(runner) as driver:
        until(lambda: driver.session.slots().now == 2)
        (with_gpu,) = {pid for pid, _, _ in spans(driver, [GPU] * 2)}

    def on_gpus() -> list[int]:
        return [*process.map(range(20)).result(), process.submit(1).result()]

    def on_tapes() -> int:
        return taped.submit(1).result()

    assert set(flow(on_gpus, task_runner=runner)()) == {with_gpu}
    with pytest.raises(FanfoldError, match=r"no worker offers tape; the cluster offers .*gpu=1"):
        flow(on_tapes, task_runner=runner)()
