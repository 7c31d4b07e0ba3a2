"""Which faults of a storage may pass, how long to wait for that, and what to do about others. Pure.

Errors are told by HTTP status, by the storage's own code and by the names of their classes, for the
libraries that they come from aren't loaded here.
"""

import errno
import random
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

BUDGET_S = 60.0
"""From the first fault of a request until it is given up: an outage of ten seconds passes, and a
wrong address is told within the minute."""
FIRST_S = 0.1
LONGEST_S = 8.0
"""The longest wait before the first and before later tries; which part of it is drawn."""

_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 509})
"""409 is S3's conflict with another request under way, not with an object that is there."""
_CODES = frozenset(
    {
        "BadDigest",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "XAmzContentSHA256Mismatch",
    }
)
_TYPES = frozenset(
    {
        "ClientConnectionError",
        "ClientPayloadError",
        "ChunkedEncodingError",
        "ConnectionClosedError",
        "ConnectionError",
        "FSTimeoutError",
        "HTTPClientError",
        "IncompleteRead",
        "IncompleteReadError",
        "ProtocolError",
        "ResponseParserError",
        "ServerTimeoutError",
        "Timeout",
        "TimeoutError",
    }
)
_FINAL_TYPES = frozenset({"ClientSSLError", "InvalidURL", "ProxyConnectionError", "SSLError"})
"""Kinds of the above that no waiting heals."""
_ERRNOS = frozenset(
    {errno.EAGAIN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ETIMEDOUT}
)
_CREDENTIALS = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_NO_CREDENTIALS = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}
)

_UNCONNECTED = frozenset({"ClientConnectorError", "EndpointConnectionError"})


class Patience:
    """How one request is tried again: exponentially longer waits, of which a part is drawn.

    Args:
        budget_s: Given up so long after the first fault.
        clock: Seconds that pass.
        draw: Numbers from 0 to 1.
    """

    def __init__(
        self,
        budget_s: float = BUDGET_S,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._budget_s, self._clock, self._draw = budget_s, clock, draw
        self._began_s = 0.0
        self.tries = 0
        """That have failed."""
        self.tried_s = 0.0
        """Since the first of them."""

    def after(self, error: BaseException) -> float:
        """Return the seconds to wait before the next try.

        Raises:
            BaseException: The error itself, where it won't pass or has lasted for too long.
        """
        if not passing(error):
            raise error
        now_s = self._clock()
        if not self.tries:
            self._began_s = now_s
        self.tries += 1
        self.tried_s = now_s - self._began_s
        left_s = self._budget_s - self.tried_s
        if left_s <= 0:
            error.add_note(f"tried {self.tries} times within {self._budget_s:g} s")
            raise error
        return min(left_s, self._draw() * min(LONGEST_S, FIRST_S * 2.0 ** min(self.tries - 1, 30)))


def passing(error: BaseException) -> bool:
    """Return whether the same request may succeed a little later."""
    chain = list(_chain(error))
    if any(isinstance(one, socket.gaierror) and one.errno == socket.EAI_NONAME for one in chain):
        return False
    code, status = told(error)
    if code or status:
        return code in _CODES or status in _STATUSES
    names = _names(error)
    if names & _FINAL_TYPES:
        return False
    return bool(names & _TYPES) or any(
        isinstance(one, OSError) and one.errno in _ERRNOS for one in chain
    )


def answered(error: BaseException) -> bool:
    """Return whether an error that won't pass is what the storage itself has said."""
    return told(error) != ("", 0) and not passing(error)


def denied(error: BaseException) -> bool:
    """Return whether the storage refused because of who asked."""
    code, status = told(error)
    names = _names(error)
    return (
        code in _CREDENTIALS
        or code == "AccessDenied"
        or status in (401, 403)
        or bool(names & _NO_CREDENTIALS)
    )


def refused_condition(error: BaseException) -> bool:
    """Return whether an object was not created because there is one."""
    code, status = told(error)
    return (
        status == 412 or code in ("PreconditionFailed", "412") or isinstance(error, FileExistsError)
    )


def without_conditions(error: BaseException) -> bool:
    """Return whether the storage says that it can't create exclusively."""
    code, status = told(error)
    return status == 501 or code == "NotImplemented" or isinstance(error, NotImplementedError)


def beyond_end(error: BaseException) -> bool:
    """Return whether a range was asked for that the object doesn't have."""
    code, status = told(error)
    return status == 416 or code == "InvalidRange"


def advice(error: BaseException) -> str:
    """Return what to do next, as a sentence; empty where the error says enough."""
    code, _ = told(error)
    names = _names(error)
    if code in ("NoSuchBucket", "NoSuchContainer"):
        return "Make the bucket, or choose another place by result_storage."
    if names & _NO_CREDENTIALS:
        return (
            "There are no credentials here: set them up as the storage's own tools have them, "
            "such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name them in the options "
            "of FsspecStore, such as 'env:MY_SECRET'."
        )
    if code in _CREDENTIALS:
        return "The credentials that were found here are wrong or have expired: renew them."
    if code == "RequestTimeTooSkewed":
        return "The clock of this machine is wrong: set it."
    if denied(error):
        return (
            "The credentials that were found here don't allow it: let them list, read, write and "
            "delete objects there."
        )
    if isinstance(error, PermissionError):
        return "Let this user read and write there, or choose another place by result_storage."
    if isinstance(error, NotADirectoryError):
        return "That is a file or below one: name a folder."
    if any(isinstance(one, socket.gaierror) for one in _chain(error)):
        return "There is no such host: correct the endpoint."
    refused = any(isinstance(one, ConnectionRefusedError) for one in _chain(error))
    if refused or names & _UNCONNECTED:
        return "Nothing answers there. Is the endpoint right and running?"
    return ""


def told(error: BaseException) -> tuple[str, int]:
    """Return the code and the HTTP status by which a storage told a fault; "" and 0 without."""
    for one in _chain(error):
        response: Any = getattr(one, "response", None)
        if isinstance(response, dict):
            code = str(response.get("Error", {}).get("Code", ""))
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return code, int(status or (code if code.isdigit() else 0))
    if not _names(error) & _TYPES:  # aiohttp has 400 for an answer that is cut off
        for one in _chain(error):
            for name in ("status", "status_code", "code"):
                status = getattr(one, name, None)
                if isinstance(status, int) and 400 <= status < 600:
                    return "", status
    return "", 0


def _names(error: BaseException) -> set[str]:
    """Return the names of the classes of an error, of what led to it, and of their bases."""
    return {kind.__name__ for one in _chain(error) for kind in type(one).__mro__}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        wrapped = getattr(one, "kwargs", None)  # of botocore's errors
        inside = wrapped.get("error") if isinstance(wrapped, dict) else None
        # Not its context, which may be what the caller was busy with.
        pending += [one.__cause__, getattr(one, "os_error", None)]
        pending.append(inside if isinstance(inside, BaseException) else None)
