"""What the commands share: the console, a local stack to start or to join, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
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


def say(sentence: str) -> None:
    """Prints a sentence as it is; square brackets are no markup."""
    console.print(Text(sentence), soft_wrap=True)


def join() -> Settings:
    """The settings of the running local stack, unless the environment names another cloud."""
    from local_cloud.local_stack_registry import join_local_stack

    if join_local_stack() is not None:
        click.echo(f"Joining the local stack at {os.environ['AWS_ENDPOINT_URL']}.", err=True)
    return Settings.from_environment(os.environ)


@contextlib.contextmanager
def local_stack(max_size: int | None, settings: dict[str, Any] | None = None, **options: Any) -> Iterator[LocalStack]:
    """Starts a local stack, and stops it when the block ends.

    Args:
        max_size: most instances at a time; None for the default.
        settings: fields of `Settings` that differ from the defaults.
        options: further arguments of `LocalStack`.
    """
    from local_cloud.stack import LocalStack

    started = time.monotonic()
    limit = {} if max_size is None else {"max_size": max_size}
    stack = LocalStack({**(settings or {}), **limit}, **options)
    with console.status("Starting the embedded cloud, the web tier and the controller …"):
        stack.__enter__()
    try:
        console.print(f"Started in {time.monotonic() - started:.1f} s.", highlight=False)
        yield stack
    finally:
        stack.stop()


def clients_of(stack: LocalStack) -> Clients:
    """Clients of the local stack's cloud; its ``AWS_`` variables are set in this process."""
    from aws.clients import Clients

    os.environ.update({name: value for name, value in stack.environment.items() if name.startswith("AWS_")})
    return Clients()


def stop_on_signals(raising: bool = False) -> threading.Event:
    """An event that SIGINT and SIGTERM set; `raising`: they end the command as Ctrl-C does, with its clean-up."""
    stop = threading.Event()

    def handle(*_: object) -> None:
        stop.set()
        if raising:
            raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def short(path: Path) -> str:
    """`path`, relative to the working directory where it lies below it."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
