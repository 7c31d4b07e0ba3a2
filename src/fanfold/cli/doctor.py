"""`fanfold doctor`: see whether flows would run here, and what to do if not."""

import queue
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass

import click

from fanfold.cli import tables
from fanfold.cli.examination.findings import Check, Finding, Level, problem
from fanfold.cli.examination.patient import Patient
from fanfold.cli.examination.table import CHECKS
from fanfold.cli.exits import Exit
from fanfold.cli.texts import clean, plural
from fanfold.display.logs import coloured
from fanfold.values.errors import UsageError

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
_NAME_COLUMNS = max(len(check.name) for check in CHECKS)
_LEVEL_COLUMNS = max(len(level) for level in Level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A finding, and of which check."""

    check: str
    level: Level
    found: str
    advice: str


@click.command()
@click.option("--runner", "name", help="Look at this task runner: threads, processes, dask, ray.")
@click.option("--address", help="Of the runner's cluster, such as tcp://10.0.0.5:8786.")
@tables.json_option
def command(name: str | None, address: str | None, as_json: bool) -> None:
    """See whether flows would run here, and what to do if not.

    Looks at versions, settings, the home, the storage of results and the history, and runs a small
    chunk in each slot of the task runner to look at its workers. Leaves nothing behind.
    Exits with 1 if there is a problem.
    """
    patient = Patient(chosen=name or "", address=address)
    if address is not None:
        patient.find_runner()  # an address that a runner has no use for is a wrong command
    lines: list[Line] = []
    for line in examined(patient, CHECKS):
        lines.append(line)
        if not as_json:
            _show(line)
    problems = sum(line.level is Level.PROBLEM for line in lines)
    if as_json:
        tables.show_json(lines)
    elif sys.stdout.isatty():
        warnings = sum(line.level is Level.WARNING for line in lines)
        click.echo(f"{plural(problems, 'problem')}, {plural(warnings, 'warning')}")
    if problems:
        sys.exit(Exit.FAILED)


def examined(patient: Patient, checks: Sequence[Check]) -> Iterator[Line]:
    """Make the checks one by one, each within its time, and yield what they find.

    Whatever a check raises is a problem of its own, and the others are made all the same.
    """
    for check in checks:
        for each in _found(check, patient):
            yield Line(check=check.name, level=each.level, found=each.found, advice=each.advice)


def _found(check: Check, patient: Patient) -> Iterator[Finding]:
    findings: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()

    def look() -> None:
        try:
            for finding in check.look(patient):
                findings.put(finding)
        except UsageError as error:
            findings.put(problem(f"not looked at: {error}", "Correct the settings."))
        except Exception as error:  # told as a problem
            said = f"the check itself failed: {type(error).__name__}: {error}"
            findings.put(problem(said, "Please report it."))
        findings.put(None)

    # A thread that hangs is left behind: it is a daemon, so the command ends all the same.
    name = f"fanfold-doctor-{check.name}"
    threading.Thread(target=copy_context().run, args=(look,), name=name, daemon=True).start()
    deadline = time.monotonic() + check.bound_s
    while True:
        try:
            finding = findings.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            yield problem(
                f"no answer within {check.bound_s:g} s", "See whether it can be reached from here."
            )
            return
        if finding is None:
            return
        yield finding


def _show(line: Line) -> None:
    if not sys.stdout.isatty():
        cells = (line.level.value, line.check, line.found, line.advice)
        click.echo("\t".join(clean(cell, end=" ") for cell in cells))
        return
    indent = _LEVEL_COLUMNS + _NAME_COLUMNS + 4
    width = max(20, shutil.get_terminal_size().columns - indent)
    told = textwrap.wrap(clean(line.found, end=" "), width)
    if line.advice:
        advice = textwrap.wrap(
            clean(line.advice, end=" "), width, initial_indent="→ ", subsequent_indent="  "
        )
        told += advice
    level = line.level.value.ljust(_LEVEL_COLUMNS)
    if _colours():
        level = click.style(level, fg=_COLOURS[line.level], bold=True)
    click.echo(f"{level}  {line.check.ljust(_NAME_COLUMNS)}  {told[0] if told else ''}")
    for rest in told[1:]:
        click.echo(" " * indent + rest)


def _colours() -> bool:
    try:
        return coloured(sys.stdout)
    except UsageError:  # the settings aren't understood, which is what is being told
        return False
