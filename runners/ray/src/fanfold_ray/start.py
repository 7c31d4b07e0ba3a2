"""Join the Ray of this process, or start one of our own that ends with its last session."""

import logging
import os
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import ray_constants
from ray.exceptions import RayError

from fanfold.values.errors import InfrastructureError

_QUIET: Mapping[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
_LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


class _Started:
    """A connection that we made, and how many sessions use it."""

    def __init__(self) -> None:
        self.sessions = 0


_lock = threading.Lock()
_current: _Started | None = None


def join(address: str | None, init_kwargs: Mapping[str, Any]) -> Callable[[], None]:
    """Connect this process to Ray unless it is already; return what undoes just that.

    What is returned is called once. Thread-safe.

    Raises:
        InfrastructureError: Ray can't be reached or started.
    """
    global _current
    with _lock:
        if not ray.is_initialized():
            _connect(address or os.environ.get("RAY_ADDRESS") or "local", init_kwargs)
            _current = _Started()
        else:
            _refuse_another(address)
        if _current is None:
            return _stay
        joined = _current
        joined.sessions += 1
    return lambda: _leave(joined)


def _refuse_another(address: str | None) -> None:
    """Refuse an address that isn't the one this process is connected to."""
    if address in (None, "auto", "local") or str(address).startswith("ray://"):
        return
    here = ray.get_runtime_context().gcs_address
    if address != here:
        raise InfrastructureError(
            f"Ray at {address!r} can't be used: this process is connected to the Ray at {here!r}. "
            "Leave the address out to use that one, or call ray.shutdown() first."
        )


def _stay() -> None:
    """Leave a borrowed Ray as it is."""


def _leave(joined: _Started) -> None:
    global _current
    with _lock:
        joined.sessions -= 1
        # Somebody may have called `ray.shutdown` and started another Ray since: that isn't ours.
        if joined.sessions or joined is not _current:
            return
        _current = None
        if ray.is_initialized():
            ray.shutdown()


def _connect(address: str, init_kwargs: Mapping[str, Any]) -> None:
    options: dict[str, Any] = {"address": address, **_QUIET}
    try:
        if address == "local":
            with loopback_only():
                options["include_dashboard"] = False
                ray.init(**(options | dict(init_kwargs)))
        else:
            ray.init(**(options | dict(init_kwargs)))
    except (RayError, OSError, RuntimeError) as error:
        raise InfrastructureError(f"Ray at {address!r} can't be used: {error}") from error


@contextmanager
def loopback_only() -> Generator[None, None, None]:
    """Keep a Ray that starts meanwhile from listening on all interfaces.

    Ray binds to loopback only when its node's address is 127.0.0.1, and on Linux it replaces that
    by an outward one wherever it is given. This switch, off by default on other systems, stops it;
    Ray reads the variable once, at its import, hence both.
    """
    before = os.environ.get(_LOOPBACK_VARIABLE), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[_LOOPBACK_VARIABLE], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[1]
        if before[0] is None:
            del os.environ[_LOOPBACK_VARIABLE]
        else:
            os.environ[_LOOPBACK_VARIABLE] = before[0]
