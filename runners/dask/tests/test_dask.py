"""What is particular to Dask on any cluster: reports, values, cancels, descriptions."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client
from runners.dask.tests import chunks
from runners.dask.tests.chunks import Call
from runners.dask.tests.desk import DEADLINE_S, OWN, Driver, opened, runs, until

from fanfold.values import versions
from fanfold.values.errors import (
    ChunkCancelled,
    InputsUnreadable,
    ValuesLost,
    VersionMismatch,
)
from fanfold.values.resources import Resources, Traits
from fanfold_dask import DaskTaskRunner


def test_values_move_from_chunk_to_chunk_and_home_unjoined(driver: Driver) -> None:
    first = driver.run(Call(id="first", act=chunks.give, arguments=(b"a", b"", b"c" * 100_000)))
    second = driver.run(Call(id="second", act=chunks.give, arguments=(b"d",)))
    shared = driver.session.share("letters", b"e")

    joined = driver.run(Call(id="joined", act=chunks.join), [first, second], [shared])

    assert driver.value(first) == [b"a", b"", b"c" * 100_000]
    assert driver.value(joined) == [b"a", b"", b"c" * 100_000, b"d", b"e"]


def test_values_are_never_unpickled_unasked(driver: Driver) -> None:
    jealous = driver.run(Call(id="jealous", act=chunks.give_jealous))

    passed_on = driver.run(Call(id="passed on", act=chunks.join), [jealous])

    (part,) = driver.value(passed_on)
    with pytest.raises(AssertionError, match="nobody asked"):
        pickle.loads(part)


def test_each_of_many_fast_chunks_is_reported_once(driver: Driver) -> None:
    names = {f"fast {number}" for number in range(200)}

    refs = [driver.submit(Call(id=name, act=chunks.give, arguments=(1,))) for name in names]

    assert sorted(driver.report().chunk for _ in refs) == sorted(names)
    assert driver.reports.empty()


def test_what_a_chunk_says_comes_in_order_and_before_its_report(driver: Driver) -> None:
    driver.run(Call(id="talker", act=chunks.say, arguments=(100,)))

    said = [driver.said.get_nowait() for _ in range(100)]
    assert said == [("talker", str(number).encode()) for number in range(100)]


def test_a_long_report_comes_home_beside_the_events(driver: Driver) -> None:
    long = ("x" * 1_000_000,)

    driver.submit(Call(id="long", act=chunks.give, arguments=(1,), warnings=long))

    assert driver.report().warnings == long


def test_asking_whether_to_stop_takes_under_a_microsecond(driver: Driver) -> None:
    ref = driver.run(Call(id="asker", act=chunks.time_stopping, arguments=(100_000,)))

    assert pickle.loads(driver.value(ref)[0]) < 1e-6


def test_a_cancelled_running_chunk_sees_it_and_a_pending_one_never_starts(
    driver: Driver, tmp_path: Path
) -> None:
    running = [
        driver.submit(Call(id=name, act=chunks.stay, arguments=(str(tmp_path), name, DEADLINE_S)))
        for name in ("running 0", "running 1")
    ]
    for _ in running:
        driver.pid()
    pending = driver.submit(
        Call(id="pending", act=chunks.note, arguments=(str(tmp_path), "pending"))
    )

    driver.session.cancel([*running, pending])
    driver.session.cancel([*running, pending])

    errors = [driver.report().error for _ in range(3)]
    assert {type(error) for error in errors} == {ChunkCancelled}
    until(lambda: len(list(tmp_path.glob("*-stopped"))) == 2)
    driver.run(Call(id="after", act=chunks.give, arguments=(1,)))
    assert runs(tmp_path, "pending") == 0
    assert driver.reports.empty()


def test_what_needs_a_chunk_that_ends_without_values_is_told_so(
    driver: Driver, tmp_path: Path
) -> None:
    fine = driver.run(Call(id="fine", act=chunks.give, arguments=(1,)))
    go_on = tmp_path / "go on"
    failing = driver.submit(Call(id="failing", act=chunks.fail_when_told, arguments=(str(go_on),)))
    driver.said.get(timeout=DEADLINE_S)
    arguments = (str(tmp_path), "cancelled", DEADLINE_S)
    cancelled = driver.submit(Call(id="cancelled", act=chunks.stay, arguments=arguments))
    driver.pid()
    held = driver.submit(Call(id="held", act=chunks.give), want=Resources(cpu=1_000))
    for need in ("failing", "cancelled", "held"):
        ref = {"failing": failing, "cancelled": cancelled, "held": held}[need]
        driver.submit(Call(id=f"needs {need}", act=chunks.join), [fine, ref])

    driver.session.cancel([cancelled, held])
    go_on.touch()

    told = {report.chunk: report for report in (driver.report() for _ in range(6))}
    for need in ("failing", "cancelled", "held"):
        error = told[f"needs {need}"].error
        assert isinstance(error, ValuesLost), need
        assert error.lost == (1,)
        assert not told[f"needs {need}"].started
    assert isinstance(told["failing"].error, InputsUnreadable)
    assert {type(told[need].error) for need in ("cancelled", "held")} == {ChunkCancelled}


def test_a_fetch_that_takes_too_long_cancels_nothing(driver: Driver, tmp_path: Path) -> None:
    ref = driver.submit(Call(id="slow", act=chunks.stay, arguments=(str(tmp_path), "slow", 0.5)))

    with pytest.raises(TimeoutError):
        driver.session.fetch([ref], 0.05)

    assert driver.value(ref) == [b"slow"]
    assert driver.report().error is None
    assert driver.pid()


def test_what_is_shared_is_one_object_per_worker(driver: Driver) -> None:
    shared = driver.session.share("big", bytes(10_000_000))
    assert driver.session.share("big", b"not looked at") is shared

    # All at once: while nothing waits for it, Dask drops what there are several copies of.
    looks = [Call(id=f"look {n}", act=chunks.see) for n in range(20)]
    refs = [driver.submit(look, (), [shared]) for look in looks]
    for _ in refs:
        assert driver.report().error is None

    seen = {driver.value(ref)[0] for ref in refs}
    assert len({look.split()[0] for look in seen}) == len(seen)


def test_slots_and_traits(own: Driver, client: Client) -> None:
    with opened(DaskTaskRunner(client=client)) as borrowed:
        everything = frozenset({"cpu", "gpu", "memory", "custom"})
        ours = Traits(remote=True, recovers=True, honours=everything)
        assert borrowed.session.traits == replace(ours, reruns=True)
        assert (borrowed.session.slots().now, borrowed.session.slots().most) == (2, 2)
    assert own.session.traits == ours
    assert own.session.sealed
    assert own.session.slots().most == 2


def test_a_worker_of_another_version_refuses_the_chunk(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, _ = versions.fingerprint()
    driver = Driver(DaskTaskRunner(client=client))
    driver.session.close()
    monkeypatch.setattr(versions, "fingerprint", lambda: (python, "0.0.0"))

    with opened(DaskTaskRunner(client=client)) as driver:
        driver.submit(Call(id="newer", act=chunks.give))

        report = driver.report()
        assert isinstance(report.error, VersionMismatch)
        assert "0.0.0 here" in str(report.error)


def test_descriptions_pickle_compare_and_take_one_way_to_a_cluster(client: Client) -> None:
    at = DaskTaskRunner(address="tcp://127.0.0.1:8786")

    assert pickle.loads(pickle.dumps(at)) == at
    assert pickle.loads(pickle.dumps(OWN)) == OWN
    assert hash(pickle.loads(pickle.dumps(OWN))) == hash(OWN)
    assert at != OWN
    assert DaskTaskRunner(client=client) == DaskTaskRunner(client=client)
    with pytest.raises(TypeError, match="address="):
        pickle.dumps(DaskTaskRunner(client=client))
    with pytest.raises(ValueError, match="address and cluster_kwargs"):
        DaskTaskRunner(address="tcp://127.0.0.1:8786", cluster_kwargs={"n_workers": 1})
