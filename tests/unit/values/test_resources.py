"""What work may ask for, and how many chunks that ask for it fit on a cluster."""

import pytest

from fanfold.values.errors import UsageError
from fanfold.values.resources import PLAIN, Resources, Slots


def test_names_of_our_own_are_fields_and_others_are_custom() -> None:
    asked = Resources.of({"cpu": 2, "gpu": 0.5, "memory": "4GiB", "licence": 1, "disk": 3})

    assert asked == Resources(
        cpu=2.0, gpu=0.5, memory=4 << 30, custom=(("disk", 3.0), ("licence", 1.0))
    )
    assert str(asked) == "cpu=2, gpu=0.5, memory=4GiB, disk=3, licence=1"
    assert hash(asked) == hash(
        Resources.of({"disk": 3, "licence": 1, "cpu": 2, "gpu": 0.5, "memory": 4 << 30})
    )


@pytest.mark.parametrize("asked", [{}, {"cpu": 1}])
def test_one_cpu_is_plain(asked: dict[str, int]) -> None:
    assert Resources.of(asked).plain
    assert str(PLAIN) == "cpu=1"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1B", 1),
        ("1 kB", 1000),
        ("1KiB", 1024),
        ("500 MB", 500_000_000),
        ("1.5GiB", 3 << 29),
        ("2t", 2 * 10**12),
        (1024, 1024),
        (2.5e9, 2_500_000_000),
    ],
)
def test_memory_is_in_bytes_or_a_readable_text(text: object, size: int) -> None:
    assert Resources.of({"memory": text}).memory == size


@pytest.mark.parametrize(
    "asked",
    [
        {"cpu": 0},
        {"cpu": -1},
        {"gpu": "1"},
        {"gpu": True},
        {"memory": "much"},
        {"memory": 0},
        {"memory": float("inf")},
        {"licence": float("nan")},
        {"": 1},
        {3: 1},
    ],
)
def test_what_cannot_be_asked_for_is_told(asked: dict[object, object]) -> None:
    with pytest.raises(UsageError):
        Resources.of(asked)


def test_what_is_beyond_a_runner_has_the_name_that_the_user_gave_it() -> None:
    asked = Resources.of({"cpu": 2, "gpu": 1, "licence": 1})

    assert asked.beyond(frozenset({"cpu"})) == ["gpu", "licence"]
    assert asked.beyond(frozenset({"cpu", "gpu", "custom"})) == []
    assert PLAIN.beyond(frozenset()) == []


@pytest.mark.parametrize(
    ("asked", "now"),
    [
        ({}, 8),
        ({"cpu": 2}, 4),
        ({"cpu": 3}, 2),
        ({"gpu": 1}, 2),
        ({"gpu": 1, "cpu": 8}, 1),
        ({"memory": "3GiB"}, 5),
        ({"licence": 1}, 0),
        ({"cpu": 16}, 0),
        ({"cpu": 0.5}, 16),
    ],
)
def test_so_many_chunks_fit_at_once(asked: dict[str, object], now: int) -> None:
    cluster = Slots(now=8, most=8, offers={"gpu": 2.0, "memory": float(16 << 30)})

    assert cluster.holding(Resources.of(asked)).now == now


def test_a_cluster_that_grows_may_have_more_of_everything() -> None:
    cluster = Slots(now=2, most=100, grows=True)

    assert cluster.holding(Resources.of({"gpu": 1})) == Slots(now=0, most=100, grows=True)
