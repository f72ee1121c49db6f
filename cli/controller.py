"""`elastic controller`: run the control loop in the foreground."""

from __future__ import annotations

import sys

import click

from cli.session import connect_to_cloud


@click.command()
@click.option("--dry-run", is_flag=True, help="Log the decisions, but launch and terminate nothing.")
def controller(dry_run: bool) -> None:
    """Run the controller in the foreground, until Ctrl-C.

    It scales the fleet by the backlog: that of the local stack on this machine, unless the environment names another
    cloud.  The same as `python -m controller`.
    """
    # Before the import, so that without a cloud the answer is immediate.
    connect_to_cloud()
    from controller.__main__ import main as run

    sys.exit(run(["--dry-run"] if dry_run else []))
