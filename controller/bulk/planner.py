"""The bulk planner: the periodic task that plans runs, enqueues their jobs, counts their parts and completes them.

All of a run's state is in S3: its record, its segments and its parts.  Each step may be repeated, by this controller
after a crash or by another one at the same time: a segment is stored once and then read, segments are claimed in the
record before their jobs are enqueued, and a job that is enqueued twice has the same part.  Memory does not grow with
the number of photos: a few segments are planned, enqueued or counted at a time.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from itertools import islice

from cachetools import LRUCache

from aws.bulk_buckets import PhotoSource
from aws.bulk_queue import BulkQueue
from aws.bulk_runs import BulkRuns
from controller.bulk.merge import DamagedPartError, merge
from controller.scaling.bulk_fleet import Deadline
from core.bulk_plan import plan_segments, selector
from core.bulk_run import BulkJob, BulkRun, Segment, Status
from core.errors import ArgumentError, CloudError, ConflictError, DecodeError, DeniedError, NotFoundError
from core.periodic_task import ItemGuard

# What one round plans and enqueues at most of a run, so that the others have their turn.
SEGMENTS_PER_ROUND = 10
# Segments whose jobs are enqueued and not all answered: about 100,000 images, some 20 seconds of 15 large instances.
# One request lists the parts of their jobs.
SEGMENTS_AHEAD = 32
# After so long without a new part while jobs are enqueued, the run has a problem.
STALLED_SECONDS = 600.0
# Workers know that a run is complete after 15 s at most (`app_tier.bulk_lane.OVER_SECONDS`); they end the job in hand.
LATE_PART_SECONDS = 30.0
_STALLED = "no job has been finished for 10 minutes: can the workers read {source} and write to {output}?"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Sizes:
    """What counting needs of a segment."""

    first_part: int
    images: tuple[int, ...]


class BulkPlanner:
    """See the module.

    Args:
        source_of: returns the store of a run's photos.
        lost_after_seconds: jobs without a part are enqueued again when the queue has been empty for so long.
        clock: seconds since the epoch.
        sleep: waits before a request of a merge is repeated.
        idle_rounds: while there are no runs, only one in so many rounds looks for one, since each look is a request.
    """

    def __init__(
        self,
        runs: BulkRuns,
        jobs: BulkQueue,
        source_of: Callable[[BulkRun], PhotoSource],
        lost_after_seconds: float,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        idle_rounds: int = 1,
    ) -> None:
        self.runs = runs
        self._jobs = jobs
        self.source_of = source_of
        self._lost_after_seconds = lost_after_seconds
        self._clock = clock
        self._sleep = sleep
        self._idle_rounds = idle_rounds
        self._rounds_to_skip = 0
        # The runs as of the last round.  The control loop's thread reads it.
        self._seen: dict[str, BulkRun] = {}
        self._sizes: LRUCache[tuple[str, int], _Sizes] = LRUCache(8 * SEGMENTS_AHEAD)
        # Since when a run has had no new part, and since when the queue has been empty besides.
        self._unchanged_since: dict[str, float] = {}
        self._empty_since: dict[str, float] = {}

    def wake(self) -> None:
        """Have the next round look for runs."""
        self._rounds_to_skip = 0

    def waiting_images(self) -> int:
        """The images of all runs that are planned and not answered, as of the last round."""
        return sum(run.waiting_images for run in list(self._seen.values()))

    def max_instances(self) -> int | None:
        """The most instances that the waiting images of all runs may have; None: there is no such limit."""
        most = [run.max_instances for run in list(self._seen.values()) if run.waiting_images]
        return sum(most) if most and all(most) else None

    def deadlines(self) -> tuple[Deadline, ...]:
        """The runs with a deadline whose images wait."""
        now = self._clock()
        return tuple(
            Deadline(run.waiting_images, run.finish_by - now, run.ceiling)
            for run in list(self._seen.values())
            if run.finish_by and run.waiting_images
        )

    def round(self) -> None:
        """Run one round; a run that fails is logged and tried again in the next round.

        Raises:
            RoundError: at least one run failed.
            CloudError: the runs could not be listed.
        """
        if self._rounds_to_skip:
            self._rounds_to_skip -= 1
            return
        guard = ItemGuard()
        active = self.runs.active_ids()
        self._rounds_to_skip = 0 if active else self._idle_rounds - 1
        for run_id in active:
            with guard.item(f"the bulk run {run_id}"):
                self._step(run_id)
        for known in (self._seen, self._unchanged_since, self._empty_since):
            for gone in known.keys() - set(active):
                del known[gone]
        guard.raise_failures()

    def _step(self, run_id: str) -> None:
        run = self.runs.get(run_id)
        if run.is_active:
            try:
                run = self._count(self._send(self._plan(run)))
                if run.is_planned and run.done_segments == run.planned_segments:
                    run = self._complete(run)
            except (DeniedError, NotFoundError, ArgumentError) as error:
                run = self._fail(run, str(error))
        self._seen[run_id] = run
        if not run.is_active:
            self._end(run)

    # --- plan ------------------------------------------------------------------------------------

    def _plan(self, run: BulkRun) -> BulkRun:
        if run.is_planned:
            return run
        listing = self.source_of(run).list_keys(run.source_prefix, run.cursor)
        planned = []
        for segment in islice(plan_segments(run, listing, selector(run)), SEGMENTS_PER_ROUND):
            stored = self._stored(run, segment)
            planned.append(stored)
            if stored.cursor != segment.cursor:
                break  # another controller has listed at another time: the rest of this listing is not what follows
        return self.runs.update(run.run_id, lambda current: _with(current, planned))

    def _stored(self, run: BulkRun, segment: Segment) -> Segment:
        """Store a segment; return it, or the one that has been stored before, which alone is valid."""
        try:
            self.runs.output(run).create(run.segment_key(segment.number), segment.encode())
        except ConflictError:
            return self._segment(run, segment.number)
        return segment

    def _segment(self, run: BulkRun, number: int) -> Segment:
        key = run.segment_key(number)
        found = self.runs.output(run).get(key)
        if found is None:
            raise ArgumentError(f"the plan of the run is incomplete: {key} is missing in {run.output_bucket}")
        try:
            segment = Segment.decode(found.body)
        except DecodeError as error:
            raise ArgumentError(f"the plan of the run is damaged: {key} is {error}") from error
        if (segment.run_id, segment.number) != (run.run_id, number):
            raise ArgumentError(f"the plan of the run is damaged: {key} is another one's")
        return segment

    # --- enqueue ---------------------------------------------------------------------------------

    def _send(self, run: BulkRun) -> BulkRun:
        """Enqueue the jobs of further segments, as long as not too many are without a part."""
        first = run.sent_segments
        end = min(run.planned_segments, run.done_segments + SEGMENTS_AHEAD, first + SEGMENTS_PER_ROUND)
        if first >= end:
            return run

        def claim(current: BulkRun) -> BulkRun:
            return dataclasses.replace(current, sent_segments=end) if current.sent_segments == first else current

        claimed = self.runs.update(run.run_id, claim)
        if claimed.sent_segments != end or not claimed.is_active:
            return claimed  # another controller enqueues them, or the run was cancelled
        for number in range(first, end):
            try:
                self._send_segment(run, number)
            except CloudError:
                # What was enqueued is answered; the rest follows in the next round.
                self._rewind(run.run_id, number)
                raise
        return claimed

    def _send_segment(self, run: BulkRun, number: int) -> None:
        segment = self._segment(run, number)
        present = self._present(run, segment.first_part, len(segment.jobs))
        jobs = enumerate(segment.jobs, segment.first_part)
        self._jobs.send(BulkJob.of(run, part, keys) for part, keys in jobs if part not in present)

    def _rewind(self, run_id: str, segment: int) -> BulkRun:
        def change(current: BulkRun) -> BulkRun:
            return dataclasses.replace(current, sent_segments=min(current.sent_segments, segment))

        return self.runs.update(run_id, change)

    # --- count -----------------------------------------------------------------------------------

    def _count(self, run: BulkRun) -> BulkRun:
        """Count the parts of the segments that are enqueued."""
        counted = self._counted(run)
        if counted != run:
            self._unchanged_since[run.run_id] = self._clock()
            self._empty_since.pop(run.run_id, None)

            def change(current: BulkRun) -> BulkRun:
                if current.done_segments > counted.done_segments:
                    return current  # another controller has counted more
                return dataclasses.replace(
                    current,
                    done_segments=counted.done_segments,
                    done_segment_images=counted.done_segment_images,
                    done_images=counted.done_images,
                    problem="" if current.is_active else current.problem,
                )

            return self.runs.update(run.run_id, change)
        return self._recover(run) if run.done_segments < run.sent_segments else run

    def _counted(self, run: BulkRun) -> BulkRun:
        sizes = [self._sizes_of(run, number) for number in range(run.done_segments, run.sent_segments)]
        if not sizes:
            return run
        jobs = sum(len(segment.images) for segment in sizes)
        present = self._present(run, sizes[0].first_part, jobs)
        done, done_images, further = run.done_segments, run.done_segment_images, 0
        for number, segment in enumerate(sizes, run.done_segments):
            parts = enumerate(segment.images, segment.first_part)
            images = [count for part, count in parts if part in present]
            if number == done and len(images) == len(segment.images):
                done, done_images = done + 1, done_images + sum(images)
            else:
                further += sum(images)
        return dataclasses.replace(
            run, done_segments=done, done_segment_images=done_images, done_images=done_images + further
        )

    def _present(self, run: BulkRun, first_part: int, count: int) -> set[int]:
        """Which of `count` jobs from `first_part` on have a part."""
        after = run.part_key(first_part - 1) if first_part else ""
        present = set[int]()
        for stored in self.runs.output(run).list(run.parts, after) if count else ():
            part = run.part_number(stored.key)
            if part >= first_part + count:
                break
            present.add(part)
        return present

    def _sizes_of(self, run: BulkRun, number: int) -> _Sizes:
        key = run.run_id, number
        if key not in self._sizes:
            segment = self._segment(run, number)
            self._sizes[key] = _Sizes(segment.first_part, tuple(len(keys) for keys in segment.jobs))
        return self._sizes[key]

    # --- what goes wrong -------------------------------------------------------------------------

    def _recover(self, run: BulkRun) -> BulkRun:
        """Enqueue jobs again that are neither in the queue nor answered, and report a run that does not go on."""
        now, run_id = self._clock(), run.run_id
        since = self._unchanged_since.setdefault(run_id, now)
        if now - since < self._lost_after_seconds / 2:
            return run  # the count would be a request in each round
        if self._jobs.backlog().total:
            self._empty_since.pop(run_id, None)
        elif now - self._empty_since.setdefault(run_id, now) >= self._lost_after_seconds:
            log.warning("the bulk run %s: jobs were lost from the queue; they are enqueued again", run_id)
            del self._empty_since[run_id]
            return self._rewind(run_id, run.done_segments)
        if now - since < STALLED_SECONDS or run.problem:
            return run
        problem = _STALLED.format(source=run.source, output=run.output)
        log.warning("the bulk run %s: %s", run_id, problem)
        return self.runs.update(run_id, lambda current: dataclasses.replace(current, problem=problem))

    def _fail(self, run: BulkRun, problem: str) -> BulkRun:
        log.error("the bulk run %s has failed: %s", run.run_id, problem)

        def change(current: BulkRun) -> BulkRun:
            if not current.is_active:
                return current
            return dataclasses.replace(current, status=Status.FAILED, problem=problem[:1000], finished_at=self._clock())

        return self.runs.update(run.run_id, change)

    # --- complete --------------------------------------------------------------------------------

    def _complete(self, run: BulkRun) -> BulkRun:
        output = self.runs.output(run)
        log.info("the bulk run %s: merging %d parts", run.run_id, run.planned_jobs)
        try:
            merged = merge(run, output, lambda number: self._segment(run, number), self._sleep)
        except DamagedPartError as error:
            log.warning("the bulk run %s: %s; its job is enqueued again", run.run_id, error)
            output.delete(run.part_key(error.part))
            segment = error.segment
            return self.runs.update(run.run_id, lambda current: self._before(current, segment))
        log.info("the bulk run %s is complete: %d images", run.run_id, merged.images)

        def change(current: BulkRun) -> BulkRun:
            if not current.is_active:
                return current
            return dataclasses.replace(
                current,
                status=Status.COMPLETE,
                problem="",
                finished_at=self._clock(),
                done_images=merged.images,
                failed_images=merged.failed_images,
            )

        return self.runs.update(run.run_id, change)

    def _before(self, run: BulkRun, segment: int) -> BulkRun:
        """The run with no segment from this one on counted or enqueued."""
        images = sum(sum(self._sizes_of(run, number).images) for number in range(segment))
        return dataclasses.replace(
            run, sent_segments=segment, done_segments=segment, done_segment_images=images, done_images=images
        )

    def _end(self, run: BulkRun) -> None:
        """Delete what a complete run needs no more, and in the end the mark of a run that is worked on.

        A job that was delivered twice may store its part once more after the merge: so the mark stays, and the parts
        are listed again, until such a delivery is over.
        """
        if run.status is Status.COMPLETE:
            output = self.runs.output(run)
            for family in (run.parts, run.segments):
                output.delete_all(stored.key for stored in output.list(family))
            if self._clock() - run.finished_at < max(self._lost_after_seconds, LATE_PART_SECONDS):
                return
        self.runs.end(run.run_id)


def _with(run: BulkRun, segments: Sequence[Segment]) -> BulkRun:
    """The run after these segments were planned; without those that it has already."""
    for segment in segments:
        if segment.number == run.planned_segments:
            run = run.planned(segment)
    return run
