"""The description of a Dask cluster to run tasks on; light, for it doesn't import Dask."""

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from fanfold.ports.runner import Session
from fanfold.values.cards import WithCard
from fanfold.values.errors import UsageError
from fanfold_dask.addresses import remember, shown

if TYPE_CHECKING:
    from distributed import Client
    from distributed.deploy.cluster import Cluster

_LOCAL = frozenset(
    f"{module}.LocalCluster"
    for module in (
        "distributed",
        "dask.distributed",
        "distributed.deploy",
        "distributed.deploy.local",
    )
)
"""Paths of the class that the keeper makes a cluster of."""
_LIVE = ("client", "cluster")
_CONFLICTS = (
    ("client", ("cluster", "address", "cluster_class", "cluster_kwargs", "adapt_kwargs")),
    ("client", ("client_kwargs",)),
    ("address", ("cluster", "cluster_class", "cluster_kwargs", "adapt_kwargs")),
    ("cluster", ("cluster_class", "cluster_kwargs")),
)
_OURS = {"cluster_kwargs": ("asynchronous",), "client_kwargs": ("asynchronous", "address")}
"""What the runner itself decides."""


@dataclass(frozen=True, repr=False)
class DaskTaskRunner(WithCard):
    """Runs tasks on Dask: on a cluster of its own, one that is there already, or one of your class.

    Without arguments it takes the client that Dask would take: inside a task on a Dask worker the
    worker's own, otherwise the latest `distributed.Client` that is open in this process, unless
    that was made with `set_as_default=False` or `asynchronous=True`. Where there is none, each
    session starts a cluster on this machine, one worker process with one thread per core, and ends
    it when it closes. Any of `cluster_class`, `cluster_kwargs`, `adapt_kwargs` and `client_kwargs`
    asks for a cluster of its own in any case. Scripts need no `if __name__ == "__main__"` for it.

    Runners compare by their arguments. They pickle, unless they hold a live client or cluster.

    Raises:
        ValueError: The arguments contradict each other.
    """

    cluster: "Cluster | None" = None
    """A live cluster to borrow, such as a `LocalCluster` or `KubeCluster`; stays open and clean."""
    address: str | None = None
    """A scheduler's address, such as `tcp://10.0.0.5:8786` or, with certificates named in
    `client_kwargs`, `tls://10.0.0.5:8786`."""
    cluster_class: str | Callable[..., Any] | None = None
    """What makes a cluster for each session, in this process: a class or function, or its import
    path such as `"dask_kubernetes.operator.KubeCluster"`. The cluster is closed with the session.
    It starts workers by multiprocessing, as `dask_cuda.LocalCUDACluster` does, only in scripts that
    are guarded by `if __name__ == "__main__"`. `distributed.LocalCluster` itself needs no guard."""
    cluster_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """For `cluster_class`; without one for `distributed.LocalCluster`: `n_workers`,
    `threads_per_worker`, `memory_limit`, `security`, `dashboard_address` and others. For a
    LocalCluster they must pickle, for it lives in a process of its own; with `processes=False` it
    lives in this one, and its workers are threads."""
    adapt_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """For the cluster's `adapt`, such as `{"minimum": 0, "maximum": 10}`: workers come when there
    is work and go when there is none. A cluster that was borrowed stays adaptive."""
    client_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """For `distributed.Client`, such as `{"security": distributed.Security(...)}` or `timeout`."""
    performance_report_path: str | None = None
    """Where Dask writes an HTML file on how the session performed, as it closes; a path, or a URL
    that fsspec knows. Needs bokeh where the scheduler runs: that of the extra
    `fanfold-dask[dashboard]`."""
    client: "Client | None" = None
    """A live client to borrow; stays open and clean."""

    def __post_init__(self) -> None:
        for name in ("cluster_kwargs", "adapt_kwargs", "client_kwargs"):
            object.__setattr__(self, name, dict(getattr(self, name) or {}))
        object.__setattr__(self, "address", self.address or None)
        self._check_kinds()
        given = self._given()
        for name, others in _CONFLICTS:
            both = [name, *(other for other in others if other in given)]
            if name in given and len(both) > 1:
                raise ValueError(
                    f"DaskTaskRunner takes one way to a cluster, but got {' and '.join(both)}."
                )
        for name, ours in _OURS.items():
            for key in getattr(self, name).keys() & ours:
                raise ValueError(f"{name} can't hold {key!r}, for DaskTaskRunner decides that.")
        remember((self.address, self.cluster_kwargs, self.client_kwargs))

    def __repr__(self) -> str:
        told = (f"{name}={shown(value, name)}" for name, value in self._given().items())
        return f"DaskTaskRunner({', '.join(told)})"

    def __getstate__(self) -> dict[str, Any]:
        for name in _LIVE:
            if getattr(self, name) is not None:
                raise TypeError(
                    f"This DaskTaskRunner borrows a live {name}, which can't travel to another "
                    f"process. Give it address= instead of {name}=."
                )
        return dict(self.__dict__)

    def open(self, heard: Callable[[str, bytes], None]) -> Session:
        """Connect, starting a cluster where none was given.

        Args:
            heard: Called on the client's event loop with a chunk's id and what it says.

        Raises:
            UsageError: Dask isn't installed, or the arguments ask for something that isn't there.
            InfrastructureError: The cluster can't be reached or started, or runs other versions.
        """
        if not self._given().keys() - {"performance_report_path"} and "distributed" in sys.modules:
            found = opening().open_current(self, heard)
            if found is not None:
                return found
        if self.client is not None:
            return opening().open_on_client(self, self.client, heard)
        if self.cluster is not None:
            return opening().open_on_cluster(self, heard)
        if self.address is not None:
            return opening().open_at(self, heard)
        if not self._local():
            return opening().open_made(self, heard)
        if self.cluster_kwargs.get("processes") is False:
            return opening().open_threads(self, heard)
        return self._open_own(heard)

    def _given(self) -> dict[str, Any]:
        """Return the arguments that were given, in the order of their declaration."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in values if value is not None and value != {}}

    def _check_kinds(self) -> None:
        if isinstance(self.cluster, str):
            raise ValueError(f"cluster={shown(self.cluster)} is a text; an address is address=.")
        if self.address is not None and not isinstance(self.address, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            kind = type(self.address).__name__
            raise ValueError(f"address= is a text, not a {kind}; a live cluster is cluster=.")
        path = self.cluster_class
        if isinstance(path, str):
            if not all(path.replace(":", ".").rpartition(".")):
                raise ValueError(
                    f"cluster_class={path!r} is no import path such as 'distributed.LocalCluster'."
                )
        elif path is not None and not callable(path):
            raise ValueError(
                f"cluster_class={shown(path)} is no class, function or import path; a live cluster "
                "is cluster=."
            )

    def _local(self) -> bool:
        """Return whether a plain LocalCluster is meant, which we make ourselves."""
        made = self.cluster_class
        if made is not None and not isinstance(made, str):
            made = f"{made.__module__}.{getattr(made, '__qualname__', '')}"
        return made is None or made in _LOCAL

    def _open_own(self, heard: Callable[[str, bytes], None]) -> Session:
        security = self.cluster_kwargs.get("security")
        if security is True:
            security = opening().temporary_security()
        starting = {**self.cluster_kwargs, **({"security": security} if security else {})}
        # Importing Dask takes 0.4 s. A cluster of our own boots meanwhile, in another process.
        boot = importlib.import_module("fanfold_dask.cluster").start(
            starting, self.adapt_kwargs, plain=self.cluster_class is not None
        )
        try:
            return opening().open_own(self, boot, security, heard)
        except BaseException:
            boot.end()
            raise


def opening() -> Any:
    """Return the module that knows Dask, `fanfold_dask.opening`.

    Raises:
        UsageError: Dask isn't installed.
    """
    try:
        return importlib.import_module("fanfold_dask.opening")
    except ImportError as error:
        raise UsageError(
            f"Dask can't be imported here: {error}. Install it with: pip install 'fanfold[dask]'."
        ) from error
