"""Programs as Prefect's documentation describes them run here; only the import is another.

Each was run under Prefect itself by `record.py`, which kept what it printed.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROGRAMS = sorted(HERE.glob("[0-9][0-9]_*.py"))
PRINTED = json.loads((HERE / "printed_by_prefect.json").read_text())["printed"]
NAMES = HERE.parent / "unit/cli/prefect_names.json"
PUBLIC = frozenset(json.loads(NAMES.read_text())["3"]["names"])
"""What Prefect 3 exports, each as it is imported."""
LIMIT_S = 60


def imported(source: str) -> Iterator[str]:
    """Yield what a program imports of Fanfold, each with its module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(source: str) -> list[str]:
    return [name for name in imported(source) if name.partition(".")[0] == "fanfold"]


def test_there_are_twenty_and_each_was_run_under_prefect() -> None:
    assert len(PROGRAMS) == 20
    assert [path.stem for path in PROGRAMS] == list(PRINTED)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_only_the_word_differs_in_what_a_program_imports(path: Path) -> None:
    source = path.read_text()

    theirs = [name.replace("fanfold", "prefect", 1) for name in ours(source)]

    assert theirs
    assert [name for name in theirs if name not in PUBLIC] == []
    assert source.count("fanfold") == sum("fanfold" in line for line in import_lines(source))


def import_lines(source: str) -> list[str]:
    return [line for line in source.splitlines() if line.lstrip().startswith(("from", "import"))]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_prints_what_it_prints_under_prefect(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(path)]
    # The home that every test has is in the environment; the folder keeps what a program writes.
    ended = subprocess.run(
        command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=LIMIT_S
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == PRINTED[path.stem], ended.stderr
