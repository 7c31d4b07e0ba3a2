"""Results on S3, by the requests that they need and no others.

s3fs holds the connection. Its own ways to read and write would ask for more than is needed, hide
what became of a request and try it again out of sight, so each request is made and judged here.
Imports nothing of s3fs.
"""

import asyncio
import io
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from fsspec.asyn import sync

from fanfold.adapters.results.faults import (
    beyond_end,
    refused_condition,
    told,
    without_conditions,
)
from fanfold.adapters.results.probing import Creation
from fanfold.adapters.results.reaching import Reach
from fanfold.ports.results import TEMPORARY, Buffer, Listed
from fanfold.values.secrets import hide

BIG_BYTES = 32 << 20
"""What is bigger goes in parts, unless it is created: that is one request, of at most S3's 5 GB."""
PART_BYTES = 8 << 20
"""Each part; more if there would be more than `MOST_PARTS`."""
MOST_PARTS = 10_000
"""S3's limit."""
IN_FLIGHT = 4
"""Requests for parts of one object at a time; a part is held twice while it is sent, so this takes
64 MiB beside the object itself."""
_AT_ONCE = 1_000
"""Objects that one request can remove."""
_CONNECTIONS = 32
"""botocore's 10 would make the threads of a worker wait for each other."""
_READ_BYTES = 1 << 20
_NEW = {"IfNoneMatch": "*"}
_FOUND_BY = frozenset({"key", "secret", "token", "username", "password", "profile", "session"})
"""Options that say where a file system finds its credentials."""
_OF_CLIENT = {
    "key": "aws_access_key_id",
    "secret": "aws_secret_access_key",
    "token": "aws_session_token",
}
"""How botocore calls them."""
_TRY = "fanfold-try"
"""Under which an object that was written in parts says by which try."""

T = TypeVar("T")


class S3:
    """A connected bucket and prefix.

    Args:
        system: An S3FileSystem of its own.
        root: Bucket and prefix.
        told: What warnings call it.
    """

    private = False

    def __init__(self, system: Any, root: str, told: Callable[[], str]) -> None:
        _configure(system)
        self._system = system
        self._bucket, prefix, _ = system.split_path(root)
        self._prefix = f"{prefix}/" if prefix else ""
        self._creation = Creation(self, told, None)
        self._reach = Reach(told)
        hide(self.credentials())

    def credentials(self) -> dict[str, str]:
        """Return what requests are signed with; empty where they aren't."""
        if self._system.anon:
            return {}
        return self._wait(self._credentials)

    def shipped(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options for another process, with the credentials that were found here."""
        found = self.credentials()
        if not found:
            return dict(options)
        shipped = {name: value for name, value in options.items() if name not in _FOUND_BY}
        client = dict(options.get("client_kwargs") or {})
        for name in _OF_CLIENT.values():
            client.pop(name, None)
        if "profile" in options:  # says what region it is, too
            client.setdefault("region_name", self._system.s3.meta.region_name)
        return {**shipped, "client_kwargs": client, **found}

    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        self._wait(self._put, name, parts, {})

    def put_new(self, name: str, payload: bytes) -> None:
        self._wait(self._put, name, [payload], _NEW)

    def create(self, name: str, payload: bytes) -> bool:
        return self._creation.create(name, payload)

    def names(self, prefix: str) -> Iterator[str]:
        return (name for name, _ in self._found(prefix))

    def listing(self, prefix: str) -> Iterator[Listed]:
        for name, found in self._found(prefix):
            modified_s = found["LastModified"].timestamp()
            yield Listed(name=name, size_bytes=found["Size"], modified_s=modified_s)

    def read(self, name: str, offset: int, length: int | None) -> Buffer:
        return self._wait(self._read, name, offset, length)

    def remove(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), _AT_ONCE):
            self._wait(self._remove, names[start : start + _AT_ONCE])

    @staticmethod
    def close(system: Any) -> None:
        """Close the connections of a file system, on the loop to which they belong.

        s3fs itself would do it on whatever loop runs where the file system is collected, in vain.
        """
        creator = getattr(system, "_s3creator", None)  # None before the first request
        if creator is not None and system.loop.is_running():
            asyncio.run_coroutine_threadsafe(creator.__aexit__(None, None, None), system.loop)

    def _wait(self, do: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        done: Any = sync(self._system.loop, do, *arguments)
        return done

    # Writing.

    async def _put(self, name: str, parts: Sequence[Buffer], condition: dict[str, str]) -> None:
        size = sum(memoryview(part).nbytes for part in parts)
        if size > BIG_BYTES and not condition:
            # A condition on what goes in parts is judged at the end. Who loses has to begin anew,
            # and can't tell what the winner made from what it has made itself.
            await self._put_in_parts(name, parts, size)
            return
        payload = b"".join(parts)
        await self._ask("put_object", Key=self._key(name), payload=payload, **condition)

    async def _put_in_parts(self, name: str, parts: Sequence[Buffer], size: int) -> None:
        key, mark = self._key(name), {_TRY: uuid4().hex}
        begun = await self._ask("create_multipart_upload", Key=key, Metadata=mark)
        upload = {"Key": key, "UploadId": begun["UploadId"]}
        each = max(PART_BYTES, -(-size // MOST_PARTS))
        try:
            sent = await _several(
                self._put_part(upload, number, pieces)
                for number, pieces in enumerate(_cut(parts, each), 1)
            )
            await self._complete(upload, sent, mark)
        except BaseException:
            with suppress(Exception):
                await self._ask("abort_multipart_upload", **upload)
            raise

    async def _put_part(
        self, upload: dict[str, str], number: int, pieces: Sequence[Buffer]
    ) -> dict[str, Any]:
        payload = b"".join(pieces)
        done = await self._ask("upload_part", PartNumber=number, payload=payload, **upload)
        return {"PartNumber": number, "ETag": done["ETag"]}

    async def _complete(
        self, upload: dict[str, str], sent: list[Any], mark: dict[str, str]
    ) -> None:
        done = {"Parts": sent}
        try:
            await self._ask("complete_multipart_upload", MultipartUpload=done, **upload)
        except Exception as error:
            if told(error)[0] != "NoSuchUpload" or not await self._bears(upload["Key"], mark):
                raise
            # It was completed by a try whose acknowledgement was lost.

    async def _bears(self, key: str, mark: dict[str, str]) -> bool:
        with suppress(Exception):  # what made one look counts for more
            found = await self._ask("head_object", Key=key)
            return found.get("Metadata", {}).get(_TRY) == mark[_TRY]
        return False

    # Reading.

    async def _read(self, name: str, offset: int, length: int | None) -> Buffer:
        key = self._key(name)
        if length == 0:
            # An empty range can't be asked for, but whether the object is that long can.
            if await self._size(key) < offset:
                raise EOFError(f"it ends before byte {offset}")
            return b""
        try:
            return await self._reach.ask_async(lambda: self._read_first(key, offset, length))
        except Exception as error:
            if not beyond_end(error):
                raise
            if offset < 0:
                # The object is empty, or shorter than that, of which some servers give nothing.
                return await self._reach.ask_async(lambda: self._read_first(key, 0, None))
            raise EOFError(f"it ends before byte {offset + (length or 1)}") from error

    async def _read_first(self, key: str, offset: int, length: int | None) -> Buffer:
        """Return an object, or a part of it; what is big in parts, once its size is known."""
        big = length if length is not None and length > BIG_BYTES else 0
        wanted: dict[str, Any] = _range(offset, PART_BYTES if big else length)
        answer = await self._once("get_object", Key=key, **wanted)
        size = answer["ContentLength"]
        if big:
            _check_reaches(answer, offset + big)
        elif wanted or size <= BIG_BYTES:
            try:
                content = await answer["Body"].read()
            finally:
                answer["Body"].close()
            _check_whole(len(content), size)
            return content
        content = bytearray(big or size)
        await _read_into(memoryview(content)[:PART_BYTES], answer["Body"])
        await self._read_rest(key, offset, content, {"IfMatch": answer["ETag"]})
        return content

    async def _read_rest(
        self, key: str, offset: int, content: bytearray, same: dict[str, str]
    ) -> None:
        """Fill all but the first part of a content, which begins at an offset of the object."""
        view = memoryview(content)
        try:
            await _several(
                self._reach.ask_async(
                    self._reading(key, offset + at, view[at : at + PART_BYTES], same)
                )
                for at in range(PART_BYTES, len(content), PART_BYTES)
            )
        except _Replaced:
            # Passes where all of it is read again.
            raise ConnectionError("it was replaced while it was read") from None

    def _reading(
        self, key: str, offset: int, view: memoryview, same: dict[str, str]
    ) -> Callable[[], Awaitable[None]]:
        async def read() -> None:
            wanted: dict[str, Any] = {**_range(offset, len(view)), **same}
            try:
                answer = await self._once("get_object", Key=key, **wanted)
            except Exception as error:
                if beyond_end(error):
                    raise EOFError(f"it ends before byte {offset + len(view)}") from error
                if refused_condition(error):
                    raise _Replaced from error
                raise
            if answer["ContentLength"] < len(view):
                answer["Body"].close()
                raise EOFError(f"it ends before byte {offset + len(view)}")
            await _read_into(view, answer["Body"])

        return read

    async def _size(self, key: str) -> int:
        try:
            return (await self._ask("head_object", Key=key))["ContentLength"]
        except FileNotFoundError:
            # The answer has no body, which would say if it is the bucket that isn't there.
            await self._ask("list_objects_v2", Prefix=key, MaxKeys=1)
            raise

    # Listing and removing.

    def _found(self, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        more: dict[str, str] = {}
        start = len(self._prefix)
        while True:
            page = self._wait(self._page, prefix, more)
            for found in page.get("Contents", ()):
                name = found["Key"][start:]
                # Others leave markers of folders; ours are no objects either.
                if name and not name.endswith("/") and not name.startswith(TEMPORARY):
                    yield name, found
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def _page(self, prefix: str, more: dict[str, str]) -> dict[str, Any]:
        return await self._ask("list_objects_v2", Prefix=self._prefix + prefix, **more)

    async def _remove(self, names: Sequence[str]) -> None:
        if len(names) == 1:
            await self._ask("delete_object", Key=self._key(names[0]))
            return
        try:
            await self._reach.ask_async(lambda: self._remove_together(names))
        except Exception as error:
            if not without_conditions(error):
                raise
            # Google's S3 doesn't know the request that removes many.
            await _several(self._ask("delete_object", Key=self._key(name)) for name in names)

    async def _remove_together(self, names: Sequence[str]) -> None:
        keys = [{"Key": self._key(name)} for name in names]
        answer = await self._once("delete_objects", Delete={"Objects": keys, "Quiet": True})
        failed = [one for one in answer.get("Errors", ()) if one.get("Code") != "NoSuchKey"]
        if failed:
            raise _NotRemoved(failed[0])

    # Asking.

    async def _credentials(self) -> dict[str, str]:
        system = self._system
        await system.set_session()
        given = {name: getattr(system, name) for name in _OF_CLIENT}
        for name, told_as in _OF_CLIENT.items():
            given[name] = given[name] or system.client_kwargs.get(told_as)
        parts = tuple(given.values())
        if not (given["key"] and given["secret"]):
            found = await system.session.get_credentials()
            if found is None:
                return {}
            parts = await found.get_frozen_credentials()
        named = zip(_OF_CLIENT, parts, strict=False)
        return {name: value for name, value in named if value}

    def _key(self, name: str) -> str:
        return self._prefix + name

    async def _ask(self, method: str, **arguments: Any) -> Any:
        return await self._reach.ask_async(lambda: self._once(method, **arguments))

    async def _once(self, method: str, payload: bytes | None = None, **arguments: Any) -> Any:
        if payload is not None:
            # aiohttp sends bytes in one go, and a file in pieces; this one doesn't copy them.
            arguments["Body"] = io.BytesIO(payload) if len(payload) > _READ_BYTES else payload
        try:
            return await self._system._call_s3(method, Bucket=self._bucket, **arguments)
        except FileNotFoundError as error:
            if told(error)[0] != "NoSuchBucket":
                raise
            # Not to be taken for an object that isn't there.
            raise OSError(f"there is no bucket {self._bucket}") from error


def _configure(system: Any) -> None:
    """Leave it to this module to try again, and go to a server on this machine without a proxy."""
    system.retries = 1
    config = {"max_pool_connections": _CONNECTIONS, **system.config_kwargs}
    config["retries"] = {"total_max_attempts": 1, "mode": "standard"}
    # Some servers tell the whole object's checksum with a part of it, and what lies there for us
    # has digests of its own.
    config.setdefault("response_checksum_validation", "when_required")
    endpoint = system.endpoint_url or system.client_kwargs.get("endpoint_url")
    host = urlsplit(endpoint or os.environ.get("AWS_ENDPOINT_URL", "")).hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        config.setdefault("proxies", {})
    system.config_kwargs = config


class _NotRemoved(OSError):
    """What S3 says of an object that it didn't remove with others; looks like botocore's errors."""

    def __init__(self, failure: dict[str, str]) -> None:
        super().__init__(f"{failure.get('Key')}: {failure.get('Message') or failure.get('Code')}")
        self.response = {"Error": failure}


class _Replaced(Exception):
    """An object is another than the one of which a part was read; doesn't pass for that part."""


async def _several(doing: Iterator[Awaitable[T]]) -> list[T]:
    """Return what comes of each, in that order, of which a few are done at a time.

    The next one is begun when one has ended, so that no more than those in flight are held.
    """
    results: dict[int, T] = {}
    numbered = enumerate(doing)

    async def work() -> None:
        for number, one in numbered:
            results[number] = await one

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(work())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [results[number] for number in range(len(results))]


async def _read_into(view: memoryview, body: Any) -> None:
    """Fill a view from the beginning of an answer's body, which is closed."""
    filled = 0
    try:
        while filled < len(view) and (
            more := await body.read(min(_READ_BYTES, len(view) - filled))
        ):
            view[filled : filled + len(more)] = more
            filled += len(more)
    finally:
        body.close()
    _check_whole(filled, len(view))


def _check_whole(found: int, expected: int) -> None:
    if found != expected:
        raise ConnectionError(f"only {found} of {expected} bytes came")


def _check_reaches(answer: dict[str, Any], end: int) -> None:
    """See that an object ends no earlier, by the answer to who asked for a part of it."""
    total = answer.get("ContentRange", "").rpartition("/")[2]
    if answer["ContentLength"] < PART_BYTES or (total.isdigit() and int(total) < end):
        answer["Body"].close()
        raise EOFError(f"it ends before byte {end}")


def _range(offset: int, length: int | None) -> dict[str, str]:
    if length is not None:
        return {"Range": f"bytes={offset}-{offset + length - 1}"}
    if offset < 0:
        return {"Range": f"bytes={offset}"}
    return {"Range": f"bytes={offset}-"} if offset else {}


def _cut(parts: Sequence[Buffer], each: int) -> Iterator[list[Buffer]]:
    """Yield the parts in groups of so many bytes, the last one smaller; nothing is copied."""
    group: list[Buffer] = []
    room = each
    for part in parts:
        if not memoryview(part).nbytes:
            continue  # of an empty array, which can't be cast
        view = memoryview(part).cast("B")
        while view:
            group.append(view[:room])
            room -= len(group[-1])
            view = view[len(group[-1]) :]
            if not room:
                yield group
                group, room = [], each
    if group:
        yield group
