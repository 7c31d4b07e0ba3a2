"""A small S3 of the tests' own: truly atomic conditional creates, scripted faults, exact counts.

It runs in threads, `with running() as url`, or as a process: `python -m tests.stores.s3_server`,
which prints its URL and ends when its input does. It speaks HTTP/1.1 in path style on 127.0.0.1 and
looks at no signature. Below `/_control/BUCKET` tests set faults and read counts, see `Control`;
those requests are neither counted nor struck.
"""

import http.client
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from tests.stores.s3_buckets import Buckets, Buffer, S3Error
from tests.stores.s3_faults import Book, Effect, Rule
from tests.stores.s3_operations import (
    Answer,
    Request,
    operation_of,
    parse_target,
    perform,
    refusal,
)

CONTROL = "_control"
_READ_BYTES = 1 << 16
_REFUSED = {
    Effect.INTERNAL_ERROR: S3Error(500, "InternalError", "We encountered an internal error."),
    Effect.SLOW_DOWN: S3Error(503, "SlowDown", "Please reduce your request rate."),
    Effect.CONFLICT: S3Error(409, "ConditionalRequestConflict", "Another request was faster."),
    Effect.DENY: S3Error(403, "AccessDenied", "Access Denied"),
}


class Server:
    """Listens from its making on; each connection has a thread."""

    def __init__(self) -> None:
        self.buckets = Buckets()
        self.book = Book()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = "http://{}:{}".format(*self._socket.getsockname())
        self._connections: set[socket.socket] = set()

    def serve(self) -> None:
        """Accept connections until `close`."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.add(connection)
            thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
            thread.start()

    def close(self) -> None:
        """Accept no more, and end what was accepted."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _talk(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming = _Incoming(connection)
        try:
            while (request := incoming.request()) is not None:
                if not self._answer(connection, request):
                    return
        except OSError:
            return  # the client has gone
        finally:
            self._connections.discard(connection)
            connection.close()

    def _answer(self, connection: socket.socket, request: Request) -> bool:
        """Return whether the connection goes on."""
        if request.bucket == CONTROL:
            _send(connection, request, self._control(request))
            return True
        operation = operation_of(request.method, request.bucket, request.key, request.query)
        told = request.query.get("prefix", "") if operation == "ListObjectsV2" else request.key
        rule = self.book.enter(request.bucket, operation, told)
        if rule is None:
            _send(connection, request, self._performed(operation, request))
            return True
        return self._struck(rule, connection, operation, request)

    def _struck(
        self, rule: Rule, connection: socket.socket, operation: str, request: Request
    ) -> bool:
        if rule.effect in _REFUSED:
            _send(connection, request, refusal(_REFUSED[rule.effect], request))
            return True
        if rule.effect is Effect.DELAY:
            time.sleep(rule.seconds)
        if rule.effect is not Effect.RESET:
            answer = self._performed(operation, request)
            if rule.effect is Effect.DELAY:
                _send(connection, request, answer)
                return True
            if rule.effect is Effect.TRUNCATE:
                _send(connection, request, answer, half=True)
                return False
        # Closing without lingering sends a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def _performed(self, operation: str, request: Request) -> Answer:
        try:
            return perform(operation, request, self.buckets)
        except S3Error as error:
            return refusal(error, request)

    def _control(self, request: Request) -> Answer:
        bucket = request.key
        found: Any = None
        if request.method == "GET":
            found = {"counts": self.book.counts(bucket), "struck": self.book.struck(bucket)}
        elif request.method == "PUT":
            words = json.loads(bytes(request.body))
            self.book.rule(bucket, [Rule(**{**w, "effect": Effect(w["effect"])}) for w in words])
        else:
            whole = "bucket" in request.query
            self.book.forget(bucket, rules=whole)
            if whole:
                self.buckets.forget(bucket)
        return Answer(headers={}, body=[json.dumps(found).encode()])


class _Incoming:
    """Reads requests from a connection, in far less time than http.server takes for it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def request(self) -> Request | None:
        """Return the next request, as soon as all of it is there; None at the end."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._body(headers)
        bucket, key, query = parse_target(target)
        return Request(
            method=method, bucket=bucket, key=key, query=query, headers=headers, body=body
        )

    def _body(self, headers: Mapping[str, str]) -> Buffer:
        if headers.get("transfer-encoding", "") == "chunked":
            body: Buffer = self._chunks()
        else:
            body = self._exactly(int(headers.get("content-length", 0)))
        if "aws-chunked" in headers.get("content-encoding", ""):
            inner = _Incoming(self._connection)
            inner._rest = bytes(body)
            body = inner._chunks()
        return body

    def _chunks(self) -> bytes:
        """Return what comes in chunks, with the trailer read."""
        chunks: list[Buffer] = []
        while True:
            line = self._line()
            size = int(line.split(b";")[0], 16)
            if not size:
                while self._line():
                    pass
                return b"".join(chunks)
            chunks.append(self._exactly(size))
            self._line()

    def _line(self) -> bytes:
        line = self._until(b"\r\n")
        if line is None:
            raise ConnectionResetError("the request ended early")
        return line

    def _until(self, mark: bytes) -> bytes | None:
        while (at := self._rest.find(mark)) < 0:
            more = self._connection.recv(_READ_BYTES)
            if not more:
                return None
            self._rest += more
        found, self._rest = self._rest[:at], self._rest[at + len(mark) :]
        return found

    def _exactly(self, size: int) -> Buffer:
        if size <= len(self._rest):
            found, self._rest = self._rest[:size], self._rest[size:]
            return found
        body = bytearray(size)
        got = len(self._rest)
        body[:got] = self._rest
        self._rest = b""
        with memoryview(body) as view:
            while got < size:
                count = self._connection.recv_into(view[got:])
                if not count:
                    raise ConnectionResetError("the request ended early")
                got += count
        return body


def _send(
    connection: socket.socket, request: Request, answer: Answer, *, half: bool = False
) -> None:
    size = sum(len(part) for part in answer.body)
    length = size if answer.length is None else answer.length
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if answer.status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Length: {length}")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    if request.method == "HEAD":
        connection.sendall(head)
    elif half:
        connection.sendall(head + b"".join(answer.body)[: size // 2])
    elif size < _READ_BYTES:
        connection.sendall(head + b"".join(answer.body))
    else:
        connection.sendall(head)
        for part in answer.body:
            connection.sendall(part)


class Control:
    """What tests ask of a server at a URL, about one bucket; from any process and thread."""

    def __init__(self, url: str, bucket: str) -> None:
        self.url = url
        self.bucket = bucket

    def make(self) -> None:
        """Make the bucket."""
        self._ask("PUT", f"/{self.bucket}")

    def drop(self) -> None:
        """Remove the bucket with all that is in it or known of it."""
        self._ask("DELETE", f"/{CONTROL}/{self.bucket}?bucket")

    def strike(self, *rules: Rule) -> None:
        """Set the rules by which requests for the bucket are struck; none: all is well again."""
        words = json.dumps([asdict(rule) for rule in rules])
        self._ask("PUT", f"/{CONTROL}/{self.bucket}", words)

    def struck(self) -> list[int]:
        """Return how often each rule that is set has struck."""
        return self._ask("GET", f"/{CONTROL}/{self.bucket}")["struck"]

    def requests(self, *operations: str, prefix: str = "") -> int:
        """Return how many requests of some operations, or of all, there were for such keys."""
        return sum(
            count
            for operation, key, count in self.counts()
            if key.startswith(prefix) and (not operations or operation in operations)
        )

    def counts(self) -> Sequence[tuple[str, str, int]]:
        """Return operation, key and count of all requests since the last `forget`."""
        return self._ask("GET", f"/{CONTROL}/{self.bucket}")["counts"]

    def forget(self) -> None:
        """Count from zero again."""
        self._ask("DELETE", f"/{CONTROL}/{self.bucket}")

    def _ask(self, method: str, path: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            connection.request(method, path, body)
            told = connection.getresponse().read()
            return json.loads(told) if told else None
        finally:
            connection.close()


@contextmanager
def running() -> Generator[str]:
    """Run a server in threads of this process; return its URL."""
    server = Server()
    thread = threading.Thread(target=server.serve, name="s3-server", daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.close()
        thread.join()


def main() -> None:
    """Serve until the input ends, as it does when whoever started this dies."""
    with running() as url:
        print(url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
