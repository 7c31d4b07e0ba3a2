"""What runs say, as records of standard `logging`, from wherever they run.

Every record that is made inside a run carries the run's ids, whichever logger made it: a record
factory adds them. Where a chunk runs in another process, a handler puts them into the chunk's
outbox, and the driver hands what comes out of it to the loggers of the same names.
"""

import copy
import logging
import threading
from collections.abc import Callable, Generator, MutableMapping
from contextlib import contextmanager
from typing import Any

from fanfold.engine import registry, settings
from fanfold.engine.context import FLOW_RUN, TASK_RUN, RunContext, RunInfo, current, running
from fanfold.engine.recording import lines
from fanfold.engine.recording.bundles import LOGGERS
from fanfold.engine.recording.masking import mask
from fanfold.values.errors import MissingContextError

ROOT = "fanfold"
_FIELDS = (
    *("flow_run_id", "flow_run_name", "flow_name"),
    *("task_run_id", "task_run_name", "task_name", "map_index", "attempt"),
)
"""What every record has beside the standard attributes; None where it isn't known."""
_NOWHERE: dict[str, Any] = dict.fromkeys(_FIELDS)


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose records belong to one run, from whichever thread they come."""

    def __init__(self, context: RunContext) -> None:
        super().__init__(logging.getLogger(LOGGERS[context.info.kind]), {})
        self.context = context

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a line of the run."""
        if not self.isEnabledFor(level):
            return
        send = self.context.send
        if send is not None and send.refuses(self.context, level):
            return
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        if current() is self.context:
            self.logger.log(level, msg, *args, **kwargs)
            return
        with running(self.context):
            self.logger.log(level, msg, *args, **kwargs)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave the line as it is: the record factory adds the ids."""
        return msg, kwargs


def get_run_logger() -> RunLogger:
    """Return the logger of the flow or task run that the caller belongs to.

    Raises:
        MissingContextError: The caller is in no run.
    """
    context = current()
    if context is None:
        raise MissingContextError(
            "get_run_logger() was called outside of any run of a flow or a task. "
            "Use logging.getLogger(__name__) there."
        )
    return RunLogger(context)


def tell(context: RunContext, message: str, level: int = logging.INFO) -> None:
    """Log a line of a run."""
    RunLogger(context).log(level, "%s", message)


def level() -> int:
    """Return the level from which on some logger of runs takes lines."""
    return min(logging.getLogger(name).getEffectiveLevel() for name in LOGGERS.values())


@contextmanager
def sent_home(info: RunInfo) -> Generator[None]:
    """Send the lines of runs home while the code inside runs in another process."""
    label_records()
    _homeward.count(1, info)
    try:
        yield
    finally:
        _homeward.count(-1, info)


class _Homeward(logging.Handler):
    """Sends records to the driver, each to that of the run which made it."""

    def __init__(self) -> None:
        super().__init__(level=1)
        self._guard = threading.Lock()
        self._users: dict[str, int] = {}
        self._before: dict[str, tuple[int, bool]] = {}

    def count(self, step: int, info: RunInfo) -> None:
        """Take the place of handlers at the first use, and give it back after the last."""
        with self._guard:
            for name in (ROOT, *info.loggers):
                users = self._users.get(name, 0) + step
                self._users[name] = users
                logger = logging.getLogger(name)
                if users == 1 and step == 1:
                    self._before[name] = (logger.level, logger.propagate)
                    logger.addHandler(self)
                    logger.propagate = False
                    logger.setLevel(info.log_level)
                elif users == 0:
                    logger.removeHandler(self)
                    logger.level, logger.propagate = self._before[name]
                    logger.setLevel(logger.level)
                elif step == 1:
                    logger.setLevel(min(logger.level, info.log_level))

    def emit(self, record: logging.LogRecord) -> None:
        """Put one record into the outbox of the chunk which made it, as text."""
        context = current()
        if context is None or context.send is None or record.levelno < context.info.log_level:
            return
        if not context.send.refuses(context, record.levelno):
            context.send.take(record, context, lines.message(record))


_homeward = _Homeward()


def ids(context: RunContext | None) -> dict[str, Any]:
    """Return what the records of a run's code carry."""
    if context is None:
        return _NOWHERE
    info = context.info
    flow = info if info.kind == FLOW_RUN else info.flow
    facts = dict(_NOWHERE)
    if flow is not None:
        facts |= {"flow_run_id": flow.id, "flow_run_name": flow.name, "flow_name": flow.of}
    if info.kind == TASK_RUN:
        facts |= {"task_run_id": info.id, "task_run_name": info.name, "task_name": info.of}
        element = context.element
        if element is not None:
            facts["task_run_id"] = info.element_id(element.index)
            if not info.single:
                facts["map_index"] = info.first + element.index
            facts["task_run_name"] = element.name or info.name
            facts["attempt"] = element.run_count
    return facts


_labelling: Any = None
"""The record factory that is known to add the ids, whoever made it."""


def label_records() -> None:
    """Have every record that is made from now on carry the ids of its run.

    Others wrap the factory too, Ray among them; where ours is inside of theirs, nothing is to be
    done, and wrapping theirs again would go round in circles.
    """
    global _labelling
    factory = logging.getLogRecordFactory()
    if factory is _labelling:
        return
    if not hasattr(factory(ROOT, logging.NOTSET, "", 0, "", (), None), "flow_run_id"):
        factory = _labelled(factory)
        logging.setLogRecordFactory(factory)
    _labelling = factory


def _labelled(inner: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    def labelled(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = inner(*args, **kwargs)
        record.__dict__.update(ids(current()))
        return record

    return labelled


def show() -> None:
    """Show Fanfold's log lines on standard error, unless the program configured logging itself.

    They are put into the history either way.
    """
    label_records()
    held = settings.current()
    lines.listen((ROOT, *held.logging_extra_loggers))
    if _shown_by_others():
        return
    root = logging.getLogger(ROOT)
    root.addHandler(registry.display("log"))
    root.setLevel(held.logging_level)
    root.propagate = False


def _shown_by_others() -> bool:
    places = (logging.getLogger(ROOT), logging.getLogger())
    return any(handler is not lines.HANDLER for place in places for handler in place.handlers)


class Formatter(logging.Formatter):
    """Names the run that a line belongs to in front of it, and masks secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        record.run = origin(record)
        line = super().format(record)
        return line if mask(line) is line else super().format(_masked(record))


def _masked(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy without secrets; what is in front of a message, such as the time, stays."""
    clean = copy.copy(record)
    clean.msg, clean.args = mask(record.getMessage()), ()
    clean.run = mask(origin(record))
    # Made by `format` where there is an exception.
    clean.exc_text = mask(record.exc_text) if record.exc_text else None
    clean.stack_info = mask(record.stack_info) if record.stack_info else None
    return clean


def origin(record: logging.LogRecord) -> str:
    """Return "Task run 'name' - " or what else a record came from; empty outside of runs."""
    facts = record.__dict__
    task = facts.get("task_run_name")
    if task is not None:
        index = facts.get("map_index")
        named = f"{task}[{index}]" if index is not None and f"[{index}]" not in task else task
        return f"{TASK_RUN} {named!r} - "
    flow = facts.get("flow_run_name")
    return f"{FLOW_RUN} {flow!r} - " if flow is not None else ""
