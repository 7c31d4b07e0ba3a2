"""Join the Ray of this process, or start one of our own that ends with its last session."""

import logging
import os
import signal
import threading
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import ray

from fanfold.values.errors import InfrastructureError
from fanfold_ray import tokens
from fanfold_ray.addresses import bare, masked, place, shown, warn_exposed
from fanfold_ray.connection import Connection
from fanfold_ray.head import Head, current
from fanfold_ray.reaching import check_dashboard, loopback_only, reach, told

logger = logging.getLogger("fanfold.runners")

OWN = "local"
"""The address that always starts a Ray."""
FOUND_PATIENCE_S = 45.0
"""Longest patience with the head of a Ray that somebody else connected this process to: after a
minute without it Ray ends the process, and the run should be told before."""

_QUIET: Mapping[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
_STILLBORN = "Starting Ray client server failed"
_NEVER = "RAY_gcs_rpc_server_reconnect_timeout_s", "31536000"
"""By default Ray ends this process after a minute without the head. Connections look themselves,
and give up in time."""


class _Current:
    """The connection of this process, how many sessions use it, and what it was made from."""

    def __init__(
        self,
        connection: Connection,
        address: str,
        init_kwargs: Mapping[str, Any],
        token_mode: str | None,
    ) -> None:
        self.connection = connection
        self.address = address
        self.init_kwargs = init_kwargs
        self.sessions = 0
        self._token_mode = token_mode

    def end(self) -> None:
        self.connection.end()
        # Another Ray may be there meanwhile, which the user has started.
        if self.connection.made and not ray.is_initialized():
            tokens.restore(self._token_mode)


_lock = threading.Lock()
_current: _Current | None = None


def join(address: str | None, init_kwargs: Mapping[str, Any], patience_s: float) -> Connection:
    """Connect this process to Ray unless it is already; `leave` undoes just that. Thread-safe.

    Raises:
        UsageError: Ray can't take these arguments.
        InfrastructureError: Ray can't be reached or started.
    """
    global _current
    with _lock:
        if _current is not None and not _current.connection.usable:
            _current.end()
            _current = None
        if _current is None:
            if ray.is_initialized():
                _current = _found(address, init_kwargs, patience_s)
            else:
                _current = _made(_chosen(address), init_kwargs, patience_s)
        else:
            _refuse_another(_current, address, init_kwargs)
        _current.sessions += 1
        return _current.connection


def leave(connection: Connection) -> None:
    """Shut Ray down if we started it or connected to it, and this was its last session."""
    global _current
    with _lock:
        # A lost one was dropped, and somebody may have called `ray.shutdown` and started another.
        if _current is None or _current.connection is not connection:
            return
        _current.sessions -= 1
        if _current.sessions:
            return
        ended, _current = _current, None
        ended.end()


def _chosen(address: str | None) -> str:
    if address in (None, "auto"):
        return os.environ.get("RAY_ADDRESS") or address or OWN
    return str(address)


def _found(address: str | None, init_kwargs: Mapping[str, Any], patience_s: float) -> _Current:
    """Watch a connection that somebody else made, such as the user by `ray.init`."""
    here = _gcs_address()
    found = Connection(here, current(), min(patience_s, FOUND_PATIENCE_S), made=False, again=None)
    joined = _Current(found, here, {}, tokens.mode())
    try:
        _refuse_another(joined, address, init_kwargs)
    except InfrastructureError:
        found.end()
        raise
    return joined


def _made(address: str, init_kwargs: Mapping[str, Any], patience_s: float) -> _Current:
    token_mode = tokens.mode()
    try:
        head = _connect(address, init_kwargs)
    except BaseException:
        tokens.restore(token_mode)
        raise
    again = None if address == OWN else partial(_connect, address, init_kwargs)
    name = _gcs_address() if address in (OWN, "auto") else address
    return _Current(
        Connection(name, head, patience_s, made=True, again=again),
        address,
        init_kwargs,
        token_mode,
    )


def _gcs_address() -> str:
    return str(ray.get_runtime_context().gcs_address)


def _refuse_another(joined: _Current, address: str | None, init_kwargs: Mapping[str, Any]) -> None:
    """Refuse an address that isn't the one this process is connected to."""
    here = {joined.address, joined.connection.name}
    if address not in (None, "auto", OWN) and not here & {address, bare(str(address))}:
        raise InfrastructureError(
            f"Ray at {masked(address)} can't be used: this process is connected to the Ray at "
            f"{joined.connection.name}, and a process can be connected to one only. Leave the "
            "address out to use that one, or call ray.shutdown() first."
        )
    if init_kwargs and init_kwargs != joined.init_kwargs:
        logger.warning(
            "This process is connected to Ray at %s already, so init_kwargs=%s isn't used.",
            joined.connection.name,
            shown(init_kwargs),
        )


def _connect(address: str, init_kwargs: Mapping[str, Any]) -> Head:
    """Call `ray.init`, quietly and within bounds; return the head.

    Raises:
        UsageError: Ray can't take these arguments.
        InfrastructureError: Ray can't be reached or started.
    """
    options: dict[str, Any] = {"address": bare(address), **_QUIET}
    with ExitStack() as around:
        around.enter_context(_signals_kept())
        around.enter_context(_variable(*_NEVER))
        if address == OWN:
            options["include_dashboard"] = False
            check_dashboard(init_kwargs)
            around.enter_context(loopback_only())
            around.enter_context(tokens.kept_private())
        elif address != "auto":
            reach(address, around)
        try:
            told_by_ray = _initialised(options | dict(init_kwargs))
        except Exception as error:
            # Nothing is lost: it is told, in terms of what to do about it.
            raise told(address, init_kwargs, error) from None
    where = place(address)
    if where is not None and not where.loopback and not tokens.asked():
        warn_exposed(address)
    return current(told_by_ray.dashboard_url or "")


def _initialised(options: Mapping[str, Any], *, again: bool = True) -> Any:
    """Call `ray.init`; leave nothing half made if it fails."""
    try:
        return ray.init(**options)
    except Exception as error:
        with suppress(Exception):
            ray.shutdown()
        # Each client gets a server process of its own, and now and then one dies as it is forked.
        if again and _STILLBORN in str(error):
            return _initialised(options, again=False)
        raise


@contextmanager
def _signals_kept() -> Generator[None]:
    """Keep Ray from taking SIGTERM over: flows that are told to end do so in order."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if main else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _variable(name: str, value: str) -> Generator[None]:
    """Set an environment variable meanwhile, unless it is set."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
