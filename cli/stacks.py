"""`elastic stacks`: list the running local stacks, and print the variables of one."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from datetime import UTC, datetime

import click
from rich.table import Column, Table
from rich.text import Text

from cli.session import console
from cli.tables import print_table
from core.cloud_choice import choose_cloud
from core.errors import NotConnectedError
from core.stack_registry import RegisteredStack, registry_folder, running_stacks


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--env", is_flag=True, help="Print the variables of a stack, as shell `export` lines, and end.")
def stacks(as_json: bool, env: bool) -> None:
    """List the local stacks that run on this machine.

    `eval "$(elastic stacks --env)"` lets `python -m controller`, `python -m web_tier` and the `aws` command work on the
    stack; with several, choose one by `elastic --stack PORT stacks --env`.
    """
    running = running_stacks(registry_folder(os.environ))
    if env:
        for name, value in sorted(_chosen(running).environment.items()):
            click.echo(f"export {name}={shlex.quote(value)}")
    elif as_json:
        click.echo(json.dumps([dataclasses.asdict(stack) for stack in running]))
    elif not running:
        click.echo("No local stack runs on this machine; `elastic up` starts one.")
    else:
        print_table(console, table_of(running))


def table_of(running: list[RegisteredStack]) -> Table:
    """A table of stacks."""
    table = Table("port", "started (UTC)", "cloud", Column("logs", overflow="fold"))
    for stack in running:
        started = f"{datetime.fromtimestamp(stack.started_at, UTC):%Y-%m-%d %H:%M}"
        row = (str(stack.port), started, stack.endpoint_url, stack.log_directory)
        table.add_row(*(Text(text) for text in row))
    return table


def _chosen(running: list[RegisteredStack]) -> RegisteredStack:
    # An endpoint that was exported before is not asked for: it may be that of a stack that has ended.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    stack = choose_cloud(environment, running).stack
    if stack is None:
        raise NotConnectedError("`elastic stacks --env` is for local stacks; `elastic status --env` for one on AWS")
    return stack
