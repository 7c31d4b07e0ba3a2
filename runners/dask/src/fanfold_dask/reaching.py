"""Whether a scheduler answers at an address, and what to try if none does."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import dask.config
from dask.utils import parse_timedelta
from distributed import Security
from distributed.comm.core import connect

from fanfold.values.errors import InfrastructureError
from fanfold_dask.addresses import harmless, masked
from fanfold_dask.native import NativeCluster, reason, run_apart

MARGIN_S = 1.0
"""So much later than Dask's own time limit, which has the better words, ours strikes."""


def reach(address: str, client_kwargs: Mapping[str, Any]) -> None:
    """Return once a scheduler has answered; takes 5 ms.

    Dask's own client waits for ever where something else answers, such as a web server; and after
    some failures it leaves a thread behind.

    Args:
        address: The scheduler's.
        client_kwargs: Of the client that is to be made.

    Raises:
        InfrastructureError: None does within the client's `timeout`; says what to try.
    """
    if address.startswith(("ws://", "wss://", "inproc://")):
        return  # a web server refuses by itself, and this process answers
    given = client_kwargs.get("security")
    security = Security(**given) if isinstance(given, dict) else given
    if security is None:
        if dask.config.get("distributed.client.security-loader"):
            return  # its certificates are Dask's to load
        security = Security()
    default = dask.config.get("distributed.comm.timeouts.connect")
    timeout_s = parse_timedelta(client_kwargs.get("timeout", default), "s")
    with told(address):
        run_apart(_shake_hands(address, security, timeout_s), timeout_s + MARGIN_S)


async def _shake_hands(address: str, security: Any, timeout_s: float) -> None:
    arguments = security.get_connection_args("client")
    comm = await connect(address, timeout=timeout_s, **arguments)
    await comm.close()


@contextmanager
def told(to: str | NativeCluster) -> Generator[None]:
    """Say in our own words why a cluster or address can't be reached."""
    try:
        yield
    except Exception as error:
        # Nothing is lost: it is told as what it means.
        address = to if isinstance(to, str) else getattr(to, "scheduler_address", to)
        words, began = str(error) or "no answer in time", reason(error)
        why = masked(began if words in began else f"{words} ({began})")
        raise InfrastructureError(
            f"Connecting to Dask at {masked(address)} failed: {why}. {_advice(str(address), error)}"
        ) from harmless(error)


def _advice(address: str, error: Exception) -> str:
    scheme = address.partition("://")[0]
    if scheme in ("http", "https"):
        return "That is a web page's address; the scheduler's begins with tcp:// or tls://."
    if isinstance(error, ValueError):
        return "A scheduler's address looks like tcp://10.0.0.5:8786."
    if scheme in ("tls", "wss"):
        return (
            "Is the scheduler there, and do client_kwargs={'security': distributed.Security(...)} "
            "name the certificates that it trusts?"
        )
    if type(error) is TimeoutError or not isinstance(error, OSError):
        return (
            "Something answers there, but it is no Dask scheduler, or one that wants certificates: "
            "then its address begins with tls://. Port 8787 is usually the dashboard's, and 8786 "
            "the scheduler's."
        )
    return (
        "Is the scheduler running, and its port (usually 8786) open from here? If it wants "
        "certificates, its address begins with tls://."
    )
