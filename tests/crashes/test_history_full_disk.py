"""A history whose disk fills up while flows run, and is freed again."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crashes.filling import ELEMENTS, FLOWS, LINES
from tests.crashes.programs import DEADLINE_S, Program

# In a namespace of its own, the mount is gone with the program, however that ends.
PREFIX = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--mount", "--map-root-user")


@pytest.fixture
def disk(tmp_path: Path, require: Callable[..., None]) -> Path:
    """Return a folder that a small file system can be mounted at."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        tried = subprocess.run(
            [*PREFIX, "mount", "-t", "tmpfs", "-o", "size=1m", "none", folder],
            capture_output=True,
            check=False,
        )
        can = tried.returncode == 0
    except FileNotFoundError:
        can = False
    require("tmpfs", "to fill a disk of its own (unshare, mount)", present=can)
    return folder


@pytest.mark.parametrize("where", ["history", "home"])
def test_runs_go_on_with_a_full_disk_and_are_recorded_once_it_is_freed(
    where: str, disk: Path
) -> None:
    environment = {"FANFOLD_HISTORY_URL": f"sqlite:///{disk / 'history.db'}"}
    if where == "home":
        environment["FANFOLD_HOME"] = str(disk)
    with Program("tests.crashes.filling", disk, environment=environment, prefix=PREFIX) as program:
        found = json.loads(program.finish(2 * DEADLINE_S)[-1])

    told, held = found["told"], found["held"]
    assert {when: len(ids) for when, ids in told.items()} == FLOWS
    # The disk was really full, and the history missed what it was to hold.
    assert found["room"] == 0
    assert found["unseen"]
    # One line more than the flow's own where the engine has something to say, as in the first.
    said = len(held[told["before"][0]]["lines"])
    assert said >= LINES
    for when, ids in told.items():
        for id in ids:
            run = held[id]
            own = [line for line in run["lines"] if line.startswith(f"{when}: line ")]
            assert run["state"] == "Completed"
            assert run["maps"] == [[ELEMENTS]]
            assert len(set(own)) == len(own)
            assert len(own) >= len(run["lines"]) - (said - LINES)
            assert len(run["lines"]) + run["dropped"] == said
    dropped = sum(run["dropped"] for run in held.values())
    # The journal has room for all; the memory hasn't.
    assert (dropped > 0) == (where == "home")
