"""The command as a user has it: `fanfold migrate`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fanfold.cli.migrate import command

MOVES = "from prefect import flow, task  # both\n"
MOVED = "from fanfold import flow, task  # both\n"
STAYS = "from prefect import serve\n"
NUMBER = 0o640


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def file(name: str, text: str | bytes) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def migrate(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(command, words)
    assert result.exit_code == code, result.output
    return result


def test_without_write_the_change_is_shown_and_not_made() -> None:
    path = file("a.py", MOVES)

    result = migrate("a.py")

    assert path.read_text() == MOVES
    assert result.stdout == f"--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-{MOVES}+{MOVED}"
    assert result.stderr == "1 file: 1 would change (--write does it), 0 places need a look.\n"


def test_the_change_that_is_shown_can_be_applied_by_patch() -> None:
    path = file("a.py", f"x\n\n{MOVES}\n\n\n\nfrom prefect.states import Completed")

    shown = migrate("a.py").stdout
    done = subprocess.run(
        ["git", "apply", "-"], input=shown, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert path.read_text() == f"x\n\n{MOVED}\n\n\n\nfrom fanfold.states import Completed"


def test_write_changes_the_file_keeps_its_mode_and_leaves_nothing_behind(project: Path) -> None:
    path = file("a.py", MOVES)
    path.chmod(NUMBER)

    result = migrate("--write", "a.py")

    assert path.read_text() == MOVED
    assert path.stat().st_mode & 0o777 == NUMBER
    assert os.listdir(project) == ["a.py"]
    assert result.stdout == ""
    assert result.stderr == "1 file: 1 changed, 0 places need a look.\n"


def test_write_shows_the_change_too_where_it_is_asked_to() -> None:
    file("a.py", MOVES)

    assert "--- a/a.py" in migrate("--write", "--diff", "a.py").stdout
    assert migrate("--write", "--diff", "a.py").stdout == ""


def test_what_stays_is_named_by_line_and_the_rest_is_written() -> None:
    path = file("a.py", MOVES + STAYS)

    result = migrate("--write", "a.py", code=1)

    assert path.read_text() == MOVED + STAYS
    assert result.stderr.startswith("a.py:2:21: prefect.serve: later: Deployments are planned.")
    assert result.stderr.endswith("1 file: 1 changed, 1 place needs a look.\n")


def test_folders_are_gone_through_but_for_what_is_not_the_projects_own() -> None:
    inside = ["flows/a.py", "flows/deep/b.py", "flows/c.ipynb"]
    outside = ["flows/d.txt", "flows/.git/e.py", "flows/env/f.py", "flows/__pycache__/g.py"]
    for name in [*inside, *outside]:
        file(name, '{"cells": []}' if name.endswith("ipynb") else MOVES)
    file("flows/env/pyvenv.cfg", "")
    Path("flows/deep/up").symlink_to(Path("flows").absolute())

    facts = json.loads(migrate("--json", "flows", "flows/a.py").stdout)

    assert sorted(each["path"] for each in facts["files"]) == sorted(inside)


def test_a_file_that_is_named_is_read_whatever_it_is_called() -> None:
    path = file("script", "#!/usr/bin/env python\n" + MOVES)

    migrate("--write", "script")

    assert path.read_text() == "#!/usr/bin/env python\n" + MOVED


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.py", b"x\n\ndef f(:\n", "It can't be parsed in line 3: "),
        ("a.py", b"\x7fELF\x00\x01\xff", "It "),
        ("a.py", b"x = '\xff'\n", "It can't be parsed: "),
        ("a.py", b"# coding: no-such\nx\n", "It can't be parsed: unknown encoding: no-such."),
        ("a.py", b"x = 1\x00\n", "It can't be parsed: source code "),
        ("a.py", b"(" * 500 + b")" * 500, "It can't be parsed"),
        ("a.ipynb", b"{}", "It is no notebook of format 4."),
        ("a.ipynb", b"\xff", "It is no text: "),
    ],
)
def test_a_file_that_cannot_be_done_is_told_and_others_are_done(
    name: str, data: bytes, says: str
) -> None:
    bad, good = file(name, data), file("good.py", MOVES)

    result = migrate("--write", name, "good.py", code=1)

    assert bad.read_bytes() == data
    assert good.read_text() == MOVED
    assert f"{name}: {says}" in result.stderr


def test_a_file_that_may_not_be_read_or_written_is_told() -> None:
    unreadable, kept = file("a.py", MOVES), file("shut/b.py", MOVES)
    unreadable.chmod(0)
    kept.parent.chmod(0o500)
    if os.access(unreadable, os.R_OK):
        pytest.skip("who runs the tests may read and write everything")

    result = migrate("--write", "a.py", "shut/b.py", code=1)

    kept.parent.chmod(0o700)
    assert "a.py: It can't be read: Permission denied." in result.stderr
    assert "shut/b.py: It can't be written: Permission denied." in result.stderr
    assert os.listdir("shut") == ["b.py"]


def test_a_link_stays_a_link() -> None:
    path = file("real/a.py", MOVES)
    Path("link.py").symlink_to(path)

    migrate("--write", "link.py")

    assert Path("link.py").is_symlink()
    assert path.read_text() == MOVED


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + MOVES.encode(),
        b"# -*- coding: latin-1 -*-\nx = '\xe9'\n" + MOVES.encode(),
        MOVES.replace("\n", "\r\n").encode() + b"x\r\n",
        MOVES.encode() + b"x\ty  \n\n\n\x0c\n",
    ],
    ids=["a mark of the byte order", "another encoding", "Windows' line breaks", "odd spaces"],
)
def test_all_other_bytes_stay(data: bytes) -> None:
    path = file("a.py", data)
    if b"x\ty" in data:
        data = data.replace(b"x\ty", b"x\t;y")
        path.write_bytes(data)

    migrate("--write", "a.py")

    assert path.read_bytes() == data.replace(b"prefect", b"fanfold")


def test_json_has_all_that_is_said(project: Path) -> None:
    file("a.py", MOVES + STAYS)
    file("b.py", "def f(:\n")

    result = migrate("--json", "a.py", "b.py", code=1)

    first, second = json.loads(result.stdout)["files"]
    (note,) = first.pop("notes")
    assert first == {"path": "a.py", "changed": True, "written": False, "error": None}
    assert note.pop("says").startswith("Deployments are planned.")
    expected = {"line": 2, "column": 21, "name": "prefect.serve", "fate": "later", "cell": None}
    assert note == expected
    assert second["error"].startswith("It can't be parsed in line 1")
    assert result.stderr == ""


@pytest.mark.parametrize("words", [[], ["no-such-file.py"], ["--no-such-option", "."]])
def test_a_wrong_command_exits_with_2(words: list[str]) -> None:
    migrate(*words, code=2)


def test_a_moved_program_runs(project: Path) -> None:
    path = file(
        "a.py",
        "import prefect\nfrom prefect.task_runners import ThreadPoolTaskRunner as Threads\n"
        "from prefect.futures import PrefectFuture\n\n\n"
        "@prefect.task(retries=1)\ndef double(x):\n    return 2 * x\n\n\n"
        "@prefect.flow(task_runner=Threads(max_workers=2))\ndef main():\n"
        "    one: PrefectFuture[int] = double.submit(1)\n"
        "    return sum(double.map([1, one]).result())\n\n\nprint(main())\n",
    )

    migrate("--write", "a.py")
    run = subprocess.run(
        [sys.executable, path],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "FANFOLD_HOME": str(project / "home")},
        check=False,
    )

    assert (run.returncode, run.stdout) == (0, "6\n"), run.stderr
