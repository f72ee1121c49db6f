"""Response times: from an image's job in the queue to its result, split into what the time was spent on.  No I/O.

The job's sending is stamped by SQS, everything else by the clock of the worker that answers.  Where the two clocks
disagree, the time spent waiting is wrong by their difference; no part of it is ever negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from core.versioned_json import Row, Seconds


@dataclass(frozen=True, slots=True)
class ResponseTime(Row):
    """How long one image took, from its job's sending to its result, and on what; all in seconds.

    Attributes:
        sent_at: when the job was sent, since the epoch, by SQS's clock.
        seconds_waiting: in the queue and in the worker's hand while it processed others.
        seconds_booting: in the queue while no instance was running yet.
        seconds_classifying: the worker's time for this image: fetching, decoding, classifying.
    """

    sent_at: Seconds
    seconds_waiting: Seconds
    seconds_booting: Seconds
    seconds_classifying: Seconds

    @property
    def seconds_total(self) -> float:
        """The sum of the three parts."""
        return self.seconds_waiting + self.seconds_booting + self.seconds_classifying

    @property
    def answered_at(self) -> float:
        """When the result was about to be stored, in seconds since the epoch."""
        return self.sent_at + self.seconds_total

    def rounded(self) -> list[float]:
        """The fields in their order, to milliseconds."""
        fields = (self.sent_at, self.seconds_waiting, self.seconds_booting, self.seconds_classifying)
        return [round(seconds, 3) for seconds in fields]


TIME_FIELDS = ("seconds_waiting", "seconds_booting", "seconds_classifying", "seconds_total")


def rounded_times(time: ResponseTime | None) -> dict[str, float | None]:
    """The times of one image by `TIME_FIELDS`, for JSON and CSV, to milliseconds; None where they were not measured.

    Files that the web tier refused were never in the queue, and workers of earlier versions measured nothing.
    """
    return {name: None if time is None else round(getattr(time, name), 3) for name in TIME_FIELDS}


def response_time(sent_at: float, running_since: float, answered_at: float, seconds_classifying: float) -> ResponseTime:
    """Splits the time of one image; moments are in seconds since the epoch.

    Args:
        running_since: the beginning of the time, up to now, in which some instance has been running.
        answered_at: when the result is about to be stored.
        seconds_classifying: the time of the worker's stages for this image.
    """
    # By the worker's clock alone, so it is right also where SQS's clock makes the total shorter.
    seconds_classifying = max(0.0, seconds_classifying)
    in_queue = max(0.0, answered_at - sent_at - seconds_classifying)
    booting = min(max(0.0, running_since - sent_at), in_queue)
    return ResponseTime(sent_at, in_queue - booting, booting, seconds_classifying)


@dataclass(frozen=True, slots=True)
class BatchResponseTime:
    """The response times of a batch: of the batch as a whole, and of its images in the median; all in seconds.

    Attributes:
        images: how many images were measured.
        seconds_to_first: from the sending of the first job to the first result.
        seconds_to_last: from there to the last result.
        seconds_waiting: median over the images; likewise the others.
    """

    images: int
    seconds_to_first: float
    seconds_to_last: float
    seconds_waiting: float
    seconds_booting: float
    seconds_classifying: float
    seconds_total: float

    def sentence(self, answered: int) -> str:
        """All of it in one line.

        Args:
            answered: how many results the batch has.
        """
        measured = f" of {self.images:,} of {answered:,} images" if self.images < answered else ""
        if answered == 1:
            begin, note = f"Answered after {format_seconds(self.seconds_to_last)}", ""
        else:
            first, last = format_seconds(self.seconds_to_first), format_seconds(self.seconds_to_last)
            begin, note = f"First answer after {first}, last after {last}", f" (median{measured})"
        parts = (
            f"waiting {format_seconds(self.seconds_waiting)}",
            f"booting {format_seconds(self.seconds_booting)}",
            f"classifying {format_seconds(self.seconds_classifying)}",
        )
        return f"{begin}; {', '.join(parts)}{note}"


def summarize(times: Sequence[ResponseTime], ends: Sequence[ResponseTime] = ()) -> BatchResponseTime | None:
    """The response times of a batch from those of its images; None without any.

    Args:
        ends: further images, which count for the first and the last answer but not for the medians.
    """
    if not times:
        return None
    everything = [*times, *ends]
    started_at = min(time.sent_at for time in everything)
    return BatchResponseTime(
        images=len(times),
        seconds_to_first=min(time.answered_at for time in everything) - started_at,
        seconds_to_last=max(time.answered_at for time in everything) - started_at,
        seconds_waiting=median(time.seconds_waiting for time in times),
        seconds_booting=median(time.seconds_booting for time in times),
        seconds_classifying=median(time.seconds_classifying for time in times),
        seconds_total=median(time.seconds_total for time in times),
    )


def format_seconds(seconds: float) -> str:
    """A duration for people, such as ``0.04 s``, ``8.4 s`` or ``2.5 h``, with a space at which no line breaks."""
    if seconds < 0.005:
        return "0\u00a0s"
    if seconds < 0.095:
        return f"{seconds:.2f}\u00a0s"
    if seconds < 99.95:
        return f"{seconds:.1f}\u00a0s"
    return f"{seconds:.0f}\u00a0s" if seconds < 7200 else f"{seconds / 3600:.1f}\u00a0h"
