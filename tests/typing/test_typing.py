"""Type checkers understand what users write: strictly, and each mistake in it."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

USER_CODE = Path(__file__).with_name("user_code.py")
LIMIT_S = 120


def wrong_lines() -> set[int]:
    """Return the lines that must be reported, from 1."""
    lines = USER_CODE.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def test_pyright_understands_user_code(tmp_path: Path) -> None:
    # A project of its own: ours has settings that a user's hasn't.
    settings = {"typeCheckingMode": "strict", "include": [str(USER_CODE)]}
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(settings))

    told = checked(
        *("basedpyright", "--project", str(project)),
        *("--pythonpath", sys.executable, "--outputjson"),
    )

    problems = json.loads(told)["generalDiagnostics"]
    found = {
        problem["range"]["start"]["line"] + 1: problem["message"]
        for problem in problems
        if problem["severity"] == "error"
    }
    assert problems_beside(found) == ({}, set())


def test_mypy_understands_user_code(tmp_path: Path, require: Callable[..., None]) -> None:
    there = importlib.util.find_spec("mypy") is not None
    require("mypy", "to check types as its users do", present=there)

    told = checked(
        *("mypy", "--strict", "--enable-error-code", "deprecated", "--output", "json"),
        *("--config-file", "", "--cache-dir", str(tmp_path), str(USER_CODE)),
    )

    problems = [json.loads(line) for line in told.splitlines()]
    found = {problem["line"]: problem["message"] for problem in problems}
    assert problems_beside(found) == ({}, set())


def checked(*command: str) -> str:
    """Return what a checker prints; it must have got as far as telling of mistakes."""
    name, *arguments = command
    assert importlib.util.find_spec(name) is not None
    run = subprocess.run(
        [sys.executable, "-m", name, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    return run.stdout


def problems_beside(found: dict[int, str]) -> tuple[dict[int, str], set[int]]:
    """Return what is reported though it is right, and what is wrong and isn't reported."""
    wrong = wrong_lines()
    return {line: told for line, told in found.items() if line not in wrong}, wrong - found.keys()
