"""Which versions must agree between a driver and its workers."""

import sys
from functools import cache

from fanfold.values.errors import VersionMismatch


@cache
def fingerprint() -> tuple[str, str]:
    """Return this process's Python minor version and Fanfold version, such as ("3.11", "0.1.0")."""
    from importlib import metadata  # 15 ms, which only clusters need

    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    return minor, metadata.version("fanfold")


def check(driver: tuple[str, str], worker: tuple[str, str], where: str) -> None:
    """Refuse a worker that can't read what the driver sends.

    Functions travel as bytecode, which another Python minor can't run; messages belong to one
    version of Fanfold.

    Raises:
        VersionMismatch: The fingerprints differ.
    """
    if driver == worker:
        return
    names = ("Python", "Fanfold")
    differing = [
        f"{name} {theirs} there and {ours} here"
        for name, ours, theirs in zip(names, driver, worker, strict=True)
        if ours != theirs
    ]
    raise VersionMismatch(
        f"Worker {where} can't run what this process sends: {', '.join(differing)}. "
        "Install the same versions on both sides."
    )
