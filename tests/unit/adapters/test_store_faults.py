"""Which faults of a storage are tried again, for how long, and what is said about the others."""

import errno
import socket
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fanfold.adapters.results.faults import BUDGET_S, Patience, advice, denied, passing
from fanfold.adapters.results.reaching import Reach, Trying
from fanfold.adapters.results.remote import Remote


class ClientError(Exception):
    """Looks like botocore's."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


class HTTPClientError(Exception):
    """Is called like botocore's, as all of its errors of connections are."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__("no connection")
        self.kwargs = {"error": error}


class EndpointConnectionError(HTTPClientError): ...


class SSLError(HTTPClientError): ...


class NoCredentialsError(Exception): ...


def translated(kind: type[Exception], cause: Exception, *arguments: Any) -> Exception:
    """Return what s3fs makes of an error."""
    error = kind(*arguments)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        ClientError("InternalError", 500),
        ClientError("SlowDown", 503),
        ClientError("503", 503),
        ClientError("RequestTimeout"),
        ClientError("IncompleteBody"),
        ClientError("ConditionalRequestConflict", 409),
        translated(OSError, ClientError("SlowDown", 503), errno.EBUSY, "Reduce your rate"),
        translated(PermissionError, ClientError("BadDigest"), "it came differently"),
        HTTPClientError(),
        EndpointConnectionError(ConnectionRefusedError()),
        EndpointConnectionError(socket.gaierror(socket.EAI_AGAIN, "later")),
        ConnectionResetError(),
        TimeoutError(),
        OSError(errno.ENETUNREACH, "no way"),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert passing(error)


@pytest.mark.parametrize(
    "error",
    [
        ClientError("NoSuchBucket", 404),
        ClientError("NoSuchKey", 404),
        ClientError("AccessDenied", 403),
        ClientError("PreconditionFailed", 412),
        ClientError("NotImplemented", 501),
        ClientError("NoSuchUpload", 404),
        translated(FileNotFoundError, ClientError("404", 404)),
        EndpointConnectionError(socket.gaierror(socket.EAI_NONAME, "unknown")),
        SSLError(),
        NoCredentialsError(),
        FileNotFoundError(),
        EOFError(),
        OSError(errno.ENOSPC, "full"),
        ValueError(),
    ],
    ids=repr,
)
def test_what_will_not_pass_is_told_at_once(error: Exception) -> None:
    patience = Patience()

    assert not passing(error)
    with pytest.raises(type(error)) as told:
        patience.after(error)
    assert told.value is error and not patience.tries


def test_waits_grow_up_to_a_limit_and_end_with_the_budget() -> None:
    now_s, waits_s = 0.0, list[float]()
    patience = Patience(clock=lambda: now_s, draw=lambda: 1.0)
    fault = TimeoutError()

    with pytest.raises(TimeoutError) as told:
        while True:
            waits_s.append(patience.after(fault))
            now_s += waits_s[-1]

    assert waits_s[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0]
    assert max(waits_s) == 8.0 and sum(waits_s) == pytest.approx(BUDGET_S)
    assert told.value.__notes__ == [f"tried {len(waits_s) + 1} times within 60 s"]


def test_which_part_is_waited_is_drawn_and_may_be_none() -> None:
    drawn = iter([0.5, 0.0, 0.25])
    patience = Patience(clock=lambda: 7.0, draw=lambda: next(drawn))

    assert [patience.after(TimeoutError()) for _ in range(3)] == [0.05, 0.0, 0.1]


def test_an_outage_of_ten_seconds_passes_with_few_tries() -> None:
    now_s = 0.0
    patience = Patience(clock=lambda: now_s, draw=lambda: 0.5)

    while now_s < 10:
        now_s += patience.after(ConnectionRefusedError())

    assert now_s < 15 and patience.tries < 12


def test_a_storage_out_of_reach_is_told_soon_and_waited_for_once_until_it_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_s = 0.0
    reach = Reach(lambda: "s3://away", clock=lambda: now_s)

    def fail(told: list[float]) -> None:
        """Try one request until it is given up."""
        nonlocal now_s
        trying = Trying(reach)
        with pytest.raises(ConnectionRefusedError):
            while True:
                wait_s = trying.after(ConnectionRefusedError("no"))
                told += [now_s] if caplog.records and not told else []
                now_s += wait_s

    told: list[float] = []
    ends_s: list[float] = []
    for _ in range(3):
        fail(told)
        ends_s.append(now_s)
    reach.ask(lambda: None)
    fail([])

    assert ends_s == pytest.approx([BUDGET_S] * 3) and now_s == pytest.approx(2 * BUDGET_S)
    assert told[0] <= 5.0
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "Store s3://away can't be used for now (ConnectionRefusedError: no)" in caplog.text


@pytest.mark.parametrize(
    ("answer", "lost"),
    [(ClientError("NoSuchKey", 404), False), (socket.gaierror(socket.EAI_NONAME, "no"), True)],
)
def test_what_a_storage_refuses_is_an_answer_too(answer: Exception, lost: bool) -> None:
    reach = Reach(lambda: "s3://away")
    reach.lost = True

    with pytest.raises(type(answer)):
        Trying(reach).after(answer)

    assert reach.lost == lost


def test_an_empty_listing_is_no_answer_for_some_list_nothing_where_they_cannot_connect() -> None:
    place = Remote(MemoryFileSystem(), "/none", lambda: "memory://none")
    place.reach.lost = True

    listed = list(place.names(""))

    assert listed == [] and place.reach.lost


def test_one_request_that_fails_while_others_are_answered_loses_no_storage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_s = 0.0
    reach = Reach(lambda: "s3://busy", clock=lambda: now_s)
    trying = Trying(reach)

    with pytest.raises(TimeoutError):
        while True:
            reach.heard()
            now_s += trying.after(TimeoutError())

    assert not reach.lost and not caplog.records


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ClientError("NoSuchBucket", 404), "Make the bucket"),
        (ClientError("AccessDenied", 403), "don't allow it"),
        (ClientError("403", 403), "don't allow it"),
        (ClientError("SignatureDoesNotMatch", 403), "are wrong"),
        (translated(PermissionError, ClientError("InvalidAccessKeyId", 403)), "are wrong"),
        (ClientError("ExpiredToken"), "expired"),
        (NoCredentialsError(), "no credentials here"),
        (PermissionError(errno.EACCES, "Permission denied"), "Let this user read and write there"),
        (EndpointConnectionError(ConnectionRefusedError()), "Is the endpoint right and running?"),
        (ConnectionRefusedError(), "Is the endpoint right and running?"),
        (EndpointConnectionError(socket.gaierror(socket.EAI_NONAME, "unknown")), "no such host"),
        (ClientError("RequestTimeTooSkewed", 403), "clock"),
    ],
    ids=repr,
)
def test_what_to_do_next_is_said(error: Exception, said: str) -> None:
    assert said in advice(error)


@pytest.mark.parametrize("code", ["AccessDenied", "SignatureDoesNotMatch", "ExpiredToken"])
def test_who_asked_was_refused_is_known_by_codes_alone(code: str) -> None:
    error = ClientError(code)

    assert denied(error)
    assert not denied(ClientError("NoSuchKey", 404))
