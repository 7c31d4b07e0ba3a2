"""Every check of the runner suite turns red at the bug that is planted for it, and no other does."""

import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fanfold.adapters.runners.processes import ProcessTaskRunner
from fanfold.adapters.runners.threads import ThreadPoolTaskRunner
from fanfold.engine import wire
from fanfold.engine.work import Work
from fanfold.ports.runner import Chunk, Ref, Session, Site, TaskRunner
from fanfold.testing import runners
from fanfold.testing.runners import RunnerSuite
from fanfold.values.errors import InfrastructureError, NotPicklable, WorkerLost
from fanfold.values.messages import Report
from fanfold.values.resources import Traits
from fanfold.values.states import StateName

Done = Callable[[Report], None]
Heard = Callable[[str, bytes], None]
DEADLINE_S = 2.0
"""For checks that find their bug by waiting in vain."""


class Wrapped:
    """A real session, passed through; each bug changes one thing about it."""

    def __init__(self, inner: Session) -> None:
        self.inner = inner

    @property
    def traits(self) -> Traits:
        return self.inner.traits

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def submit(
        self, chunk: Any, needs: Sequence[Ref] = (), shared: Sequence[Ref] = (), *, done: Done
    ) -> Ref:
        return self.inner.submit(chunk, needs, shared, done=done)


class FewerTraits(Wrapped):
    """Declares less than it can do."""

    @property
    def traits(self) -> Traits:
        return replace(self.inner.traits, kills=False)
