"""Show the progress of a bulk run on a terminal or in a log, and its outcome in sentences."""

from __future__ import annotations

import contextlib
import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from aws.state import StateStore
from cli.session import progress_console
from core.bulk_progress import Rate, duration, seconds_left, usd_so_far, utc
from core.bulk_run import SUCCESS_NAME, BulkRun, Status
from core.errors import CloudError, DecodeError
from core.fleet_costs import format_usd
from core.fleet_status import KEY as STATUS_KEY
from core.fleet_status import FleetStatus
from core.prices import load_prices

# How often the fleet's status is read, for its size and costs, and without a terminal a line is printed.
STATUS_SECONDS = 5.0


class RunProgress:
    """A bar on a terminal, else lines: images, rate, time left, money so far; a context manager.

    Args:
        state: the state bucket, which has the fleet's status.
    """

    def __init__(self, state: StateStore) -> None:
        self._state = state
        self._console = progress_console()
        self._rate = Rate()
        self._status: FleetStatus | None = None
        self._looked_at = self._printed_at = float("-inf")
        self._printed = ""
        self._progress = Progress(
            TextColumn("images"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("images", total=None, note="")

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, run: BulkRun) -> None:
        """Show the state of the run."""
        now = time.monotonic()
        self._rate.add(now, run.done_images)
        if now - self._looked_at >= STATUS_SECONDS:
            self._looked_at = now
            self._status = fleet_status(self._state)
        note = self._note(run)
        total = run.planned_images if run.is_planned else None
        self._progress.update(self._task, completed=run.done_images, total=total, note=note)
        line = f"{progress_of(run)} images, {note}"
        if not self._console.is_terminal and line != self._printed and now - self._printed_at >= STATUS_SECONDS:
            self._printed, self._printed_at = line, now
            self._console.print(Text(line), soft_wrap=True)

    def _note(self, run: BulkRun) -> str:
        rate = self._rate.per_second
        left = seconds_left(run, rate)
        status = self._status
        usd = usd_so_far(run, load_prices(), None if status is None else status.cost_per_1000_images_usd)
        parts = [
            None if run.is_planned else "still listing",
            None if rate is None else f"{rate:,.0f} images/s",
            None if left is None else f"{duration(left)} left",
            f"{format_usd(usd)} so far",
            None if status is None else f"{len(status.instances)} instance{'' if len(status.instances) == 1 else 's'}",
            run.problem or None,
        ]
        return ", ".join(filter(None, parts))


def fleet_status(state: StateStore) -> FleetStatus | None:
    """The status that the controller has published last; None if there is none, or it cannot be read."""
    with contextlib.suppress(CloudError, DecodeError):
        found = state.get(STATUS_KEY)
        return None if found is None else FleetStatus.decode(found.body)
    return None


def progress_of(run: BulkRun) -> str:
    """How many images are answered, of how many."""
    return f"{run.done_images:,}/{run.planned_images:,}{'' if run.is_planned else '+'}"


def outcome(run: BulkRun) -> list[str]:
    """What has become of a run, in sentences."""
    took = duration(max(0.0, run.finished_at - run.created_at))
    skipped = [f"Objects not included: {run.skipped:,}."] if run.skipped else []
    match run.status:
        case Status.COMPLETE:
            failed = f", {run.failed_images:,} of them with an error" if run.failed_images else ""
            return [
                f"Complete: {run.done_images:,} images in {took}{failed}.",
                *skipped,
                f"Tables: {run.output}labels-*.{run.format} ({', '.join(run.columns)}); {SUCCESS_NAME} marks the end.",
            ]
        case Status.FAILED:
            return [
                f"Failed after {progress_of(run)} images: {run.problem}",
                f"`elastic bulk resume {run.run_id}` goes on.",
            ]
        case Status.REFUSED:
            return [f"Refused: {run.problem}"]
        case Status.CANCELLED:
            return [f"Cancelled after {progress_of(run)} images.", f"`elastic bulk resume {run.run_id}` goes on."]
        case _:
            return [
                f"Running: {progress_of(run)} images.",
                *skipped,
                f"From {run.source} to {run.output}, {run.format}: {', '.join(run.columns)}.",
                *([f"Most instances that are kept for it: {run.max_instances:,}."] if run.max_instances else []),
                *([f"To be finished by {utc(run.finish_by)}."] if run.finish_by else []),
                *([f"Problem: {run.problem}"] if run.problem else []),
            ]
