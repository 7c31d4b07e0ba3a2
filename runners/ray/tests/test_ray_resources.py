"""What chunks may ask of Ray: it is held for them, and told if nobody has it."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from runners.ray.tests import chunks
from runners.ray.tests.chunks import wait_for
from runners.ray.tests.desk import Desk
from runners.ray.tests.ground import running_ray

from fanfold.values.errors import ResourcesUnavailable
from fanfold.values.resources import PLAIN, Resources

GIB = 1 << 30


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    with running_ray(num_cpus=2, num_gpus=1, _memory=GIB, resources={"licence": 2}):
        yield


@pytest.fixture
def desk() -> Iterator[Desk]:
    opened = Desk()
    yield opened
    opened.session.close()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, ""),
        ({"cpu": 2}, ""),
        ({"cpu": 0.5, "gpu": 1, "memory": "1GiB", "licence": 2}, ""),
        ({"cpu": 3}, "no worker offers cpu=3; the most that one offers is cpu=2"),
        (
            {"memory": "2GiB"},
            "no worker offers memory=2GiB; the most that one offers is memory=1GiB",
        ),
        ({"fpga": 1}, "no worker offers fpga; the cluster offers"),
    ],
)
def test_what_nobody_has_is_told(desk: Desk, asked: dict[str, object], told: str) -> None:
    found = desk.session.lacking(Resources.of(asked))

    assert found.startswith(told) if told else found == ""


def test_slots_tell_what_there_is(desk: Desk) -> None:
    slots = desk.session.slots()

    assert (slots.now, slots.most, slots.grows) == (2, 2, False)
    assert dict(slots.offers) == {"cpu": 2, "gpu": 1, "memory": GIB, "licence": 2}


def test_fractions_of_a_cpu_run_beside_each_other(desk: Desk, tmp_path: Path) -> None:
    release = tmp_path / "release"
    started = [tmp_path / f"started-{number}" for number in range(4)]

    for path in started:
        given = (str(path), str(release))
        desk.submit(chunks.until_released, given, want=Resources(cpu=0.5))
    for path in started:
        wait_for(path)
    release.touch()

    assert [desk.report().error for _ in started] == [None] * 4


def test_two_cpus_leave_none_for_others(desk: Desk, tmp_path: Path) -> None:
    release = tmp_path / "release"
    wide = (str(tmp_path / "wide"), str(release))
    desk.submit(chunks.until_released, wide, want=Resources(cpu=2))
    wait_for(tmp_path / "wide")

    desk.submit(chunks.touch, str(tmp_path / "narrow"))
    _, nothing = desk.run(chunks.echo, want=Resources(cpu=0))

    assert nothing.error is None
    assert not (tmp_path / "narrow").exists()
    release.touch()
    assert [desk.report().error for _ in range(2)] == [None] * 2


def test_a_gpu_is_shown_to_whoever_holds_it(desk: Desk) -> None:
    with_it, _ = desk.run(chunks.shown, "CUDA_VISIBLE_DEVICES", want=Resources(gpu=1))
    without, _ = desk.run(chunks.shown, "CUDA_VISIBLE_DEVICES", want=PLAIN)

    found = [pickle.loads(views[0]) for views in desk.session.fetch([with_it, without])]
    assert found[0] == "0"
    assert found[1] != "0"


@pytest.mark.parametrize(
    "asked", [{"gpu": 1.5}, {"CPU": 1}, {"licence": 0.00001}], ids=lambda asked: next(iter(asked))
)
def test_what_makes_no_sense_to_ray_is_refused(desk: Desk, asked: dict[str, object]) -> None:
    with pytest.raises(ResourcesUnavailable):
        desk.submit(chunks.echo, want=Resources.of(asked))

    assert desk.run(chunks.echo)[1].error is None
