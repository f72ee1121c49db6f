"""`elastic controller`: run the control loop in the foreground."""

from __future__ import annotations

import sys

import click

from cli.session import join_running_stack


@click.command()
@click.option("--dry-run", is_flag=True, help="Log the decisions, but launch and terminate nothing.")
def controller(dry_run: bool) -> None:
    """Run the controller in the foreground, until Ctrl-C.

    It scales the fleet by the backlog.  The same as `python -m controller`, but joins a running local stack.
    """
    join_running_stack()
    from controller.__main__ import main as run

    sys.exit(run(["--dry-run"] if dry_run else []))
