"""Runs the command line in a process of its own, as a shell does."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class Ended:
    """What a process printed, and its exit code."""

    code: int
    out: str
    err: str


def python(folder: Path, *arguments: str, typed: str = "", **variables: str) -> Ended:
    """Run Python in a folder to its end.

    Args:
        folder: The working directory.
        *arguments: Of the interpreter.
        typed: What comes in at standard input.
        **variables: Of the environment, besides those that are there.
    """
    told = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        input=typed,
        env={**os.environ, **variables},
        timeout=LIMIT_S,
        check=False,
    )
    return Ended(told.returncode, told.stdout, told.stderr)


def fanfold(folder: Path, *arguments: str, typed: str = "", **variables: str) -> Ended:
    """Run `fanfold` with these arguments in a folder."""
    return python(folder, "-m", "fanfold.cli", *arguments, typed=typed, **variables)
