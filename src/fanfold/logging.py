"""Loggers of runs."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from fanfold.engine.telling import LOGGERS, ROOT
from fanfold.engine.telling import RunLogger as RunLogger
from fanfold.engine.telling import get_run_logger as get_run_logger


def get_logger(name: str | None = None) -> logging.Logger:
    """Return the logger of a name below "fanfold", or that one itself."""
    if name is None or name == ROOT or name.startswith(f"{ROOT}."):
        return logging.getLogger(name or ROOT)
    return logging.getLogger(f"{ROOT}.{name}")


@contextmanager
def disable_run_logger() -> Generator[None]:
    """Let runs say nothing while the code inside runs: for tests of a flow's plain functions."""
    loggers = [logging.getLogger(name) for name in LOGGERS.values()]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
