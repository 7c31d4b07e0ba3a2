"""What the figures were taken on."""

import os
import platform
from importlib import metadata
from typing import Any

import psutil

PACKAGES = ("fanfold", "fanfold-dask", "fanfold-ray", "dask", "distributed", "ray", "cloudpickle")


def facts() -> dict[str, Any]:
    """Return cores, memory and versions; a package that isn't installed is None."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": len(psutil.Process().cpu_affinity())
        if hasattr(psutil.Process, "cpu_affinity")
        else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def sentence(known: dict[str, Any]) -> str:
    """Return the facts in a line."""
    packages = ", ".join(f"{name} {known[name] or 'missing'}" for name in PACKAGES)
    return (
        f"{known['usable_cores']} cores, {known['memory_gb']} GB, load {known['load']} before; "
        f"Python {known['python']}, {packages}"
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
