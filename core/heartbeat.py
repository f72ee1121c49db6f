"""What a worker tells of itself while it lives: one small JSON object in the state bucket for each instance.

A worker writes it when it is ready, every few seconds, and once more with `leaving` when it ends.  Whether a worker
still reports is told by the object's changing, never by comparing clocks.  Encoded and decoded in this one place.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from core.prediction_counts import NO_ANSWERS, AnswerCounts
from core.versioned_json import decode_record, encode_record

VERSION = 1
PREFIX = "workers/"
_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Heartbeat:
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

    at: float
    started_at: float
    model: str = ""
    in_hand: int = 0
    answered: int = 0
    failed: int = 0
    images_per_second: float = 0.0
    mean_service_seconds: float | None = None
    oldest_job_age_seconds: float | None = None
    leaving: bool = False
    release: int = 0
    failure: str = ""
    answers: AnswerCounts = NO_ANSWERS
    shadow_model: str = ""
    shadow_compared: int = 0
    shadow_agreed: int = 0

    def encode(self) -> bytes:
        """The object's body."""
        return encode_record(dataclasses.asdict(self), VERSION)

    @classmethod
    def decode(cls, body: bytes) -> Heartbeat:
        """Reads what `encode` wrote.

        Raises:
            DecodeError: it is something else, or of another version.
        """

        def build(fields: dict[str, Any]) -> Heartbeat:
            answers = AnswerCounts.of(fields["answers"]) if "answers" in fields else NO_ANSWERS
            return cls(**{**fields, "answers": answers})

        return decode_record(body, VERSION, build, "a heartbeat")


def key_of(instance_id: str) -> str:
    """Where an instance's worker reports."""
    return f"{PREFIX}{instance_id}{_SUFFIX}"


def instance_of(key: str) -> str:
    """Whose report lies under `key`."""
    return key.removeprefix(PREFIX).removesuffix(_SUFFIX)
