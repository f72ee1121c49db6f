"""Planning of bulk runs: from a listing of keys to jobs and segments.  Pure, with memory for one segment."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from core.bulk_run import JOBS_PER_SEGMENT, MAX_JOB_KEY_BYTES, BulkRun, Segment
from core.errors import ArgumentError
from core.formats import FILE_ENDINGS

# A stretch of the listing without photos also ends: planning goes on after its cursor.
MAX_SCANNED_PER_SEGMENT = 20_000
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"s3://([^/]+)(?:/(.*))?", re.DOTALL)


def parse_address(text: str) -> tuple[str, str]:
    """The bucket and the prefix in an address such as ``s3://bucket/prefix``; the prefix may be empty.

    Raises:
        ArgumentError: it is not such an address.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ArgumentError(f"{text} is not an address such as s3://bucket/prefix/")
    if _BUCKET.fullmatch(found[1]) is None:
        raise ArgumentError(f"{found[1]} cannot be the name of a bucket: 3 to 63 small letters, digits, dots, hyphens")
    return found[1], found[2] or ""


def selector(run: BulkRun) -> Callable[[str], bool]:
    """Return whether a key of the listing is to be labelled.

    A pattern of `run.include` is compared with the key's part after the source's prefix, whatever the case; ``*`` also
    stands for slashes.  Without patterns, the ending decides.  Keys of folders and of the run's own output are none.
    """
    endings = tuple(f".{ending}" for ending in FILE_ENDINGS)
    patterns = [re.compile(fnmatch.translate(pattern.casefold())) for pattern in run.include]
    own = run.output_prefix if run.output_bucket == run.source_bucket else None
    start = len(run.source_prefix)

    def is_included(key: str) -> bool:
        if key.endswith("/") or (own is not None and own and key.startswith(own)):
            return False
        rest = key[start:].casefold()
        if not patterns:
            return rest.endswith(endings)
        return any(pattern.fullmatch(rest) for pattern in patterns)

    return is_included


def split_into_jobs(keys: Iterable[str], max_images: int) -> Iterator[tuple[str, ...]]:
    """Divide keys into jobs, in their order: up to `max_images`, and at most `MAX_JOB_KEY_BYTES` encoded in JSON."""
    job: list[str] = []
    size = 0
    for key in keys:
        key_bytes = _encoded_bytes(key)
        if job and (len(job) >= max_images or size + key_bytes > MAX_JOB_KEY_BYTES):
            yield tuple(job)
            job, size = [], 0
        job.append(key)
        size += key_bytes
    if job:
        yield tuple(job)


def _encoded_bytes(key: str) -> int:
    """A key's bytes within a job, with quotes and a comma; a character that SQS refuses has three more as an escape."""
    refused = key.count("\ufffe") + key.count("\uffff")
    return len(json.dumps(key, ensure_ascii=False).encode()) + 1 + 3 * refused


def plan_segments(run: BulkRun, listing: Iterable[str], is_included: Callable[[str], bool]) -> Iterator[Segment]:
    """Plan the segments of a run, beginning with the next one: its jobs from `listing`, which begins after its cursor.

    The last segment, which may have no jobs, says that the listing has ended.
    """
    number, first_part = run.planned_segments, run.planned_jobs
    keys: list[str] = []
    key_bytes = scanned = skipped = 0
    cursor, max_images = run.cursor, JOBS_PER_SEGMENT * run.images_per_job

    def segment(*, is_last: bool = False) -> Segment:
        jobs = tuple(split_into_jobs(keys, run.images_per_job))
        return Segment(run.run_id, number, first_part, jobs, cursor, skipped, is_last)

    for key in listing:
        cursor = key
        scanned += 1
        if is_included(key):
            keys.append(key)
            key_bytes += _encoded_bytes(key)
        else:
            skipped += 1
        is_full = len(keys) >= max_images or key_bytes >= JOBS_PER_SEGMENT * MAX_JOB_KEY_BYTES
        if is_full or scanned >= MAX_SCANNED_PER_SEGMENT:
            planned = segment()
            yield planned
            number, first_part = number + 1, first_part + len(planned.jobs)
            keys, key_bytes, scanned, skipped = [], 0, 0, 0
    yield segment(is_last=True)


def check_columns(columns: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """Check the names of columns.

    Raises:
        ArgumentError: one is not known, or twice there.
    """
    for column in columns:
        if column not in set(known):
            raise ArgumentError(f"there is no column {column}; the columns are {', '.join(known)}")
        if list(columns).count(column) > 1:
            raise ArgumentError(f"the column {column} is named twice")
    return tuple(columns)
