"""The description of a Ray to run on; importing it doesn't import Ray."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fanfold.ports.runner import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class RayTaskRunner:
    """Runs chunks on Ray, one CPU each.

    A Ray that is already started in this process is joined and left running. Otherwise `open`
    connects to `address`, else to `RAY_ADDRESS`, else it starts a Ray of its own, which ends with
    the last session that uses it. That one listens on loopback alone, has no dashboard, prints
    nothing and doesn't repeat the workers' output, because Fanfold carries prints itself;
    `init_kwargs` can say otherwise.
    """

    address: str | None = None
    """Of a running cluster, as `ray.init` takes it; "local" always starts one."""
    init_kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """More arguments for `ray.init`, such as `num_cpus`; unused where Ray runs already."""

    def open(self, heard: Callable[[str, bytes], None]) -> Session:
        """Join or start Ray: a millisecond or some seconds.

        Args:
            heard: Called as `heard(chunk_id, message)` for each `Site.say`, from any thread.

        Raises:
            InfrastructureError: Ray can't be reached or started.
        """
        # Ray takes a quarter of a second to import and sets up logging on the way; whoever only
        # describes a runner shouldn't pay for it. This is the one place that loads it.
        session = importlib.import_module("fanfold_ray.session")
        opened: Session = session.open_session(self.address, self.init_kwargs, heard)
        return opened
