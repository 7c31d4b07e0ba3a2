"""What is of the stores over fsspec alone; tests/stores runs the suite of the port on them."""

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from fsspec.implementations.local import LocalFileOpener

from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.engine import registry, settings
from fanfold.values.errors import StoreError, UsageError


@pytest.fixture(params=["folder", "url", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FsspecStore:
    root = tmp_path / "not" / "yet"
    urls = {"folder": str(root), "url": f"file://{root}", "memory": f"memory://{uuid4().hex}"}
    return FsspecStore(urls[request.param])


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


def test_stores_with_other_options_are_others() -> None:
    assert FsspecStore("memory://a", {"x": 1}) != FsspecStore("memory://a")


def test_a_plain_path_means_the_same_folder_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = FsspecStore("results")
    monkeypatch.chdir("/")
    store.write("a", [b"x"])

    assert (tmp_path / "results" / "a").read_bytes() == b"x"


@pytest.mark.parametrize(
    "spelling",
    ["file://results", "file:results", "local://results", "file://~/results/", "results/"],
)
def test_a_folder_is_one_store_however_it_is_spelled(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    store = FsspecStore(spelling)

    assert store == FsspecStore(f"file://{tmp_path}/results")
    assert store.url == str(tmp_path / "results")


def test_a_forked_process_waits_for_no_lock_that_another_thread_held() -> None:
    run(FORKED)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3:/b/x", "Did you mean s3://b/x?"),
        ("sftp:/me:secret@host/x", "Did you mean sftp://host/x?"),
        ("s3://", "name one"),
        ("simplecache::gs:///x", "name one"),
    ],
)
def test_a_url_that_is_misspelt_is_refused_with_how_to_write_it(url: str, said: str) -> None:
    with pytest.raises(UsageError) as told:
        FsspecStore(url)

    assert said in str(told.value) and "secret" not in str(told.value)


@pytest.mark.parametrize("path", ["./s3:/b", "c:/b", "s3:b", "a/s3:/b"])
def test_a_folder_may_have_a_colon_in_its_name(path: str) -> None:
    assert FsspecStore(path).url.startswith(os.sep)


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


def test_what_a_storage_writes_bit_by_bit_is_not_there_before_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FsspecStore(f"dir::file://{tmp_path}", {"dir": {"path": str(tmp_path)}})
    store.write("a/old", [b"old"])

    def fill(file: LocalFileOpener, content: bytes) -> int:
        file.f.write(content[:1])
        file.f.flush()
        names.append(store.names(""))
        raise OSError(errno.ENOSPC, "full")

    names: list[list[str]] = []
    with monkeypatch.context() as full:
        full.setattr(LocalFileOpener, "write", fill, raising=False)
        for act in (
            lambda: store.write("a/new", [b"12"]),
            lambda: store.write("a/old", [b"12"]),
            lambda: store.create("a/b", b"12"),
        ):
            with pytest.raises(StoreError):
                act()

    assert names == [["a/old"]] * 3
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["old"]
    assert store.read("a/old") == b"old"
    assert store.create("a/b", b"3") and store.read("a/b") == b"3"


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


def test_a_folder_behind_a_link_is_private_where_all_that_leads_to_it_is(tmp_path: Path) -> None:
    shared, home, far = (tmp_path / name for name in ("shared", "home", "far"))
    for folder in (shared / "mine", home, far):
        folder.mkdir(parents=True)
    (home / "straight").symlink_to(shared / "mine")
    (shared / "hop").symlink_to("../far")
    (home / "by").symlink_to(shared / "hop", target_is_directory=True)
    (home / "round").symlink_to("round")
    stores = [FsspecStore(str(home / name)) for name in ("straight", "by", "by/below")]

    before = [store.private for store in stores]
    shared.chmod(0o777)
    after = [store.private for store in stores]
    shared.chmod(0o1777)

    assert (before, after) == ([True] * 3, [False] * 3)
    assert [store.private for store in stores] == [True] * 3
    assert not FsspecStore(str(home / "round")).private


def test_a_root_that_others_could_make_first_is_made_before_it_is_called_private(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o1777)
    stores = [FsspecStore(str(tmp_path / name)) for name in ("results", "a/b")]

    assert [store.private for store in stores] == [True, True]

    for folder in ("results", "a", "a/b"):
        assert not (tmp_path / folder).stat().st_mode & 0o022


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_a_root_of_another_user_in_a_sticky_folder_is_not_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    (tmp_path / "results").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    os.chown(tmp_path / "results", 1234, 1234)
    os.chown(tmp_path / "link", 1234, 1234, follow_symlinks=False)

    assert not FsspecStore(str(tmp_path / "results")).private
    assert not FsspecStore(str(tmp_path / "link")).private


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


def test_a_lost_answer_of_the_file_system_makes_no_winner_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FsspecStore(str(tmp_path))

    for name in ("replace", "link", "unlink"):
        monkeypatch.setattr(os, name, repeated(getattr(os, name)))
    store.write("a", [b"1"])
    won = [store.create("b", payload) for payload in (b"2", b"3")]

    assert won == [True, False]
    assert (store.read("a"), store.read("b")) == (b"1", b"2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def repeated(call: Callable[..., None]) -> Callable[..., None]:
    """Return a system call whose first answer is lost, so that it is asked for twice."""

    def twice(*arguments: str) -> None:
        call(*arguments)
        call(*arguments)

    return twice


def test_a_file_system_without_hard_links_is_warned_of_once_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = FsspecStore(str(tmp_path))

    won = [store.create(name, payload) for name, payload in (("a", b"1"), ("a", b"2"), ("b", b"3"))]

    assert won == [True, False, True]
    assert store.read("a") == b"1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert [record.name for record in caplog.records] == ["fanfold.results"]
    assert str(store) in caplog.text and "exclusively" in caplog.text


def test_folders_are_no_objects_and_objects_no_folders(tmp_path: Path) -> None:
    store = FsspecStore(str(tmp_path))
    store.write("a", [b"1"])
    store.write("d/e", [b"2"])

    store.remove(["d", "a/below"])

    assert [store.names(prefix) for prefix in ("a/", "a/b", "a/b/c")] == [[], [], []]
    assert store.names("") == ["a", "d/e"]
    for name in ("d", "a/below"):
        with pytest.raises(StoreError) as told:
            store.read(name)
        assert isinstance(told.value.__cause__, FileNotFoundError)


def test_what_a_file_system_keeps_to_itself_at_its_root_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FsspecStore(str(tmp_path))
    store.write("a", [b"1"])
    (tmp_path / "lost+found").mkdir()
    scan, ours = os.scandir, os.geteuid()

    def scandir(path: str) -> "Iterator[os.DirEntry[str]]":
        if path.endswith("lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StoreError):
        store.names("")
    monkeypatch.setattr(os, "geteuid", lambda: ours + 1)

    assert store.names("") == ["a"]
    with pytest.raises(StoreError):
        store.names("lost+found/")


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

FORKED = """
import os, signal
from fanfold.adapters.results import remote
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.values.secrets import KNOWN

with KNOWN._lock, remote._memory_lock:
    if os.fork() == 0:
        signal.alarm(20)
        KNOWN.add("a new secret")
        os._exit(not FsspecStore("memory://forked").create("a", b"x"))
assert os.wait()[1] == 0
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


@pytest.mark.parametrize("kind", ["", "dir::file://"])
def test_what_a_killed_writer_left_is_listed_apart_and_removed(tmp_path: Path, kind: str) -> None:
    store = FsspecStore(f"{kind}{tmp_path}", {"dir": {"path": "/"}} if kind else {})
    store.write("a/b", [b"x"])
    folder = next(tmp_path.rglob("b")).parent
    for name in (f".tmp-{'0' * 32}", ".tmp-of-another-program"):
        (folder / name).write_bytes(b"half")

    listed = store.listing(".tmp-")
    store.remove([one.name for one in listed])

    assert [(one.name, one.size_bytes) for one in listed] == [(f"a/.tmp-{'0' * 32}", 4)]
    assert store.names("") == ["a/b"] and store.names(".tmp-") == store.listing(".tmp-") == []
    with pytest.raises(StoreError):
        store.remove([f"../.tmp-{'0' * 32}"])


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


@pytest.mark.parametrize("scheme", ["", "file://", "local://"])
def test_a_folder_is_one_store_whatever_options_others_have(tmp_path: Path, scheme: str) -> None:
    with settings.temporary({"results.storage_options": '{"endpoint_url": "http://127.0.0.1"}'}):
        store = registry.result_store(f"{scheme}{tmp_path}")

    assert store == FsspecStore(str(tmp_path))
