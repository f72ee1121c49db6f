"""What a worker tells of itself while it lives: one small JSON object in the state bucket for each instance.

A worker writes it when it is ready, every few seconds, and once more with `leaving` when it ends.  Whether a worker
still reports is told by the object's changing, never by comparing clocks.  Encoded and decoded in this one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from core.object_keys import HEARTBEATS
from core.prediction_counts import NO_ANSWERS, AnswerCounts
from core.versioned_json import Count, Record, Seconds, between, record, shortened

# Most of it is the count of each label, of which a model may have tens of thousands.
MAX_BYTES = 1024 * 1024
# Names and sentences travel on into the fleet's status: a long one must not make that too large.
Text = Annotated[str, shortened(2000)]
# More than any machine does; sums of a few stay far from overflowing.
Rate = Annotated[float, between(0, 1e9)]


@record("a heartbeat", version=1, max_bytes=MAX_BYTES)
@dataclass(frozen=True, slots=True)
class Heartbeat(Record):
    """A worker at one moment.

    `started_at` (when it was ready) and `at` are in seconds since the epoch by the worker's clock.  `answered` and
    `failed` count from `started_at`, `in_hand` is jobs that it holds.  `images_per_second` and `mean_service_seconds`
    are over the time since the last report; the latter, and `oldest_job_age_seconds` (the longest that a job
    received in that time had waited since it was sent), are None where nothing was answered or received.  `leaving`:
    it ends in order, and this is its last word.  `release` is the number of the release that its instance is of, and
    `failure` why it cannot work at all, one sentence: its model or its smoke test failed, and it takes no jobs.
    `answers` counts from `started_at`; `shadow_compared` photos were also seen by the candidate `shadow_model`, and it
    would have answered `shadow_agreed` of them alike.
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


def key_of(instance_id: str) -> str:
    """Where an instance's worker reports."""
    return HEARTBEATS.key_of(instance_id)


def instance_of(key: str) -> str:
    """The instance whose worker reports under `key`, a key that a listing of heartbeats gave."""
    return HEARTBEATS.name_of(key)
