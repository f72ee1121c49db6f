"""`elastic chaos`: test delivery while faults are injected."""

from __future__ import annotations

import itertools
import json
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from api_client.image_files import collect
from benchmarks.report import output_file
from chaos.bulk_run import BulkChaosReport, run_bulk_chaos
from chaos.report import ChaosReport
from chaos.run import run_chaos
from chaos.soak import SoakReport, run_soak
from cli.options import quiet
from cli.session import clients_of, progress_console, stop_on_signals
from core.output_files import write_output_file
from local_cloud.sample_photos import make_crops

# More than a batch of the soak; they are uploaded again and again.
SOAK_PHOTOS = 300


@click.command()
@click.option(
    "--images", type=click.Path(path_type=Path), multiple=True, help="Photos to use instead of generated ones."
)
@click.option("--photos", "count", type=click.IntRange(min=1), default=500, show_default=True, help="Number of photos.")
@click.option("--seed", type=int, help="Seed of the choice of kills and faults.  [default: a random one]")
@click.option("--kills", type=click.IntRange(min=0), default=20, show_default=True, help="Number of workers to kill.")
@click.option("--faults", type=click.IntRange(min=0), default=200, show_default=True, help="Minimum number of faults.")
@click.option(
    "--troubles",
    type=click.IntRange(0, 6),
    default=6,
    show_default=True,
    help="How many troubles of machines: stopped, full disk, few files, wrong clock; with any, the cloud is slow.",
)
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=240.0,
    show_default=True,
    help="Time limit, seconds.",
)
@click.option(
    "--bulk",
    type=click.IntRange(min=1),
    metavar="N",
    help="Label N photos of a bucket by a bulk run instead; --photos and --troubles do not apply.",
)
@click.option(
    "--soak",
    "minutes",
    type=click.FloatRange(min=15),
    metavar="MINUTES",
    help="Upload a photo a second, kill a worker a minute, and check that memory and disk do not grow instead; of the "
    "other options, only --images, --seed and --json apply.",
)
@output_file("--json", "json_path", "Also write the report to this file.")
@quiet
def chaos(
    images: tuple[Path, ...],
    count: int,
    seed: int | None,
    kills: int,
    faults: int,
    troubles: int,
    timeout_seconds: float,
    bulk: int | None,
    minutes: float | None,
    json_path: Path | None,
) -> None:
    """Test that no photo is lost under faults, or that a long run does not grow.

    Photos are classified on a local stack while workers are killed, the controller is restarted, the cloud's requests
    are throttled, delayed and fail, jobs are delivered twice, and machines are in trouble: a worker is stopped, disks
    are full, files are few, the web tier's clock is wrong.  Then both buckets are compared.  Prints JSON; ends with
    status 0 only if no photo was lost or doubled, queues and fleet are empty, and there were at least the requested
    numbers of kills, faults and troubles.
    """
    stop_on_signals(raising=True)
    errors = Console(stderr=True)
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    with tempfile.TemporaryDirectory() as folder:
        wanted = SOAK_PHOTOS if minutes else min(count, bulk or count)
        found = collect(images)[0] if images else make_crops(wanted, seed, Path(folder))
        errors.print(f"Seed {seed}.", highlight=False)
        stack: dict[str, Any] = {"seed": seed, "connect": clients_of, "console": progress_console()}
        options: dict[str, Any] = {**stack, "kills": kills, "faults": faults, "timeout_seconds": timeout_seconds}
        report: ChaosReport | BulkChaosReport | SoakReport
        if minutes:
            report = run_soak(found, minutes, **stack)
        elif bulk:
            report = run_bulk_chaos(found, bulk, **options)
        else:
            report = run_chaos(list(itertools.islice(itertools.cycle(found), count)), troubles=troubles, **options)
    for problem in report.problems:
        errors.print(problem, style="red", markup=False, highlight=False)
    text = json.dumps(report.fields())
    click.echo(text)
    if json_path is not None:
        write_output_file(json_path, text + "\n")
    sys.exit(1 if report.problems else 0)
