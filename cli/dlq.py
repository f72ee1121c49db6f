"""`elastic dlq …`: list, redrive and delete dead letters."""

from __future__ import annotations

import dataclasses
import json

import click
from rich.table import Table
from rich.text import Text

from aws.clients import Clients
from aws.dead_letters import DeadLetters
from aws.queue import JobQueue, ReceivedJob
from cli.session import connect_to_cloud, console
from cli.tables import print_table


@click.group()
def dlq() -> None:
    """List, redrive or delete the jobs in the dead-letter queue.

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


@dlq.command()
@click.argument("keys", nargs=-1)
@click.option("--not-jobs", is_flag=True, help="Delete the messages that are no jobs.")
@click.option("--all", "everything", is_flag=True, help="Delete all dead letters.")
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="Most letters to delete.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
def delete(keys: tuple[str, ...], not_jobs: bool, everything: bool, limit: int, yes: bool) -> None:
    """Delete dead letters for good: those of the images with these KEYS, those that are no jobs, or all.

    The results of their images stay.
    """
    if bool(keys) + not_jobs + everything != 1:
        raise click.UsageError("choose one: keys (see `elastic dlq list`), --not-jobs or --all")
    letters, found = _dead_letters(), set[str]()

    def chosen(letter: ReceivedJob) -> bool:
        if letter.job is None:
            return not_jobs or everything
        found.add(letter.job.key)
        return everything or letter.job.key in keys

    what = "those that are no jobs" if not_jobs else "all of them" if everything else "those of the named images"
    if not yes:
        click.confirm(f"There are about {letters.count()} dead letters. Delete {what} for good?", abort=True)
    count = letters.delete(limit, chosen)
    click.echo(f"{count} dead letter{'' if count == 1 else 's'} deleted.")
    if missing := [key for key in keys if key not in found]:
        for key in missing:
            click.echo(f"no dead letter has the key {key}", err=True)
        raise SystemExit(1)


def _dead_letters() -> DeadLetters:
    settings = connect_to_cloud()
    client = Clients()["sqs"]
    return DeadLetters(JobQueue(client, settings.dead_letter_queue_name), JobQueue(client, settings.queue_name))
