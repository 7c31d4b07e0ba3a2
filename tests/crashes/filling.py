"""A program whose disk fills up under its history, and is freed again.

Run as `unshare --mount python -m tests.crashes.filling FOLDER`, with FANFOLD_HISTORY_URL, and maybe
FANFOLD_HOME, below the folder: it mounts a small file system there, which is gone with it. Prints
what it told and what the history holds in the end, as JSON.
"""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from fanfold import flow, get_run_logger, runtime, task
from fanfold.engine import registry
from fanfold.values.errors import HistoryUnavailable
from fanfold.values.records import FlowRunRecord, FlowRuns, Lines, States, TaskRuns
from tests.crashes.programs import DEADLINE_S

SIZE = "64m"
FLOWS = {"before": 2, "full": 3, "after": 2}
"""How many are run when."""
LINES, ELEMENTS = 4_500, 500
"""Of each flow run; the lines of those on the full disk don't fit into memory."""
LOOK_EVERY_S = 0.2


@task
def square(x: int) -> int:
    """Return the square."""
    return x * x


@flow
def squares(when: str) -> str | None:
    """Return the id of its run, after a map and many lines."""
    logger = get_run_logger()
    for line in range(LINES):
        logger.info("%s: line %d of a flow on a disk that may be full", when, line)
    if sum(square.map(range(ELEMENTS)).result()) != sum(x * x for x in range(ELEMENTS)):
        raise ValueError("The map returned something wrong.")
    return runtime.flow_run.id


def main(folder: Path) -> None:
    """Run flows before, while and after the disk is full."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", folder], check=True)
    ballast = folder / "ballast"
    told = {"before": _flows("before")}
    room = _fill(ballast)
    told["full"] = _flows("full")
    unseen = sorted(set(told["full"]) - _held(told["full"]).keys())
    ballast.unlink()
    told["after"] = _flows("after")
    held = _once_over([id for ids in told.values() for id in ids])
    print(json.dumps({"told": told, "room": room, "unseen": unseen, "held": held}))


def _flows(when: str) -> list[str]:
    return [str(squares(when)) for _ in range(FLOWS[when])]


def _fill(ballast: Path) -> int:
    """Fill the disk, and return how many bytes a file still may have."""
    file = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(file, b"\0" * 65_536)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(file)
    found = os.statvfs(ballast)
    return found.f_bavail * found.f_frsize


def _held(ids: list[str]) -> dict[str, Any]:
    """Return what the history holds of flow runs now."""
    history = registry.history(os.environ["FANFOLD_HISTORY_URL"])
    try:
        runs = history.read(FlowRuns(ids=tuple(ids)))
        return {run.id: _told(history, run) for run in runs}
    except HistoryUnavailable:  # as long as the disk is full, it may not even be read
        return {}
    finally:
        history.close()


def _told(history: Any, run: FlowRunRecord) -> dict[str, Any]:
    tasks = history.read(TaskRuns(flow_run_ids=(run.id,)))
    lines = history.read(Lines(flow_run_ids=(run.id,), limit=10 * LINES))
    columns = [history.read(States(task_run_id=task.id))[0] for task in tasks]
    return {
        "state": run.state.label,
        "maps": [[column.count(code) for code in set(column)] for column in columns],
        "lines": [line.message for line in lines],
        "dropped": run.lines_dropped,
    }


def _once_over(ids: list[str]) -> dict[str, Any]:
    """Return what the history holds of flow runs once all are over, or at the deadline."""
    nobody = threading.Event()
    until = time.monotonic() + DEADLINE_S
    while True:
        held = _held(ids)
        over = sum(one["state"] == "Completed" for one in held.values())
        if over == len(ids) or time.monotonic() > until:
            return held
        nobody.wait(LOOK_EVERY_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
