"""Checks of what runs write to: the storage of results, and the history."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from fanfold.cli.examination.findings import Finding, ok, problem, warning
from fanfold.cli.examination.patient import SQLITE, Patient
from fanfold.cli.examination.probing import try_store
from fanfold.cli.examination.workers import clock_found, skew_s
from fanfold.cli.texts import size
from fanfold.engine import registry
from fanfold.engine.wording import span
from fanfold.ports.history import History
from fanfold.values.errors import HistoryError, HistoryTooNew, UnknownHistory
from fanfold.values.ids import new_id

SLOW_COMMIT_S = 1.0
"""A history whose commits take longer is told: lines and states reach it late."""
_DOCUMENTS = "doctor"
"""Kind of the document that is written to the history, and dropped again."""
_POSTGRESQL = "postgresql"
_CONNECT_S = 5


def look_at_store(patient: Patient) -> Iterator[Finding]:
    """Write, read, create, list and delete where results are kept."""
    tried = try_store(patient.store, new_id())
    if tried.failure:
        yield problem(
            tried.failure, "Choose another place with results.default_storage, or mend this one."
        )
        return
    yield ok(f"{patient.store} wrote, read, created, listed and deleted in {span(tried.seconds)}")
    if tried.clock_s is not None:
        skew = skew_s(*tried.clock_s)
        finding = clock_found("the storage", skew)
        if finding.advice:
            yield finding


def look_at_history(patient: Patient) -> Iterator[Finding]:
    """Write a document to the history and drop it again."""
    if patient.history_url == "off":
        yield warning("off: no run is recorded", "fanfold config unset history.url")
        return
    try:
        history = registry.history(patient.history_url)
    except UnknownHistory as error:
        yield problem(str(error), "Choose another history with history.url.")
        return
    try:
        yield from _tried(history)
    except HistoryTooNew as error:
        yield problem(str(error), "pip install --upgrade fanfold")
    except HistoryError as error:
        yield problem(str(error), "Runs go on, and are recorded once it is back.")
    finally:
        history.close()


def look_at_history_clock(patient: Patient) -> Iterator[Finding]:
    """Ask a database server for its time: leases go by it."""
    if not patient.history_url.startswith(_POSTGRESQL):
        return  # a file's history goes by this machine's clock
    try:
        import psycopg  # an extra, which other histories don't need
    except ImportError:
        return  # the check of the history tells it
    try:
        with psycopg.connect(
            patient.history_url, connect_timeout=_CONNECT_S, autocommit=True
        ) as connection:
            before_s = time.time()
            row = connection.execute("select extract(epoch from clock_timestamp())").fetchone()
            after_s = time.time()
    except psycopg.Error:
        return  # as above
    if row is not None:
        yield clock_found("the database", skew_s(before_s, float(row[0]), after_s))


def _tried(history: History) -> Iterator[Finding]:
    status = history.status()
    if status.schema > status.latest_schema:
        raise HistoryTooNew(status.place, status.schema, status.latest_schema)
    if status.schema == 0:
        yield from _not_there(status.place)
        return
    if status.schema < status.latest_schema:
        # A document would upgrade the tables, which somebody may want to choose the time for.
        yield warning(
            f"{status.place}: tables of version {status.schema} of {status.latest_schema}",
            "The next run upgrades them, or do it now: fanfold db upgrade",
        )
        return
    began = time.monotonic()
    document = history.put(_DOCUMENTS, new_id(), "{}")
    seconds = time.monotonic() - began
    if document is None:
        yield problem(f"{status.place} didn't take a document", "Look at its log.")
        return
    history.drop(_DOCUMENTS, document.name)
    big = f", {size(status.size_bytes)}" if status.size_bytes else ""
    told = (
        f"{status.place}: {status.engine}, tables of version {status.latest_schema}{big}, "
        f"a commit in {span(seconds)}"
    )
    if seconds > SLOW_COMMIT_S:
        yield warning(told, "See what else its disk or network does.")
    else:
        yield ok(told)


def _not_there(place: str) -> Iterator[Finding]:
    path = Path(place.removeprefix(SQLITE))
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if place.startswith(SQLITE) and not os.access(above, os.W_OK | os.X_OK):
        yield problem(
            f"{place} isn't there and can't be made: {above} isn't writable",
            "Choose another place with history.url.",
        )
    else:
        yield ok(f"{place} isn't there yet; the first run makes it")
