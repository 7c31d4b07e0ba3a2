"""Where a store's credentials come from, and where they never go."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from fanfold.adapters.results import credentials, fsspec_store
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.recording.masking import MASK, mask
from fanfold.ports.results import SEALED
from fanfold.values.errors import StoreError, UnknownStorage, UsageError

WRITTEN_OUT = {
    "key": "the-id-of-a-key",
    "secret": "the-secret-written-out",
    "endpoint_url": "https://storage.example",
    "client_kwargs": {"region_name": "eu", "aws_session_token": "a-session-token"},
}


def sealed(store: FsspecStore) -> bytes:
    """Return a store as it is pickled for workers alone."""
    token = SEALED.set(True)
    try:
        return pickle.dumps(store)
    finally:
        SEALED.reset(token)


def test_what_options_name_is_looked_up_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "of-a-variable")
    (tmp_path / "token").write_text("of-a-file\n")
    options = {
        "secret": "env:MY_SECRET",
        "anon": False,
        "client_kwargs": {"aws_session_token": f"file:{tmp_path}/token", "region_name": "eu"},
        "target": "file:///a/url",
    }

    assert credentials.resolved(options) == {
        "secret": "of-a-variable",
        "anon": False,
        "client_kwargs": {"aws_session_token": "of-a-file", "region_name": "eu"},
        "target": "file:///a/url",
    }
    assert mask("of-a-variable, of-a-file") == f"{MASK}, {MASK}"


def test_a_variable_that_is_not_set_is_named() -> None:
    store = FsspecStore("s3://bucket/results", {"secret": "env:NEVER_SET_ANYWHERE"})

    with pytest.raises(StoreError, match=r"write a: .*secret is env:NEVER_SET_ANYWHERE"):
        store.write("a", [b"x"])


def test_secrets_written_out_are_neither_shown_nor_pickled() -> None:
    store = FsspecStore("s3://bucket/results", WRITTEN_OUT)

    copy = pickle.loads(pickle.dumps(store))

    shown = repr(store) + str(store) + repr(copy) + repr(pickle.dumps(store))
    for secret in ("the-id-of-a-key", "the-secret-written-out", "a-session-token"):
        assert secret not in shown
    assert copy == store and hash(copy) == hash(store)
    assert store.options == {
        "endpoint_url": "https://storage.example",
        "client_kwargs": {"region_name": "eu"},
    }
    assert mask("s=the-secret-written-out") == f"s={MASK}"


def test_a_password_in_a_url_is_an_option_that_is_not_pickled() -> None:
    store = FsspecStore("ftp://me:pass%20word@host/path")

    assert store.url == "ftp://me@host/path"
    assert store.held == {"password": "pass word"}
    assert b"pass" not in pickle.dumps(store)


@pytest.mark.parametrize(
    ("options", "secrets"),
    [
        ({"key": "id", "secret": "env:NAME"}, {}),
        ({"key": "id", "secret": "written"}, {"key": "id", "secret": "written"}),
        ({"key": "env:ID", "secret": "written"}, {"secret": "written"}),
        ({"token": "google_default", "project": "p"}, {}),
        ({"account_name": "n", "account_key": "written"}, {"account_key": "written"}),
        ({"token": {"private_key": "written"}}, {"token": {"private_key": "written"}}),
        ({"auth": ("me", "written")}, {"auth": ("me", "written")}),
        ({"auth": ["me", "env:NAME"]}, {}),
        ({"headers": {"Authorization": "Bearer w"}}, {"headers": {"Authorization": "Bearer w"}}),
        ({"api_key": "written", "access_key": "w"}, {"api_key": "written", "access_key": "w"}),
        (
            {"a": "http://me:written@proxy", "b": "http://host:80/x@2", "c": ["http://m:w@p"]},
            {"a": "http://me:written@proxy", "c": ["http://m:w@p"]},
        ),
        ({"anon": True, "use_token": True, "config_kwargs": {"proxies": {}}}, {}),
    ],
)
def test_secrets_are_told_from_other_options(
    options: dict[str, Any], secrets: dict[str, Any]
) -> None:
    plain, held = credentials.divided(options)

    assert held == secrets
    assert credentials.joined(plain, held) == options


def test_passwords_are_masked_wherever_they_are_in_options() -> None:
    options = {
        "auth": ("me", "of-a-pair"),
        "headers": {"Authorization": "Bearer of-a-header"},
        "proxies": ["http://me:of%20a%20proxy@host"],
    }

    FsspecStore("memory://hidden", options)

    assert mask("of-a-pair of-a-header of a proxy") == f"{MASK} {MASK} {MASK}"


def test_a_group_of_options_that_were_all_secrets_is_left_out() -> None:
    options = {"proxies": {"https": "http://me:written@proxy"}, "client_kwargs": {}}

    plain, held = credentials.divided(options)

    assert plain == {"client_kwargs": {}}
    assert credentials.joined(plain, held) == options


def test_a_password_in_a_chain_of_urls_is_an_option_of_its_storage() -> None:
    store = FsspecStore("simplecache::sftp://me:word@host/path", {"sftp": {"port": 22}})

    assert store.url == "simplecache::sftp://me@host/path"
    assert str(store) == "simplecache::sftp://host/path"
    assert store.options == {"sftp": {"port": 22}}
    assert store.held == {"sftp": {"password": "word"}}
    assert b"word" not in pickle.dumps(store)


def test_a_password_with_a_slash_is_refused_without_being_told() -> None:
    with pytest.raises(UsageError, match="write %2F") as told:
        FsspecStore("sftp://me:pass/word@host/path")

    assert "word@" not in str(told.value)
    assert FsspecStore("hdfs://host:8020/a@b").url == "hdfs://host:8020/a@b"


def test_a_file_that_is_not_there_is_told_as_what_holds_an_option(tmp_path: Path) -> None:
    store = FsspecStore("memory://a", {"token": f"file:{tmp_path}/token"})

    with pytest.raises(StoreError, match=r"its option token is file:.*No such file") as told:
        store.read("a")

    assert isinstance(told.value.__cause__, LookupError)


@pytest.mark.parametrize(
    ("name", "said"), [("endpoint", "Did you mean endpoint_url"), ("nothing", "no option nothing")]
)
def test_an_option_that_a_storage_does_not_have_is_told_as_such(name: str, said: str) -> None:
    store = FsspecStore("s3://bucket/results", {name: "x", "key": "k", "secret": "env:HOME"})

    with pytest.raises(StoreError, match=rf"{said}.*") as told:
        store.names("")

    assert "results.storage_options" in str(told.value)


def test_no_options_may_be_none() -> None:
    assert FsspecStore("memory://a", None) == FsspecStore("memory://a")  # type: ignore[arg-type]


def test_copies_of_stores_with_other_secrets_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "found-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "found-secret")
    secrets = {"a": "secret-of-a", "b": "secret-of-b", "found": ""}
    stores = {
        name: FsspecStore(
            "s3://bucket/results",
            {"endpoint_url": "http://127.0.0.1:9"}
            | ({"key": "an-id", "secret": secret} if secret else {}),
            ship_credentials=True,
        )
        for name, secret in secrets.items()
    }
    secrets["found"] = "found-secret"

    shipped = {name: sealed(pickle.loads(pickle.dumps(one))) for name, one in stores.items()}

    for name, data in shipped.items():
        assert [other for other, secret in secrets.items() if secret.encode() in data] == [name]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"profile": "work"},
            {"key": "of-work", "secret": "secret-of-work", "client_kwargs": {"region_name": "eu"}},
        ),
        (
            {
                "client_kwargs": {
                    "aws_access_key_id": "given",
                    "aws_secret_access_key": "secret-given",
                    "region_name": "us",
                }
            },
            {"key": "given", "secret": "secret-given", "client_kwargs": {"region_name": "us"}},
        ),
    ],
)
def test_credentials_are_shipped_from_wherever_they_were_found(
    given: dict[str, Any],
    expected: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-environment")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    (tmp_path / "keys").write_text(
        "[work]\naws_access_key_id=of-work\naws_secret_access_key=secret-of-work\nregion=eu\n"
    )
    store = FsspecStore("s3://bucket/results", given, ship_credentials=True)

    shipped = fsspec_store._shipped(store)

    assert shipped == expected


def test_credentials_travel_to_workers_alone_and_only_where_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_SECRET", "the-drivers-own-secret")
    options = {"key": "an-id", "secret": "env:MY_SECRET", "endpoint_url": "http://127.0.0.1:9"}
    kept = FsspecStore("s3://bucket/kept", options)
    store = FsspecStore("s3://bucket/shipped", options, ship_credentials=True)

    assert b"the-drivers-own-secret" not in sealed(kept) + pickle.dumps(kept)
    assert b"the-drivers-own-secret" not in pickle.dumps(store)
    assert b"the-drivers-own-secret" in sealed(store)


def test_what_was_shipped_counts_for_all_copies_of_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_FOLDER", str(tmp_path))
    options = {"dir": {"path": "env:MY_FOLDER"}}
    store = FsspecStore(f"dir::file://{tmp_path}", options, ship_credentials=True)
    plain, with_credentials = pickle.dumps(store), sealed(store)
    monkeypatch.delenv("MY_FOLDER")

    pickle.loads(with_credentials)
    pickle.loads(plain).write("a", [b"x"])

    assert store.names("") == ["a"]


def test_a_storage_whose_credentials_are_not_in_its_options_ships_none(tmp_path: Path) -> None:
    options = {"dir": {"path": str(tmp_path)}}
    store = FsspecStore(f"dir::file://{tmp_path}", options, ship_credentials=True)

    with pytest.raises(StoreError, match="leave out ship_credentials"):
        sealed(store)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ss3://bucket", "s3://"),
        ("nothing-like-it://a", "file://, memory://, s3://"),
        ("simplecache::ss3://bucket", "s3://"),
    ],
)
def test_an_unknown_storage_is_refused_with_likely_ones(url: str, said: str) -> None:
    with pytest.raises(UnknownStorage) as told:
        FsspecStore(url)

    assert said in str(told.value)


def test_a_storage_that_needs_something_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fanfold.adapters.results.schemes.find_spec", lambda name: None)

    with pytest.raises(UnknownStorage, match=r"s3a:// need s3fs, .*pip install 'fanfold\[s3\]'"):
        FsspecStore("s3a://bucket")
