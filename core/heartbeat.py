"""A worker's heartbeat: one small JSON object for each instance in the state bucket.

A worker writes it when it is ready, every few seconds, and once more with `leaving` when it ends.  The controller
recognizes a running worker by changes of the object, never by comparing clocks.  It is encoded and decoded here only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from core.object_keys import HEARTBEATS
from core.prediction_counts import NO_ANSWERS, AnswerCounts
from core.versioned_json import Count, Record, Seconds, between, record, shortened

# Most of it is the count of each label, of which a model may have tens of thousands.
MAX_BYTES = 1024 * 1024
# Names and sentences are copied into the fleet's status: a long one must not make that too large.
Text = Annotated[str, shortened(2000)]
# A worker that has waited for jobs for so long with nothing in hand has found the queue empty.
QUIET_SECONDS = 1.0
# More than any machine reaches; sums of many stay far from overflowing.
Rate = Annotated[float, between(0, 1e9)]


@record("a heartbeat", version=1, max_bytes=MAX_BYTES)
@dataclass(frozen=True, slots=True)
class Heartbeat(Record):
    """A worker's state and counts at one moment.

    `started_at` (when it was ready) and `at` are in seconds since the epoch by the worker's clock.  `answered` and
    `failed` count from `started_at`, `in_hand` is jobs that it holds.  `images_per_second` and `mean_service_seconds`
    cover the time since the last heartbeat; the latter, and `oldest_job_age_seconds` (the longest that a job
    received in that time had waited since it was sent), are None where nothing was answered or received.  `leaving`:
    it is shutting down, and this is its last heartbeat.  `release` is the number of its instance's release, and
    `failure`, one sentence, why it receives no jobs: it could not load its model, or the smoke test failed.
    `answers` counts from `started_at`; the candidate `shadow_model` also classified `shadow_compared` photos, and its
    best label was the serving model's for `shadow_agreed` of them.  `idle_seconds` is how long the worker has waited
    for jobs with nothing in hand, 0 while it works or cannot receive.
    """

    at: Seconds
    started_at: Seconds
    model: Text = ""
    in_hand: Count = 0
    answered: Count = 0
    failed: Count = 0
    images_per_second: Rate = 0.0
    mean_service_seconds: Seconds | None = None
    oldest_job_age_seconds: Seconds | None = None
    leaving: bool = False
    release: Count = 0
    failure: Text = ""
    answers: AnswerCounts = NO_ANSWERS
    shadow_model: Text = ""
    shadow_compared: Count = 0
    shadow_agreed: Count = 0
    idle_seconds: Seconds = 0.0

    @property
    def has_found_nothing(self) -> bool:
        """Whether the queue was empty for this worker when it wrote this."""
        return self.in_hand == 0 and self.idle_seconds >= QUIET_SECONDS


def key_of(instance_id: str, role_id: str = "") -> str:
    """The key of the heartbeat of an instance's worker.

    Args:
        role_id: the id of the workers' role.  With it, the key has the value of IAM's variable ``aws:userid``, so that
            a policy can allow each instance to write its own heartbeat and no other.
    """
    return HEARTBEATS.key_of(f"{role_id}:{instance_id}" if role_id else instance_id)


def instance_of(key: str) -> str:
    """The id of the instance whose heartbeat has this key."""
    return HEARTBEATS.name_of(key).rpartition(":")[2]
