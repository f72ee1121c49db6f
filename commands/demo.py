"""The whole job, unattended: upload, queue, scale up, classify, read the answers, scale down."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aws.buckets import ResultStore
from aws.clients import Clients
from aws.fleet import Fleet
from commands.client import ApiClient
from commands.fleet_history import FleetHistory
from commands.live import Live
from core.jobs import parse_result_line
from local_cloud.stack import LocalStack

# No image takes so long, even while 15 workers start on one core.
NO_ANSWER_TIMEOUT_SECONDS = 180.0
SCALE_IN_TIMEOUT_SECONDS = 60.0
MAX_TABLE_ROWS = 40


def classify_folder(stack: LocalStack, clients: Clients, images: Sequence[Path], console: Console) -> dict[str, Any]:
    """Classifies `images` on a running stack, shows progress, and returns the report.

    The report has the keys ``images``, ``classified``, ``failed``, ``seconds``, ``peak_instances``,
    ``final_instances``, ``images_per_second`` and ``results``, a list of ``name``, ``status``, ``label``,
    ``score``, in the order of `images`.  ``seconds`` count from the first byte uploaded to the last answer.

    Raises:
        ApiError: the web tier refused, or an image was not answered.
    """
    api = ApiClient(stack.web_url)
    results_store = ResultStore(clients["s3"], stack.settings.output_bucket)
    fleet = Fleet(clients["ec2"], stack.settings.launch_template_name, stack.settings.fleet_name)
    with FleetHistory(fleet) as history, Live(console, len(images), history) as live:
        started = time.monotonic()
        batch_id = api.create_batch()
        problems = api.upload(batch_id, images, live.uploaded)
        results = []
        for result in api.follow(batch_id, len(images) - len(problems), NO_ANSWER_TIMEOUT_SECONDS):
            results.append(result)
            live.answered(1)
        seconds = time.monotonic() - started
        live.say("all answered; waiting for the fleet to return to 0")
        history.wait_for_zero(SCALE_IN_TIMEOUT_SECONDS)
    for problem in problems:
        console.print(f"[red]not stored[/red] {problem}", highlight=False)

    results.sort(key=lambda result: str(result["key"]))
    _print_table(console, results_store, results)
    _print_history(console, history)
    failed = sum(result["status"] == "failed" for result in results)
    return {
        "images": len(images),
        "classified": len(results) - failed,
        "failed": failed,
        "seconds": round(seconds, 2),
        "peak_instances": history.peak,
        "final_instances": history.size,
        "images_per_second": round(len(results) / seconds, 1),
        "results": [{key: result[key] for key in ("name", "status", "label", "score")} for result in results],
    }


def write_report(report: dict[str, Any], path: Path) -> None:
    """Writes the report as JSON."""
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _print_table(console: Console, store: ResultStore, results: Sequence[dict[str, Any]]) -> None:
    """The pairs as they lie in the output bucket, each read from there."""
    table = Table(title=f"s3://{store.bucket}", title_justify="left")
    for heading in ("image", "label", "score", ""):
        table.add_column(heading, justify="right" if heading == "score" else "left", overflow="fold")
    for result in results[:MAX_TABLE_ROWS]:
        name, answer = parse_result_line(store.line(result["key"]))
        score = f"{result['score']:.2f}" if result["score"] is not None else ""
        remark = "failed" if result["status"] == "failed" else "unsure" if result["unsure"] else ""
        style = "red" if remark == "failed" else "dim" if remark == "unsure" else ""
        table.add_row(*(_plain(text) for text in (name, answer, score, remark)), style=style)
    console.print(table)
    if len(results) > MAX_TABLE_ROWS:
        console.print(f"… and {len(results) - MAX_TABLE_ROWS} more.")


def _print_history(console: Console, history: FleetHistory) -> None:
    console.print(
        "Instances: " + " → ".join(f"{change.size} ({change.seconds:.1f} s)" for change in history.changes),
        soft_wrap=True,
    )


def _plain(text: str) -> Text:
    return Text(text)  # a file name may look like markup
