"""The notebooks run from top to bottom in a fresh home, and again from its cache."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LIMIT_S = 60


def run(notebook: nbformat.NotebookNode) -> list[str]:
    """Run all cells in a new kernel and return what each printed."""
    NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3").execute()
    return [
        "".join(o.get("text", "") for o in cell.get("outputs", ()) if o.get("name") == "stdout")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_twice_in_a_fresh_home(path: Path) -> None:
    run(nbformat.read(path, as_version=4))
    run(nbformat.read(path, as_version=4))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells

    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.parametrize("runner", ["processes", "dask"])
def test_a_kernel_needs_no_main_guard(runner: str) -> None:
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

    assert run(notebook) == ["[0, 2, 4, 6, 8]\n"]
