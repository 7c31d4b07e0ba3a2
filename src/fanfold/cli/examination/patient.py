"""What is looked at: the settings that hold, the runner, the storage, and who answered so far."""

from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, cast

from fanfold.cli.examination.visits import Told
from fanfold.engine import registry, settings
from fanfold.ports.results import ResultStore
from fanfold.ports.runner import TaskRunner
from fanfold.values.errors import UsageError

PACKAGES = ("fanfold", "cloudpickle", "fsspec", "pydantic")
"""That driver and workers exchange pickles of, or by."""
SQLITE = "sqlite:///"
"""What URLs of histories in files begin with."""
RUNNER_PACKAGES = {"dask": ("fanfold-dask", "dask", "distributed"), "ray": ("fanfold-ray", "ray")}


@dataclass(slots=True, kw_only=True)
class Patient:
    """What the checks are given; one after the other, never two at a time.

    What it says raises a `UsageError` where the settings aren't understood.
    """

    chosen: str = ""
    """Name of a runner; empty for the default one."""
    address: str | None = None
    """Of the runner's cluster."""
    told: list[Told] = field(default_factory=list[Told])
    """What the workers answered to the check of the runner."""
    remote: bool = False
    """Whether the workers are other processes."""

    @property
    def runner_name(self) -> str:
        """The runner's name."""
        return self.chosen or settings.current().default_runner

    def find_runner(self) -> TaskRunner:
        """Return the runner, at the address.

        Raises:
            UnknownRunner: There is none of that name.
            UsageError: It takes no address.
        """
        runner: Any = registry.runner(self.runner_name)
        if self.address is None:
            return runner
        if not is_dataclass(runner) or "address" not in {each.name for each in fields(runner)}:
            raise UsageError(f"The {self.runner_name} runner has no address; dask and ray have.")
        return cast(TaskRunner, replace(cast(Any, runner), address=self.address))

    @property
    def store(self) -> ResultStore:
        """Where results are kept by default."""
        return registry.result_store_of(None)

    @property
    def history_url(self) -> str:
        """Where runs are recorded; "off" if nowhere."""
        return settings.current().history_url

    @property
    def packages(self) -> tuple[str, ...]:
        """Whose versions matter; never raises."""
        name = self.chosen
        with suppress(UsageError):
            name = self.runner_name
        return (*PACKAGES, *RUNNER_PACKAGES.get(name, ()))
