"""What a bulk run costs on AWS: its requests, counted by formula, and its workers' time, by the price table.  Pure.

The formulas follow what the tiers do for a run: docs/reference/costs.md has the numbers of a counted run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from core.prices import Prices

SECONDS_AN_HOUR = 3600
WORKERS = "workers with address and disk"
# A message has room for so many bytes of keys, so that SQS bills it as one request.
_JOB_KEY_BYTES = 60 * 1024
_BILLED_BYTES = 64 * 1024
_REQUEST_BYTES = 256 * 1024
_MESSAGES_PER_REQUEST = 10
# Beside its keys, a message names the run, the buckets and the part; each key has quotes and a comma.
_MESSAGE_BYTES, _BYTES_BESIDE_KEY = 400, 3
_KEYS_PER_LISTING = 1000
JOBS_PER_SEGMENT = 20
# A round of the planner: one listing of the active runs and two of parts; the record is read for each of three steps
# and, while the run goes on, changed by two of them.
ROUND_SECONDS = 5.0
_ROUND_LISTS, _ROUND_READS, _ROUND_WRITES = 3, 4, 2
# A segment of the plan is stored once, and read to enqueue its jobs, to count them and to merge their parts.
_SEGMENT_READS = 3
# Pauses of what runs beside: lease and status; heartbeats and their listing; a worker's look whether the run was
# cancelled, and its poll of the other queue; the controller's counts of jobs.
_LEASE_SECONDS, _STATUS_SECONDS, _HEARTBEAT_SECONDS, _LISTING_SECONDS = 5.0, 5.0, 15.0, 7.5
_CANCELLED_SECONDS, _POLL_SECONDS, _COUNT_SECONDS = 15.0, 5.0, 1.0


@dataclass(frozen=True, slots=True)
class BulkWorkload:
    """A bulk run that is to be estimated.

    Attributes:
        images: how many lie in S3 already.
        instances: how many workers answer them.
        instance_type: of the workers.
        images_per_second: that one worker answers.
        boot_seconds: from the launch to the first image.
        images_per_job: of a message, and so of a part.
        key_bytes: mean length of a key.
        image_bytes: mean size of a photo; counts where the bucket is in another region.
        spot: whether the workers are spot instances.
        other_region: whether the photos are in another region than the workers.
    """

    images: int
    instances: int
    instance_type: str
    images_per_second: float
    boot_seconds: float = 30.0
    images_per_job: int = 150
    key_bytes: int = 60
    image_bytes: int = 100_000
    spot: bool = False
    other_region: bool = False

    @property
    def seconds(self) -> float:
        """How long the run takes: a boot, and the images at the rate of all instances."""
        return self.boot_seconds + self.images / (self.instances * self.images_per_second) if self.images else 0.0

    @property
    def instance_hours(self) -> float:
        """The time of all instances, boots included."""
        return self.instances * self.seconds / SECONDS_AN_HOUR

    @property
    def jobs(self) -> int:
        """How many messages, and parts, the run has."""
        fitting = max(1, _JOB_KEY_BYTES // (self.key_bytes + _BYTES_BESIDE_KEY))
        return math.ceil(self.images / min(self.images_per_job, fitting))


@dataclass(frozen=True, slots=True)
class BulkRequests:
    """The requests of a bulk run, by what they cost: of S3, and of SQS as it bills them."""

    s3_writes: int
    s3_lists: int
    s3_reads: int
    sqs_requests: int


@dataclass(frozen=True, slots=True)
class BulkEstimate:
    """US dollars of a bulk run by item, and its requests."""

    requests: BulkRequests
    items: Mapping[str, float]

    @property
    def usd(self) -> float:
        """The sum of all items."""
        return sum(self.items.values())

    @property
    def requests_usd(self) -> float:
        """The sum of all items but the workers."""
        return self.usd - self.items[WORKERS]


def count_requests(run: BulkWorkload) -> BulkRequests:
    """Count the requests of a bulk run by formula."""
    segments = math.ceil(run.jobs / JOBS_PER_SEGMENT)

    def times(pause_seconds: float, each: int = 1) -> int:
        return math.ceil(run.seconds / pause_seconds) * each

    rounds = times(ROUND_SECONDS)
    message_bytes = _MESSAGE_BYTES + math.ceil(run.images / max(1, run.jobs)) * (run.key_bytes + _BYTES_BESIDE_KEY)
    per_request = max(1, min(_MESSAGES_PER_REQUEST, _REQUEST_BYTES // message_bytes))
    sends = math.ceil(run.jobs / per_request) * _billed(per_request * message_bytes)
    return BulkRequests(
        s3_writes=run.jobs
        + segments
        + rounds * _ROUND_WRITES
        + times(_LEASE_SECONDS)
        + times(_STATUS_SECONDS)
        + times(_HEARTBEAT_SECONDS, run.instances),
        s3_lists=math.ceil(run.images / _KEYS_PER_LISTING) + rounds * _ROUND_LISTS + times(_LISTING_SECONDS),
        s3_reads=run.images
        + run.jobs
        + segments * _SEGMENT_READS
        + rounds * _ROUND_READS
        + times(_HEARTBEAT_SECONDS, run.instances)
        + times(_CANCELLED_SECONDS, run.instances),
        sqs_requests=sends
        + run.jobs * _billed(message_bytes)
        + run.jobs
        + times(_POLL_SECONDS, run.instances)
        + times(_COUNT_SECONDS)
        + rounds,
    )


def estimate_bulk(run: BulkWorkload, prices: Prices) -> BulkEstimate | None:
    """Estimate the costs of a bulk run; None if the table has no price of the instance type."""
    hourly = prices.worker_usd_per_hour([run.instance_type])
    if hourly is None:
        return None
    if run.spot:
        hourly -= prices.instances[run.instance_type] * (1 - prices.bulk["spot_share"])
    of, requests = prices.of, count_requests(run)
    moved_gb = run.images * run.image_bytes / 1e9 if run.other_region else 0.0
    return BulkEstimate(
        requests,
        {
            "S3, reading": requests.s3_reads * of["s3_read"],
            "S3, writing": requests.s3_writes * of["s3_write"],
            "S3, listing": requests.s3_lists * of["s3_write"],
            "SQS": requests.sqs_requests * of["sqs_request"],
            WORKERS: run.instance_hours * hourly,
            "transfer": moved_gb * of["region_transfer_gb"],
        },
    )


def _billed(message_bytes: int) -> int:
    return math.ceil(message_bytes / _BILLED_BYTES)
