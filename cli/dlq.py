"""`elastic dlq …`: list and redrive dead letters."""

from __future__ import annotations

import dataclasses
import json

import click
from rich.table import Table
from rich.text import Text

from aws.clients import Clients
from aws.dead_letters import DeadLetters
from aws.queue import JobQueue
from cli.session import connect_to_cloud, console
from cli.tables import print_table


@click.group()
def dlq() -> None:
    """List or redrive the jobs in the dead-letter queue.

    SQS moves a job there after too many failed deliveries.
    """


@dlq.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Most jobs to show.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_letters(limit: int, as_json: bool) -> None:
    """Show dead letters without removing them."""
    letters = _dead_letters()
    found = letters.peek(limit)
    if as_json:
        jobs = [letter.job for letter in found]
        click.echo(json.dumps([None if job is None else dataclasses.asdict(job) for job in jobs]))
        return
    if not found:
        click.echo("No dead letters.")
        return
    table = Table("image", "batch", "key", title=f"{letters.count()} dead letters", title_justify="left")
    for letter in found:
        row = (letter.job.name, letter.job.batch_id, letter.job.key) if letter.job else ("(not a job)", "", "")
        table.add_row(*(Text(text) for text in row))
    print_table(console, table)


@dlq.command()
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="Most jobs to send.")
def redrive(limit: int) -> None:
    """Send dead letters back to the job queue, to be processed again."""
    click.echo(f"{_dead_letters().redrive(limit)} jobs sent back to the job queue.")


def _dead_letters() -> DeadLetters:
    settings = connect_to_cloud()
    client = Clients()["sqs"]
    return DeadLetters(JobQueue(client, settings.dead_letter_queue_name), JobQueue(client, settings.queue_name))
