"""The command line as a user has it: `fanfold artifacts`."""

import json
from typing import Any

import pytest
from rich.cells import cell_len

from fanfold.values.facts import ArtifactMade
from fanfold.values.ids import new_id
from tests.unit.cli.commands import COLUMNS, run, seen
from tests.unit.cli.stories import Story


def made(story: Story, kind: str, data: Any, key: str = "", flow_run_id: str = "") -> str:
    """Tell of an artifact; return its id."""
    artifact_id = new_id()
    story.at_us += 1_000_000
    story.tell(
        ArtifactMade(
            flow_run_id=flow_run_id,
            artifact_id=artifact_id,
            kind=kind,
            key=key,
            data=json.dumps(data),
            description="what it is",
            at_us=story.at_us,
        )
    )
    return artifact_id


def listed(*words: str) -> list[list[str]]:
    lines = run("artifacts", "ls", *words).stdout.splitlines()
    return [line.split("\t")[1:5] for line in lines]


def test_the_last_version_of_each_key_is_listed_unless_all_are_asked_for(story: Story) -> None:
    run_id = story.flow_run("etl", "monday")
    made(story, "table", [], "scores", run_id)
    made(story, "table", [], "scores", run_id)
    made(story, "link", "https://example.org", "paper")

    assert listed() == [["paper", "1", "link", ""], ["scores", "2", "table", run_id]]
    assert listed("--all", "--key", "scores") == [
        ["scores", "2", "table", run_id],
        ["scores", "1", "table", run_id],
    ]
    assert listed("--run", "monday") == listed("--kind", "table")
    assert run("artifacts", "ls", "--kind", "image").stderr == "No artifact is like that.\n"


def test_an_artifact_is_shown_by_key_version_or_id(story: Story) -> None:
    first = made(story, "link", "https://example.org/1", "paper")
    made(story, "link", "https://example.org/2", "paper")

    def shown(*words: str) -> Any:
        return json.loads(run("artifacts", "show", *words, "--json").stdout)["data"]

    assert shown("paper") == "https://example.org/2"
    assert shown("paper", "--version", "1") == shown(first) == "https://example.org/1"
    said = run("artifacts", "show", "paper", "--version", "3", code=2).stderr
    assert "paper has no version 3, only 1 to 2." in said
    said = run("artifacts", "show", "papre", code=2).stderr
    assert "There is no artifact papre. Did you mean paper?" in said


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        ([{"a": 1, "b": "x"}, {"b": None, "c": [2]}], ["1\tx\t", "\t\t[2]"]),
        ({"a": [1, 2], "b": ["x"]}, ["1\tx", "2\t"]),
        ({"a": 1, "b": "x\ny"}, ["1\tx y"]),
        ([[1, 2], [3]], ["1\t2", "3\t"]),
        ([1.5, "x"], ["1.5", "x"]),
        ([], ["[]"]),
    ],
)
def test_a_table_may_be_rows_columns_or_lists(story: Story, data: Any, lines: list[str]) -> None:
    made(story, "table", data, "scores")

    _, _, body = run("artifacts", "show", "scores").stdout.partition("\n\n")

    assert body.splitlines() == lines


def test_progress_is_a_bar(story: Story) -> None:
    made(story, "progress", 25.0, "reading")

    assert run("artifacts", "show", "reading").stdout.endswith(f"\n{'#' * 10}{'-' * 30} 25 %\n")


def test_markdown_is_set_on_a_terminal_and_left_as_it_is_in_a_pipe(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "# Results\n\n* one\n* two \x1b[2J\n\n" + "word " * 60
    made(story, "markdown", text, "report")

    lines = seen(monkeypatch, "artifacts", "show", "report")

    assert any("Results" in line and "#" not in line for line in lines)
    assert all(cell_len(line) <= COLUMNS for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "\n\n# Results\n\n* one\n" in run("artifacts", "show", "report").stdout


def test_a_terminal_gets_a_table_of_80_columns(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(story, "table", [{"[red]": "x" * 200, "b\n": "漢字" * 60}], "k" * 100)

    for words in (["ls"], ["show", "k" * 100]):
        lines = seen(monkeypatch, "artifacts", *words)
        assert all(cell_len(line) <= COLUMNS for line in lines)
