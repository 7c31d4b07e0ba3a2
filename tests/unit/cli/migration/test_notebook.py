"""Notebooks before and after."""

import json
from typing import Any

import pytest

from fanfold.cli.migration.notebook import NotANotebook, rewrite_notebook


def code(*lines: str, **more: Any) -> dict[str, Any]:
    source = [f"{line}\n" for line in lines[:-1]] + list(lines[-1:])
    return {"cell_type": "code", "metadata": {}, "outputs": [], "source": source, **more}


def notebook(*cells: dict[str, Any], indent: int | None = 1, end: str = "\n") -> str:
    whole = {"cells": list(cells), "metadata": {"é": 1.0}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=indent, ensure_ascii=False) + end


def sources(text: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"]]


@pytest.mark.parametrize(("indent", "end"), [(1, "\n"), (4, ""), (None, "\n")])
def test_cells_are_one_program_and_everything_else_stays_byte_for_byte(
    indent: int | None, end: str
) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": ["from prefect import flow\n"]}
    note = {"cell_type": "markdown", "metadata": {}, "source": ["import prefect\n"]}
    before = notebook(
        note,
        code("import prefect  # é"),
        code("@prefect.flow", "def f(): ...", outputs=[output]),
        indent=indent,
        end=end,
    )

    after, notes = rewrite_notebook(before)

    assert after == before.replace("import prefect  # é", "import fanfold  # é").replace(
        "@prefect.flow", "@fanfold.flow"
    )
    assert notes == ()


def test_a_statement_that_becomes_two_stays_in_its_cell() -> None:
    before = notebook(code("from prefect import flow, Transaction"), code("x = 1"))

    after, _ = rewrite_notebook(before)

    assert sources(after) == [
        "from fanfold import flow\nfrom fanfold.transactions import Transaction",
        "x = 1",
    ]


def test_magics_and_cells_of_other_languages_are_passed_by() -> None:
    before = notebook(
        code("%matplotlib inline", "!pip install prefect", "from prefect import flow"),
        code("%%bash", "prefect deploy é"),
        code("%%time", "from prefect import task", "files = !ls", "task?", "await x"),
        code("x = (1", "%2)", "from prefect import tags"),
        code(""),
    )

    after, notes = rewrite_notebook(before)

    assert sources(after) == [
        "%matplotlib inline\n!pip install prefect\nfrom fanfold import flow",
        "%%bash\nprefect deploy é",
        "%%time\nfrom fanfold import task\nfiles = !ls\ntask?\nawait x",
        "x = (1\n%2)\nfrom fanfold import tags",
        "",
    ]
    assert notes == ()


def test_a_note_names_the_cell_and_the_line_in_it() -> None:
    before = notebook(
        code("x = 1", "y = 2"), code("from prefect import flow"), code("", "flow(x).serve('x')")
    )

    _, notes = rewrite_notebook(before)

    assert [(note.cell, note.note.line, note.note.name) for note in notes] == [
        (3, 2, "prefect.Flow.serve")
    ]


def test_a_source_in_one_piece_stays_one() -> None:
    before = notebook({**code(""), "source": "from prefect import flow\n"})

    after, _ = rewrite_notebook(before)

    assert json.loads(after)["cells"][0]["source"] == "from fanfold import flow\n"


def test_a_notebook_without_prefect_stays_as_it_is() -> None:
    before = notebook(code("x = 1"))

    assert rewrite_notebook(before) == (before, ())


def test_a_cell_that_is_no_program_is_named() -> None:
    with pytest.raises(SyntaxError, match="cell 2, line 2"):
        rewrite_notebook(notebook(code("from prefect import flow"), code("x", "def f(:")))


@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", '{"worksheets": []}', notebook(code("x")).replace("1.0", "1.00")],
    ids=["empty", "no JSON", "a list", "format 3", "not as Jupyter writes it"],
)
def test_what_is_no_notebook_or_could_not_be_kept_is_refused(text: str) -> None:
    with pytest.raises(NotANotebook):
        rewrite_notebook(text)
