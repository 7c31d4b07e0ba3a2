"""A Ray that a module's tests share, and whose workers find these tests' modules."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

from fanfold_ray import RayTaskRunner

ROOT = Path(__file__).parents[3]


@contextmanager
def running_ray(**options: object) -> Generator[None, None, None]:
    """Run a Ray of our own, for sessions to borrow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        first = RayTaskRunner(address="local", init_kwargs=options).open(lambda *_: None)
        yield
        first.close()
        assert not ray.is_initialized()
