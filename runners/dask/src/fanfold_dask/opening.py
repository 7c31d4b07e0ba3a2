"""Sessions on each of the ways to a cluster: what each makes and checks, and how it is undone."""

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from distributed import Client, Security, Worker, get_worker, secede

from fanfold.ports.surroundings import surroundings
from fanfold.values import versions
from fanfold.values.errors import FanfoldError, InfrastructureError, UsageError
from fanfold_dask import custom, local, pages, performance, resident
from fanfold_dask.addresses import harmless, host, masked, warn_if_exposed
from fanfold_dask.cluster import FIXED, Boot, Growth, OwnCluster
from fanfold_dask.failures import translate
from fanfold_dask.native import NativeClient, NativeCluster, reason
from fanfold_dask.reaching import reach, told
from fanfold_dask.session import DaskSession

if TYPE_CHECKING:
    from fanfold_dask.runner import DaskTaskRunner

Heard = Callable[[str, bytes], None]

_checked: WeakKeyDictionary[Client, str] = WeakKeyDictionary()
"""Where the dashboards are of clients whose scheduler was found to run our versions."""


def current() -> NativeClient | None:
    """Return the client that Dask itself would take here: a worker's own, or the latest one.

    One that was made with asynchronous=True isn't taken, for nothing could wait for it.

    Raises:
        InfrastructureError: This is a worker, and its scheduler can't be reached.
    """
    worker = worker_here()
    try:
        client: NativeClient = Client.current() if worker is None else resident.of(worker)
    except ValueError:
        return None
    return client if client.status == "running" and not client.asynchronous else None


def open_current(runner: "DaskTaskRunner", heard: Heard) -> DaskSession | None:
    """Open a session on the client that Dask itself would take here; None if there is none.

    Raises:
        InfrastructureError: Its cluster runs other versions.
    """
    client = current()
    if client is None:
        return None
    if worker_here() is not None and surroundings().waiting() is None:
        # A flow inside a task that was given to Dask itself: what it starts may need this slot.
        # An error says that it left before.
        with suppress(KeyError, AttributeError):
            secede()
    return open_on_client(runner, client, heard)


def worker_here() -> Worker | None:
    """Return the worker whose task this is, or the one of this process."""
    try:
        return get_worker()
    except ValueError:
        return None


def temporary_security() -> Security:
    """Return new certificates, good for one cluster.

    Raises:
        UsageError: What makes them isn't installed.
    """
    try:
        return Security.temporary()
    except ImportError as error:
        raise UsageError(f"cluster_kwargs={{'security': True}}: {error}.") from error


def open_own(
    runner: "DaskTaskRunner", boot: Boot, security: Security | None, heard: Heard
) -> DaskSession:
    """Open a session on a cluster of our own that is starting, with these certificates.

    Raises:
        InfrastructureError: It didn't start; nothing is left of it.
    """
    with _undone_on_error() as release:
        release.callback(boot.end)
        cluster = boot.ready()
        client_kwargs = {"security": security, **runner.client_kwargs}
        client = connect(cluster.address, client_kwargs, release, direct=True)
        return _session(
            runner,
            client,
            heard,
            release,
            cluster=cluster,
            growth=cluster.growth,
            dashboard=cluster.dashboard,
        )


def open_at(runner: "DaskTaskRunner", heard: Heard) -> DaskSession:
    """Open a session on somebody else's cluster.

    Raises:
        InfrastructureError: It can't be reached, or runs other versions.
    """
    with _undone_on_error() as release:
        assert runner.address is not None
        client = connect(runner.address, runner.client_kwargs, release)
        return _session(runner, client, heard, release)


def open_on_client(runner: "DaskTaskRunner", client: NativeClient, heard: Heard) -> DaskSession:
    """Open a session on a client that somebody else closes; takes 2 ms on a warm one.

    Raises:
        UsageError: The client is asynchronous.
        InfrastructureError: It is closed, or its cluster runs other versions.
    """
    _refuse_asynchronous(client, "client")
    with _undone_on_error() as release:
        return _session(runner, client, heard, release)


def open_on_cluster(runner: "DaskTaskRunner", heard: Heard) -> DaskSession:
    """Open a session on a live cluster that somebody else closes.

    Raises:
        UsageError: The cluster is asynchronous.
        InfrastructureError: It is closed, can't be adapted, or runs other versions.
    """
    _refuse_asynchronous(runner.cluster, "cluster")
    with _undone_on_error() as release:
        client = connect(runner.cluster, runner.client_kwargs, release)
        growth = custom.adapt(runner.cluster, runner.adapt_kwargs)
        return _session(runner, client, heard, release, growth=growth)


def open_made(runner: "DaskTaskRunner", heard: Heard) -> DaskSession:
    """Open a session on a cluster that a class of the user's makes here for it.

    Raises:
        UsageError: There is no such class, or what it makes can't be used.
        InfrastructureError: It didn't start, or can't be adapted; nothing is left of it.
    """
    with _undone_on_error() as release:
        assert runner.cluster_class is not None
        made = custom.make(runner.cluster_class, runner.cluster_kwargs)
        release.callback(custom.end, made)
        growth = custom.adapt(made, runner.adapt_kwargs)
        client = connect(made, runner.client_kwargs, release)
        return _session(runner, client, heard, release, growth=growth)


def open_threads(runner: "DaskTaskRunner", heard: Heard) -> DaskSession:
    """Open a session on a LocalCluster whose workers are threads of this process.

    Raises:
        InfrastructureError: It didn't start; nothing is left of it.
    """
    plain = runner.cluster_class is not None
    with _undone_on_error() as release:
        try:
            cluster, dashboard = local.start(
                runner.cluster_kwargs, runner.adapt_kwargs, plain=plain
            )
        except Exception as error:
            # Nothing is lost: it is told as what it means.
            told = f"The local Dask cluster didn't start: {masked(reason(error))}"
            raise InfrastructureError(told) from harmless(error)
        release.callback(custom.end, cluster)
        client = connect(cluster, runner.client_kwargs, release)
        growth = local.growth(cluster)
        return _session(runner, client, heard, release, growth=growth, dashboard=dashboard)


def _session(
    runner: "DaskTaskRunner",
    client: NativeClient,
    heard: Heard,
    release: ExitStack,
    *,
    cluster: OwnCluster | None = None,
    growth: Growth = FIXED,
    dashboard: str | None = None,
) -> DaskSession:
    """Open a session on a client, which ends what `release` holds."""
    if cluster is None:
        looked_at = _known(client)
        dashboard = looked_at if dashboard is None else dashboard
    warn_if_exposed(client.scheduler.address)
    try:
        if runner.performance_report_path is not None:
            # Before the client closes, which was put there earlier.
            release.callback(performance.begin(client, runner.performance_report_path))
        return DaskSession(
            client,
            heard,
            cluster=cluster,
            growth=growth,
            dashboard=dashboard or "",
            release=release.close,
        )
    except FanfoldError:
        raise
    except Exception as error:
        # Nothing is lost: it is told as what it means.
        raise translate(error, "Opening a session on Dask") from harmless(error)


@contextmanager
def _undone_on_error() -> Generator[ExitStack]:
    release = ExitStack()
    try:
        yield release
    except BaseException:
        release.close()
        raise


def connect(
    to: str | NativeCluster,
    client_kwargs: Mapping[str, Any],
    release: ExitStack,
    *,
    direct: bool | None = None,
) -> NativeClient:
    """Return a new client of a cluster or address, which `release` closes.

    Raises:
        InfrastructureError: It can't be reached; says what to try.
    """
    if isinstance(to, str) and not direct:
        reach(to, client_kwargs)
    arguments: dict[str, Any] = {"direct_to_workers": direct, **client_kwargs}
    with told(to):
        client = Client(to, **{"set_as_default": False, **arguments})
    release.callback(client.close)
    return client


async def connect_async(address: str, client_kwargs: Mapping[str, Any]) -> NativeClient:
    """Return a new client of the running loop; the caller closes it.

    Raises:
        InfrastructureError: It can't be reached; says what to try.
    """
    arguments: dict[str, Any] = dict(client_kwargs)
    with told(address):
        return await Client(address, **{"set_as_default": False, **arguments})


def _refuse_asynchronous(given: Any, name: str) -> None:
    if getattr(given, "asynchronous", False):
        raise UsageError(f"DaskTaskRunner needs a {name} that was made without asynchronous=True.")


def _known(client: NativeClient) -> str:
    """Refuse a scheduler that can't read what we send, and return where its dashboard is.

    Workers are checked chunk by chunk.
    """
    found = _checked.get(client)
    if found is None:
        try:
            theirs = client.run_on_scheduler(versions.fingerprint)
            pages_there = client.run_on_scheduler(pages.there)
        except Exception as error:
            # Nothing is lost: it is told as what it means.
            raise translate(error, "Asking the scheduler for its versions") from harmless(error)
        versions.check(versions.fingerprint(), theirs, masked(client.scheduler.address))
        found = _checked[client] = _dashboard(client) if pages_there else ""
    return found


def _dashboard(client: NativeClient) -> str:
    try:
        if client.cluster is not None:
            return masked(client.cluster.dashboard_link or "")
        # Not its own dashboard_link, which takes a user's name in the address for the host.
        port = client._scheduler_identity["services"]["dashboard"]
        return pages.link(host(client.scheduler.address) or "localhost", port)
    except Exception:
        # Nothing is lost: Dask's own settings make no address of it.
        return ""
