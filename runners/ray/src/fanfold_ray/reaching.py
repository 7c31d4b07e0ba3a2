"""Finds out quickly whether a Ray can be joined, and says in plain words why one can't.

Ray itself tries for minutes, and tells of a token or another version at the end of a long chain.
"""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import ray
from ray import _raylet
from ray._private import ray_constants, services
from ray.exceptions import AuthenticationError

from fanfold.values.errors import InfrastructureError, UsageError, VersionMismatch
from fanfold_ray import tokens
from fanfold_ray.addresses import CLIENT, Place, answers, harmless, masked, place

REACH_S = 8.0
"""Longest wait for something to listen at an address."""
_LIMITS = {"RAY_gcs_rpc_server_connect_timeout_s": "4", "RAY_py_gcs_connect_timeout_s": "8"}
"""Together with `REACH_S` below 30 s; by default 40 s, twenty times."""
_ALIVE = 0
_LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_OF_NEW_RAYS = frozenset(
    {"num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "_system_config"}
)


def reach(address: str, around: ExitStack) -> None:
    """See that a Ray of our version lets us in; blocks for less than 30 s.

    Args:
        address: As the user gave it.
        around: Takes what must be in place while `ray.init` connects.

    Raises:
        UsageError: It is no address, or what it needs isn't installed.
        InfrastructureError: Nothing answers there, or no Ray, or it wants another token.
        VersionMismatch: Its Ray or Python is another one than ours.
    """
    where = place(address)
    if where is None:
        raise UsageError(
            f"Ray's address {masked(address)!r} can't be understood. It is 'host:port' of a head, "
            "'ray://host:port' of its client server, 'auto' for one on this machine, or nothing."
        )
    client = address.startswith(CLIENT)
    if client and importlib.util.find_spec("grpc") is None:
        raise UsageError(
            f"Ray's client, which {masked(address)} is for, isn't installed. Install it with: "
            "pip install 'fanfold-ray[client]'."
        )
    why = answers(where, REACH_S)
    if why:
        raise InfrastructureError(_unreachable(address, client, why))
    if where.loopback and not client:
        outward = Place(services.get_node_ip_address(), where.port)
        if answers(outward, 1.0, again=False):
            # A Ray that listens on loopback alone; Ray would look for it at this machine's address.
            around.enter_context(loopback_only())
    let_in = partial(_let_in_through_client if client else _let_in, address, where)
    if let_in() or (where.loopback and tokens.use_if_there() and let_in()):
        return
    raise _refused(address)


def _refused(address: str) -> InfrastructureError:
    return InfrastructureError(f"Ray at {masked(address)} can't be used: {tokens.REFUSED}.")


def _unreachable(address: str, client: bool, why: str) -> str:
    usual = "10001, and not the head's own" if client else "6379, and not that of its client server"
    return (
        f"Ray at {masked(address)} can't be reached: {why}. See that it runs there (`ray status`), "
        f"that the port is right (usually {usual}), and that no firewall is in between; or leave "
        "the address out, and RAY_ADDRESS unset, to start a Ray on this machine."
    )


def _let_in_through_client(address: str, where: Place) -> bool:
    """Ask the client server once, and return whether it takes our token, or wants none.

    Ray's own tries for half a minute, with warnings.
    """
    grpc: Any = importlib.import_module("grpc")
    channels: Any = importlib.import_module("ray._private.grpc_utils")
    words: Any = importlib.import_module("ray.core.generated.ray_client_pb2")
    calls: Any = importlib.import_module("ray.core.generated.ray_client_pb2_grpc")
    channel = channels.init_grpc_channel(f"{where.host}:{where.port}")
    try:
        ping = words.ClusterInfoRequest(type=words.ClusterInfoType.PING)
        calls.RayletDriverStub(channel).ClusterInfo(ping, timeout=REACH_S, wait_for_ready=True)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            return False
        said = f"what listens there is no client server of a Ray ({error.details()})"
        raise InfrastructureError(_unreachable(address, True, said)) from None
    else:
        return True
    finally:
        channel.close()


def _let_in(address: str, where: Place) -> bool:
    """Ask the head once for its version, and return whether it takes our token, or wants none.

    Ray's own tries again and again.
    """
    with _limits():
        try:
            head = _raylet_names.GcsClient(address=f"{where.host}:{where.port}")
            told = head.internal_kv_get(b"CLUSTER_METADATA", b"cluster", timeout=5)
            nodes = head.get_all_node_info(timeout=5).values()
        except AuthenticationError:
            return False
        except Exception as error:
            # Nothing is lost: whatever it is, it is no head that answers.
            raise InfrastructureError(
                _unreachable(address, False, f"what listens there is no head of a Ray ({error})")
            ) from harmless(error)
    if not any(node.state == _ALIVE for node in nodes):
        # After a head was started anew; Ray would wait for one for a minute.
        raise InfrastructureError(f"Ray at {masked(address)} has no nodes yet: try again soon.")
    found: Mapping[str, str] = {}
    with suppress(ValueError, TypeError):
        found = json.loads(told)
    theirs = found.get("ray_version"), found.get("python_version", "")
    ours = ray.__version__, ".".join(map(str, sys.version_info[:3]))
    same = theirs[0] == ours[0] and theirs[1].split(".")[:2] == ours[1].split(".")[:2]
    if found and not same:
        raise VersionMismatch(
            f"Ray at {masked(address)} is Ray {theirs[0]} on Python {theirs[1]}, and this process "
            f"has Ray {ours[0]} on Python {ours[1]}. Use the same here: Python "
            f"{theirs[1].rpartition('.')[0]}, and pip install 'ray=={theirs[0]}'."
        )
    return True


def check_dashboard(init_kwargs: Mapping[str, Any]) -> None:
    """See that a dashboard can be started, if one is asked for; Ray finds out in the midst of it.

    Raises:
        UsageError: It isn't installed.
    """
    if init_kwargs.get("include_dashboard") and importlib.util.find_spec("aiohttp_cors") is None:
        raise UsageError(
            "Ray's dashboard, which init_kwargs ask for, isn't installed. Install it with: "
            "pip install 'fanfold-ray[dashboard]'."
        )


def told(address: str, init_kwargs: Mapping[str, Any], error: Exception) -> Exception:
    """Return what to raise for an error of `ray.init`."""
    links: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in links:
        links.append(one)
        one = one.__cause__ or one.__context__
    name, said = masked(address), masked(error)
    if isinstance(error, (UsageError, InfrastructureError)):
        return error
    if any(isinstance(link, AuthenticationError) for link in links) or "uthenticat" in said:
        made = _refused(address)
    elif "ersion mismatch" in said or "versions differ" in said:
        made = VersionMismatch(f"Ray at {name} can't be used: {said}")
    elif address != "local" and (wrong := sorted(_OF_NEW_RAYS & init_kwargs.keys())):
        made = UsageError(
            f"Ray at {name} is running already, so init_kwargs can't say {', '.join(wrong)}. Leave "
            "that out, or leave the address out, and RAY_ADDRESS unset, to start a Ray here."
        )
    elif isinstance(error, (TypeError, ValueError)) or "keyword argument" in said:
        made = UsageError(f"Ray can't take these arguments: {said}")
    else:
        made = InfrastructureError(f"Ray at {name} can't be used: {said or repr(error)}")
    made.__cause__ = harmless(error)
    return made


@contextmanager
def loopback_only() -> Generator[None, None, None]:
    """Keep a Ray that starts meanwhile from listening on all interfaces.

    Ray binds to loopback only when its node's address is 127.0.0.1, and on Linux it replaces that
    by an outward one wherever it is given. This switch, off by default on other systems, stops it;
    Ray reads the variable once, at its import, hence both. It is needed too by who joins such a
    Ray at 127.0.0.1.
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


_raylet_names: Any = _raylet


@contextmanager
def _limits() -> Generator[None]:
    """Have Ray's client of the head give up soon; `ray.init` reads its own limits again."""
    missing = {name: value for name, value in _LIMITS.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        _raylet_names.Config.initialize("")
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
