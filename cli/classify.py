"""`elastic classify`: classify files and folders through a running web tier."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from api_client.client import NO_ANSWER_TIMEOUT_SECONDS, ApiClient
from api_client.image_files import collect, given_path
from core.errors import ElasticError
from core.jobs import displayable, result_line
from local_cloud.local_stack_registry import join_local_stack


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--url", help="The web tier's address.  [default: the local stack's]")
@click.option("--token", envvar="ELASTIC_TOKEN", default="", help="An access token; better set ELASTIC_TOKEN.")
def classify(paths: tuple[Path, ...], url: str | None, token: str) -> None:
    """Classify files and folders through a running web tier.

    Prints an `image, label` line for each image, with its path as it was given; remarks on incomplete files go to
    standard error.  Ends with status 1 if a file could not be stored.
    """
    address = url or join_local_stack()
    if address is None:
        raise ElasticError("no local stack is running; start one with `elastic up` or give --url")
    photos, _ = collect(paths)
    api = ApiClient(address, token)
    batch_id = api.create_batch()
    problems = api.upload(batch_id, photos, lambda count: None, given_path)
    for result in api.follow(batch_id, len(photos) - len(problems), NO_ANSWER_TIMEOUT_SECONDS):
        answer = result["label"] if result["error"] is None else f"error: {result['error']['sentence']}"
        _print_path(result_line(str(photos[result["position"]]), answer))
        if result["note"]:
            click.echo(f"{result['name']}: {result['note']}", err=True)
    for problem in problems:
        click.echo(f"not stored: {problem}", err=True)
    sys.exit(1 if problems else 0)


def _print_path(line: str) -> None:
    """Print a line with a path: to a program byte by byte, to a terminal without what would control it."""
    if sys.stdout.isatty():
        line = displayable(line)
    click.echo(os.fsencode(line))
