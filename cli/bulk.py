"""`elastic bulk …`: label the photos that are in S3 already."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from aws.bulk_buckets import BulkOutput, PhotoSource
from aws.bulk_runs import BulkRuns
from aws.clients import Clients
from aws.inventory import PhotoInventory
from aws.state import StateStore
from cli.bulk_plan import plan_run
from cli.bulk_progress import RunProgress, fleet_status, outcome, progress_of
from cli.options import DURATION, quiet
from cli.session import command_name, connect_to_cloud, console, print_plain, print_progress, stop_on_signals
from cli.tables import print_table
from controller.scaling.bulk_fleet import plan_sentence
from core.bulk_columns import COLUMNS, DEFAULT_COLUMNS, Format
from core.bulk_manifest import keys_of_one_bucket, read_manifest
from core.bulk_plan import check_columns, parse_address, selector
from core.bulk_run import DEFAULT_IMAGES_PER_JOB, MAX_IMAGES_PER_JOB, BulkRun, Status
from core.errors import ArgumentError, NotFoundError
from core.jobs import new_batch_id
from core.prices import load_prices

POLL_SECONDS = 1.0


@click.group()
def bulk() -> None:
    """Label the photos that are in S3 already, where they are.

    A run reads every photo of a bucket, or those that a manifest lists, and writes tables of `image, label` to an
    output prefix, which Athena, Spark, DuckDB and pandas read.  It goes on without this command, and after any crash.

    \b
    elastic bulk start s3://photos/2026/ --output s3://labels/2026/
    elastic bulk watch
    """


class ManifestPath(click.Path):
    """A file that can be read, or an address in S3, which is left as it is."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if str(value).startswith("s3://") else super().convert(value, param, ctx)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a manifest lists: keys of one bucket, and a description for the run's source."""

    bucket: str
    keys: Iterator[str]
    description: str
    is_inventory: bool


class _Cloud:
    """The cloud that the command is connected to."""

    def __init__(self) -> None:
        self.settings = connect_to_cloud()
        s3 = Clients()["s3"]
        self._s3 = s3
        self.state = StateStore(s3, self.settings.state_bucket)
        self.runs = BulkRuns(self.state, lambda bucket: BulkOutput(s3, bucket))

    def source(self, run: BulkRun) -> PhotoSource:
        """The store of a run's photos."""
        return PhotoSource(self._s3, run.source_bucket, requester_pays=run.requester_pays)

    def inventory(self, address: str, source_bucket: str, prefix: str) -> _Listed:
        """The objects that an S3 Inventory lists.

        Raises:
            ArgumentError: there is none, or it is of another bucket than `source_bucket`.
        """
        listed = PhotoInventory(self._s3, address)
        bucket = listed.inventory.source_bucket
        if source_bucket and bucket != source_bucket:
            raise ArgumentError(f"the inventory {address} is of the bucket {bucket}, not of {source_bucket}")
        return _Listed(bucket, listed.keys(), f"{prefix} ({address})", is_inventory=True)


@bulk.command()
@click.argument("source", required=False, default="")
@click.option("--output", required=True, metavar="S3://…/", help="Where the tables go, such as s3://labels/2026/.")
@click.option(
    "--manifest",
    type=ManifestPath(path_type=Path, exists=True, dir_okay=False),
    help="Label the photos that this file lists, .csv or .jsonl, instead of all below SOURCE; or those below SOURCE "
    "that an S3 Inventory lists, by the address of its manifest.json, s3://…/manifest.json.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="Label only keys whose part after SOURCE matches, such as '*.png'; may be repeated.  "
    "[default: those with an image's ending]",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice([format.value for format in Format]),
    default=Format.CSV.value,
    show_default=True,
    help="Format of the tables.",
)
@click.option(
    "--columns",
    default=",".join(DEFAULT_COLUMNS),
    show_default=True,
    help=f"Columns of the tables, separated by commas: {', '.join(COLUMNS)}.",
)
@click.option(
    "--images-per-job",
    type=click.IntRange(1, MAX_IMAGES_PER_JOB),
    default=DEFAULT_IMAGES_PER_JOB,
    show_default=True,
    help="Photos in one message; a worker that ends loses the work on one message at most.",
)
@click.option("--finish-by", type=DURATION, help="Use the fewest instances that finish in this time, such as 2h.")
@click.option("--max-instances", type=click.IntRange(min=1), help="Keep no more instances for the run than this.")
@click.option(
    "--at-most-usd",
    type=click.FloatRange(min=0, min_open=True),
    help="Use the most instances that so many US dollars pay.",
)
@click.option("--requester-pays", is_flag=True, help="Accept the costs of reading SOURCE, as its owner requires.")
@click.option("--detach", is_flag=True, help="Only start the run, do not follow it.")
@quiet
def start(
    source: str,
    output: str,
    manifest: Path | str | None,
    include: tuple[str, ...],
    format_name: str,
    columns: str,
    images_per_job: int,
    finish_by: float | None,
    max_instances: int | None,
    at_most_usd: float | None,
    requester_pays: bool,
    detach: bool,
) -> None:
    """Start a run over the photos whose keys begin with SOURCE, such as s3://photos/2026/.

    Photos are read where they are; nothing is copied.  The command shows the progress until the run is over; Ctrl-C
    leaves the run going on.
    """
    if not source and manifest is None:
        raise click.UsageError("give SOURCE, such as s3://photos/2026/, or --manifest")
    if isinstance(manifest, Path) and include:
        raise click.UsageError("--include is for listings: a manifest lists what to label")
    source_bucket, source_prefix = parse_address(source) if source else ("", "")
    output_bucket, output_prefix = parse_address(output)
    if output_prefix and not output_prefix.endswith("/"):
        output_prefix += "/"
    chosen = check_columns([column.strip() for column in columns.split(",")], COLUMNS)
    listed, cloud = None, None
    if isinstance(manifest, Path):
        bucket, keys = keys_of_one_bucket(read_manifest(manifest, source_bucket))
        listed = _Listed(bucket, keys, f" ({manifest.name})", is_inventory=False)
    elif manifest is not None:
        cloud = _Cloud()
        listed = cloud.inventory(manifest, source_bucket, source_prefix)
    if listed is not None:
        source_bucket = listed.bucket
    if output_bucket == source_bucket and not output_prefix:
        raise ArgumentError(f"the output needs a prefix of its own within the photos' bucket, such as {output}/labels/")

    cloud = cloud or _Cloud()
    run = BulkRun(
        run_id=new_batch_id(datetime.now(UTC)),
        source_bucket=source_bucket,
        source_prefix=source_prefix,
        output_bucket=output_bucket,
        output_prefix=output_prefix,
        include=include,
        format=Format(format_name),
        columns=chosen,
        images_per_job=images_per_job,
        requester_pays=requester_pays,
        max_instances=max_instances or 0,
        created_at=time.time(),
    )
    limit = _Limit(finish_by, at_most_usd)
    if listed is None:
        cloud.runs.check_source(run, cloud.source(run))
        if limit.is_set:
            run = limit.applied(cloud, run, sum(map(selector(run), cloud.source(run).list_keys(run.source_prefix))))
    cloud.runs.claim_output(run)
    if listed is not None:
        run = _plan(cloud, run, listed, limit)
    cloud.runs.start(run)
    click.echo(run.run_id)
    if not detach:
        _follow(cloud, run.run_id)


@dataclass(frozen=True, slots=True)
class _Limit:
    """The options about the number of instances."""

    finish_by_seconds: float | None
    at_most_usd: float | None

    @property
    def is_set(self) -> bool:
        return self.finish_by_seconds is not None or self.at_most_usd is not None

    def applied(self, cloud: _Cloud, run: BulkRun, images: int) -> BulkRun:
        """The run with the number of instances that its images may have; prints the plan.

        Raises:
            BulkFleetError: no number meets the deadline and the budget.
        """
        limits = self.finish_by_seconds, self.at_most_usd, run.max_instances
        status = fleet_status(cloud.state)
        plan = plan_run(images, run.images_per_job, cloud.settings, status, load_prices(), *limits)
        print_progress(plan_sentence(images, plan))
        finish_by = run.created_at + self.finish_by_seconds if self.finish_by_seconds is not None else 0.0
        return dataclasses.replace(run, max_instances=plan.instances, finish_by=finish_by, ceiling=plan.ceiling)


def _plan(cloud: _Cloud, run: BulkRun, listed: _Listed, limit: _Limit) -> BulkRun:
    """Store the plan of a manifest's run, or leave nothing if that fails; return the run, ready to be started."""
    # An inventory is a listing: it has what is no photo, too.
    is_included = _below(run) if listed.is_inventory else lambda key: True
    try:
        run = dataclasses.replace(run, source_prefix=listed.description)
        run = cloud.runs.plan_manifest(run, listed.keys, is_included)
        if not run.planned_images:
            raise ArgumentError(
                f"none of the {run.skipped:,} objects that {run.source} lists is to be labelled: "
                "--include chooses others"
            )
        print_progress(f"The manifest lists {run.planned_images:,} photos.")
        return limit.applied(cloud, run, run.planned_images) if limit.is_set else run
    except BaseException:
        cloud.runs.release_output(run)
        raise


def _below(run: BulkRun) -> Callable[[str], bool]:
    """Return whether a key of an inventory, which has those of the whole bucket, is to be labelled."""
    is_chosen = selector(run)
    return lambda key: key.startswith(run.source_prefix) and is_chosen(key)


@bulk.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_runs(as_json: bool) -> None:
    """Show all runs, newest first."""
    runs = list(_Cloud().runs.list())
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(run) for run in runs]))
        return
    if not runs:
        click.echo("No bulk runs; `elastic bulk start` starts one.")
        return
    table = Table("run", "state", "images", "source", "output")
    for run in runs:
        row = (run.run_id, run.status.value, progress_of(run), run.source, run.output)
        table.add_row(*(Text(text) for text in row))
    print_table(console, table)


@bulk.command()
@click.argument("run_id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(run_id: str, as_json: bool) -> None:
    """Show one run: its state, progress and settings."""
    run = _Cloud().runs.get(run_id)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(run)))
        return
    for sentence in outcome(run):
        print_plain(sentence)


@bulk.command()
@click.argument("run_id", required=False, default="")
@quiet
def watch(run_id: str) -> None:
    """Follow the progress of a run until it is over, or Ctrl-C.

    Without RUN_ID, of the latest run.  Ends with status 1 if the run fails or is cancelled.
    """
    cloud = _Cloud()
    latest = run_id or next(iter(cloud.runs.ids()), "")
    if not latest:
        raise NotFoundError("there is no bulk run; `elastic bulk start` starts one")
    _follow(cloud, latest)


@bulk.command()
@click.argument("run_id")
def cancel(run_id: str) -> None:
    """Cancel a run: no further photo is begun.

    What has been answered is kept for `elastic bulk resume`.
    """
    run = _Cloud().runs.cancel(run_id)
    click.echo(f"Cancelled after {run.done_images:,} images.")


@bulk.command()
@click.argument("run_id")
@click.option("--detach", is_flag=True, help="Only resume the run, do not follow it.")
@quiet
def resume(run_id: str, detach: bool) -> None:
    """Go on with a run that was cancelled or has failed: what is answered stays so."""
    cloud = _Cloud()
    run = cloud.runs.resume(run_id)
    print_progress(f"Going on after {run.done_images:,} images.")
    if not detach:
        _follow(cloud, run_id)


def _follow(cloud: _Cloud, run_id: str) -> None:
    """Show the progress until the run is over, then its outcome; a signal ends the command, not the run."""
    stop = stop_on_signals()
    run = cloud.runs.get(run_id)
    with RunProgress(cloud.state) as progress:
        while True:
            progress.show(run)
            if not run.is_active or stop.wait(POLL_SECONDS):
                break
            run = cloud.runs.get(run_id)
    if run.is_active:
        print_progress(f"The run goes on: `{command_name()} bulk watch {run_id}` shows it, `bulk cancel` ends it.")
        return
    for sentence in outcome(run):
        print_plain(sentence)
    if run.status is not Status.COMPLETE:
        raise SystemExit(1)
