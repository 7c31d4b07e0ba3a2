"""The description of a Dask cluster to run tasks on; light, for it doesn't import Dask."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from fanfold.ports.runner import Session

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, kw_only=True)
class DaskTaskRunner:
    """Runs tasks on Dask: on a cluster of its own, at an address, or through a client you have.

    Without arguments each session starts a cluster on this machine, one worker process with one
    thread per core, and ends it when it closes. Scripts need no `if __name__ == "__main__"` for it.

    Raises:
        ValueError: More than one of `client`, `address` and `cluster_kwargs` is given.
    """

    client: "Client | None" = None
    """A live client to borrow; stays open and clean. A runner that holds one can't be pickled."""
    address: str | None = None
    """A scheduler's address, such as `tcp://10.0.0.5:8786`."""
    cluster_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """For `distributed.LocalCluster`, such as `n_workers`, `threads_per_worker`, `memory_limit`;
    must pickle."""

    def __post_init__(self) -> None:
        given = {
            "client": self.client is not None,
            "address": self.address is not None,
            "cluster_kwargs": bool(self.cluster_kwargs),
        }
        if sum(given.values()) > 1:
            names = " and ".join(name for name, there in given.items() if there)
            raise ValueError(f"DaskTaskRunner takes one way to a cluster, but got {names}.")
        object.__setattr__(self, "cluster_kwargs", dict(self.cluster_kwargs))

    def __reduce__(self) -> tuple[Any, ...]:
        if self.client is not None:
            raise TypeError(
                "This DaskTaskRunner borrows a live client, which can't travel to another process. "
                "Give it address= instead of client=."
            )
        return _make, (self.address, self.cluster_kwargs)

    def open(self, heard: Callable[[str, bytes], None]) -> Session:
        """Connect, starting a cluster if neither a client nor an address was given.

        Args:
            heard: Called on the client's event loop with a chunk's id and what it says.

        Raises:
            InfrastructureError: The cluster can't be reached or started, or runs other versions.
        """
        # Importing Dask takes 0.4 s. A cluster of our own boots meanwhile, in another process.
        if self.client is None and self.address is None:
            starting = importlib.import_module("fanfold_dask.cluster").start(self.cluster_kwargs)
            opened = importlib.import_module("fanfold_dask.session").open_own(starting, heard)
        elif self.client is None:
            opened = importlib.import_module("fanfold_dask.session").open_at(self.address, heard)
        else:
            opened = importlib.import_module("fanfold_dask.session").open_on(self.client, heard)
        return cast(Session, opened)


def _make(address: str | None, cluster_kwargs: Mapping[str, Any]) -> DaskTaskRunner:
    return DaskTaskRunner(address=address, cluster_kwargs=cluster_kwargs)
