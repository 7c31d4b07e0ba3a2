"""What a small S3 holds: buckets of objects and of uploads in parts, changed under one lock.

So a conditional create is truly atomic here: of all that put one name, exactly one finds it free.
"""

import bisect
import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

PART_LEAST_BYTES = 5 << 20
"""Of every part but the last, as S3 has it."""
Buffer = bytes | bytearray | memoryview


class S3Error(Exception):
    """Is answered as S3 answers it."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An object as it was put."""

    parts: tuple[Buffer, ...]
    size: int
    etag: str
    modified_s: float
    metadata: Mapping[str, str] = field(default_factory=dict)

    def cut(self, start: int, stop: int) -> list[memoryview]:
        """Return the bytes between two offsets, without copies."""
        found: list[memoryview] = []
        for part in self.parts:
            piece = memoryview(part)[max(0, start) : max(0, stop)]
            if piece:
                found.append(piece)
            start, stop = start - len(part), stop - len(part)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What must hold for a put to happen."""

    absent: bool = False
    """There is no object of that name: `If-None-Match: *`."""
    etag: str | None = None
    """There is one, and this is its tag: `If-Match`."""

    def check(self, found: Content | None) -> None:
        failed = S3Error(412, "PreconditionFailed", "A pre-condition that you gave did not hold")
        if self.absent and found is not None:
            raise failed
        if self.etag is not None:
            if found is None:
                raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
            if found.etag != self.etag:
                raise failed


@dataclass(slots=True)
class Upload:
    key: str
    metadata: Mapping[str, str]
    parts: dict[int, Content] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    objects: dict[str, Content] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """Those of the objects, sorted as S3 does: by their UTF-8, which is by code point."""
    uploads: dict[str, Upload] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of a listing."""

    entries: list[tuple[str, Content | None]]
    """Keys, and common prefixes, which have no content."""
    next_key: str | None
    """After which the next page begins."""


class Buckets:
    """All buckets of a server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, Bucket] = {}

    def make(self, name: str) -> None:
        with self._lock:
            self._buckets.setdefault(name, Bucket())

    def forget(self, name: str) -> None:
        """Remove a bucket with all that is in it."""
        with self._lock:
            self._buckets.pop(name, None)

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._buckets)

    def check(self, name: str) -> None:
        with self._lock:
            self._of(name)

    def put(self, name: str, key: str, content: Content, condition: Condition) -> None:
        with self._lock:
            _put(self._of(name), key, content, condition)

    def get(self, name: str, key: str) -> Content:
        with self._lock:
            found = self._of(name).objects.get(key)
        if found is None:
            raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
        return found

    def remove(self, name: str, keys: Sequence[str]) -> None:
        with self._lock:
            bucket = self._of(name)
            for key in keys:
                if bucket.objects.pop(key, None) is not None:
                    del bucket.keys[bisect.bisect_left(bucket.keys, key)]

    def page(self, name: str, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """Return the entries behind `after`, a key or a common prefix."""
        with self._lock:
            bucket = self._of(name)
            entries: list[tuple[str, Content | None]] = []
            at = bisect.bisect_right(bucket.keys, after) if after else 0
            at = max(at, bisect.bisect_left(bucket.keys, prefix))
            last = after
            while at < len(bucket.keys) and bucket.keys[at].startswith(prefix):
                key = bucket.keys[at]
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                common = key[: cut + len(delimiter)] if cut >= 0 else ""
                if common and after.startswith(common):
                    at = _behind(bucket.keys, common)
                    continue
                if len(entries) == limit:
                    return Page(entries=entries, next_key=last)
                last = common or key
                entries.append((last, None if common else bucket.objects[key]))
                at = _behind(bucket.keys, common) if common else at + 1
            return Page(entries=entries, next_key=None)

    def begin(self, name: str, key: str, metadata: Mapping[str, str]) -> str:
        """Return the id of a new upload in parts."""
        with self._lock:
            upload = uuid4().hex
            self._of(name).uploads[upload] = Upload(key, metadata)
            return upload

    def add(self, name: str, upload: str, number: int, content: Content) -> None:
        with self._lock:
            _upload(self._of(name), upload).parts[number] = content

    def complete(
        self, name: str, upload: str, parts: Sequence[tuple[int, str]], condition: Condition
    ) -> Content:
        """Make an object of parts, given by number and tag."""
        with self._lock:
            bucket = self._of(name)
            found = _upload(bucket, upload)
            content = _joined(found, parts)
            _put(bucket, found.key, content, condition)
            del bucket.uploads[upload]
            return content

    def abort(self, name: str, upload: str) -> None:
        with self._lock:
            bucket = self._of(name)
            _upload(bucket, upload)
            del bucket.uploads[upload]

    def uploads(self, name: str) -> list[tuple[str, str]]:
        """Return id and key of uploads that were neither completed nor aborted."""
        with self._lock:
            return [(upload, found.key) for upload, found in self._of(name).uploads.items()]

    def _of(self, name: str) -> Bucket:
        if name not in self._buckets:
            raise S3Error(404, "NoSuchBucket", "The specified bucket does not exist")
        return self._buckets[name]


def content_of(body: Buffer) -> Content:
    etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
    return Content(parts=(body,), size=len(body), etag=etag, modified_s=time.time())


def _put(bucket: Bucket, key: str, content: Content, condition: Condition) -> None:
    found = bucket.objects.get(key)
    condition.check(found)
    if found is None:
        bisect.insort(bucket.keys, key)
    bucket.objects[key] = content


def _upload(bucket: Bucket, upload: str) -> Upload:
    if upload not in bucket.uploads:
        raise S3Error(404, "NoSuchUpload", "The specified upload does not exist.")
    return bucket.uploads[upload]


def _joined(upload: Upload, parts: Sequence[tuple[int, str]]) -> Content:
    numbers = [number for number, _ in parts]
    if numbers != sorted(set(numbers)) or not numbers:
        raise S3Error(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
    found = [upload.parts.get(number) for number in numbers]
    chosen = [part for part in found if part is not None]
    if [part.etag for part in chosen] != [etag for _, etag in parts]:
        raise S3Error(400, "InvalidPart", "One or more of the parts could not be found.")
    if any(part.size < PART_LEAST_BYTES for part in chosen[:-1]):
        raise S3Error(400, "EntityTooSmall", "A part is smaller than the minimum allowed size.")
    digest = hashlib.md5(usedforsecurity=False)
    for part in chosen:
        digest.update(bytes.fromhex(part.etag.strip('"')))
    return Content(
        parts=tuple(piece for part in chosen for piece in part.parts),
        size=sum(part.size for part in chosen),
        etag=f'"{digest.hexdigest()}-{len(chosen)}"',
        modified_s=time.time(),
        metadata=upload.metadata,
    )


def _behind(keys: list[str], common: str) -> int:
    """Return where the first key is that is behind all that begin with a prefix."""
    return bisect.bisect_left(keys, common[:-1] + chr(ord(common[-1]) + 1))
