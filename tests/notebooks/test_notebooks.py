"""The notebooks run from top to bottom in a fresh home, and again from its cache."""

import re
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.notebooks.kernels import LOG_LINE

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LIMIT_S = 60
SLOW = ("train", "dask", "ray", "million", "memory")
"""In the names of those that take longer than 30 s, twice, on a busy machine."""


def each() -> list[Any]:
    return [
        pytest.param(
            path,
            id=path.stem,
            marks=[pytest.mark.slow] if any(word in path.stem for word in SLOW) else [],
        )
        for path in NOTEBOOKS
    ]


def run(notebook: nbformat.NotebookNode, folder: Path) -> dict[str, str]:
    """Run all cells in a new kernel in a folder; return what each printed, without log lines."""
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3", resources=where).execute()
    return {cell.id: printed(cell) for cell in notebook.cells if cell.cell_type == "code"}


def printed(cell: nbformat.NotebookNode) -> str:
    text = "".join(out.text for out in cell.outputs if out.get("name") == "stdout")
    lines = [line for line in text.splitlines(keepends=True) if not LOG_LINE.match(line)]
    return "".join(lines)


@pytest.mark.parametrize("path", each())
def test_a_notebook_runs_in_a_fresh_home_and_again_from_its_cache(
    path: Path, tmp_path: Path
) -> None:
    notebooks = [nbformat.read(path, as_version=4) for _ in range(2)]
    began = time.monotonic()

    outputs = [run(notebook, tmp_path) for notebook in notebooks]

    assert time.monotonic() - began < 2 * LIMIT_S
    marked = [cell.id for cell in notebooks[0].cells if "cached" in cell.metadata.get("tags", ())]
    first, second = ("".join(output[name] for name in marked) for output in outputs)
    assert "Completed" in first
    assert "Cached" in second
    assert "Completed" not in second


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells

    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_memory_stays_as_it_is_however_much_goes_through(tmp_path: Path) -> None:
    path = next(path for path in NOTEBOOKS if path.stem.endswith("larger_than_memory"))

    told = run(nbformat.read(path, as_version=4), tmp_path)["growth"]

    grown, through = map(int, re.findall(r"(\d+) MiB", told))
    assert through > 2_000
    assert grown < through / 5


@pytest.mark.parametrize("runner", ["processes", "dask"])
def test_a_kernel_needs_no_main_guard(runner: str, tmp_path: Path) -> None:
    source = f"""
from fanfold import flow, task

@task
def double(x):
    return 2 * x

@flow(task_runner={runner!r})
def doubled(count: int):
    return double.map(range(count)).result()

print(doubled(5))
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])

    assert list(run(notebook, tmp_path).values()) == ["[0, 2, 4, 6, 8]\n"]
