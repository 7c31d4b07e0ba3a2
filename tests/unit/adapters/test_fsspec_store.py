"""The result stores over fsspec keep the port's rules, in a folder and in memory."""

import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.values.errors import StoreError


@pytest.fixture(params=["folder", "url", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FsspecStore:
    root = tmp_path / "not" / "yet"
    urls = {"folder": str(root), "url": f"file://{root}", "memory": f"memory://{uuid4().hex}"}
    return FsspecStore(urls[request.param])


def test_what_is_written_is_read(store: FsspecStore) -> None:
    store.write("a/b", [b"12", bytearray(b"34"), memoryview(b"x56x")[1:3], b""])

    assert store.read("a/b") == b"123456"
    assert store.read("a/b", 2) == b"3456"
    assert store.read("a/b", 2, 3) == b"345"
    assert store.read("a/b", 6, 0) == b""
    assert store.read("a/b", -2) == b"56"
    assert store.read("a/b", -7) == b"123456"


def test_an_object_is_replaced(store: FsspecStore) -> None:
    store.write("a", [b"longer"])
    store.write("a", [b"new"])

    assert store.read("a") == b"new"


def test_an_empty_object_is_one(store: FsspecStore) -> None:
    store.write("a", [])

    assert store.read("a") == store.read("a", -9) == store.read("a", 0, 0) == b""
    assert store.names("") == ["a"]


def test_only_the_first_creates(store: FsspecStore) -> None:
    assert store.create("a/b", b"first")
    assert not store.create("a/b", b"second")
    assert store.read("a/b") == b"first"


def test_names_are_sorted_below_the_root_and_by_prefix(store: FsspecStore) -> None:
    for name in ("b/2", "b/10", "b/c/d", "bc", "a"):
        store.write(name, [b"x"])

    assert store.names("") == ["a", "b/10", "b/2", "b/c/d", "bc"]
    assert store.names("b/") == ["b/10", "b/2", "b/c/d"]
    assert store.names("b/1") == ["b/10"]
    assert store.names("b") == ["b/10", "b/2", "b/c/d", "bc"]
    assert store.names("b/10") == ["b/10"]
    assert store.names("none/") == store.names("x") == []
    assert store.create("b/3", b"x")
    assert store.names("b/3") == ["b/3"]


def test_a_store_that_holds_nothing_has_no_names(store: FsspecStore) -> None:
    assert store.names("") == []


def test_a_listing_tells_sizes_and_times(store: FsspecStore) -> None:
    before_s = time.time()
    for name in ("b/c", "a", "b"):
        store.write(f"x/{name}/d", [b"1" * len(name)])

    listed = store.listing("x/b")

    assert [(one.name, one.size_bytes) for one in listed] == [("x/b/c/d", 3), ("x/b/d", 1)]
    assert all(before_s - 1 < one.modified_s < time.time() + 1 for one in listed)
    assert store.listing("y") == []


def test_what_is_removed_is_gone_and_can_be_removed_again(store: FsspecStore) -> None:
    for name in ("a/b/1", "a/b/2", "a/3"):
        store.write(name, [b"x"])

    for _ in range(2):
        store.remove(["a/b/1", "a/b/2", "never/was", "a/3/below"])
        store.remove([])

    assert store.names("") == ["a/3"]
    with pytest.raises(StoreError) as told:
        store.read("a/b/1")
    assert isinstance(told.value.__cause__, FileNotFoundError)
    assert store.create("a/b/1", b"new")


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("absent",), FileNotFoundError),
        (("a/absent", 1, 2), FileNotFoundError),
        (("a/absent", 0, 0), FileNotFoundError),
        (("a/absent", -5), FileNotFoundError),
        (("a/b", 0, 4), EOFError),
        (("a/b", 2, 2), EOFError),
        (("a/b", 3, 1), EOFError),
        (("a/b", 4, 0), EOFError),
        (("a/b", 9), EOFError),
    ],
)
def test_a_read_that_fails_says_what_is_missing_where(
    store: FsspecStore, arguments: tuple[Any, ...], cause: type[Exception]
) -> None:
    store.write("a/b", [b"123"])

    with pytest.raises(StoreError) as told:
        store.read(*arguments)

    assert isinstance(told.value.__cause__, cause)
    for fact in (str(store), "read", arguments[0]):
        assert fact in str(told.value)


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.tmp-b"])
def test_names_that_leave_the_root_or_hide_are_refused(store: FsspecStore, name: str) -> None:
    for call in (
        lambda: store.write(name, [b""]),
        lambda: store.create(name, b""),
        lambda: store.read(name),
        lambda: store.remove([name]),
    ):
        with pytest.raises(StoreError):
            call()
    for call in (store.names, store.listing):
        with pytest.raises(StoreError):
            call("../")


def test_a_store_is_a_value(store: FsspecStore) -> None:
    copy = pickle.loads(pickle.dumps(store))

    assert copy == store and hash(copy) == hash(store) and copy is not store
    assert FsspecStore("memory://a") != FsspecStore("memory://b")
    assert FsspecStore("memory://a", {"x": 1}) != FsspecStore("memory://a")
    store.write("a", [b"x"])
    assert copy.read("a") == b"x"


def test_a_plain_path_means_the_same_folder_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = FsspecStore("results")
    monkeypatch.chdir("/")
    store.write("a", [b"x"])

    assert (tmp_path / "results" / "a").read_bytes() == b"x"


def test_secrets_are_not_told() -> None:
    store = FsspecStore("sftp://user:secret@host/path", {"password": "secret"})

    assert str(store) == "sftp://host/path"
    assert "password" not in repr(store)


def test_a_storage_without_exclusive_create_is_warned_of_once_and_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FsspecStore(f"dir::file://{tmp_path}", {"dir": {"path": str(tmp_path)}})

    assert [store.create("a/b", payload) for payload in (b"1", b"2")] == [True, False]
    assert store.create("c", b"3")

    assert store.read("a/b") == b"1"
    assert store.names("") == ["a/b", "c"]
    assert [record.name for record in caplog.records] == ["fanfold.results"]
    assert str(store) in caplog.text and "exclusively" in caplog.text


def test_memory_and_what_this_user_alone_may_write_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    store = FsspecStore(str(folder))

    assert FsspecStore("memory://a").private
    assert store.private
    store.write("a/b", [b"x"])
    assert store.private

    for place, mode in ((folder, 0o770), (folder, 0o1777), (tmp_path, 0o777)):
        before = place.stat().st_mode
        place.chmod(mode)
        assert not store.private, (place, mode)
        place.chmod(before)

    tmp_path.chmod(0o1777)
    assert store.private


@pytest.mark.parametrize(("root", "made"), [(0o755, 0), (0o775, 0o020)])
def test_who_may_write_below_is_who_may_write_the_root(
    tmp_path: Path, root: int, made: int
) -> None:
    tmp_path.chmod(root)
    before = os.umask(0o002)
    try:
        FsspecStore(str(tmp_path)).write("a/b", [b"x"])
    finally:
        os.umask(before)

    for path in (tmp_path / "a", tmp_path / "a/b"):
        assert path.stat().st_mode & 0o022 == made


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    store = FsspecStore(str(tmp_path))
    store.write("a/b/c", [b"1"])
    (tmp_path / "a/b/c").unlink()
    (tmp_path / "a/b").rmdir()
    (tmp_path / "a").rmdir()

    store.write("a/b/c", [b"2"])
    assert store.create("a/b/d", b"3")

    assert store.read("a/b/c") == b"2"


def test_a_root_that_was_removed_is_made_again_for_a_new_folder(tmp_path: Path) -> None:
    store = FsspecStore(str(tmp_path / "root"))
    store.write("a/b", [b"1"])
    shutil.rmtree(tmp_path / "root")

    store.write("c/d", [b"2"])

    assert store.names("") == ["c/d"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = FsspecStore(str(tmp_path))
    (tmp_path / "a").mkdir()

    for call in (lambda: store.write("a", [b"x"]), lambda: store.write("b", [b"x", None])):  # type: ignore[list-item]
        with pytest.raises(StoreError):
            call()

    assert [path.name for path in tmp_path.rglob("*")] == ["a"]


@pytest.fixture
def switching() -> Iterator[None]:
    """Let threads alternate as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching")
def test_of_many_threads_one_creates(store: FsspecStore) -> None:
    count, rounds = 8, 100
    barrier = threading.Barrier(count, timeout=60)
    won: list[tuple[int, int]] = []

    def race(number: int) -> None:
        for turn in range(rounds):
            barrier.wait()
            if store.create(f"turns/{turn}", b"%d" % number):
                won.append((turn, number))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(turn for turn, _ in won) == list(range(rounds))
    assert all(store.read(f"turns/{turn}") == b"%d" % number for turn, number in won)


RACE = """
import os, sys
from fanfold.adapters.results.fsspec_store import FsspecStore

store = FsspecStore(sys.argv[1])
for child in range(4):
    if os.fork() == 0:
        for turn in range(100):
            if store.create(f"turns/{turn}", b"%d" % child):
                store.write(f"won/{turn}.{child}", [b""])
        os._exit(0)
assert [os.wait()[1] for child in range(4)] == [0] * 4
"""

CRASH = """
import os, sys
from fanfold.adapters.results.fsspec_store import FsspecStore

root, operation = sys.argv[1:]
calls = 0

def exit_at(last):
    def profile(frame, event, argument):
        global calls
        if event in ("c_call", "c_return"):
            calls += 1
            if calls == last:
                os._exit(9)
    return profile

for last in range(1, 10_000):
    store = FsspecStore(f"{root}/{last}")
    store.write("a/other", [b"other"])
    if operation == "replace":
        store.write("a/b", [b"old"])
    if os.fork() == 0:
        sys.setprofile(exit_at(last))
        store.create("a/b", b"new") if operation == "create" else store.write("a/b", [b"n", b"ew"])
        sys.setprofile(None)
        os._exit(0)
    crashed = os.waitstatus_to_exitcode(os.wait()[1])
    names = store.names("")
    content = store.read("a/b") if "a/b" in names else None
    assert set(names) <= {"a/b", "a/other"}, names
    assert content in (b"new", b"old" if operation == "replace" else None), content
    assert store.create("a/b", b"again") == (content is None)
    if not crashed:
        assert content == b"new"
        print(last)
        break
"""


def run(program: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_of_many_processes_one_creates(tmp_path: Path) -> None:
    run(RACE, str(tmp_path))

    store = FsspecStore(str(tmp_path))
    winners = [name.removeprefix("won/").split(".") for name in store.names("won/")]
    assert sorted(int(turn) for turn, _ in winners) == list(range(100))
    assert all(store.read(f"turns/{turn}") == child.encode() for turn, child in winners)


@pytest.mark.parametrize("operation", ["write", "replace", "create"])
def test_a_crash_between_any_two_calls_leaves_the_old_or_the_new(
    tmp_path: Path, operation: str
) -> None:
    crashes = int(run(CRASH, str(tmp_path), operation))

    assert crashes > 20
