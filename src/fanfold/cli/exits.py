"""What the command line exits with.

| code | of a command | of one that reports a run: `run`, `runs retry` and such |
|---|---|---|
| 0 | it was done | Completed |
| 1 | it couldn't be done | Failed |
| 2 | the command was wrong; nothing was done | |
| 3 | | Cancelled |
| 4 | | Crashed |
| 130 | Ctrl-C ended it | |
"""

from enum import IntEnum

import click

from fanfold.values.errors import FanfoldError, UsageError
from fanfold.values.states import StateName, StateType


class Exit(IntEnum):
    """Every exit code."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    CRASHED = 4
    INTERRUPTED = 130
    """As shells have it of programs that SIGINT ended."""


class WrongCommand(click.ClickException):
    """Shown as a line, without the command's usage: its words were right, not what they name."""

    exit_code = Exit.USAGE


_OF_TYPE = {
    StateType.COMPLETED: Exit.DONE,
    StateType.FAILED: Exit.FAILED,
    StateType.CANCELLED: Exit.CANCELLED,
    StateType.CRASHED: Exit.CRASHED,
}


def of_state(state: StateName) -> Exit:
    """Return what a command exits with that reports a run in this state, which must be final."""
    return _OF_TYPE[state.type]


def complaint(error: FanfoldError) -> click.ClickException:
    """Return what click shows of one of our errors, with its exit code."""
    wrong = isinstance(error, UsageError) or isinstance(error.__cause__, NotADirectoryError)
    kind = WrongCommand if wrong else click.ClickException
    return kind(str(error))
