"""Was anything lost or doubled?  Told from the two buckets alone.

The output bucket is versioned for the time of the proof, so that not only the last answer of an image can be
looked at but every one that was ever stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from aws.clients import cloud_errors
from core.errors import DecodeError
from core.jobs import ClassificationResult, position_of

# The failure that the janitor stores for a job in the dead-letter queue: an answer, but not of the image's making.
GAVE_UP_CODE = "gave_up"


@dataclass(frozen=True, slots=True)
class Answer:
    """One stored answer: its lines, and the code of its failure where it is one."""

    lines: tuple[str, ...]
    failure_code: str | None = None


@dataclass(slots=True)
class DeliveryReport:
    """How many accepted images have an answer, and a sentence for each that is lost or doubled."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


def check_delivery(
    accepted: Collection[str], uploaded: Collection[str], answers: Mapping[str, Sequence[Answer]]
) -> DeliveryReport:
    """Compares what was promised with what is stored.

    Args:
        accepted: keys that the web tier has confirmed.
        uploaded: keys in the input bucket.
        answers: for each key in the output bucket all its answers, oldest first.
    """
    verdict = DeliveryReport()
    for key in sorted(accepted):
        if key not in uploaded:
            verdict.lost.append(f"{key}: accepted, but not in the input bucket")
        elif not answers.get(key):
            verdict.lost.append(f"{key}: no result")
        else:
            verdict.answered += 1
            if answers[key][-1].failure_code == GAVE_UP_CODE:
                verdict.lost.append(f"{key}: given up")
    positions = Counter(position_of(key) for key in uploaded)
    for key in sorted(answers):
        different = dict.fromkeys(answer.lines for answer in answers[key])
        if key not in uploaded:
            verdict.doubled.append(f"{key}: a result without an upload")
        elif positions[position_of(key)] > 1:
            verdict.doubled.append(f"{key}: another upload has the same position")
        elif any(len(lines) != 1 for lines in different):
            verdict.doubled.append(f"{key}: a result that is not one line")
        elif len(different) > 1:
            verdict.doubled.append(f"{key}: answers that differ, {' / '.join(lines[0] for lines in different)}")
    return verdict


def keep_every_answer(client: Any, bucket: str) -> None:
    """Makes the output bucket keep replaced results.

    Raises:
        CloudError: S3 refused or failed.
    """
    with cloud_errors("versioning the bucket"):
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def read_answers(client: Any, bucket: str, prefix: str) -> dict[str, list[Answer]]:
    """Every answer ever stored below `prefix`, by key, oldest first.

    Raises:
        CloudError: S3 refused or failed.
    """
    versions: dict[str, list[tuple[str, str]]] = {}
    with cloud_errors("listing the versions of results"):
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Versions", []):  # newest first
                versions.setdefault(entry["Key"], []).append((entry["ETag"], entry["VersionId"]))

    def read(key: str, newest_first: list[tuple[str, str]]) -> list[Answer]:
        version_of = dict(newest_first)
        # The entity tag is the body's digest: the same answer need not be fetched twice.
        fetched = cache(lambda etag: _read_answer(client, bucket, key, version_of[etag]))
        return [fetched(etag) for etag, _version in reversed(newest_first)]

    return {key: read(key, newest_first) for key, newest_first in versions.items()}


def _read_answer(client: Any, bucket: str, key: str, version_id: str) -> Answer:
    with cloud_errors("fetching the result"):
        response = client.get_object(Bucket=bucket, Key=key, VersionId=version_id)
        body: bytes = response["Body"].read()
    try:
        failure = ClassificationResult.decode(key, body, response["Metadata"]).failure
    except DecodeError:
        return Answer(())
    return Answer(tuple(body.decode().splitlines()), failure.code if failure else None)
