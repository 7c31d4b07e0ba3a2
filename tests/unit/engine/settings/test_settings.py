"""Settings: which source wins, what each takes, and what a wrong one says."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold.engine import settings
from fanfold.engine.settings import Settings, current, found, temporary
from fanfold.engine.settings.lookup import Layer
from fanfold.values.errors import UsageError

RETRIES = "FANFOLD_TASKS_DEFAULT_RETRIES"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory two folders deep; files in `tmp_path` are above it."""
    folder = tmp_path / "project" / "deep"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("FANFOLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FANFOLD_HOME", str(tmp_path / "home"))
    settings.reload()
    yield folder
    settings.reload()


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    # A thread that an earlier test has left may have looked while there was no file.
    settings.reload()
    return path


def source(name: str) -> tuple[Layer, str]:
    return next((each.layer, each.source) for each in found() if each.name == name)


def test_each_source_gives_way_to_the_ones_above_it(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def now() -> tuple[int, Layer, str]:
        settings.reload()
        return (current().tasks_default_retries, *source("tasks.default_retries"))

    assert now() == (0, Layer.DEFAULT, "default")

    write(tmp_path / "home/profiles.toml", 'active = "a"\n[profiles.a.tasks]\ndefault_retries = 1')
    assert now() == (1, Layer.PROFILE, "profile a")

    shared = write(tmp_path / "pyproject.toml", "[tool.fanfold.tasks]\ndefault_retries = 2")
    assert now() == (2, Layer.PROJECT, str(shared))

    own = write(tmp_path / "project/fanfold.toml", "tasks.default_retries = 3")
    assert now() == (3, Layer.PROJECT, str(own))

    monkeypatch.setenv(RETRIES, "4")
    assert now() == (4, Layer.ENVIRONMENT, "environment")

    with temporary({"tasks.default_retries": 5}):
        assert now() == (5, Layer.TEMPORARY, "temporary")
    assert now() == (4, Layer.ENVIRONMENT, "environment")


def test_a_variable_is_seen_as_soon_as_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [current().tasks_default_retries]

    for value in ("1", "2", "2"):
        monkeypatch.setenv(RETRIES, value)
        seen.append(current().tasks_default_retries)
    monkeypatch.delenv(RETRIES)
    seen.append(current().tasks_default_retries)

    assert seen == [0, 1, 2, 2, 0]


def test_an_environment_that_was_exchanged_is_the_one_that_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", {RETRIES: "7", "FANFOLD_HOME": "/somewhere"})

    assert current().tasks_default_retries == 7
    assert settings.home() == Path("/somewhere")


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RETRIES, "")

    assert current().tasks_default_retries == 0
    assert source("tasks.default_retries")[0] is Layer.DEFAULT


def test_files_are_read_once_until_reload(project: Path) -> None:
    file = write(project / "fanfold.toml", "tasks.default_retries = 1")
    assert current().tasks_default_retries == 1

    file.write_text("tasks.default_retries = 2")
    assert current().tasks_default_retries == 1

    settings.reload()
    assert current().tasks_default_retries == 2


def test_the_nearest_file_counts_and_another_working_directory_has_its_own(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "fanfold.toml", "tasks.default_retries = 1\nflows.default_retries = 1")
    write(project / "fanfold.toml", "tasks.default_retries = 2")

    assert (current().tasks_default_retries, current().flows_default_retries) == (2, 0)

    monkeypatch.chdir(tmp_path)
    assert (current().tasks_default_retries, current().flows_default_retries) == (1, 1)


@pytest.mark.parametrize(
    "text",
    [
        "[tool.fanfold]\ntasks.default_retries = 6",
        "[tool.fanfold.tasks]\ndefault_retries = 6",
        "[ tool . 'fanfold' ]\n'tasks.default_retries' = 6",
        "[tool]\nfanfold.tasks.default_retries = 6",
        "[tool]\n  fanfold = {tasks = {default_retries = 6}}",
        "tool.fanfold.tasks.default_retries = 6",
        "[tool.fanfold]\nFANFOLD_TASKS_DEFAULT_RETRIES = 6",
    ],
)
def test_the_table_in_pyproject_may_be_written_in_any_way(project: Path, text: str) -> None:
    write(project / "pyproject.toml", text)

    assert current().tasks_default_retries == 6


def test_a_pyproject_without_our_table_is_passed_by(tmp_path: Path, project: Path) -> None:
    write(project / "pyproject.toml", '[project]\nname = "x"\ndependencies = ["fanfold>=0.1"]')
    write(tmp_path / "pyproject.toml", "[tool.fanfold]\ntasks.default_retries = 6")

    assert current().tasks_default_retries == 6


def test_paths_start_from_the_folder_of_who_names_them(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FANFOLD_HOME")
    write(tmp_path / "fanfold.toml", 'home = ".fanfold"')
    assert settings.home() == tmp_path / ".fanfold"
    assert current().results_default_storage == str(tmp_path / ".fanfold" / "results")

    write(
        tmp_path / ".fanfold/profiles.toml",
        'active = "a"\n[profiles.a]\nresults.default_storage = "kept"',
    )
    settings.reload()
    assert current().results_default_storage == str(tmp_path / ".fanfold" / "kept")

    monkeypatch.setenv("FANFOLD_HOME", "here")
    monkeypatch.setenv("FANFOLD_RESULTS_DEFAULT_STORAGE", "there")
    assert settings.home() == project / "here"
    assert current().results_default_storage == str(project / "there")


def test_home_is_in_the_users_folder_unless_somebody_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FANFOLD_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.home() == tmp_path / ".fanfold"

    monkeypatch.setenv("FANFOLD_HOME", "~/elsewhere")
    assert settings.home() == tmp_path / "elsewhere"

    monkeypatch.setenv("HOME", "/other")
    assert settings.home() == Path("/other/elsewhere")


def test_a_working_directory_that_is_gone_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert current().tasks_default_retries == 0
    assert settings.home() == tmp_path / "home"


def test_the_variable_chooses_the_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path / "home/profiles.toml",
        'active = "a"\n[profiles.a]\nprogress = "off"\n[profiles.b]\nprogress = "plain"\n',
    )
    assert current().progress == "off"

    monkeypatch.setenv("FANFOLD_PROFILE", "b")
    assert current().progress == "plain"

    monkeypatch.setenv("FANFOLD_PROFILE", "bb")
    with pytest.raises(UsageError, match=r"no profile bb in .*FANFOLD_PROFILE\)\. Did you mean b"):
        _ = current().progress


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("tasks.default_retry_delay_seconds", "2", 2.0),
        ("tasks.default_retry_delay_seconds", "1, 2.5,10", (1.0, 2.5, 10.0)),
        ("tasks.default_retry_delay_seconds", "[1, 2]", (1.0, 2.0)),
        ("tasks.default_persist_result", "yes", True),
        ("tasks.default_persist_result", "none", None),
        ("tasks.refresh_cache", "1", True),
        ("tasks.disable_caching", "False", False),
        ("flows.default_retry_delay_seconds", "0.5", 0.5),
        ("results.default_storage", "s3://bucket/a", "s3://bucket/a"),
        ("results.default_serializer", " json ", "json"),
        ("runner.thread_pool_max_workers", "8", 8),
        ("runner.process_pool_max_workers", "None", None),
        ("logging.level", "debug", "DEBUG"),
        ("logging.log_prints", "on", True),
        ("logging.extra_loggers", "a, b.c,", ("a", "b.c")),
        ("logging.colors", "TRUE", "true"),
        ("progress", "Plain", "plain"),
        ("flows.default_retry_delay_seconds", "1.5", 1.5),
        ("default_runner", "dask", "dask"),
    ],
)
def test_text_is_parsed_to_what_the_setting_is(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(settings.TABLE[name].variable.name, text)

    assert settings.TABLE[name].value() == value


def test_toml_values_are_taken_as_they_are(project: Path) -> None:
    write(
        project / "fanfold.toml",
        """
        logging.colors = true
        logging.extra_loggers = ["a", "b"]
        [tasks]
        default_retry_delay_seconds = [1, 2.5]
        default_persist_result = false
        """,
    )

    assert current().logging_colors == "true"
    assert current().logging_extra_loggers == ("a", "b")
    assert current().tasks_default_retry_delay_seconds == (1.0, 2.5)
    assert current().tasks_default_persist_result is False


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("tasks.default_retries", "-1", "a whole number from 0"),
        ("tasks.default_retries", "1.5", "a whole number from 0"),
        ("tasks.default_retry_delay_seconds", "1,x", "a number of seconds, or a list"),
        ("tasks.refresh_cache", "maybe", "true or false"),
        ("runner.thread_pool_max_workers", "0", "a whole number from 1, or none"),
        ("flows.default_retry_delay_seconds", "inf", "a number of seconds from 0"),
        ("logging.level", "loud", "one of debug, info, warning, error, critical"),
        ("progress", "yes", "one of auto, on, off, plain"),
        ("results.default_serializer", "yaml", "one of auto, pickle, json, compressed/"),
    ],
)
def test_a_bad_value_says_where_it_is_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, allowed: str
) -> None:
    setting = settings.TABLE[name]
    monkeypatch.setenv(setting.variable.name, text)

    with pytest.raises(UsageError) as caught:
        setting.value()

    assert str(caught.value).startswith(
        f"{name} can't be {text!r} (environment variable {setting.variable.name}): "
        f"it takes {allowed}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks.default_retrys = 1", "no setting tasks.default_retrys (FILE). Did you mean tasks."),
        ("[tasks]\ndefault_retries = 'x'", "tasks.default_retries can't be 'x' (FILE): it takes"),
        ("tasks.default_retries = true", "tasks.default_retries can't be True (FILE)"),
        ("'tasks.default_retries' = 1\ntasks.default_retries = 1", "is there twice (FILE)"),
        ("FANFOLD_PROGRESS = 'on'\nprogress = 'on'", "is there twice (FILE)"),
        ("tasks = ", "FILE is no valid TOML"),
    ],
)
def test_what_is_wrong_in_a_file_stops_every_read(project: Path, text: str, message: str) -> None:
    file = write(project / "fanfold.toml", text)

    with pytest.raises(UsageError) as caught:
        _ = current().progress

    assert message.replace("FILE", str(file)) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[profiles.a]\nhome = 'x'", "home can't be in a profile"),
        ("[profiles.a]\nprogres = 'on'", "profiles.toml, profile a). Did you mean progress?"),
        ("[profile.a]", "damaged at profile"),
        ("active = 1", "damaged at active or profiles"),
        ("profiles = 1", "damaged at active or profiles"),
    ],
)
def test_what_is_wrong_in_the_profiles_stops_every_read(
    tmp_path: Path, text: str, message: str
) -> None:
    active = "" if "active" in text else "active = 'a'\n"
    write(tmp_path / "home/profiles.toml", active + text)

    with pytest.raises(UsageError) as caught:
        settings.home()

    assert message in str(caught.value)


def test_an_unknown_variable_is_told_once_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FANFOLD_TASKS_DEFAULT_RETRYS", "1")

    with caplog.at_level(logging.WARNING, "fanfold.settings"):
        for _ in range(2):
            settings.reload()
            assert current().tasks_default_retries == 0

    (line,) = [record.getMessage() for record in caplog.records]
    assert "FANFOLD_TASKS_DEFAULT_RETRYS" in line
    assert f"Did you mean {RETRIES}?" in line


def test_whoever_writes_that_line_may_ask_for_settings(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(current().tasks_default_retries)

    found: list[int] = []
    monkeypatch.setenv("FANFOLD_NO_SUCH_SETTING", "1")
    logger, asking = logging.getLogger("fanfold.settings"), Asking()
    logger.addHandler(asking)
    try:
        settings.reload()
        assert current().tasks_default_retries == 0
    finally:
        logger.removeHandler(asking)

    assert found == [0]


def test_known_variables_are_told_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "home/profiles.toml", "[profiles.a]")
    monkeypatch.setenv("FANFOLD_PROFILE", "a")
    monkeypatch.setenv(RETRIES, "1")

    found()

    assert not caplog.records


def test_temporary_values_nest_and_end_with_their_block() -> None:
    with temporary({"tasks.default_retries": 1, "progress": "off"}):
        with temporary({RETRIES: "2"}):
            assert (current().tasks_default_retries, current().progress) == (2, "off")
        assert (current().tasks_default_retries, current().progress) == (1, "off")
        with pytest.raises(ZeroDivisionError), temporary({"progress": "on"}):
            _ = 1 / 0
        assert current().progress == "off"
    assert (current().tasks_default_retries, current().progress) == (0, "auto")


def test_temporary_values_belong_to_one_thread_and_one_asyncio_task() -> None:
    inside = asyncio.Event
    elsewhere: list[int] = []

    async def one(entered: asyncio.Event, seen: asyncio.Event) -> int:
        with temporary({"tasks.default_retries": 1}):
            entered.set()
            await seen.wait()
            return current().tasks_default_retries

    async def other(entered: asyncio.Event, seen: asyncio.Event) -> int:
        await entered.wait()
        seen.set()
        return current().tasks_default_retries

    async def both() -> list[int]:
        events = (inside(), inside())
        return await asyncio.gather(one(*events), other(*events))

    with temporary({"tasks.default_retries": 5}):
        thread = threading.Thread(target=lambda: elsewhere.append(current().tasks_default_retries))
        thread.start()
        thread.join()

    assert asyncio.run(both()) == [1, 0]
    assert elsewhere == [0]


def test_a_temporary_home_takes_the_results_with_it(tmp_path: Path) -> None:
    with temporary({"home": tmp_path / "t"}):
        assert settings.home() == tmp_path / "t"
        assert current().results_default_storage == str(tmp_path / "t" / "results")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task.default_retries": 1}, "Did you mean tasks.default_retries?"),
        ({"tasks.default_retries": None}, "can't be None (temporary settings)"),
        ({"tasks.default_retries": [1]}, "can't be [1] (temporary settings)"),
    ],
)
def test_temporary_takes_nothing_that_is_wrong(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught, temporary(values):
        pass

    assert message in str(caught.value)


def test_what_holds_cannot_be_assigned_to() -> None:
    with pytest.raises(AttributeError):
        current().tasks_default_retries = 3  # type: ignore[misc]


def test_every_setting_is_named_alike_everywhere_and_says_what_it_is() -> None:
    for attribute, setting in vars(Settings).items():
        if not attribute.startswith("_"):
            assert setting.name.replace(".", "_") == attribute
            assert setting.variable.name == f"FANFOLD_{attribute.upper()}"
            assert setting.description.endswith(".")
            assert len(setting.description) < 80
    assert [each.name for each in found()] == list(settings.TABLE)


def test_every_default_is_what_the_setting_takes() -> None:
    for setting in settings.TABLE.values():
        if setting.derive is None:
            assert setting.kind.parse(setting.default, "/") in (
                setting.default,
                Path("~/.fanfold").expanduser(),
            )


def test_without_files_nothing_is_loaded_to_read_them(tmp_path: Path) -> None:
    program = (
        "from fanfold.engine import settings\n"
        "settings.home(), settings.current().tasks_default_retries\n"
        "import sys; print({'tomllib', 'difflib', 'pydantic', 'click'} & sys.modules.keys())"
    )

    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=60,
    )

    assert run.stdout.strip() == "set()"


def test_a_run_keeps_the_settings_of_the_folder_that_it_began_in(
    tmp_path: Path, project: Path
) -> None:
    write(project / "fanfold.toml", "tasks.default_retries = 3")
    settings.reload()

    with settings.staying():
        os.chdir(tmp_path)
        inside = current().tasks_default_retries
    outside = current().tasks_default_retries

    assert (inside, outside) == (3, 0)
