"""Signing keys: from the settings or a file of the home, made once, and shown to nobody."""

import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.recording.masking import mask
from fanfold.engine.results.signing_keys import KEY_FILE, keyring_of
from fanfold.engine.settings import temporary
from fanfold.values.errors import UsageError

S3 = FsspecStore("s3://bucket/results")
ONE, OTHER = "0f" * 32, "1e" * 32


def test_private_storage_needs_no_keys(tmp_path: Path, fanfold_home: Path) -> None:
    assert keyring_of(FsspecStore(str(tmp_path))) is None
    assert keyring_of(FsspecStore("memory://keys")) is None
    assert not (fanfold_home / KEY_FILE).exists()


def test_a_key_is_made_once_and_only_its_owner_can_read_it(fanfold_home: Path) -> None:
    made = keyring_of(S3)

    assert made is not None and keyring_of(S3) == made
    file = fanfold_home / KEY_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in fanfold_home.iterdir()] == [KEY_FILE]
    assert file.read_text().strip() not in mask(f"the key is {file.read_text()}")


def test_those_who_race_for_the_key_make_one() -> None:
    ready = threading.Barrier(8)

    def make(_: int) -> object:
        ready.wait()
        return keyring_of(S3)

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(make, range(8)))

    assert len(made) == 1 and None not in made


def test_processes_of_one_home_have_one_key(fanfold_home: Path) -> None:
    program = (
        "from fanfold.adapters.results.fsspec_store import FsspecStore as S\n"
        "from fanfold.engine.results.signing_keys import keyring_of\n"
        "print(keyring_of(S('s3://bucket/results')).ids)"
    )

    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = {process.communicate(timeout=60)[0] for process in started}

    ours = keyring_of(S3)
    assert ours is not None and told == {f"{ours.ids}\n"}


def test_keys_are_had_from_variables_files_and_the_setting_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fanfold_home: Path
) -> None:
    monkeypatch.setenv("RESULTS_KEY", ONE)
    (tmp_path / "key").write_text(OTHER + "\n")
    with temporary({"results.signing_keys": [f"a={ONE}", f"b={OTHER}"]}):
        written = keyring_of(S3)
    with temporary({"results.signing_keys": f"a=env:RESULTS_KEY, b=file:{tmp_path}/key"}):
        referred = keyring_of(S3)

    assert written is not None and written == referred and written.ids == ("a", "b")
    assert not (fanfold_home / KEY_FILE).exists()
    assert ONE not in mask(f"{ONE} {OTHER}") and OTHER not in mask(f"{ONE} {OTHER}")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("a=env:NOT_THERE", "env:NOT_THERE: there is no such variable"),
        ("a=file:/not/there", "file:/not/there: No such file"),
        ("a=abcd", "2 bytes"),
        ("a=env:SHORT", "2 bytes"),
        ("a=env:WORD", "hex digits"),
    ],
)
def test_a_key_that_can_not_be_had_says_so_and_not_what_it_is(
    written: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT", "abcd")
    monkeypatch.setenv("WORD", "open sesame")
    with temporary({"results.signing_keys": written}), pytest.raises(UsageError) as raised:
        keyring_of(S3)

    assert told in str(raised.value) and "openssl rand" in str(raised.value)
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize("written", ["secret", f"a={ONE}x", f"a={ONE},a={OTHER}", "a=vault:x"])
def test_a_setting_that_is_not_understood_is_not_repeated(written: str) -> None:
    with (
        pytest.raises(UsageError, match="ID=env:VARIABLE") as raised,
        temporary({"results.signing_keys": written}),
    ):
        pass

    assert written not in str(raised.value) and ONE not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("content", ["", "no key", "abcd"])
def test_a_damaged_key_file_is_told_with_what_to_do(content: str, fanfold_home: Path) -> None:
    fanfold_home.mkdir()
    (fanfold_home / KEY_FILE).write_text(content)
    (fanfold_home / KEY_FILE).chmod(0o600)

    with pytest.raises(UsageError, match=rf"{KEY_FILE}.*results\.signing_keys"):
        keyring_of(S3)


def test_a_key_file_that_others_may_read_is_told_once(
    fanfold_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keyring_of(S3)
    (fanfold_home / KEY_FILE).chmod(0o644)

    with caplog.at_level(logging.WARNING):
        assert keyring_of(S3) == keyring_of(S3)

    (told,) = caplog.messages
    assert "chmod 600" in told


def test_a_home_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        temporary({"home": str(tmp_path / "file")}),
        pytest.raises(UsageError, match=r"results\.signing_keys") as raised,
    ):
        keyring_of(S3)

    assert raised.value.__suppress_context__
