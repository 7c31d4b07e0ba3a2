"""The cluster's own key-value table and its list of nodes, asked within time limits.

What Ray's own functions do where the head is away: they wait for ever, even beyond `ray.shutdown`;
and those that list nodes end the process, by SIGABRT, where it came back without its memory. So
this asks by Ray's client of the head itself, whose calls take a limit.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray._private import worker as _worker
from ray.exceptions import RayError

ASK_S = 5.0
"""Longest wait for an answer: over a slow network one takes half a second at most."""

_innards: Any = _worker
_ALIVE = 0


class Away(RayError):
    """The head doesn't answer."""


def get(key: bytes, namespace: bytes | None) -> bytes | None:
    """Return what lies under a key, None if nothing does; blocks.

    Raises:
        Away: The head can't be asked now. So do all functions here.
    """
    found: bytes | None = _ask("get", key, namespace)
    return found


def exists(key: bytes, namespace: bytes | None) -> bool:
    """Return whether something lies under a key; blocks."""
    return bool(_ask("exists", key, namespace))


def put(key: bytes, value: bytes, namespace: bytes | None) -> None:
    """Lay something under a key, in place of what was there; blocks."""
    _ask("put", key, value, True, namespace)


def drop(key: bytes, namespace: bytes | None, *, below: bool = False) -> None:
    """Remove a key, or all that begin so; blocks."""
    _ask("del", key, below, namespace)


def keys(prefix: bytes, namespace: bytes | None) -> list[bytes]:
    """Return all keys that begin so; blocks."""
    return list(_ask("keys", prefix, namespace))


def nodes() -> list[Mapping[str, Any]]:
    """Return all nodes, dead ones too, in the form of `ray.nodes()`; blocks."""
    if _client() is not None:
        return bounded(ray.nodes)
    head = _head()
    found = bounded(head.get_all_node_info, timeout=ASK_S)
    return [
        {
            "NodeID": node.node_id.hex(),
            "Alive": node.state == _ALIVE,
            "Resources": dict(node.resources_total),
            "DeathReasonMessage": node.death_info.reason_message,
        }
        for node in found.values()
    ]


def bounded(function: Callable[..., Any], *given: Any, **limits: Any) -> Any:
    """Call a function of Ray's that asks the head; whatever it raises means the same.

    Raises:
        Away: The head can't be asked now.
    """
    try:
        return function(*given, **limits)
    except RayError as error:
        raise Away(str(error)) from error
    except Exception as error:
        # Nothing is lost: a closed channel raises all sorts of things.
        raise Away(f"{type(error).__name__}: {error}") from error


def _ask(call: str, *given: Any) -> Any:
    client = _client()
    if client is not None:
        return bounded(getattr(client, f"internal_kv_{'list' if call == 'keys' else call}"), *given)
    return bounded(getattr(_head(), f"internal_kv_{call}"), *given, timeout=ASK_S)


def _head() -> Any:
    head = getattr(_innards.global_worker, "gcs_client", None)
    if head is None:
        raise Away("this process isn't connected to Ray")
    return head


def _client() -> Any:
    """Return Ray's client, where this process is connected through one; None where it isn't."""
    stub = importlib.import_module("ray.util.client").ray
    return stub.get_context().client_worker if stub.is_connected() else None
