"""Requests of the web tier about bulk runs, which the controller checks and carries out.  Pure.

The web tier may read no photo and write to no foreign bucket.  It stores what an operator asks for in the state bucket;
the controller, which has the rights, refuses what the buckets that it is allowed do not cover.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from core.bulk_columns import COLUMNS, DEFAULT_COLUMNS, Format
from core.bulk_plan import check_columns, parse_address
from core.bulk_run import DEFAULT_IMAGES_PER_JOB, MAX_IMAGES_PER_JOB, BulkRun
from core.errors import ArgumentError
from core.versioned_json import Count, Record, Seconds, between, record

# Below it, the output bucket of the program takes the labels of any run, as `infra/stack.yaml` allows it.
OWN_OUTPUT_PREFIX = "bulk/"
ANY_BUCKET = "*"
MAX_REQUEST_BYTES = 64 * 1024


class Action(enum.StrEnum):
    """What is asked for."""

    START = enum.auto()
    CANCEL = enum.auto()
    RESUME = enum.auto()


@record("a request about a bulk run", version=1, max_bytes=MAX_REQUEST_BYTES)
@dataclass(frozen=True, slots=True)
class BulkRequest(Record):
    """A request of an operator; the fields after `owner` are those of a run to be started.

    Attributes:
        owner: of the access token.
        source, output: addresses such as ``s3://bucket/prefix/``.
        finish_within_seconds: the deadline, from the request on; 0: none.
        max_instances: 0: as many as the fleet may have.
    """

    run_id: str
    action: Action
    requested_at: Seconds
    owner: str
    source: str = ""
    output: str = ""
    include: tuple[str, ...] = ()
    format: Format = Format.CSV
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    images_per_job: Annotated[int, between(1, MAX_IMAGES_PER_JOB)] = DEFAULT_IMAGES_PER_JOB
    requester_pays: bool = False
    max_instances: Count = 0
    finish_within_seconds: Seconds = 0.0

    def run(self) -> BulkRun:
        """The run to be started, not checked against any bucket.

        Raises:
            ArgumentError: an address or a column is none, or the output has no prefix of its own.
        """
        source_bucket, source_prefix = parse_address(self.source)
        output_bucket, output_prefix = parse_address(self.output)
        if output_prefix and not output_prefix.endswith("/"):
            output_prefix += "/"
        if output_bucket == source_bucket and not output_prefix:
            raise ArgumentError("the output needs a prefix of its own within the photos' bucket, such as labels/")
        return BulkRun(
            run_id=self.run_id,
            source_bucket=source_bucket,
            source_prefix=source_prefix,
            output_bucket=output_bucket,
            output_prefix=output_prefix,
            include=self.include,
            format=self.format,
            columns=check_columns(self.columns, COLUMNS),
            images_per_job=self.images_per_job,
            requester_pays=self.requester_pays,
            max_instances=self.max_instances,
            finish_by=self.requested_at + self.finish_within_seconds if self.finish_within_seconds else 0.0,
            ceiling=self.max_instances,
            created_at=self.requested_at,
        )


@dataclass(frozen=True, slots=True)
class AllowedBuckets:
    """The buckets that requested runs may use.

    Attributes:
        names: of buckets to read photos from and to write labels to; `ANY_BUCKET` stands for all but the program's.
        own: the program's buckets, which no run may use.
        own_output: one of these, which takes labels below `OWN_OUTPUT_PREFIX` all the same.
    """

    names: frozenset[str]
    own: frozenset[str]
    own_output: str

    @classmethod
    def of(cls, entries: Iterable[str], own: Iterable[str], own_output: str) -> AllowedBuckets:
        """The buckets that a setting lists by name or ARN."""
        names = frozenset(entry.strip().rpartition(":::")[2] for entry in entries if entry.strip())
        return cls(names, frozenset(own), own_output)

    def check(self, run: BulkRun) -> None:
        """Check the buckets of a run.

        Raises:
            ArgumentError: one is not allowed.
        """
        if not self._has(run.source_bucket):
            raise ArgumentError(f"the bucket {run.source_bucket} is not one that EIC_BULK_BUCKETS has")
        if run.output_bucket == self.own_output and run.output_prefix.startswith(OWN_OUTPUT_PREFIX):
            return
        if not self._has(run.output_bucket):
            raise ArgumentError(
                f"{run.output} is not allowed: choose s3://{self.own_output}/{OWN_OUTPUT_PREFIX}…, or a bucket that "
                "EIC_BULK_BUCKETS has"
            )

    def _has(self, bucket: str) -> bool:
        return bucket not in self.own and (bucket in self.names or ANY_BUCKET in self.names)
