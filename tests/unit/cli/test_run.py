import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.command_lines import fanfold

PIPELINE = """
import json
from pathlib import Path
from pydantic import BaseModel
from fanfold import flow, runtime, task
from fanfold.states import Cancelled, Crashed

class Size(BaseModel):
    width: int
    height: int = 1

@task
def double(n):
    return n * 2

@flow
def main(n: int, name: str = "none", size: Size | None = None, where: Path = Path("here")):
    print(json.dumps([double.map(range(n)).result(), name, size and size.width, str(where)]))
    print(json.dumps([runtime.flow_run.name, runtime.flow_run.tags]))

@flow
async def awaited(n: int):
    print("awaited", n)

@flow
def yielding():
    for n in range(3):
        print("item", n)
        yield n

@flow
def failing():
    raise ValueError("no luck")

@flow
def ending(how: str):
    return {"cancelled": Cancelled, "crashed": Crashed}[how](message="as asked")

if __name__ == "__main__":
    print("the main block")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FANFOLD_HISTORY_URL", "off")
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "only.py").write_text("from fanfold import flow\n@flow\ndef it(): print('ran')\n")
    return tmp_path


def test_a_flow_runs_with_parameters_that_are_json_or_else_text(folder: Path) -> None:
    (folder / "size.json").write_text('{"width": 7}')

    ended = fanfold(
        folder,
        *("run", "pipeline.py:main", "-p", "n=3", "-p", "name=007", "-p", "size=@size.json"),
        *("--tag", "nightly", "--name", "a {name} as it is", "--runner", "processes"),
    )

    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [
        '[[0, 2, 4], "007", 7, "here"]',
        '["a {name} as it is", ["nightly"]]',
    ]


def test_parameters_come_from_a_json_object_and_single_ones_win(folder: Path) -> None:
    given = '{"n": 1, "name": "json", "where": "there"}'

    ended = fanfold(folder, "run", "pipeline:main", "--param-json", given, "-p", "n=2")

    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0] == '[[0, 2], "json", null, "there"]'


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["pipeline.py:awaited", "-p", "n=5"], "awaited 5\n"),
        (["pipeline.py:yielding"], "item 0\nitem 1\nitem 2\n"),
        (["only.py"], "ran\n"),
    ],
)
def test_flows_of_every_kind_run_to_their_end(folder: Path, arguments: list[str], out: str) -> None:
    ended = fanfold(folder, "run", *arguments)

    assert (ended.code, ended.out) == (0, out)


def test_a_failed_flow_shows_the_users_frames_once_and_exits_with_1(folder: Path) -> None:
    ended = fanfold(folder, "run", "pipeline.py:failing")

    assert ended.code == 1
    assert ended.err.count("Traceback") == 1
    assert ended.err.count('pipeline.py", line') == 1
    assert ended.err.rstrip().endswith("ValueError: no luck")
    assert "fanfold/engine" not in ended.err


@pytest.mark.parametrize(("how", "code"), [("cancelled", 3), ("crashed", 4)])
def test_the_exit_code_says_how_a_run_ended(folder: Path, how: str, code: int) -> None:
    assert fanfold(folder, "run", "pipeline.py:ending", "-p", f"how={how}").code == code


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pipeline.py:main"], "The flow needs -p n=... too. main is called as main(n: int, "),
        (["pipeline.py:main", "-p", "m=1"], "There is no parameter m."),
        (["pipeline.py:main", "-p", "n=x"], "n: Input should be a valid integer"),
        (["pipeline.py:main", "-p", "n"], "-p takes NAME=VALUE, not n."),
        (["pipeline.py:main", "-p", "n=@none.json"], "The parameter's file none.json can't be"),
        (["pipeline.py:main", "--param-json", "[1]"], "--param-json takes an object"),
        (["pipeline.py:main", "--param-json", "{"], "--param-json isn't JSON"),
        (["pipeline.py"], "pipeline.py has 5 flows; say which one"),
        (["pipelin.py"], "Did you mean pipeline.py?"),
        (["pipeline.py:double"], "pipeline.py:double is no flow, but a Task."),
    ],
)
def test_what_cant_be_called_like_that_is_told_and_exits_with_2(
    folder: Path, arguments: list[str], told: str
) -> None:
    ended = fanfold(folder, "run", *arguments)

    assert ended.code == 2
    assert told in ended.err
    assert "Began" not in ended.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_in_order(folder: Path, number: signal.Signals, code: int) -> None:
    (folder / "waiting.py").write_text(
        "import time\n"
        "from fanfold import flow\n"
        "@flow(on_crashed=[lambda flow, run, state: print('ended', flush=True)])\n"
        "def main():\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-m", "fanfold.cli", "run", "waiting.py"]

    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 60)
        assert ready
        assert process.stdout.readline() == "waiting\n"
        os.kill(process.pid, number)
        out, _ = process.communicate(timeout=60)

    assert (process.returncode, out) == (code, "ended\n")


@pytest.mark.parametrize(
    ("words", "code", "state"),
    [
        (["pipeline.py:failing"], 1, "Failed"),
        (["pipeline.py:ending", "-p", "how=cancelled"], 3, "Cancelled"),
        (["only.py", "--name", "mine"], 0, "Completed"),
    ],
)
def test_programs_are_told_which_run_it_was_and_how_it_ended(
    folder: Path, words: list[str], code: int, state: str
) -> None:
    ended = fanfold(folder, "run", *words, "--json")

    told = json.loads(ended.out.removeprefix("ran\n"))
    assert ended.code == code
    assert told["state"] == state
    assert len(told["id"]) == 24
    assert told["name"] == ("mine" if "mine" in words else told["flow"])
