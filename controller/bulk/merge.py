"""Merge the parts of a bulk run into its tables, and write the manifest and ``_SUCCESS``.

Parts are read and rows are written one segment at a time, so that memory does not grow with the run.  A merge that is
interrupted is repeated from the start: it writes the same objects.  So requests are repeated here beyond botocore's own
attempts: of the thousands that a merge sends, one that fails would have all of them sent again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random

from aws.bulk_buckets import BulkOutput
from controller.bulk.tables import Tables
from core.bulk_columns import cells
from core.bulk_run import MANIFEST_NAME, SUCCESS_NAME, BulkRun, Manifest, Part, Segment
from core.errors import CloudError, DecodeError, DeniedError, ElasticError

_PARALLEL_REQUESTS = 8
_ATTEMPTS, _MAX_PAUSE_SECONDS = 6, 2.0


class DamagedPartError(ElasticError):
    """A part is missing, or does not have the answers of its job."""

    def __init__(self, segment: int, part: int, why: str) -> None:
        super().__init__(f"the part {part} {why}")
        self.segment = segment
        self.part = part


@dataclass(frozen=True, slots=True)
class Merged:
    """How many images the tables have, and how many of them have no label."""

    images: int
    failed_images: int


def merge(
    run: BulkRun,
    output: BulkOutput,
    segment_of: Callable[[int], Segment],
    sleep: Callable[[float], None] = time.sleep,
) -> Merged:
    """Write a run's tables: for each planned key exactly one row, in the order of the plan.

    Args:
        segment_of: reads a segment.
        sleep: waits before a request is repeated.

    Raises:
        DamagedPartError: a part cannot be used.
        CloudError: the output could not be read or written.
        ArgumentError: the tables' format needs a package that is not installed.
    """
    images = failed = 0
    models: set[str] = set()
    again = Retrying(
        retry=retry_if_exception(_may_succeed_later),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random(0.0, _MAX_PAUSE_SECONDS),
        sleep=sleep,
        reraise=True,
    )
    with Tables(run, output, again) as tables:
        for part in _parts(run, output, segment_of, again):
            models.add(part.model)
            for image in part.images:
                tables.write(cells(image, part.model, run.columns))
                images += 1
                failed += image.failure is not None
    manifest = Manifest(
        run.run_id, run.source, run.format, run.columns, images, failed, tuple(sorted(models)), tuple(tables.files)
    )
    again(output.put, run.key(MANIFEST_NAME), manifest.encode())
    again(output.put, run.key(SUCCESS_NAME), b"")
    return Merged(images, failed)


def _may_succeed_later(error: BaseException) -> bool:
    return isinstance(error, CloudError) and not isinstance(error, DeniedError)


def _parts(run: BulkRun, output: BulkOutput, segment_of: Callable[[int], Segment], again: Retrying) -> Iterator[Part]:
    with ThreadPoolExecutor(_PARALLEL_REQUESTS, thread_name_prefix="bulk-merge") as pool:
        for number in range(run.planned_segments):
            segment = again(segment_of, number)

            def read(offset: int, segment: Segment = segment) -> Part:
                return again.copy()(_read, run, output, segment, offset)

            yield from pool.map(read, range(len(segment.jobs)))


def _read(run: BulkRun, output: BulkOutput, segment: Segment, offset: int) -> Part:
    number = segment.first_part + offset
    found = output.get(run.part_key(number))
    if found is None:
        raise DamagedPartError(segment.number, number, "is missing")
    try:
        part = Part.decode(found.body)
    except DecodeError as error:
        raise DamagedPartError(segment.number, number, f"is {error}") from error
    if part.run_id != run.run_id or tuple(image.image for image in part.images) != segment.jobs[offset]:
        raise DamagedPartError(segment.number, number, "has other images than its job")
    return part
