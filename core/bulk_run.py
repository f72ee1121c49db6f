"""Bulk runs: the records of one run over the photos of a bucket, and the names of its objects.

A *run* labels photos where they are in S3.  Its photos are divided into *jobs*; a job is one queue message with the
keys of some hundred photos, and its result is one object, its *part*, so that a job that is delivered twice stores the
same object twice.  A *segment* is an object with the jobs that were planned from one stretch of the listing: what it
says never changes, so that planning, sending and merging can be interrupted at any moment.

All names but the tables' begin with an underscore, which Athena, Spark and DuckDB leave out when they read the prefix.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from core.bulk_columns import COLUMNS, DEFAULT_COLUMNS, Format
from core.errors import ArgumentError
from core.jobs import Failure, Prediction
from core.object_keys import MAX_KEY_BYTES, KeyFamily
from core.versioned_json import Count, Record, Row, Seconds, SharedText, between, decode_record, encode_record, record

# SQS bills each 64 KiB of a message as a request; the rest of the message is small.
MAX_JOB_KEY_BYTES = 60 * 1024
MAX_MESSAGE_BYTES = 64 * 1024
DEFAULT_IMAGES_PER_JOB = 150
MAX_IMAGES_PER_JOB = 500
JOBS_PER_SEGMENT = 20
# A part holds a key of up to 1 KiB and up to ten labels for each image.
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
# SQS refuses these two, also within JSON, which does not require to escape them.
_REFUSED_BY_SQS = re.compile("[\ufffe\uffff]")

SUCCESS_NAME = "_SUCCESS"
MANIFEST_NAME = "_manifest.json"
RUN_NAME = "_run.json"
CANCELLED_NAME = "_cancelled"
_SEGMENT_DIGITS, _PART_DIGITS, _TABLE_DIGITS = 6, 7, 5


class Status(enum.StrEnum):
    """What becomes of a run: it is worked on, or it is over."""

    RUNNING = enum.auto()
    COMPLETE = enum.auto()
    CANCELLED = enum.auto()
    FAILED = enum.auto()
    # It never began: nothing of its request has been checked but that it is one.
    REFUSED = enum.auto()


def _known_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    if not columns or not set(columns) <= set(COLUMNS):
        raise ValueError("unknown columns")
    return columns


@record("a bulk run", version=1, max_bytes=256 * 1024)
@dataclass(frozen=True, slots=True)
class BulkRun(Record):
    """A run: what is labelled and how, and how far it is.

    Attributes:
        source_prefix: the photos' keys begin with it; of a manifest's run, only a description.
        include: patterns of the keys to label, see `core.bulk_plan.selector`; empty: those with an image's ending.
        output_prefix: ends with a slash, or is empty.
        requester_pays: the requests for the photos are charged to this account.
        max_instances: the most instances that are kept for the run's images; 0: as many as the fleet may have.
        finish_by: until then the run shall be finished, seconds since the epoch; 0: it has no deadline.
        ceiling: no more instances are kept for the deadline, above `max_instances` or not; 0: as many as the fleet may
            have.
        created_at, finished_at: seconds since the epoch; the latter 0 while the run is not over.
        problem: one sentence where the run has failed.
        cursor: the last key of the listing that has been planned.
        is_planned: the listing has been planned to its end.
        skipped: how many objects of the listing were not included.
        sent_segments: how many segments' jobs have been enqueued.
        done_segments, done_segment_images: the first so many segments have all their parts; the images of these.
        done_images: the images of all parts that are stored.
        failed_images: how many of them have no label; counted when the parts are merged.
    """

    run_id: str
    source_bucket: str
    source_prefix: str
    output_bucket: str
    output_prefix: str
    include: tuple[str, ...] = ()
    format: Format = Format.CSV
    columns: Annotated[tuple[str, ...], _known_columns] = DEFAULT_COLUMNS
    images_per_job: Annotated[int, between(1, MAX_IMAGES_PER_JOB)] = DEFAULT_IMAGES_PER_JOB
    requester_pays: bool = False
    max_instances: Count = 0
    finish_by: Seconds = 0.0
    ceiling: Count = 0
    created_at: Seconds = 0.0
    status: Status = Status.RUNNING
    problem: str = ""
    finished_at: Seconds = 0.0
    cursor: str = ""
    is_planned: bool = False
    planned_segments: Count = 0
    planned_jobs: Count = 0
    planned_images: Count = 0
    skipped: Count = 0
    sent_segments: Count = 0
    done_segments: Count = 0
    done_segment_images: Count = 0
    done_images: Count = 0
    failed_images: Count = 0

    @property
    def is_active(self) -> bool:
        """Whether the run is worked on."""
        return self.status is Status.RUNNING

    @property
    def waiting_images(self) -> int:
        """The images that are planned and not answered."""
        return max(0, self.planned_images - self.done_images) if self.is_active else 0

    @property
    def source(self) -> str:
        """The source as an address."""
        return f"s3://{self.source_bucket}/{self.source_prefix}"

    @property
    def output(self) -> str:
        """The output as an address."""
        return f"s3://{self.output_bucket}/{self.output_prefix}"

    def planned(self, segment: Segment) -> BulkRun:
        """The run after a further segment was planned."""
        return dataclasses.replace(
            self,
            cursor=segment.cursor,
            is_planned=segment.is_last,
            planned_segments=segment.number + 1,
            planned_jobs=segment.first_part + len(segment.jobs),
            planned_images=self.planned_images + segment.images,
            skipped=self.skipped + segment.skipped,
        )

    def key(self, name: str) -> str:
        """The key of an object of the output by its name."""
        return f"{self.output_prefix}{name}"

    @property
    def segments(self) -> KeyFamily:
        """The keys of the segments."""
        return KeyFamily(self.key("_plan/"), f"[0-9]{{{_SEGMENT_DIGITS}}}", ".json")

    @property
    def parts(self) -> KeyFamily:
        """The keys of the parts."""
        return KeyFamily(self.key("_parts/"), f"part-[0-9]{{{_PART_DIGITS}}}", ".json")

    def segment_key(self, number: int) -> str:
        """The key of a segment."""
        return self.segments.key_of(f"{number:0{_SEGMENT_DIGITS}d}")

    def part_key(self, number: int) -> str:
        """The key of a job's part."""
        return self.parts.key_of(f"part-{number:0{_PART_DIGITS}d}")

    def part_number(self, key: str) -> int:
        """The job's number in the key of its part."""
        return int(self.parts.name_of(key).removeprefix("part-"))

    def table_key(self, number: int) -> str:
        """The key of one of the files that the run results in."""
        return self.key(f"labels-{number:0{_TABLE_DIGITS}d}.{self.format}")


@record("a segment of a bulk run's plan", version=1, max_bytes=MAX_DOCUMENT_BYTES)
@dataclass(frozen=True, slots=True)
class Segment(Record):
    """The jobs that were planned from one stretch of a listing.

    Attributes:
        first_part: the number of the first job; the others follow.
        jobs: the keys of each job's photos.
        cursor: the last key of the stretch; planning continues after it.
        skipped: how many objects of the stretch were not included.
        is_last: the listing ended here.
    """

    run_id: str
    number: Count
    first_part: Count
    jobs: tuple[tuple[str, ...], ...]
    cursor: str = ""
    skipped: Count = 0
    is_last: bool = False

    @property
    def images(self) -> int:
        """The number of images of all jobs."""
        return sum(len(keys) for keys in self.jobs)


@record("a bulk job", version=1, max_bytes=2 * MAX_MESSAGE_BYTES)
@dataclass(frozen=True, slots=True)
class BulkJob:
    """Some photos of a bulk run to classify: the body of one queue message."""

    run_id: str
    part: Count
    source_bucket: str
    output_bucket: str
    output_prefix: str
    keys: tuple[str, ...]
    requester_pays: bool = False

    @classmethod
    def of(cls, run: BulkRun, part: int, keys: tuple[str, ...]) -> BulkJob:
        """The job of this number."""
        return cls(run.run_id, part, run.source_bucket, run.output_bucket, run.output_prefix, keys, run.requester_pays)

    def encode(self) -> str:
        """The queue message's body."""
        text = encode_record(self).decode()
        return _REFUSED_BY_SQS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)

    @classmethod
    def decode(cls, body: str) -> BulkJob:
        """Read a queue message's body.

        Raises:
            DecodeError: the body is not a job of this version.
        """
        return decode_record(cls, body)

    def check(self) -> None:
        """Check a decoded job.

        Raises:
            ValueError: a field is empty, or a key is none.
        """
        if not (self.run_id and self.source_bucket and self.output_bucket and self.keys):
            raise ValueError("a field is empty")
        if not all(0 < len(key.encode()) <= MAX_KEY_BYTES for key in self.keys):
            raise ValueError("a key is not one of S3")

    @property
    def part_key(self) -> str:
        """The key of the part in the output bucket."""
        return self._run.part_key(self.part)

    @property
    def cancelled_key(self) -> str:
        """The key of the mark that the run is cancelled."""
        return self._run.key(CANCELLED_NAME)

    @property
    def success_key(self) -> str:
        """The key of the object that exists once the run is complete."""
        return self._run.key(SUCCESS_NAME)

    @property
    def _run(self) -> BulkRun:
        return BulkRun(self.run_id, self.source_bucket, "", self.output_bucket, self.output_prefix)


@dataclass(frozen=True, slots=True)
class LabelledImage(Row):
    """The answer for one image of a run: predictions, best first, or a failure."""

    image: str
    predictions: tuple[Prediction, ...] = ()
    failure: Failure | None = None
    note: SharedText = ""


@record("a part of a bulk run", version=1, max_bytes=MAX_DOCUMENT_BYTES)
@dataclass(frozen=True, slots=True)
class Part(Record):
    """The result of a job: the answers for its images in the job's order.

    `model` is ``name@version`` of the bundle that classified them.
    """

    run_id: str
    part: Count
    model: SharedText
    images: tuple[LabelledImage, ...]

    def check(self) -> None:
        """Check a decoded part.

        Raises:
            ValueError: an image has both predictions and a failure, or neither.
        """
        if any(bool(image.predictions) == (image.failure is not None) for image in self.images):
            raise ValueError("an image has either predictions or a failure")


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file that a run results in: its key, its rows and its size."""

    key: str
    images: Count
    bytes: Count


@record("the manifest of a bulk run", version=1, max_bytes=MAX_DOCUMENT_BYTES)
@dataclass(frozen=True, slots=True)
class Manifest(Record):
    """What a complete run results in; `models` are the bundles that classified, `files` the tables in their order."""

    run_id: str
    source: str
    format: Format
    columns: tuple[str, ...]
    images: Count
    failed_images: Count
    models: tuple[str, ...]
    files: tuple[TableFile, ...]


Change = Callable[[BulkRun], BulkRun]


def cancelled(run: BulkRun, now: float) -> BulkRun:
    """The run, cancelled.

    Raises:
        ArgumentError: it is over.
    """
    if not run.is_active:
        raise ArgumentError(f"the run {run.run_id} is {run.status} already")
    return dataclasses.replace(run, status=Status.CANCELLED, finished_at=now)


def resumed(run: BulkRun) -> BulkRun:
    """The run, to be worked on again: jobs without a part are enqueued again.

    Raises:
        ArgumentError: it is complete, or never began.
    """
    if run.status in (Status.COMPLETE, Status.REFUSED):
        raise ArgumentError(f"the run {run.run_id} is {run.status}: there is nothing to resume")
    return dataclasses.replace(run, status=Status.RUNNING, problem="", finished_at=0.0, sent_segments=run.done_segments)
