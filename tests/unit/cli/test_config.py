"""The command line as a user has it: `fanfold config`."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fanfold.cli.__main__ import NOUNS, fanfold
from fanfold.engine import settings


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FANFOLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FANFOLD_HOME", str(tmp_path / "home"))
    settings.reload()
    yield tmp_path
    settings.reload()


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(fanfold, words)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def config(*words: str, code: int = 0) -> str:
    result = run("config", *words, code=code)
    return result.stdout if code == 0 else result.stderr


def file(project: Path) -> str:
    return (project / "home" / "profiles.toml").read_text()


def test_piped_output_has_tabs_and_only_what_somebody_set(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANFOLD_TASKS_DEFAULT_RETRY_DELAY_SECONDS", "1,2.5")
    (project / "fanfold.toml").write_text("logging.log_prints = true")

    assert config().splitlines() == [
        f"home\t{project}/home\tenvironment",
        "tasks.default_retry_delay_seconds\t1,2.5\tenvironment",
        f"logging.log_prints\ttrue\t{project}/fanfold.toml",
    ]
    assert config() == config("view")


def test_defaults_are_shown_when_asked_for() -> None:
    lines = config("view", "--show-defaults").splitlines()

    assert [line.split("\t")[0] for line in lines] == list(settings.TABLE)
    assert "tasks.default_persist_result\tnone\tdefault" in lines


def test_json_has_values_of_their_types_with_sources_and_descriptions(project: Path) -> None:
    (project / "fanfold.toml").write_text("tasks.default_retry_delay_seconds = [1, 2]")

    told = json.loads(config("view", "--json", "--show-defaults"))

    assert list(told) == list(settings.TABLE)
    assert told["tasks.default_retries"]["value"] == 0
    assert told["tasks.default_persist_result"]["value"] is None
    delays = told["tasks.default_retry_delay_seconds"]
    assert delays["value"] == [1.0, 2.0]
    assert delays["source"] == str(project / "fanfold.toml")
    assert delays["description"].endswith(".")


def test_what_is_shown_is_what_set_takes() -> None:
    rows = [line.split("\t") for line in config("view", "--show-defaults").splitlines()]

    values = [f"{name}={value}" for name, value, _ in rows if name != "home"]
    config("set", *values)

    after = [line.split("\t") for line in config("view", "--show-defaults").splitlines()]
    assert [row[:2] for row in after] == [row[:2] for row in rows]
    assert {source for _, _, source in after[1:]} == {"profile default"}


def test_set_makes_a_profile_where_there_is_none_and_unset_takes_values_out(project: Path) -> None:
    told = config("set", "tasks.default_retries=3", "FANFOLD_LOGGING_LEVEL=debug")

    assert told.splitlines() == [
        "tasks.default_retries is 3 in profile default",
        "logging.level is DEBUG in profile default",
    ]
    assert settings.current().tasks_default_retries == 3
    assert settings.current().logging_level == "DEBUG"

    config("unset", "FANFOLD_TASKS_DEFAULT_RETRIES")
    assert settings.current().tasks_default_retries == 0
    assert settings.current().logging_level == "DEBUG"
    assert "isn't set in profile default" in config("unset", "tasks.default_retries", code=1)


def test_comments_order_and_other_profiles_stay_as_they_were(project: Path) -> None:
    (project / "home").mkdir()
    (project / "home" / "profiles.toml").write_text(
        "# mine\n"
        'active = "dev"  # for now\n'
        "\n"
        "[profiles.dev]  # at my desk\n"
        "progress = 'off'\n"
        "FANFOLD_LOGGING_LEVEL = 'info'\n"
        "logging.extra_loggers = [\n"
        "  'a',\n"
        "]\n"
        "[profiles.dev.tasks]\n"
        "default_retries = 1\n"
        "# in earnest\n"
        "[profiles.prod]\n"
        "tasks.default_retries = 9\n"
    )

    config("set", "tasks.default_retries=2", "tasks.refresh_cache=on", "progress=on")
    config("set", "logging.level=error", "flows.default_retries=1")

    assert file(project) == (
        "# mine\n"
        'active = "dev"  # for now\n'
        "\n"
        "[profiles.dev]  # at my desk\n"
        "flows.default_retries = 1\n"
        'progress = "on"\n'
        'FANFOLD_LOGGING_LEVEL = "ERROR"\n'
        "logging.extra_loggers = [\n"
        "  'a',\n"
        "]\n"
        "[profiles.dev.tasks]\n"
        "refresh_cache = true\n"
        "default_retries = 2\n"
        "# in earnest\n"
        "[profiles.prod]\n"
        "tasks.default_retries = 9\n"
    )

    config("profiles", "delete", "dev")
    assert file(project) == ("# mine\n\n# in earnest\n[profiles.prod]\ntasks.default_retries = 9\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[profiles.a]\nlogging.extra_loggers = [\n'x',\n]\n", ["logging.extra_loggers=y"]),
        ("[profiles]\na = {progress = 'on', logging.level = 'info'}\n", ["progress=off"]),
    ],
)
def test_a_file_that_cannot_be_edited_is_left_alone(
    project: Path, text: str, words: list[str]
) -> None:
    (project / "home").mkdir()
    (project / "home" / "profiles.toml").write_text(f'active = "a"\n{text}')

    error = config("set", *words, code=2)

    assert "Nothing was changed; please edit the file" in error
    assert file(project) == f'active = "a"\n{text}'
    assert [path.name for path in (project / "home").iterdir()] == ["profiles.toml"]


def test_texts_of_any_kind_come_back_as_they_were(project: Path) -> None:
    for text in ('s3://b/"quoted"', "s3://b/\\back", "s3://b/ünï/𝄞", "s3://b/#=[x]"):
        config("set", f"results.default_storage={text}")
        assert settings.current().results_default_storage == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["set", "tasks.default_retrys=1"], "Did you mean tasks.default_retries?"),
        (["set", "tasks.default_retries=many"], "it takes a whole number from 0"),
        (["set", "tasks.default_retries"], "needs a value: NAME=VALUE"),
        (["set", "home=/x"], "home can't be in a profile"),
        (["set"], "Missing argument"),
        (["unset", "progres"], "Did you mean progress?"),
        (["profiles", "use", "x"], "There is no profile x."),
        (["profiles", "create", "a b"], "letters, digits"),
        (["vieww"], "No such command"),
    ],
)
def test_a_wrong_command_exits_with_2_and_changes_nothing(
    project: Path, words: list[str], message: str
) -> None:
    assert message in config(*words, code=2)
    assert not (project / "home").exists()


def test_settings_that_are_wrong_exit_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANFOLD_TASKS_DEFAULT_RETRIES", "x")

    assert config(code=2).startswith("Error: tasks.default_retries can't be 'x'")


def test_a_signing_key_is_kept_and_never_shown(project: Path) -> None:
    key = "6d" * 32

    told = config("set", f"results.signing_keys=main={key},old=env:OLD_KEY")
    shown = [
        config(),
        config("view", "--json"),
        config("set", f"results.signing_keys={key}", code=2),
    ]

    assert key in file(project)
    assert all(key not in each for each in (told, *shown))
    assert "main=" in told and "old=env:OLD_KEY" in told


def test_set_says_who_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANFOLD_PROGRESS", "off")

    result = run("config", "set", "progress=on")

    assert result.stderr == "progress is off here: FANFOLD_PROGRESS says so.\n"


def test_a_profiles_life(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config("set", "tasks.default_retries=1")
    config("profiles", "create", "dev", "--from", "default")
    config("profiles", "use", "dev")
    config("set", "tasks.default_retries=2")

    assert config("profiles", "ls") == "default\t\t1\ndev\tactive\t1\n"
    assert json.loads(config("profiles", "ls", "--json"))["dev"]["active"]
    assert "There is a profile dev already" in config("profiles", "create", "dev", code=1)
    assert "Did you mean dev?" in config("profiles", "delete", "devv", code=2)
    assert settings.current().tasks_default_retries == 2

    monkeypatch.setenv("FANFOLD_PROFILE", "default")
    assert config("profiles", "ls") == "default\tactive\t1\ndev\t\t1\n"
    assert settings.current().tasks_default_retries == 1
    monkeypatch.delenv("FANFOLD_PROFILE")

    config("profiles", "delete", "dev")
    assert config("profiles", "ls") == "default\t\t1\n"
    assert settings.current().tasks_default_retries == 0


def test_a_name_that_is_no_longer_known_can_be_taken_out(project: Path) -> None:
    (project / "home").mkdir()
    (project / "home" / "profiles.toml").write_text(
        'active = "a"\n[profiles.a]\nold.name = 1\nprogress = "on"\n'
    )

    assert "no setting old.name" in config(code=2)
    config("unset", "old.name")

    assert config().splitlines()[1] == "progress\ton\tprofile a"


def test_a_terminal_gets_a_table_of_80_columns(project: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fanfold.cli", "config", "view", "--show-defaults"],
        stdout=theirs,
        cwd=project,
        env=os.environ | {"COLUMNS": "80", "TERM": "dumb"},
    )
    os.close(theirs)
    told = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # on Linux the end of a terminal
            piece = b""
        if not piece:
            break
        told += piece
    os.close(ours)

    assert process.wait(60) == 0
    lines = told.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["Setting", "Value", "Source"]
    assert any(line.startswith("tasks.default_retry_delay_seconds  0 ") for line in lines)


def test_help_lists_the_nouns_and_loads_none_of_them() -> None:
    program = (
        "import sys\n"
        "from fanfold.cli.__main__ import fanfold\n"
        "fanfold(['--help'], standalone_mode=False)\n"
        "print(*(name for name in sys.modules if name.startswith(('fanfold.cli.', 'rich'))))"
    )

    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout.splitlines()

    assert told[-1].split() == ["fanfold.cli.exits", "fanfold.cli.__main__"]
    assert all(any(line.split()[:1] == [noun] for line in told) for noun in NOUNS)


def test_the_version_and_an_unknown_noun() -> None:
    assert run("--version").stdout.startswith("fanfold 0.")
    assert "There is no command confg. Did you mean config?" in run("confg", code=2).stderr


def test_the_script_is_installed_beside_python() -> None:
    script = Path(sys.executable).parent / "fanfold"

    told = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)

    assert told.returncode == 0
    assert told.stdout.startswith("fanfold 0.")
