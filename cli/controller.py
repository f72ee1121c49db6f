"""`elastic controller`: the control loop in the foreground."""

from __future__ import annotations

import sys

import click

from cli.session import join


@click.command()
@click.option("--dry-run", is_flag=True, help="Decide and explain, but launch and terminate nothing.")
def controller(dry_run: bool) -> None:
    """Scale the fleet by the backlog, until Ctrl-C (the same as `python -m controller`)."""
    join()
    from controller.__main__ import main as run

    sys.exit(run(["--dry-run"] if dry_run else []))
