"""Response times of a batch and of its images, from what the workers stored with the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from aws.buckets import StoredObject
from core.jobs import ClassificationResult
from core.response_time import BatchResponseTime, summarize

# Reading all results of a large batch takes seconds.  The median of so many is close enough, and as many again of the
# first and of the last results have the first answer and the last one.
MAX_READ_AT_ONCE = 200
_EVENLY = 120
_AT_EACH_END = 40


def response_fields(result: ClassificationResult) -> dict[str, float | None]:
    """The times of one image in seconds, as fields for JSON and columns for CSV; None where they were not measured.

    Files that the web tier refused were never in the queue, and workers of earlier versions measured nothing.
    """
    time = result.response_time
    return {
        "seconds_waiting": None if time is None else round(time.seconds_waiting, 3),
        "seconds_booting": None if time is None else round(time.seconds_booting, 3),
        "seconds_classifying": None if time is None else round(time.seconds_classifying, 3),
        "seconds_total": None if time is None else round(time.seconds_total, 3),
    }


def batch_response_time(
    results: Sequence[StoredObject], fetch: Callable[[Sequence[StoredObject]], Iterable[ClassificationResult]]
) -> BatchResponseTime | None:
    """The response times of a batch; None where no result has any.

    Args:
        results: the batch's results, in the order of their keys.
        fetch: reads results.
    """
    times = (result.response_time for result in fetch(results_to_read(results)))
    return summarize([time for time in times if time is not None])


def results_to_read(results: Sequence[StoredObject]) -> list[StoredObject]:
    """All results of a small batch; of a large one some, evenly spaced, and those that were stored first and last."""
    if len(results) <= MAX_READ_AT_ONCE:
        return list(results)
    by_time = sorted(results, key=lambda entry: entry.last_modified)
    step = len(results) / _EVENLY
    chosen = [
        *(results[int(number * step)] for number in range(_EVENLY)),
        *by_time[:_AT_EACH_END],
        *by_time[-_AT_EACH_END:],
    ]
    return list({entry.key: entry for entry in chosen}.values())
