"""The operations of a small S3: which one a request asks for, and what is answered."""

import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

from tests.stores.s3_buckets import Buckets, Buffer, Condition, Content, S3Error, content_of

PAGE = 1_000
"""Entries of a listing, at most, and keys of one deletion."""
_METADATA = "x-amz-meta-"
_XML = {"Content-Type": "application/xml"}
_SPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By names in lower case."""
    body: Buffer

    @property
    def condition(self) -> Condition:
        absent = self.headers.get("if-none-match") == "*"
        return Condition(absent=absent, etag=self.headers.get("if-match"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int = 200
    headers: Mapping[str, str]
    body: Sequence[Buffer] = ()
    length: int | None = None
    """What Content-Length says, if not the body's: of a HEAD."""


def parse_target(target: str) -> tuple[str, str, dict[str, str]]:
    """Return bucket, key and query of a path in path style."""
    path, _, query = target.partition("?")
    bucket, _, key = path.lstrip("/").partition("/")
    words = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    return unquote(bucket), unquote(key), words


def operation_of(method: str, bucket: str, key: str, query: Mapping[str, str]) -> str:
    """Return S3's name of what is asked for; empty if this server doesn't know it."""
    place = "key" if key else "bucket" if bucket else "server"
    for wanted, name in _NAMES.get((method, place), ()):
        if wanted <= query.keys():
            return name
    return ""


_NAMES: dict[tuple[str, str], list[tuple[set[str], str]]] = {
    ("GET", "server"): [(set(), "ListBuckets")],
    ("GET", "bucket"): [
        ({"list-type"}, "ListObjectsV2"),
        ({"uploads"}, "ListMultipartUploads"),
        ({"location"}, "GetBucketLocation"),
    ],
    ("HEAD", "bucket"): [(set(), "HeadBucket")],
    ("PUT", "bucket"): [(set(), "CreateBucket")],
    ("POST", "bucket"): [({"delete"}, "DeleteObjects")],
    ("GET", "key"): [(set(), "GetObject")],
    ("HEAD", "key"): [(set(), "HeadObject")],
    ("PUT", "key"): [({"uploadId", "partNumber"}, "UploadPart"), (set(), "PutObject")],
    ("POST", "key"): [
        ({"uploads"}, "CreateMultipartUpload"),
        ({"uploadId"}, "CompleteMultipartUpload"),
    ],
    ("DELETE", "key"): [({"uploadId"}, "AbortMultipartUpload"), (set(), "DeleteObject")],
}
"""What the query has to name, for each method and place; the first that fits counts."""


def perform(operation: str, request: Request, buckets: Buckets) -> Answer:
    """Do what a request asks for.

    Raises:
        S3Error: It can't be done.
    """
    if operation not in _PERFORMED or "x-amz-copy-source" in request.headers:
        raise S3Error(501, "NotImplemented", "This server doesn't do that.")
    return _PERFORMED[operation](request, buckets)


def refusal(error: S3Error, request: Request) -> Answer:
    """Return how an error is told: without a body where the method has none."""
    if request.method == "HEAD":
        return Answer(status=error.status, headers={})
    resource = escape(f"/{request.bucket}/{request.key}")
    body = (
        f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
        f"<Resource>{resource}</Resource><RequestId>0</RequestId></Error>"
    )
    return _xml(body, error.status)


def _xml(body: str, status: int = 200) -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'
    return Answer(status=status, headers=_XML, body=[text.encode()])


def _list_buckets(request: Request, buckets: Buckets) -> Answer:
    made = f"<CreationDate>{_moment(time.time())}</CreationDate>"
    names = "".join(f"<Bucket><Name>{n}</Name>{made}</Bucket>" for n in buckets.names())
    found = f"<Owner><ID>0</ID></Owner><Buckets>{names}</Buckets>"
    return _xml(f"<ListAllMyBucketsResult {_SPACE}>{found}</ListAllMyBucketsResult>")


def _create_bucket(request: Request, buckets: Buckets) -> Answer:
    buckets.make(request.bucket)
    return Answer(headers={"Location": f"/{request.bucket}"})


def _head_bucket(request: Request, buckets: Buckets) -> Answer:
    buckets.check(request.bucket)
    return Answer(headers={})


def _locate(request: Request, buckets: Buckets) -> Answer:
    buckets.check(request.bucket)
    return _xml(f"<LocationConstraint {_SPACE}/>")


def _put(request: Request, buckets: Buckets) -> Answer:
    content = content_of(request.body)
    buckets.put(request.bucket, request.key, content, request.condition)
    return Answer(headers={"ETag": content.etag})


def _get(request: Request, buckets: Buckets) -> Answer:
    content = buckets.get(request.bucket, request.key)
    request.condition.check(content)
    headers = _described(content)
    asked = request.headers.get("range", "")
    if not asked.startswith("bytes="):
        return Answer(headers=headers, body=content.parts)
    start, stop = _range(asked, content.size)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
    return Answer(status=206, headers=headers, body=content.cut(start, stop))


def _head(request: Request, buckets: Buckets) -> Answer:
    content = buckets.get(request.bucket, request.key)
    return Answer(headers=_described(content), length=content.size)


def _delete(request: Request, buckets: Buckets) -> Answer:
    buckets.remove(request.bucket, [request.key])
    return Answer(status=204, headers={})


def _delete_many(request: Request, buckets: Buckets) -> Answer:
    keys = [found.text or "" for found in _tree(request.body).iterfind("{*}Object/{*}Key")]
    if not 0 < len(keys) <= PAGE:
        raise S3Error(400, "MalformedXML", f"{len(keys)} keys are not 1 to {PAGE}.")
    buckets.remove(request.bucket, keys)
    gone = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
    return _xml(f"<DeleteResult {_SPACE}>{gone}</DeleteResult>")


def _list(request: Request, buckets: Buckets) -> Answer:
    query = request.query
    limit = min(PAGE, int(query.get("max-keys", PAGE)))
    after = query.get("continuation-token") or query.get("start-after", "")
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    page = buckets.page(request.bucket, prefix, delimiter, after, limit)
    told = quote if query.get("encoding-type") == "url" else escape
    lines = [
        f"<Name>{request.bucket}</Name><Prefix>{told(prefix)}</Prefix><MaxKeys>{limit}</MaxKeys>",
        f"<KeyCount>{len(page.entries)}</KeyCount>",
        f"<IsTruncated>{str(page.next_key is not None).lower()}</IsTruncated>",
    ]
    if told is quote:
        lines.append("<EncodingType>url</EncodingType>")
    if delimiter:
        lines.append(f"<Delimiter>{told(delimiter)}</Delimiter>")
    if page.next_key is not None:
        lines.append(f"<NextContinuationToken>{escape(page.next_key)}</NextContinuationToken>")
    for key, content in page.entries:
        lines.append(_entry(told(key), content))
    return _xml(f"<ListBucketResult {_SPACE}>{''.join(lines)}</ListBucketResult>")


def _entry(key: str, content: Content | None) -> str:
    if content is None:
        return f"<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"
    return (
        f"<Contents><Key>{key}</Key><LastModified>{_moment(content.modified_s)}</LastModified>"
        f"<ETag>{content.etag}</ETag><Size>{content.size}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def _begin_upload(request: Request, buckets: Buckets) -> Answer:
    metadata = {name: told for name, told in request.headers.items() if name.startswith(_METADATA)}
    upload = buckets.begin(request.bucket, request.key, metadata)
    return _xml(
        f"<InitiateMultipartUploadResult {_SPACE}><Bucket>{request.bucket}</Bucket>"
        f"<Key>{escape(request.key)}</Key><UploadId>{upload}</UploadId>"
        "</InitiateMultipartUploadResult>"
    )


def _upload_part(request: Request, buckets: Buckets) -> Answer:
    content = content_of(request.body)
    number = int(request.query["partNumber"])
    buckets.add(request.bucket, request.query["uploadId"], number, content)
    return Answer(headers={"ETag": content.etag})


def _complete_upload(request: Request, buckets: Buckets) -> Answer:
    parts = [
        (int(found.findtext("{*}PartNumber", "0")), found.findtext("{*}ETag", ""))
        for found in _tree(request.body).iterfind("{*}Part")
    ]
    upload = request.query["uploadId"]
    content = buckets.complete(request.bucket, upload, parts, request.condition)
    return _xml(
        f"<CompleteMultipartUploadResult {_SPACE}><Bucket>{request.bucket}</Bucket>"
        f"<Key>{escape(request.key)}</Key><ETag>{escape(content.etag)}</ETag>"
        "</CompleteMultipartUploadResult>"
    )


def _abort_upload(request: Request, buckets: Buckets) -> Answer:
    buckets.abort(request.bucket, request.query["uploadId"])
    return Answer(status=204, headers={})


def _list_uploads(request: Request, buckets: Buckets) -> Answer:
    uploads = "".join(
        f"<Upload><Key>{escape(key)}</Key><UploadId>{upload}</UploadId></Upload>"
        for upload, key in buckets.uploads(request.bucket)
    )
    return _xml(
        f"<ListMultipartUploadsResult {_SPACE}><Bucket>{request.bucket}</Bucket>"
        f"<IsTruncated>false</IsTruncated>{uploads}</ListMultipartUploadsResult>"
    )


_PERFORMED: dict[str, Callable[[Request, Buckets], Answer]] = {
    "AbortMultipartUpload": _abort_upload,
    "CompleteMultipartUpload": _complete_upload,
    "CreateBucket": _create_bucket,
    "CreateMultipartUpload": _begin_upload,
    "DeleteObject": _delete,
    "DeleteObjects": _delete_many,
    "GetBucketLocation": _locate,
    "GetObject": _get,
    "HeadBucket": _head_bucket,
    "HeadObject": _head,
    "ListBuckets": _list_buckets,
    "ListMultipartUploads": _list_uploads,
    "ListObjectsV2": _list,
    "PutObject": _put,
    "UploadPart": _upload_part,
}


def _described(content: Content) -> dict[str, str]:
    return {
        "ETag": content.etag,
        "Last-Modified": formatdate(content.modified_s, usegmt=True),
        "Content-Type": "binary/octet-stream",
        "Accept-Ranges": "bytes",
        **content.metadata,
    }


def _range(asked: str, size: int) -> tuple[int, int]:
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        raise S3Error(416, "InvalidRange", "The requested range is not satisfiable")
    return start, stop


def _tree(body: Buffer) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(bytes(body))
    except ElementTree.ParseError as error:
        raise S3Error(400, "MalformedXML", str(error)) from None


def _moment(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
