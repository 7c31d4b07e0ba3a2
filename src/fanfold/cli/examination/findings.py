"""What a check finds, and how a check is made."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from fanfold.cli.examination.patient import Patient


class Level(StrEnum):
    """How bad something is."""

    OK = "ok"
    WARNING = "warning"
    """Flows run, but something will surprise somebody."""
    PROBLEM = "problem"
    """Flows don't run, or lose something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the result."""

    level: Level
    found: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something to look at."""

    name: str
    look: Callable[[Patient], Iterable[Finding]]
    """Returns nothing where there is nothing to look at."""
    bound_s: float = 10.0
    """What hasn't answered by then counts as a problem."""


def ok(found: str) -> Finding:
    """Return that all is well."""
    return Finding(level=Level.OK, found=found)


def warning(found: str, advice: str) -> Finding:
    """Return that something will surprise somebody, with what to do."""
    return Finding(level=Level.WARNING, found=found, advice=advice)


def problem(found: str, advice: str) -> Finding:
    """Return that something doesn't work, with what to do."""
    return Finding(level=Level.PROBLEM, found=found, advice=advice)
