"""Where a store's credentials come from, and where they never go."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from fanfold.adapters.results import credentials
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine.recording.masking import MASK, mask
from fanfold.ports.results import SEALED
from fanfold.values.errors import StoreError, UnknownStorage

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
        ({"anon": True, "use_token": True, "config_kwargs": {"proxies": {}}}, {}),
    ],
)
def test_secrets_are_told_from_other_options(
    options: dict[str, Any], secrets: dict[str, Any]
) -> None:
    plain, held = credentials.divided(options)

    assert held == secrets
    assert credentials.joined(plain, held) == options


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
