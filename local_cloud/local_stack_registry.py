"""Register a local stack for other processes on this machine, and join the one that runs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from core import stack_registry
from core.cloud_choice import connect
from core.settings import SECRETS, Settings
from core.stack_registry import RegisteredStack, registry_folder, running_stacks
from local_cloud.stack import LocalStack


@contextlib.contextmanager
def registered(stack: LocalStack) -> Iterator[RegisteredStack]:
    """Registers `stack` for other commands on this machine, until the end of the block."""
    entry = RegisteredStack(
        port=urlsplit(stack.web_url).port or 0,
        pid=os.getpid(),
        started_at=time.time(),
        web_url=stack.web_url,
        endpoint_url=stack.endpoint_url,
        log_directory=str(stack.log_directory),
        environment=_ours(stack.environment),
    )
    with stack_registry.registered(entry, registry_folder(os.environ)):
        yield entry


def join_local_stack() -> str | None:
    """Sets the environment of the running local stack in this process; returns its web address, None if none runs.

    If the environment names another cloud, it is left unchanged.

    Raises:
        NotConnectedError: several run, and none is chosen; or the chosen one does not run.
    """
    if not running_stacks(registry_folder(os.environ)) and not Settings.from_environment(os.environ).local_stack:
        return None
    stack = connect(os.environ).stack
    return None if stack is None else stack.web_url


def _ours(environment: dict[str, str]) -> dict[str, str]:
    ours = {name: value for name, value in environment.items() if name.startswith(("EIC_", "AWS_"))}
    # The file must not hold secrets.
    return {name: value for name, value in ours.items() if name not in SECRETS}
