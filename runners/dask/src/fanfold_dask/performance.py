"""Dask's report on a session's performance: one HTML file, written as the session closes."""

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from distributed import performance_report

from fanfold.values.errors import UsageError
from fanfold_dask.addresses import masked
from fanfold_dask.native import NativeClient, reason

logger = logging.getLogger("fanfold.runners")


def begin(client: NativeClient, path: str) -> Callable[[], None]:
    """Have a cluster take notes from now on, and return what writes them down.

    Args:
        client: Of the cluster.
        path: A file, or a URL that fsspec knows.

    Raises:
        UsageError: The scheduler can't make a report.
    """
    if not client.run_on_scheduler(_possible):
        raise UsageError(
            "performance_report_path needs bokeh where Dask's scheduler runs: "
            "pip install 'fanfold-dask[dashboard]'."
        )
    report: Any = performance_report(path)
    with client.as_current():
        report.__enter__()

    def write() -> None:
        try:
            with client.as_current():
                report.__exit__(None, None, None)
        except Exception as error:
            # Nothing is lost but the report, and the run's values are right.
            logger.warning("Dask's report %s wasn't written: %s", path, masked(reason(error)))

    return write


def _possible() -> bool:
    return find_spec("bokeh") is not None
