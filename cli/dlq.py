"""`elastic dlq …`: the dead-letter queue."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from aws.clients import Clients
from aws.dead_letters import DeadLetters
from aws.queue import JobQueue
from cli.session import console, join


@click.group()
def dlq() -> None:
    """The dead-letter queue: jobs that failed too often."""


@dlq.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Show at most so many.")
def list_letters(limit: int) -> None:
    """Show dead letters; they stay where they are."""
    letters = _dead_letters()
    found = letters.peek(limit)
    if not found:
        click.echo("No dead letters.")
        return
    table = Table("image", "batch", "key", title=f"{letters.count()} dead letters", title_justify="left")
    for letter in found:
        row = (letter.job.name, letter.job.batch_id, letter.job.key) if letter.job else ("(not a job)", "", "")
        table.add_row(*(Text(text) for text in row))
    console.print(table)


@dlq.command()
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="Redrive at most so many.")
def redrive(limit: int) -> None:
    """Send dead letters back to the job queue, to be tried again."""
    click.echo(f"{_dead_letters().redrive(limit)} jobs sent back to the job queue.")


def _dead_letters() -> DeadLetters:
    settings = join()
    client = Clients()["sqs"]
    return DeadLetters(JobQueue(client, settings.dead_letter_queue_name), JobQueue(client, settings.queue_name))
