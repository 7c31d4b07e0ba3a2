"""Addresses are told without credentials, wherever they come from."""

import logging
import pickle
import socket

import pytest

from fanfold.values.errors import UsageError
from fanfold_ray import RayTaskRunner, addresses
from fanfold_ray.addresses import Place, answers, bare, masked, place


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("127.0.0.1:6379", "127.0.0.1:6379"),
        ("ray://head:10001", "ray://head:10001"),
        ("ray://anna:geheim@head:10001", "ray://**********@head:10001"),
        ("anna:ge@heim@head:6379", "**********@heim@head:6379"),
        ("ray://head:10001?token=geheim", "ray://head:10001?**********"),
        ("no address at all", "no address at all"),
    ],
)
def test_credentials_are_masked(address: str, shown: str) -> None:
    assert masked(address) == shown
    assert "geheim" not in masked(f"Failed to reach {address!r}, twice")


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("10.0.0.5:6379", ("10.0.0.5", 6379)),
        ("ray://head", ("head", 10001)),
        ("ray://anna:geheim@head:99", ("head", 99)),
        ("[::1]:6379", ("::1", 6379)),
        ("head", None),
        ("head:", None),
        ("head:port", None),
        ("", None),
    ],
)
def test_host_and_port_are_found(address: str, where: tuple[str, int] | None) -> None:
    found = place(address)

    assert (None if found is None else tuple(found)) == where


def test_loopback_is_told_from_the_network() -> None:
    assert Place("127.0.0.1", 1).loopback
    assert Place("::1", 1).loopback
    assert Place("localhost", 1).loopback
    assert not Place("10.0.0.5", 1).loopback
    assert not Place("head.example", 1).loopback


def test_ray_gets_the_address_without_credentials() -> None:
    assert bare("ray://anna:geheim@head:10001") == "ray://head:10001"
    assert bare("anna:geheim@head:6379") == "head:6379"
    assert bare("head:6379") == "head:6379"


def test_who_listens_answers_and_nobody_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = Place(*server.getsockname()[:2])
        assert answers(where, 1.0) == ""

    assert "refused" in answers(where, 0.5)


def test_a_runner_shows_no_secrets() -> None:
    runner = RayTaskRunner(
        "ray://anna:geheim@head:10001",
        {"_redis_password": "geheim", "runtime_env": {"env_vars": {"KEY": "geheim"}}},
    )

    assert "geheim" not in repr(runner)
    assert repr(RayTaskRunner()) == "RayTaskRunner()"
    assert repr(RayTaskRunner("h:1", {"num_cpus": 2})) == (
        "RayTaskRunner(address='h:1', init_kwargs={'num_cpus': 2})"
    )


def test_a_runner_travels_and_compares() -> None:
    runner = RayTaskRunner("auto", {"num_cpus": 2}, head_timeout_seconds=5)

    copy = pickle.loads(pickle.dumps(runner))

    assert copy == runner
    assert hash(copy) == hash(runner)
    assert runner == RayTaskRunner(
        address="auto", init_kwargs={"num_cpus": 2}, head_timeout_seconds=5
    )
    assert runner != RayTaskRunner("auto", {"num_cpus": 3}, head_timeout_seconds=5)
    assert RayTaskRunner(None, None) == RayTaskRunner("")  # pyright: ignore[reportArgumentType]


def test_arguments_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="address="):
        RayTaskRunner(init_kwargs={"address": "auto"})
    with pytest.raises(UsageError, match="head_timeout_seconds"):
        RayTaskRunner(head_timeout_seconds=0)


def test_an_open_ray_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    addresses.warn_exposed.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            addresses.warn_exposed("ray://anna:geheim@head:10001")

    (record,) = caplog.records
    assert "ray://**********@head:10001" in record.getMessage()
    assert "RAY_AUTH_MODE=token" in record.getMessage()
