"""The description of a Ray to run on; importing it doesn't import Ray."""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fanfold.ports.runner import Session
from fanfold.values.cards import WithCard
from fanfold.values.errors import UsageError
from fanfold_ray.addresses import remember, shown


@dataclass(frozen=True, repr=False)
class RayTaskRunner(WithCard):
    """Runs tasks on Ray: one that runs already, or one of its own.

    A Ray that this process is connected to is joined and left running. Otherwise the first session
    connects to `address`, else to that in RAY_ADDRESS, else it starts a Ray on this machine; the
    last session ends what the first has begun. A Ray of its own listens on loopback alone, asks
    for a token, prints nothing, has no dashboard (`init_kwargs={"include_dashboard": True}` gives
    it one) and doesn't repeat the workers' output, because Fanfold carries prints itself.

    Runners compare by their arguments, and pickle if these do.

    Raises:
        UsageError: The arguments contradict each other.
    """

    address: str | None = None
    """Of a running Ray: "host:port" of its head, "ray://host:port" of its client server, or "auto"
    for one on this machine. "local" always starts one."""
    init_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """More arguments for `ray.init`, such as `runtime_env`, or `num_cpus` for a Ray of its own;
    unused where this process is connected already."""
    head_timeout_seconds: float = field(default=60.0, kw_only=True)
    """How long the head may be away before all that is out is given up. One that comes back with
    its memory goes on as if nothing had been; for one without, all that was out is sent anew."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", self.address or None)
        object.__setattr__(self, "init_kwargs", dict(self.init_kwargs or {}))
        if "address" in self.init_kwargs:
            raise UsageError("RayTaskRunner takes the address as address=, not in init_kwargs.")
        if not self.head_timeout_seconds > 0:
            raise UsageError(
                f"head_timeout_seconds={self.head_timeout_seconds!r} is no time: it is in seconds, "
                "and more than 0."
            )
        remember(self.address)

    def __repr__(self) -> str:
        given: dict[str, Any] = {}
        if self.address is not None:
            given["address"] = self.address
        if self.init_kwargs:
            given["init_kwargs"] = self.init_kwargs
        if self.head_timeout_seconds != 60.0:
            given["head_timeout_seconds"] = self.head_timeout_seconds
        told = (f"{name}={shown(value, name)}" for name, value in given.items())
        return f"RayTaskRunner({', '.join(told)})"

    def open(self, heard: Callable[[str, bytes], None]) -> Session:
        """Join or start Ray: a millisecond or some seconds.

        Args:
            heard: Called as `heard(chunk_id, message)` for each `Site.say`, from any thread.

        Raises:
            UsageError: Ray isn't installed, or can't take these arguments.
            InfrastructureError: Ray can't be reached or started, or runs other versions.
        """
        if importlib.util.find_spec("ray") is None:
            raise UsageError("Ray isn't installed. Install it with: pip install 'fanfold[ray]'.")
        # Ray takes a quarter of a second to import and sets up logging on the way; whoever only
        # describes a runner shouldn't pay for it. This is the one place that loads it.
        session = importlib.import_module("fanfold_ray.session")
        opened: Session = session.open_session(
            self.address, self.init_kwargs, heard, self.head_timeout_seconds
        )
        return opened
