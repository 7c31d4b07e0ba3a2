"""What we need of Ray that Ray marks as its own, in one place."""

import os
from pathlib import Path
from typing import Any

import ray
from ray._private import worker as _worker

from fanfold_ray.addresses import place

_TLS = "RAY_USE_TLS"
"""Ray's own: of all of its processes, or of none."""
_innards: Any = _worker


def session_folder() -> Path:
    """Return the folder on this node that all of Ray's processes there know.

    Raises:
        FileNotFoundError: This process is connected to no node.
    """
    node = _innards._global_node
    if node is None:
        raise FileNotFoundError("This process is connected to no node of Ray's.")
    return Path(node.get_session_dir_path())


def dashboard() -> str:
    """Return host and port of Ray's dashboard; empty if there is none, or nobody knows."""
    node = _innards._global_node
    return str(node.webui_url or "") if node is not None else ""


def sealed() -> bool:
    """Return whether what goes to workers is encrypted, or stays on this machine."""
    if os.environ.get(_TLS, "").lower() in ("1", "true"):
        return True
    node = _innards._global_node
    if node is None:
        return False
    where = (place(f"{node.node_ip_address}:1"), place(str(node.gcs_address)))
    return all(one is not None and one.loopback for one in where)


def known(name: bytes) -> Any:
    """Return the reference of an id, None if nobody in this process holds one.

    Ray makes one of any id, and a get of one without an owner never ends.
    """
    reference = ray.ObjectRef(name)
    try:
        _innards.global_worker.core_worker.get_owner_address(reference)
    except (AttributeError, ValueError):
        return None
    return reference
