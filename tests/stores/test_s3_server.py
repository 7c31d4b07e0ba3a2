"""The tests' own S3 is what they take it for: atomic, exact in its counts, faulty as it is told."""

import http.client
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.stores.places import S3Place
from tests.stores.s3_faults import Effect, Rule


class Caller:
    """A connection that is kept alive."""

    def __init__(self, place: S3Place) -> None:
        self._bucket = place.bucket
        self._connection = http.client.HTTPConnection(urlsplit(place.endpoint).netloc, timeout=60)

    def __call__(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, f"/{self._bucket}{path}", body, named)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def call(s3: S3Place) -> Iterator[Caller]:
    caller = Caller(s3)
    yield caller
    caller.close()


def test_of_eight_that_create_one_object_one_does(s3: S3Place, call: Caller) -> None:
    barrier = threading.Barrier(8)
    won: list[tuple[int, int]] = []

    def race(number: int) -> None:
        own = Caller(s3)
        for turn in range(200):
            barrier.wait(60)
            status, told = own("PUT", f"/{turn}", b"%d" % number, If_None_Match="*")
            if status == 200:
                won.append((turn, number))
            else:
                assert (status, b"<Code>PreconditionFailed</Code>" in told) == (412, True)
        own.close()

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(turn for turn, _ in won) == list(range(200))
    assert [call("GET", f"/{turn}")[1] for turn, _ in won] == [b"%d" % number for _, number in won]
    assert s3.control.requests("PutObject") == 1_600
    assert s3.control.requests("GetObject") == 200


def test_an_object_is_replaced_only_by_who_knows_it(s3: S3Place, call: Caller) -> None:
    call("PUT", "/a", b"first")
    tag = s3.store("").listing("")[0]

    assert tag.size_bytes == 5
    assert call("PUT", "/a", b"x", If_Match='"other"')[0] == 412
    assert call("PUT", "/none", b"x", If_Match='"other"')[0] == 404
    assert call("PUT", "/a", b"again", If_Match='"8b04d5e3775d298e78455efc5ca404d5"')[0] == 200
    assert call("GET", "/a") == (200, b"again")


def test_a_listing_comes_in_pages(s3: S3Place, call: Caller) -> None:
    for number in range(2_100):
        call("PUT", f"/results/a/{number:04}", b"")
    for name in ("b/1", "b/2", "c"):
        call("PUT", f"/results/{name}", b"")
    s3.control.forget()

    names = s3.store().names("a/")

    assert names == [f"a/{number:04}" for number in range(2_100)]
    assert s3.control.requests("ListObjectsV2") == s3.control.requests() == 3
    _, told = call("GET", "?list-type=2&prefix=results/&delimiter=/&max-keys=2")
    assert [told.count(word) for word in (b"<CommonPrefixes>", b"<Contents>")] == [2, 0]
    _, told = call("GET", "?list-type=2&prefix=results/&delimiter=/&start-after=results/b/")
    assert [told.count(word) for word in (b"<CommonPrefixes>", b"<Contents>")] == [0, 1]


def test_what_is_missing_or_forbidden_is_told_as_s3_does(s3: S3Place, call: Caller) -> None:
    s3.control.strike(Rule(effect=Effect.DENY, key="private/*"))
    call("PUT", "/a", b"123")

    told = [
        call("GET", "/none"),
        call("GET", "-none/a"),
        call("GET", "/private/a"),
        call("GET", "?list-type=2&prefix=private/x"),
        call("GET", "/a", Range="bytes=3-"),
        call("GET", "/a", Range="bytes=1-1"),
        call("HEAD", "/none"),
    ]

    assert [status for status, _ in told] == [404, 404, 403, 403, 416, 206, 404]
    for (_, body), code in zip(
        told, ["NoSuchKey", "NoSuchBucket", "AccessDenied", "AccessDenied"], strict=False
    ):
        assert f"<Code>{code}</Code>".encode() in body
    assert told[5][1] == b"2"


@pytest.mark.parametrize(
    ("effect", "status", "written"),
    [
        (Effect.INTERNAL_ERROR, 500, False),
        (Effect.SLOW_DOWN, 503, False),
        (Effect.CONFLICT, 409, False),
        (Effect.DENY, 403, False),
        (Effect.DELAY, 200, True),
        (Effect.RESET, None, False),
        (Effect.LOSE, None, True),
    ],
)
def test_a_fault_strikes_the_requests_that_its_rule_names(
    s3: S3Place, call: Caller, effect: Effect, status: int | None, written: bool
) -> None:
    s3.control.strike(Rule(effect=effect, operations=("PutObject",), key="a*", nth=(2,)))

    assert call("PUT", "/a1", b"x")[0] == call("PUT", "/b", b"x")[0] == 200
    if status is None:
        with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
            call("PUT", "/a2", b"x")
    else:
        assert call("PUT", "/a2", b"x")[0] == status
    call.close()

    assert s3.control.struck() == [1]
    assert (call("GET", "/a2")[0] == 200) is written
    assert call("PUT", "/a3", b"x")[0] == 200


def test_a_body_is_cut_in_the_middle(s3: S3Place, call: Caller) -> None:
    call("PUT", "/a", b"12345678")
    s3.control.strike(Rule(effect=Effect.TRUNCATE, operations=("GetObject",), nth=(1,)))

    with pytest.raises(http.client.IncompleteRead) as told:
        call("GET", "/a")
    call.close()

    assert told.value.partial == b"1234"
    assert call("GET", "/a") == (200, b"12345678")


def test_a_share_of_requests_is_the_same_in_each_run(s3: S3Place, call: Caller) -> None:
    seen: list[list[int]] = []

    for _ in range(2):
        s3.control.strike(Rule(effect=Effect.SLOW_DOWN, share=0.2, seed=7))
        seen.append([call("HEAD", "/a")[0] for _ in range(500)])

    assert seen[0] == seen[1]
    assert s3.control.struck() == [seen[0].count(503)]
    assert 70 < seen[0].count(503) < 130
    assert s3.control.requests("HeadObject", prefix="a") == 1_000


def test_parts_become_one_object_unless_there_is_one(s3: S3Place) -> None:
    import s3fs

    system = s3fs.S3FileSystem(**s3.options)
    content = bytes(range(256)) * (12 << 12)
    path = f"{s3.bucket}/big"

    system.pipe_file(path, content, chunksize=5 << 20, mode="create")
    with pytest.raises(OSError):
        system.pipe_file(path, b"x" * len(content), chunksize=5 << 20, mode="create")

    assert system.cat_file(path) == content
    assert (
        system.cat_file(path, start=(5 << 20) - 3, end=(10 << 20) + 3)
        == content[(5 << 20) - 3 : (10 << 20) + 3]
    )
    assert s3.control.requests("UploadPart", prefix="big") == 6
    assert s3.control.requests("CompleteMultipartUpload") == 2
