"""Helpers of the commands: the console, settings, a local stack to start or to join, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from core.settings import Settings

if TYPE_CHECKING:
    from aws.clients import Clients
    from local_cloud.stack import LocalStack

console = Console()
_quiet = False


def set_quiet(quiet: bool) -> None:
    """Whether this command hides its progress; the option --quiet calls it."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether this command hides its progress."""
    return _quiet


def progress_console(*, stderr: bool = True) -> Console:
    """A console for what a command says while it works; it prints nothing with --quiet.  Results go elsewhere."""
    return Console(stderr=stderr, quiet=_quiet)


def print_progress(sentence: str) -> None:
    """Prints a step on standard error, unless --quiet is given."""
    if not _quiet:
        click.echo(sentence, err=True)


def print_plain(sentence: str) -> None:
    """Prints a sentence verbatim: square brackets are not markup."""
    console.print(Text(sentence), soft_wrap=True)


def connect_to_cloud() -> Settings:
    """Connects this process to the cloud that `core.cloud_choice` chooses, says which, and returns the settings.

    Raises:
        NotConnectedError: there is none, or it is AWS and there are no credentials.
    """
    from core.cloud_choice import connect

    choice = connect(os.environ)
    if choice.sentence:
        click.echo(choice.sentence, err=True)
    if choice.sentence and choice.stack is None:
        require_aws()
    return Settings.from_environment(os.environ)


def use_aws() -> None:
    """Says which account's region a command that works on AWS alone uses.

    Raises:
        NotConnectedError: there is no region, or there are no credentials.
    """
    region = require_aws()
    where = os.environ.get("AWS_ENDPOINT_URL", "AWS")
    click.echo(f"Using {where} in {region}.", err=True)


def require_aws() -> str:
    """Checks that boto3 finds a region and credentials; returns the region.

    Raises:
        NotConnectedError: it does not.
    """
    from aws.clients import require_credentials

    return require_credentials()


@contextlib.contextmanager
def local_stack(max_size: int | None, settings: dict[str, Any] | None = None, **options: Any) -> Iterator[LocalStack]:
    """Starts a local stack, and stops it at the end of the block.

    Args:
        max_size: maximum number of instances; None: the default.
        settings: fields of `Settings` that differ from the defaults.
        options: further arguments of `LocalStack`.
    """
    from local_cloud.stack import LocalStack

    started = time.monotonic()
    limit = {} if max_size is None else {"max_size": max_size}
    with waiting("Starting the local stack") as say:
        stack = LocalStack({**(settings or {}), **limit}, on_step=say, **options)
        stack.__enter__()
    try:
        progress_console(stderr=False).print(f"Started in {time.monotonic() - started:.1f} s.", highlight=False)
        yield stack
    finally:
        stack.stop()


@contextlib.contextmanager
def waiting(step: str) -> Iterator[Callable[[str], None]]:
    """Shows what is waited for: a line that changes on a terminal, else a line for each step.

    Yields:
        A function that is called with the next step.
    """
    shown = progress_console(stderr=False)
    with shown.status(f"{step} …") as status:

        def say(step: str) -> None:
            status.update(f"{step} …")
            if not shown.is_terminal:
                shown.print(Text(f"{step} …"), soft_wrap=True)

        say(step)
        yield say


def clients_of(stack: LocalStack) -> Clients:
    """Clients of the local stack's cloud; sets its ``AWS_`` variables in this process."""
    from aws.clients import Clients

    os.environ.update({name: value for name, value in stack.environment.items() if name.startswith("AWS_")})
    return Clients()


def stop_on_signals(raising: bool = False) -> threading.Event:
    """Returns an event that SIGINT and SIGTERM set.

    Args:
        raising: the signals also raise KeyboardInterrupt, so that the command's clean-up runs.
    """
    stop = threading.Event()

    def handle(*_: object) -> None:
        stop.set()
        if raising:
            raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def command_name() -> str:
    """How to call this program again from here: the path of the installed command, or `elastic`."""
    path = Path(sys.argv[0])
    return short_path(path.absolute()) if path.name == "elastic" else "elastic"


def short_path(path: Path) -> str:
    """`path` relative to the working directory if it lies below it, else as given."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
