"""Dropped photos: objects that another program put into the input bucket below ``drop/``, and S3's notices of them.

S3 notifies the job queue of each new object there (``s3:ObjectCreated``), so such a message is a job in another
encoding: the photo is classified like any other, and its answer is stored in the output bucket under the same key.
"""

from __future__ import annotations

import hashlib
from urllib.parse import unquote_plus

from core.errors import DecodeError
from core.jobs import ClassificationJob, clean_name
from core.object_keys import DROPPED
from core.versioned_json import parse_json

# A key has 1,024 bytes at most and is percent-encoded; all else takes about 1 KiB.
MAX_NOTIFICATION_BYTES = 16 * 1024
_CREATED = "ObjectCreated:"
_TITLE = "a notification of S3"


def job_of(bucket: str, key: str, version: str) -> ClassificationJob:
    """The job that classifies a dropped photo; equal arguments make equal jobs.

    Args:
        version: distinguishes the objects that had this key one after the other.

    Raises:
        ValueError: it is not the key of a dropped photo.
    """
    name = DROPPED.name_of(key)
    digest = hashlib.sha256(f"{bucket}/{key}@{version}".encode()).hexdigest()
    return ClassificationJob(digest[:16], DROPPED.prefix.rstrip("/"), bucket, key, clean_name(name))


def decode_notification(body: str) -> ClassificationJob | None:
    """Read a message that S3 sent to the job queue; return None if it asks for nothing.

    So do the test event, with which S3 checks a new configuration, deletions, the empty objects that stand for folders,
    and objects elsewhere.

    Raises:
        DecodeError: it is not a notification, or one of several photos, which S3 does not send: no worker could delete
            such a message when it has answered one of them.
    """
    match parse_json(body, MAX_NOTIFICATION_BYTES, _TITLE):
        case {"Service": "Amazon S3", "Event": "s3:TestEvent"}:
            return None
        case {"Records": [record]}:
            return _job_in(record)
        case _:
            raise DecodeError(f"not {_TITLE}")


def _job_in(record: object) -> ClassificationJob | None:
    match record:
        case {
            "eventName": str(event),
            "s3": {"bucket": {"name": str(bucket)}, "object": {"key": str(encoded), **rest}},
        }:
            # In notifications keys are encoded as in a form: a space is a plus sign.
            key = unquote_plus(encoded)
            if not event.startswith(_CREATED) or not DROPPED.owns(key) or not bucket:
                return None
            return job_of(bucket, key, str(rest.get("sequencer") or rest.get("eTag")))
        case _:
            raise DecodeError(f"not {_TITLE}: the record has no event, bucket or key")
