"""Check from the two buckets alone whether a photo was lost, or got two different results.

The output bucket is versioned during the test, so that every result that was ever stored can be compared, not only the
last one of a photo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from operator import itemgetter
from typing import Any

from aws.clients import cloud_errors
from aws.objects import StoredObject
from aws.result_packs import decode_pack
from core.errors import DecodeError
from core.jobs import ClassificationResult, position_of
from core.object_keys import IMAGES, RESULT_PACKS

# The failure that the janitor stores for a job in the dead-letter queue: a result without a classification.
GAVE_UP_CODE = "gave_up"


@dataclass(frozen=True, slots=True)
class ResultVersion:
    """One stored version of a result: its lines, and the failure's code if it is a failure."""

    lines: tuple[str, ...]
    failure_code: str | None = None


@dataclass(slots=True)
class DeliveryReport:
    """The number of accepted photos with a result, and a sentence for each that is lost or doubled."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


def check_delivery(
    accepted: Collection[str], uploaded: Collection[str], results: Mapping[str, Sequence[ResultVersion]]
) -> DeliveryReport:
    """Compares the accepted photos with the contents of both buckets.

    Args:
        accepted: keys that the web tier has confirmed.
        uploaded: keys in the input bucket.
        results: all versions of each key in the output bucket, oldest first.
    """
    report = DeliveryReport()
    for key in sorted(accepted):
        if key not in uploaded:
            report.lost.append(f"{key}: accepted, but not in the input bucket")
        elif not results.get(key):
            report.lost.append(f"{key}: no result")
        else:
            report.answered += 1
            if results[key][-1].failure_code == GAVE_UP_CODE:
                report.lost.append(f"{key}: given up")
    positions = Counter(position_of(key) for key in uploaded)
    for key in sorted(results):
        different = dict.fromkeys(version.lines for version in results[key])
        if key not in uploaded:
            report.doubled.append(f"{key}: a result without an upload")
        elif positions[position_of(key)] > 1:
            report.doubled.append(f"{key}: another upload has the same position")
        elif any(len(lines) != 1 for lines in different):
            report.doubled.append(f"{key}: a result that is not one line")
        elif len(different) > 1:
            report.doubled.append(f"{key}: results that differ, {' / '.join(lines[0] for lines in different)}")
    return report


def keep_result_versions(client: Any, bucket: str) -> None:
    """Enables versioning of the output bucket, so that replaced results are kept.

    Raises:
        CloudError: S3 refused or failed.
    """
    with cloud_errors("versioning the bucket"):
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def delete_versions_before(client: Any, bucket: str, before: datetime) -> None:
    """Deletes every version of an object, and every deletion marker, that is older, as lifecycle rules do.

    Raises:
        CloudError: S3 refused or failed.
    """
    with cloud_errors("expiring objects"):
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            entries = (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            old = [
                {"Key": entry["Key"], "VersionId": entry["VersionId"]}
                for entry in entries
                if entry["LastModified"] < before
            ]
            if old:
                client.delete_objects(Bucket=bucket, Delete={"Objects": old, "Quiet": True})


def read_result_versions(client: Any, bucket: str, prefix: str) -> dict[str, list[ResultVersion]]:
    """Reads every version of each result below `prefix`, also those in packs, by key, oldest first.

    Raises:
        CloudError: S3 refused or failed.
    """
    versions: dict[str, list[tuple[str, str, datetime]]] = {}
    with cloud_errors("listing the versions of results"):
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Versions", []):  # newest first
                if IMAGES.owns(entry["Key"]) or RESULT_PACKS.owns(entry["Key"]):  # not a mark or a table beside them
                    stored = entry["ETag"], entry["VersionId"], entry["LastModified"]
                    versions.setdefault(entry["Key"], []).append(stored)
    found: dict[str, list[tuple[datetime, ResultVersion]]] = {}
    for object_key, newest_first in versions.items():
        version_of = {etag: version_id for etag, version_id, _at in newest_first}
        # The entity tag is the body's digest: versions with the same body are fetched once.
        fetched = cache(partial(_read_version, client, bucket, object_key))
        for etag, _version_id, at in reversed(newest_first):
            for key, version in fetched(version_of[etag]).items():
                found.setdefault(key, []).append((at, version))
    return {key: [version for _at, version in sorted(each, key=itemgetter(0))] for key, each in found.items()}


def _read_version(client: Any, bucket: str, key: str, version_id: str) -> dict[str, ResultVersion]:
    """The results in an object, by the key of the image."""
    with cloud_errors("fetching the result"):
        response = client.get_object(Bucket=bucket, Key=key, VersionId=version_id)
        body: bytes = response["Body"].read()
    if not RESULT_PACKS.owns(key):
        return {key: _decoded(key, body, response["Metadata"])}
    pack = decode_pack(StoredObject(key, len(body), response["ETag"], response["LastModified"]), body)
    return {image: _decoded(image, packed.body.encode(), {"result": packed.detail}) for image, packed in pack.items()}


def _decoded(key: str, body: bytes, metadata: Mapping[str, str]) -> ResultVersion:
    try:
        failure = ClassificationResult.decode(key, body, metadata).failure
    except DecodeError:
        return ResultVersion(())
    return ResultVersion(tuple(body.decode().splitlines()), failure.code if failure else None)
