"""A place of their own for tests of flows and tasks.

    >>> from fanfold import flow, task
    >>> from fanfold.testing import Raise, harness

    >>> @task(retries=2, retry_delay_seconds=60)
    ... def load(day: str) -> int:
    ...     return len(day)

    >>> @flow
    ... def total(days: list[str]) -> int:
    ...     return sum(load.map(days).result())

    >>> with harness() as here:
    ...     faults = here.faults({"tuesday": [Raise(OSError("gone")), Raise(OSError("gone"))]})
    ...     with faults.injected(load):
    ...         print(total(["monday", "tuesday"]), faults.calls("monday"), faults.calls("tuesday"))
    13 1 3

Inside, flows and tasks really run, with their retries, caches and hooks; what differs is where
they keep things, what runs them, and that nothing waits or is drawn. The pytest fixture
`fanfold_harness` is one for a test, see `fanfold.testing.plugin`.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanfold.engine import settings
from fanfold.engine.flow import ad_hoc_apart
from fanfold.engine.recording.recorder import closing_current
from fanfold.engine.settings.lookup import PROFILE
from fanfold.testing.faults import Fault
from fanfold.testing.injecting import Faults
from fanfold.testing.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Harness:
    """What a test has of its harness."""

    home: Path
    """Where all is kept while it lasts; results in `results` below."""
    scratch: Path
    """For what else a test needs; goes with it."""

    def faults(
        self,
        plan: Mapping[Hashable, Sequence[Fault]],
        *,
        by: Callable[..., Hashable] | None = None,
    ) -> Faults:
        """Return faults to inject, see `Faults`."""
        return Faults(tempfile.mkdtemp(dir=self.scratch, prefix="faults-"), plan, by=by)

    def ledger(self) -> Ledger:
        """Return a ledger that nothing is in."""
        return Ledger(tempfile.mkdtemp(dir=self.scratch, prefix="ledger-"))


@contextmanager
def harness(*, runner: str = "inline", retry_delays: bool = False) -> Generator[Harness]:
    """Give flows and tasks a home of their own while the code inside runs.

    At the end all is as it was before: what was kept is deleted, and what was submitted outside of
    flows is over. One harness may be used inside another.

    It holds for the whole process and for those that it starts, by environment variables, so two
    tests in two threads can't have one each. Files of the project keep their say in what it
    doesn't set, and `fanfold.settings.temporary` in everything.

    Args:
        runner: Name of the runner of flows that name none. A flow that names one has its own, or
            none with `my_flow.with_options(task_runner=None)`.
        retry_delays: Whether retries wait as long as they are told to.
    """
    # Resolved, for on some systems the folder for temporary files is a link.
    folder = Path(tempfile.mkdtemp(prefix="fanfold-harness-")).resolve()
    here = Harness(home=folder / "home", scratch=folder / "scratch")
    here.scratch.mkdir()
    variables = {
        PROFILE.name: None,  # the profiles are in the home that doesn't hold now
        **_variables(
            home=here.home,
            default_runner=runner,
            progress="off",
            retry_delays=retry_delays,
            results_default_storage=here.home / "results",
            history_url=f"sqlite:///{here.home / 'history.db'}",
        ),
    }
    try:
        with _environment(variables), closing_current(), ad_hoc_apart():
            yield here
    finally:
        # What a test has made unreadable, or a worker that was killed still writes, may stay.
        shutil.rmtree(folder, ignore_errors=True)


def _variables(**values: Any) -> dict[str, str | None]:
    """Return settings as the variables that set them."""
    return {
        getattr(settings.Settings, name).variable.name: str(value) for name, value in values.items()
    }


@contextmanager
def _environment(variables: Mapping[str, str | None]) -> Generator[None]:
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
