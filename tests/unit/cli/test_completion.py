"""What shells are told to complete our commands with."""

import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from fanfold.cli.__main__ import NOUNS, fanfold
from fanfold.ports.history import History
from fanfold.values.states import StateName
from tests.unit.cli.commands import run
from tests.unit.cli.stories import Story


def offered(*words: str) -> list[str]:
    *before, incomplete = words
    complete = ShellComplete(fanfold, {}, "fanfold", "_FANFOLD_COMPLETE")
    return [item.value for item in complete.get_completions(list(before), incomplete)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_for_each_shell(shell: str) -> None:
    script = run("completion", shell).stdout

    assert f"_FANFOLD_COMPLETE={shell}_complete" in script
    assert "fanfold" in script


def test_nouns_are_completed_without_loading_them() -> None:
    program = (
        "import sys\n"
        "from fanfold.cli.__main__ import fanfold\n"
        "from click.shell_completion import ShellComplete\n"
        "complete = ShellComplete(fanfold, {}, 'fanfold', '_FANFOLD_COMPLETE')\n"
        "print(*(item.value for item in complete.get_completions([], '')))\n"
        "print(*(name for name in sys.modules if name in sys.argv))"
    )
    modules = [module for module, _ in NOUNS.values() if module != "fanfold.cli.completion"]

    told = subprocess.run(
        [sys.executable, "-c", program, *modules], capture_output=True, text=True, check=True
    ).stdout.split("\n")

    assert told == [" ".join(sorted(NOUNS)), "", ""]


def test_runs_are_completed_by_name_and_by_the_beginning_of_an_id(story: Story) -> None:
    run_id = story.flow_run("etl", "monday", run_id="abcd00000000000000000001")
    story.flow_run("etl", "mon\nday")

    story.flow_run("etl", 'mo\'s "day"')

    assert offered("runs", "show", "mo") == ["monday"]
    assert offered("runs", "logs", "abc") == [run_id]
    assert offered("runs", "cancel", "monday", "l") == ["last"]


def test_flows_states_and_keys_are_completed(story: Story) -> None:
    story.flow_run("etl", state=StateName.COMPLETED)
    story.flow_run("etl")

    assert offered("runs", "ls", "--flow", "") == ["etl"]
    assert offered("runs", "ls", "--state", "CA") == ["cancelling", "cached", "cancelled"]


def test_files_with_flows_are_left_to_the_shell() -> None:
    complete = ShellComplete(fanfold, {}, "fanfold", "_FANFOLD_COMPLETE")

    assert [item.type for item in complete.get_completions(["run"], "pipe")] == ["file"]


def test_help_says_in_lines_of_their_own_what_to_type_for_each_shell() -> None:
    lines = [line.strip() for line in run("completion", "--help").stdout.splitlines()]

    assert """bash: echo 'eval "$(fanfold completion bash)"' >> ~/.bashrc""" in lines
    assert "\\b" not in "".join(lines)


def test_a_history_that_cannot_be_read_offers_nothing_and_says_nothing(
    history: History, capfd: pytest.CaptureFixture[str]
) -> None:
    history.outage = "no space"  # type: ignore[attr-defined]

    assert offered("runs", "show", "") == []
    assert capfd.readouterr() == ("", "")
