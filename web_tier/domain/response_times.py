"""Response times of a batch and of its images, from what the workers stored with the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from aws.buckets import StoredObject
from core.jobs import ClassificationResult
from core.response_time import BatchResponseTime, summarize
from web_tier.languages.formats import number, short_time
from web_tier.languages.messages import gettext, ngettext

# Reading all results of a large batch takes seconds.  The median of so many is close enough, and the results that were
# stored first and last, so many of each, have the first answer and the last one.
MAX_MEASURED = 200
_AT_EACH_END = 20


def batch_response_time(
    results: Sequence[StoredObject], fetch: Callable[[Sequence[StoredObject]], Iterable[ClassificationResult]]
) -> BatchResponseTime | None:
    """The response times of a batch; None where no result has any.

    Args:
        results: the batch's results, in the order of their keys.
        fetch: reads results.
    """
    measured, ends = results_to_read(results)
    times, others = (
        [result.response_time for result in fetch(chosen) if result.response_time is not None]
        for chosen in (measured, ends)
    )
    return summarize(times, others)


def results_to_read(results: Sequence[StoredObject]) -> tuple[Sequence[StoredObject], Sequence[StoredObject]]:
    """The results to measure: all of a small batch, evenly spaced ones of a large one; and then those at its ends."""
    if len(results) <= MAX_MEASURED:
        return results, ()
    step = len(results) / MAX_MEASURED
    by_time = sorted(results, key=lambda entry: entry.last_modified)
    evenly = [results[int(number * step)] for number in range(MAX_MEASURED)]
    return evenly, [*by_time[:_AT_EACH_END], *by_time[-_AT_EACH_END:]]


def sentence(found: BatchResponseTime, answered: int) -> str:
    """A batch's response times in one line, in the language of the request; in English as `BatchResponseTime.sentence`.

    Args:
        answered: how many results the batch has.
    """
    parts = {
        "waiting": short_time(found.seconds_waiting),
        "booting": short_time(found.seconds_booting),
        "classifying": short_time(found.seconds_classifying),
    }
    last = short_time(found.seconds_to_last)
    if answered == 1:
        return gettext(
            "Answered after %(last)s; waiting %(waiting)s, booting %(booting)s, classifying %(classifying)s",
            last=last,
            **parts,
        )
    parts |= {"first": short_time(found.seconds_to_first), "last": last}
    if found.images >= answered:
        return gettext(
            "First answer after %(first)s, last after %(last)s; waiting %(waiting)s, booting %(booting)s, classifying"
            " %(classifying)s (median)",
            **parts,
        )
    return ngettext(
        "First answer after %(first)s, last after %(last)s; waiting %(waiting)s, booting %(booting)s, classifying"
        " %(classifying)s (median of %(measured)s of %(count)s image)",
        "First answer after %(first)s, last after %(last)s; waiting %(waiting)s, booting %(booting)s, classifying"
        " %(classifying)s (median of %(measured)s of %(count)s images)",
        answered,
        measured=number(found.images),
        count=number(answered),
        **parts,
    )
