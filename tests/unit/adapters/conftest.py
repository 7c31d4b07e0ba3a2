"""Pipes that hold up chunks, for the tests of the local runners."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.adapters.local_desk import Pipe


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator["Pipe"]:
    pipe = Pipe(tmp_path / "pipe")
    yield pipe
    pipe.close()


@pytest.fixture
def other_pipe(tmp_path: Path) -> Iterator["Pipe"]:
    pipe = Pipe(tmp_path / "other-pipe")
    yield pipe
    pipe.close()
