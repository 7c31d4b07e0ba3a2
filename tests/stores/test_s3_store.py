"""The store on S3: which requests it makes, and what it makes of faults and of servers."""

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any
from urllib.request import Request, urlopen

import pytest

from fanfold.adapters.results import fsspec_store
from fanfold.adapters.results.fsspec_store import FsspecStore
from fanfold.adapters.results.s3 import BIG_BYTES, PART_BYTES, S3, _cut
from fanfold.values.errors import StoreError
from tests.peak import peak_bytes
from tests.stores.places import S3Place
from tests.stores.s3_faults import Effect, Rule


def asked(place: S3Place) -> dict[str, int]:
    """Return how many requests there were by operation, and count anew."""
    counts: dict[str, int] = {}
    for operation, _, count in place.control.counts():
        counts[operation] = counts.get(operation, 0) + count
    place.control.forget()
    return counts


def test_each_operation_is_one_request(s3: S3Place) -> None:
    store = s3.store()
    s3.control.forget()

    store.write("a/b", [b"12", b"3"])
    assert asked(s3) == {"PutObject": 1}

    assert [store.read("a/b"), store.read("a/b", 1), store.read("a/b", -2)] == [
        b"123",
        b"23",
        b"23",
    ]
    assert [store.read("a/b", 1, 1), store.read("a/b", -9)] == [b"2", b"123"]
    assert asked(s3) == {"GetObject": 5}

    assert store.read("a/b", 0, 0) == b""
    assert asked(s3) == {"HeadObject": 1}

    assert store.create("c", b"first") and asked(s3) == {"PutObject": 3, "DeleteObject": 1}
    assert store.create("d", b"first") and asked(s3) == {"PutObject": 1}
    assert not store.create("d", b"second") and asked(s3) == {"PutObject": 1, "GetObject": 1}

    store.remove(["a/b"])
    assert asked(s3) == {"DeleteObject": 1}


def test_a_thousand_names_are_one_request_and_so_is_their_removal(s3: S3Place) -> None:
    store = s3.store()
    names = [f"many/{number:04}" for number in range(1_001)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: store.write(name, [b"x"]), names))
    s3.control.forget()

    assert store.names("many/") == names and asked(s3) == {"ListObjectsV2": 2}
    assert store.names("many/01") == names[100:200] and asked(s3) == {"ListObjectsV2": 1}

    store.remove(names)
    assert asked(s3) == {"DeleteObjects": 1, "DeleteObject": 1}
    assert store.names("") == []


def test_markers_of_folders_and_what_lies_beside_are_not_listed(s3: S3Place) -> None:
    s3.store("").write("results-of-others", [b"x"])
    store, around = s3.store("results"), s3.store("")
    store.write("a/b", [b"x"])
    with urlopen(Request(f"{s3.endpoint}/{s3.bucket}/results/a/", method="PUT"), timeout=60):
        pass

    assert store.names("") == ["a/b"]
    assert around.names("") == ["results-of-others", "results/a/b"]


@pytest.mark.parametrize(
    "fault",
    [
        Rule(effect=Effect.INTERNAL_ERROR, nth=(1, 2)),
        Rule(effect=Effect.SLOW_DOWN, nth=(1, 2)),
        Rule(effect=Effect.CONFLICT, nth=(1,)),
        Rule(effect=Effect.RESET, nth=(1, 2)),
        Rule(effect=Effect.LOSE, nth=(1, 2)),
        Rule(effect=Effect.TRUNCATE, nth=(1, 2)),
    ],
    ids=lambda rule: rule.effect.value,
)
def test_faults_that_pass_are_not_noticed(s3: S3Place, fault: Rule) -> None:
    store = s3.store()
    assert store.create("probed", b"x")

    def struck() -> None:
        s3.control.strike(fault)

    struck()
    store.write("a", [b"1" * 1000])
    struck()
    assert store.read("a") == b"1" * 1000
    struck()
    assert store.read("a", 10, 500) == b"1" * 500
    struck()
    assert store.create("b", b"mine")
    struck()
    assert not store.create("b", b"another's")
    struck()
    assert [one.size_bytes for one in store.listing("")] == [1000, 4, 1]
    struck()
    store.remove(["a", "probed"])
    struck()
    assert store.names("") == ["b"]


@pytest.mark.parametrize(
    "lost", ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]
)
def test_a_big_object_survives_lost_acknowledgements(s3: S3Place, lost: str) -> None:
    store = s3.store()
    payload = bytes(range(256)) * ((BIG_BYTES + PART_BYTES // 2) // 256)
    assert store.create("small", b"x")

    s3.control.strike(Rule(effect=Effect.LOSE, operations=(lost,), nth=(1,)))
    store.write("big", [payload[:7], memoryview(payload)[7:]])
    s3.control.strike(Rule(effect=Effect.LOSE, operations=(lost,), nth=(1,)))
    assert store.create("created", payload)

    assert store.read("big") == payload
    assert store.read("created", 5, len(payload) - 9) == payload[5:-4]
    assert not store.create("created", payload[::-1])
    assert store.names("") == ["big", "created", "small"]


@pytest.mark.parametrize(
    "parts", [[0], [3, BIG_BYTES - 3], [PART_BYTES, 0, BIG_BYTES - PART_BYTES, 1]]
)
def test_objects_about_the_size_of_parts_are_written_and_read(
    s3: S3Place, parts: Sequence[int]
) -> None:
    store = s3.store()

    store.write("a", [bytes([number + 1]) * size for number, size in enumerate(parts)])

    content = b"".join(bytes([number + 1]) * size for number, size in enumerate(parts))
    assert store.read("a") == content
    if content:
        assert store.read("a", 1, len(content) - 1) == content[1:]
    with pytest.raises(StoreError) as told:
        store.read("a", 0, max(len(content), BIG_BYTES) + 1)
    assert isinstance(told.value.__cause__, EOFError)


def test_parts_that_are_cut_off_are_read_again(s3: S3Place) -> None:
    store = s3.store()
    payload = bytes(range(251)) * ((BIG_BYTES + 2 * PART_BYTES) // 251)
    store.write("big", [payload])
    s3.control.strike(Rule(effect=Effect.TRUNCATE, operations=("GetObject",), nth=(1, 3, 4)))

    assert store.read("big") == payload


@contextmanager
def after(method: str, do: Callable[[S3, str], Awaitable[None]], nth: int = 1) -> Generator[None]:
    """Have something done to an object for which the nth request of a kind has been answered."""
    once, done = S3._once, list[str]()

    async def hooked(self: S3, asked: str, payload: bytes | None = None, **arguments: Any) -> Any:
        answer = await once(self, asked, payload, **arguments)
        if asked == method:
            done.append(arguments["Key"])
            if len(done) == nth:
                await do(self, arguments["Key"])
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3, "_once", hooked)
        yield
    assert len(done) >= nth


@pytest.mark.parametrize("length", [None, BIG_BYTES + PART_BYTES])
def test_a_big_object_that_is_replaced_while_it_is_read_is_one_of_both(
    s3: S3Place, length: int | None
) -> None:
    store, size = s3.store(), BIG_BYTES + PART_BYTES
    store.write("big", [b"1" * size])

    async def replace(place: S3, key: str) -> None:
        await place._once("put_object", b"2" * size, Key=key)

    with after("get_object", replace):
        content = store.read("big", 0, length)

    assert content == b"2" * size


def test_more_than_an_object_has_is_not_made_room_for(s3: S3Place) -> None:
    store = s3.store()
    store.write("small", [b"x"])
    s3.control.forget()

    with pytest.raises(StoreError, match="ends before") as told:
        store.read("small", 0, 1 << 60)

    assert isinstance(told.value.__cause__, EOFError)
    assert asked(s3) == {"GetObject": 1}


def test_what_is_created_goes_in_one_request_however_big_it_is(s3: S3Place) -> None:
    store = s3.store()
    store.create("small", b"x")
    s3.control.forget()

    assert store.create("big", bytes(BIG_BYTES + 1))

    assert asked(s3) == {"PutObject": 1}


@pytest.mark.parametrize("replaced", [True, False])
def test_an_upload_that_is_gone_is_not_taken_for_what_another_wrote(
    s3: S3Place, replaced: bool
) -> None:
    store, size = s3.store(), BIG_BYTES + 1

    async def lose(place: S3, key: str) -> None:
        if replaced:
            await place._once("put_object", bytes(size), Key=key)
        uploads = await place._system._call_s3("list_multipart_uploads", Bucket=place._bucket)
        upload = uploads["Uploads"][0]["UploadId"]
        await place._once("abort_multipart_upload", Key=key, UploadId=upload)

    with after("upload_part", lose, 5), pytest.raises(StoreError, match="upload does not exist"):
        store.write("big", [b"x" * size])


def test_many_small_parts_are_cut_in_one_pass() -> None:
    pieces = [bytes(3)] * 40_000
    began_s = time.process_time()

    groups = list(_cut(pieces, 1 << 20))

    assert [len(group) for group in groups] == [40_000]
    assert time.process_time() - began_s < 3.0  # 0.02 s; it was 29 s when each looked at all others


@pytest.mark.slow
def test_a_big_object_is_held_once_while_it_is_read_and_little_more_while_written(
    s3: S3Place,
) -> None:
    store, size = s3.store(), 12 * PART_BYTES

    def writing() -> None:
        store.write("big", [bytearray(size)])

    def reading() -> None:
        assert len(store.read("big")) == size

    assert peak_bytes(writing) < size + 14 * PART_BYTES
    assert peak_bytes(reading) < 1.5 * size
    assert peak_bytes(lambda: store.read("big", 0, size)) < 1.5 * size


def test_a_bucket_that_is_not_there_is_told_at_once(s3: S3Place) -> None:
    store = FsspecStore("s3://bucket-that-nobody-made/results", s3.options)

    for call, operation in (
        (lambda: store.write("a", [b"x"]), "write a"),
        (lambda: store.create("a", b"x"), "create a"),
        (lambda: store.read("a"), "read a"),
        (lambda: store.read("a", 0, 0), "read a"),
        (lambda: store.names("b/"), "list b/*"),
    ):
        with pytest.raises(StoreError) as told:
            call()

        assert str(told.value).startswith(f"Store {store} could not {operation}: ")
        assert "Make the bucket" in str(told.value)
        assert not isinstance(told.value.__cause__, FileNotFoundError)


def test_what_is_not_allowed_is_told_at_once_with_what_to_do(s3: S3Place) -> None:
    store = s3.store()
    s3.control.strike(Rule(effect=Effect.DENY))
    s3.control.forget()

    with pytest.raises(StoreError, match=r"could not write a/b: .*credentials .* don't allow it"):
        store.write("a/b", [b"x"])

    assert asked(s3) == {"PutObject": 1}


def test_a_fork_leaves_the_connections_of_its_parent_alone(s3: S3Place) -> None:
    s3.store().write("a", [b"1"])
    s3.control.forget()

    program = f"""
import gc, os
from fanfold.adapters.results import fsspec_store

options = {{**{s3.options!r}, "config_kwargs": {{"proxies": {{}}, "read_timeout": 1}}}}
store = fsspec_store.FsspecStore({s3.url()!r}, options)
store.read("a")
if os.fork() == 0:
    store.read("a")
    gc.collect()
    store.read("a")
    os._exit(0)
assert os.wait()[1] == 0
store.read("a")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)

    assert asked(s3) == {"GetObject": 4}  # none was asked for again


def test_a_place_that_is_let_go_of_is_closed_on_its_own_loop(s3: S3Place) -> None:
    store = s3.store("of its own")
    store.write("a", [b"1"])
    ended: SimpleQueue[str] = SimpleQueue()

    class Creator:
        async def __aexit__(self, *_: object) -> None:
            ended.put(threading.current_thread().name)

    place: Any = fsspec_store._connected(store)
    place._system._s3creator = Creator()
    del place

    async def let_go() -> None:
        fsspec_store._places.pop(fsspec_store._identity(store))
        gc.collect()

    asyncio.run(let_go())

    assert ended.get(timeout=60) == "fsspecIO"


def test_a_place_that_has_asked_for_nothing_is_let_go_of(
    s3: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", raised.append)
    store = FsspecStore(s3.url(), {**s3.options, "anon": True})
    assert not store.private

    fsspec_store._places.pop(fsspec_store._identity(store))
    gc.collect()

    assert not raised
    assert store.names("") == []


def test_a_refused_place_connects_anew_if_other_credentials_are_named(
    s3: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_ID", "first")
    options = {**s3.options, "key": "env:MY_ID", "secret": "env:AWS_SECRET_ACCESS_KEY"}
    store = FsspecStore(s3.url(), options)
    s3.control.strike(Rule(effect=Effect.DENY))

    def refused() -> object:
        before = fsspec_store._connected(store)
        with pytest.raises(StoreError):
            store.read("a")
        return fsspec_store._connected(store) is before

    assert refused()
    monkeypatch.setenv("MY_ID", "second")
    assert not refused()
    assert refused()


def test_a_server_that_ignores_conditions_is_warned_of_once(
    rclone: S3Place, caplog: pytest.LogCaptureFixture
) -> None:
    store = rclone.store()

    with caplog.at_level(logging.WARNING, "fanfold.results"):
        assert [store.create("a", payload) for payload in (b"1", b"2")] == [True, False]
        assert store.create("b", b"3")

    assert store.read("a") == b"1"
    assert [record.name for record in caplog.records] == ["fanfold.results"]
    assert str(store) in caplog.text


def test_a_server_that_heeds_conditions_is_not_warned_of(
    moto: S3Place, caplog: pytest.LogCaptureFixture
) -> None:
    store = moto.store()

    assert [store.create("a", payload) for payload in (b"1", b"2")] == [True, False]

    assert store.names("") == ["a"]
    assert not caplog.records
