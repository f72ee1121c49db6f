"""Answer plain requests for S3 objects from moto's model, without moto's general handling of requests.

moto parses, authorizes, dispatches and serializes every request in the same way, which takes a third of the emulator's
time for an image.  Nearly all of the program's requests read or write one object by its key, and need none of that.
Whatever asks for more (ranges, copies, listings, versions, policies, presigned addresses, conditions other than that no
object has the key), and whatever fails, goes to moto.  Responses are those of moto; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.request import PRESERVED_HEADER_NAMES_ENVIRON_KEY
from moto.s3.models import FakeBucket, FakeKey, s3_backends
from moto.s3.utils import metadata_from_headers

from local_cloud.moto_s3 import ONE_AT_A_TIME

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PARTITION = "aws"
# Path style, and a key that is the same in every encoding.
_PATH = re.compile(r"/([a-z0-9][a-z0-9.-]+)/([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)")
_OPERATIONS = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject"}
_SIGNED_FOR_S3 = "/s3/aws4_request"
# Headers that change nothing about the object or the response.
_IGNORED = frozenset(
    f"HTTP_{name}"
    for name in (
        "ACCEPT",
        "ACCEPT_ENCODING",
        "AMZ_SDK_INVOCATION_ID",
        "AMZ_SDK_REQUEST",
        "AUTHORIZATION",
        "CONNECTION",
        "EXPECT",
        "HOST",
        "USER_AGENT",
        "X_AMZN_TRACE_ID",
        "X_AMZ_DATE",
        "X_AMZ_SECURITY_TOKEN",
    )
)
_ONLY_NEW = "HTTP_IF_NONE_MATCH"  # with "*", of a request that stores an object
_METADATA = "HTTP_X_AMZ_META_"
_DEFAULT_TYPE = "text/html; charset=utf-8"  # of moto's server, for every response without a type
_UNDERSTOOD = frozenset(
    f"HTTP_{name}"
    for name in (
        "CONTENT_DISPOSITION",
        "X_AMZ_CHECKSUM_CRC32",
        "X_AMZ_CHECKSUM_MODE",
        "X_AMZ_CONTENT_SHA256",
        "X_AMZ_SDK_CHECKSUM_ALGORITHM",
    )
)


class ObjectRequests:
    """WSGI middleware around moto's server for S3; safe under threads."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = _PATH.fullmatch(environ.get("PATH_INFO", ""))
        if path is None or not _is_plain(environ):
            return self._app(environ, start_response)
        bucket_name, key_name = path.groups()
        if environ["REQUEST_METHOD"] == "PUT":
            # Before the lock is taken, so that a slow upload does not block other requests.
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            with ONE_AT_A_TIME:
                bucket = _bucket(bucket_name)
                if bucket is None or (_ONLY_NEW in environ and key_name in bucket.keys):
                    headers = None
                else:
                    headers = _put(bucket, key_name, body, _headers(environ))
            environ["wsgi.input"] = BytesIO(body)
            content = b""
        else:
            with ONE_AT_A_TIME:
                bucket = _bucket(bucket_name)
                key = None if bucket is None else _key(bucket, key_name)
                headers = None if key is None else _described(key, environ)
                content = key.value if key is not None and environ["REQUEST_METHOD"] == "GET" else b""
        if headers is None:
            return self._app(environ, start_response)
        start_response("200 OK", [(name, str(value)) for name, value in headers.items()])
        return [content]


def _is_plain(environ: WSGIEnvironment) -> bool:
    """Whether moto would look at nothing but the path, the body and what `_UNDERSTOOD` names."""
    operation = _OPERATIONS.get(environ["REQUEST_METHOD"])
    if operation is None or environ.get("QUERY_STRING", "") not in ("", f"x-id={operation}"):
        return False
    if _SIGNED_FOR_S3 not in environ.get("HTTP_AUTHORIZATION", ""):
        return False
    if environ.get(PRESERVED_HEADER_NAMES_ENVIRON_KEY):  # metadata with underscores in their names
        return False
    if environ.get(_ONLY_NEW, "*") != "*":
        return False
    if operation == "PutObject" and not environ.get("CONTENT_LENGTH", "").isdigit():
        return False
    named = (name for name in environ if name.startswith("HTTP_") and name not in _IGNORED)
    understood = _UNDERSTOOD | {_ONLY_NEW} if operation == "PutObject" else _UNDERSTOOD
    return all(name in understood or name.startswith(_METADATA) for name in named)


def _bucket(name: str) -> FakeBucket | None:
    """The bucket, if it has nothing that a request for an object has to respect."""
    bucket = s3_backends[DEFAULT_ACCOUNT_ID][_PARTITION].buckets.get(name)
    if bucket is None or bucket.policy or bucket.versioning_status or bucket.object_lock_enabled:
        return None
    return bucket


def _key(bucket: FakeBucket, name: str) -> FakeKey | None:
    """The object, if it was written as a whole and can be read at once."""
    key = bucket.keys.get(name)
    if not isinstance(key, FakeKey) or key.multipart is not None or key.storage_class != "STANDARD":
        return None
    return key


def _headers(environ: WSGIEnvironment) -> dict[str, str]:
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    return headers


def _put(bucket: FakeBucket, key_name: str, body: bytes, headers: dict[str, str]) -> dict[str, Any] | None:
    """Store an object; returns the response's headers, None where moto has to compute the checksum."""
    algorithm = headers.get("x-amz-sdk-checksum-algorithm", "")
    checksum_header = f"x-amz-checksum-{algorithm.lower()}"
    if algorithm and checksum_header not in headers:
        return None
    backend = s3_backends[DEFAULT_ACCOUNT_ID][_PARTITION]
    checksum = headers.get(checksum_header) if algorithm else None
    key = backend.put_object(bucket.name, key_name, body, storage="STANDARD", checksum_value=checksum)
    key.set_metadata(metadata_from_headers(headers))
    key.set_acl(bucket.acl)
    if algorithm:
        key.checksum_algorithm = algorithm
    backend.put_object_tagging(key, {})
    response = {checksum_header: checksum} if algorithm else {}
    return {**response, **key.response_dict, "Content-Type": _DEFAULT_TYPE, "content-length": "0"}


def _described(key: FakeKey, environ: WSGIEnvironment) -> dict[str, Any]:
    """The headers with which moto returns an object."""
    headers: dict[str, Any] = dict(key.response_dict)
    if environ.get("HTTP_X_AMZ_CHECKSUM_MODE") == "ENABLED" and key.checksum_algorithm:
        headers[f"x-amz-checksum-{key.checksum_algorithm.lower()}"] = key.checksum_value
        if key.checksum_type:
            headers["x-amz-checksum-type"] = key.checksum_type
    return {**headers, **key.metadata, "Accept-Ranges": "bytes"}
