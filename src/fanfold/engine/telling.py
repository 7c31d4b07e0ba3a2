"""What runs say, as records of standard `logging`."""

import logging
import pickle

from fanfold.engine.context import RunInfo

_LOGGERS = {"Flow run": "fanfold.flow_runs", "Task run": "fanfold.task_runs"}


def tell(info: RunInfo, message: str, level: int = logging.INFO) -> None:
    """Log a line of a run; the record carries the run's ids."""
    logger = logging.getLogger(_LOGGERS[info.kind])
    extra = {"run_id": info.id, "run_name": info.name, "flow_run_id": info.flow_run_id or info.id}
    logger.log(level, "%s %r - %s", info.kind, info.name, message, extra=extra)


def retell(chunk_id: str, message: bytes) -> None:
    """Log what a running chunk said; the driver's `heard`."""
    info, line = pickle.loads(message)
    tell(info, line)


def show() -> None:
    """Show Fanfold's log lines on standard error, unless the program configured logging itself."""
    root = logging.getLogger("fanfold")
    if root.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("%(asctime)s | %(levelname)-7s | %(message)s", "%H:%M:%S")
    )
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    root.propagate = False
