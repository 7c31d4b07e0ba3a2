"""Credentials in addresses: used, and never shown."""

import logging
import os
from typing import Any

import psutil
import pytest
from distributed import LocalCluster
from runners.dask.tests import chunks
from runners.dask.tests.chunks import Call
from runners.dask.tests.customs import THREADS
from runners.dask.tests.desk import DEADLINE_S, Driver, opened, warned

from fanfold.values.errors import InfrastructureError
from fanfold_dask import DaskTaskRunner, addresses, custom

SECRET = "secret-word"


@pytest.mark.parametrize(
    "address",
    [
        "tcp://me:secret-word@host:8786",
        "tcp://secret-word@host:8786",
        "wss://me:secret-word@host:443/proxy/secret?x",
        "wss://me:p/@:secret-word@host:443",
        "ws://host:443/?token=secret-word",
        "ws://host/#secret-word",
        "me:secret-word@host:8786",
        "host:8786?token=secret-word",
    ],
)
def test_credentials_are_masked_wherever_they_stand(address: str) -> None:
    for text in (address, f"In <Client: '{address}'> (at {address}): it failed", repr([address])):
        shown = addresses.masked(text)

        assert SECRET not in shown
        assert "host" in shown
        assert addresses.masked(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "tcp://10.0.0.5:8786",
        "a=1 and b: 2",
        "me@example.org",
        "http://host:8787/status",
        "x ? y",
        "",
    ],
)
def test_what_holds_no_credentials_stays_as_it_is(text: str) -> None:
    assert addresses.masked(text) == text


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("tcp://[::1]:8786", False),
        ("tcp://localhost:8786", False),
        ("127.0.0.1:8786", False),
        ("ws://me:word@127.0.0.2:80", False),
        ("inproc://10.0.0.5/1/1", False),
        ("tls://10.0.0.5:8786", False),
        ("wss://host:443", False),
        ("gateway://host:443/cluster", False),
        ("tcp://10.0.0.5:8786", True),
        ("tcp://[fe80::1]:8786", True),
        ("10.0.0.5:8786", True),
        ("ws://me:word@host:80", True),
    ],
)
def test_open_doors_are_seen(address: str, exposed: bool) -> None:
    assert addresses.exposed(address) is exposed


def test_an_open_door_is_told_once() -> None:
    with warned() as records:
        for _ in range(2):
            addresses.warn_if_exposed("ws://me:secret-word@door-of-this-test:8786")

    (record,) = records
    assert (record.name, record.levelno) == ("fanfold.runners", logging.WARNING)
    assert "door-of-this-test:8786" in record.getMessage()
    assert "tls://" in record.getMessage()
    assert SECRET not in record.getMessage()


def test_a_password_gets_in_and_is_never_told(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments: dict[str, Any] = {"host": "127.0.0.1", "protocol": "ws://", "silence_logs": False}
    with LocalCluster(**{**THREADS, **arguments}) as cluster:
        port = cluster.scheduler_address.rpartition(":")[2]
        address = f"ws://me:{SECRET}@127.0.0.1:{port}/?token={SECRET}"
        runner = DaskTaskRunner(address=address, client_kwargs={"timeout": 1})
        driver = Driver(runner)
        told: list[Any] = [runner, driver.session.dashboard, driver.session.slots()]
        ref = driver.run(Call(id="there", act=chunks.give, arguments=(b"x" * 10_000,)))
        assert driver.value(ref) == [b"x" * 10_000]

        with pytest.raises(InfrastructureError) as unable:
            driver.run(Call(id="lost", act=chunks.give_jealous))
            cluster.close()
            driver.session.fetch([ref], DEADLINE_S)
            driver.submit(Call(id="late", act=chunks.give))
            raise driver.report().error or AssertionError("It ran.")
        told.append(_chain(unable.value))
    driver.session.close()
    with pytest.raises(InfrastructureError) as nobody:
        runner.open(lambda chunk, message: None)
    told.append(_chain(nobody.value))

    assert SECRET not in "".join(map(str, told))
    # Dask's own remarks for those who look for bugs in it aren't ours to change.
    shown = [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert SECRET not in "".join(_line(record) for record in shown)
    assert SECRET not in "".join(capfd.readouterr())


def test_what_a_closing_cluster_says_is_masked() -> None:
    class Stubborn:
        name = "wss://me:secret-word@host"

        def close(self) -> None:
            raise OSError("no answer from https://host/api?token=secret-word")

    with warned() as records:
        custom.end(Stubborn())

    (record,) = records
    assert record.levelno == logging.ERROR
    assert "may still be running" in record.getMessage()
    assert SECRET not in record.getMessage()


def test_no_command_line_tells_what_a_cluster_was_given() -> None:
    kwargs = {"n_workers": 1, "env": {"CLOUD_TOKEN": SECRET}}
    with opened(DaskTaskRunner(cluster_kwargs=kwargs)) as driver:
        seen = driver.run(Call(id="environment", act=_environment))
        assert driver.value(seen) == [SECRET.encode()]

        lines = [" ".join(each.cmdline()) for each in psutil.Process().children(recursive=True)]

        assert lines
        assert SECRET not in "".join(lines)


def test_a_cluster_that_does_not_start_tells_no_credentials() -> None:
    kwargs = {"n_workers": 1, "host": "tcp://me:secret-word@no-such-host.invalid"}

    with pytest.raises(InfrastructureError) as caught:
        DaskTaskRunner(cluster_kwargs=kwargs).open(lambda chunk, message: None)

    assert SECRET not in _chain(caught.value)


def _environment(needs: Any, shared: Any, site: Any) -> list[bytes]:
    return [os.environ["CLOUD_TOKEN"].encode()]


def _chain(error: BaseException | None) -> str:
    """Return all that a traceback of an error shows."""
    told = ""
    while error is not None:
        told += f"{error!r} {error} "
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told


def _line(record: logging.LogRecord) -> str:
    return logging.Formatter().format(record)
