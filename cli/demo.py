"""`elastic demo`: upload photos to a temporary local stack, show their results, wait for the scale-in."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api_client.client import NO_ANSWER_TIMEOUT_SECONDS, ApiClient
from api_client.image_files import collect
from app_tier.bundle import ModelBundle, load_bundle
from aws.buckets import ResultStore
from aws.clients import Clients
from aws.fleet import Fleet
from benchmarks.report import output_file
from cli import options
from cli.demo_report import doubt, to_html
from cli.options import quiet
from cli.session import (
    clients_of,
    command_name,
    console,
    local_stack,
    print_plain,
    progress_console,
    short_path,
    stop_on_signals,
    waiting,
)
from cli.tables import print_table
from core.image_layouts import parse_result_line
from core.output_files import write_output_file
from local_cloud.fleet_size_history import Change, FleetSizeHistory
from local_cloud.model_choice import choose_model, label_count
from local_cloud.progress import BatchProgress
from local_cloud.sample_photos import from_packages
from local_cloud.stack import LocalStack

SCALE_IN_TIMEOUT_SECONDS = 60.0
MAX_TABLE_ROWS = 40


@click.command()
@click.option(
    "--images", type=click.Path(path_type=Path), multiple=True, help="Folder or file to classify; may be given again."
)
@output_file("--json", "json_path", "Write a report to this file.")
@output_file(
    "--report", "report_path", "Write a page to this file: the pictures with their labels, and the fleet's size."
)
@options.boot_seconds
@options.max_size
@options.profile
@options.model
@quiet
def demo(
    images: tuple[Path, ...],
    json_path: Path | None,
    report_path: Path | None,
    boot_seconds: float,
    max_size: int | None,
    model: str | None,
) -> None:
    """Classify photos on a temporary local stack and show the results.

    Starts the embedded cloud, the web tier and the controller, uploads the photos, prints their labels, waits until
    the fleet is back at 0 instances, and stops everything.  Without --images it uses sample photos from installed
    packages.  Ends with status 0 only if every photo was answered and the fleet is back at 0.
    """
    stop_on_signals(raising=True)
    with waiting("Collecting the photos"):
        photos, others = collect(images) if images else (from_packages(), [])
    if others:
        console.print(
            f"Left out, since their names are not those of images: {', '.join(path.name for path in others[:5])}"
            f"{' …' if len(others) > 5 else ''}",
            highlight=False,
        )
    chosen = choose_model(os.environ, print_plain, model)
    with waiting("Checking the model"):
        model_bundle = load_bundle(chosen)
    bundle = model_bundle.folder
    if not images:
        print_plain(
            f"Using sample photos from installed packages.  The model {bundle.name} has {label_count(bundle)} labels; "
            "its scores are low for photos of anything else.  Use your own photos with --images."
        )
    # The sample photos alone would need one instance; with a lower target latency the fleet grows visibly.
    settings: dict[str, Any] = {} if images else {"target_latency_seconds": 0.2}
    # The stack is temporary, on loopback, and this command is its only client.
    settings["authentication"] = "off"
    settings["model_bundle"] = str(bundle)
    with local_stack(max_size, settings, boot_seconds=boot_seconds) as stack:
        progress_console(stderr=False).print(
            f"Running at {stack.web_url}; logs in {short_path(stack.log_directory)}", highlight=False, soft_wrap=True
        )
        run = classify_folder(stack, clients_of(stack), photos, progress_console(stderr=False))
    report = run.report
    if json_path is not None:
        write_report(report, json_path)
    answered = report["classified"] + report["failed"]
    console.print(
        f"{answered} of {report['images']} answered ({report['failed']} of them cannot be classified) in "
        f"{report['seconds']:.1f} s, {report['images_per_second']} images/s; instances: at most "
        f"{report['peak_instances']}, {report['final_instances']} now.",
        highlight=False,
        soft_wrap=True,
    )
    if report_path is None:
        print_plain(f"To see the pictures with their labels: {command_name()} demo --report report.html")
    else:
        with waiting("Writing the report"):
            write_output_file(report_path, _page(run, photos, model_bundle))
        print_plain(f"The pictures with their labels: {report_path.resolve().as_uri()}")
    if answered != report["images"] or report["final_instances"]:
        sys.exit(1)


@dataclass(frozen=True, slots=True)
class DemoRun:
    """What a demo measured.

    Attributes:
        report: the figures and labels, see `classify_folder`.
        results: the results as the API returned them, in the order of the photos.
        changes: the fleet's sizes.
        ended_seconds: when the fleet was last looked at, on the clock of `changes`.
    """

    report: dict[str, Any]
    results: list[dict[str, Any]]
    changes: list[Change]
    ended_seconds: float


def classify_folder(stack: LocalStack, clients: Clients, images: Sequence[Path], console: Console) -> DemoRun:
    """Classifies `images` on a running stack with progress output.

    The report of the run has the keys ``images``, ``classified``, ``failed``, ``seconds``, ``peak_instances``,
    ``final_instances``, ``images_per_second`` and ``results``, a list of ``name``, ``status``, ``label``,
    ``score``, in the order of `images`.  ``seconds`` are from the first byte uploaded to the last result.

    Raises:
        ApiError: the web tier refused, or an image was not answered.
    """
    api = ApiClient(stack.web_url)
    results_store = ResultStore(clients["s3"], stack.settings.output_bucket)
    fleet = Fleet(clients["ec2"], stack.settings.launch_template_name, stack.settings.fleet_name)
    with FleetSizeHistory(fleet) as history, BatchProgress(console, len(images), history) as progress:
        started = time.monotonic()
        batch_id = api.create_batch()
        problems = api.upload(batch_id, images, progress.uploaded)
        results = []
        for result in api.follow(batch_id, len(images) - len(problems), NO_ANSWER_TIMEOUT_SECONDS):
            results.append(result)
            progress.answered(1)
        seconds = time.monotonic() - started
        progress.show_note("all answered; waiting for the fleet to return to 0")
        history.wait_for_zero(SCALE_IN_TIMEOUT_SECONDS)
        ended = history.seconds
    for problem in problems:
        console.print(f"[red]not stored[/red] {problem}", highlight=False)

    results.sort(key=lambda result: str(result["key"]))
    _print_table(results_store, results)
    _print_history(history)
    failed = sum(result["status"] == "failed" for result in results)
    report = {
        "images": len(images),
        "classified": len(results) - failed,
        "failed": failed,
        "seconds": round(seconds, 2),
        "peak_instances": history.peak,
        "final_instances": history.size,
        "images_per_second": round(len(results) / seconds, 1),
        "results": [{key: result[key] for key in ("name", "status", "label", "score")} for result in results],
    }
    return DemoRun(report, results, history.changes, ended)


def write_report(report: dict[str, Any], path: Path) -> None:
    """Writes the report as JSON."""
    write_output_file(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _page(run: DemoRun, photos: Sequence[Path], bundle: ModelBundle) -> str:
    return to_html(
        run.report,
        run.results,
        photos,
        run.changes,
        model=bundle.full_name,
        labels=len(bundle.labels),
        ended_seconds=run.ended_seconds,
        now=datetime.now(UTC).astimezone(),
    )


def _print_table(store: ResultStore, results: Sequence[dict[str, Any]]) -> None:
    """Prints the results as stored: each `image, label` pair is read from the output bucket."""
    table = Table(title=f"s3://{store.bucket}", title_justify="left")
    for heading in ("image", "label", "score", "remark"):
        table.add_column(heading, justify="right" if heading == "score" else "left", overflow="fold")
    for result in results[:MAX_TABLE_ROWS]:
        name, answer = parse_result_line(store.line(result["key"]))
        score = f"{result['score']:.2f}" if result["score"] is not None else ""
        remark = "failed" if result["status"] == "failed" else doubt(result) if result["unsure"] else ""
        style = "red" if remark == "failed" else "dim" if result["unsure"] else ""
        table.add_row(*(_plain(text) for text in (name, answer, score, remark)), style=style)
    print_table(console, table)
    if len(results) > MAX_TABLE_ROWS:
        console.print(f"… and {len(results) - MAX_TABLE_ROWS} more.")


def _print_history(history: FleetSizeHistory) -> None:
    console.print(
        "Instances: " + " → ".join(f"{change.size} ({change.seconds:.1f} s)" for change in history.changes),
        soft_wrap=True,
    )


def _plain(text: str) -> Text:
    return Text(text)  # a file name may look like markup
