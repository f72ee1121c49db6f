"""Register the running local stack in a file, and join it from another process."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

from core.paths import REPOSITORY_ROOT
from core.settings import SECRETS
from local_cloud.stack import LocalStack

STATE_FILE = REPOSITORY_ROOT / "var" / "local-stack.json"


@contextlib.contextmanager
def registered(stack: LocalStack) -> Iterator[None]:
    """Registers `stack` for other commands on this machine, until the end of the block."""
    STATE_FILE.parent.mkdir(parents=True, exist_ok=True)
    state = {"pid": os.getpid(), "web_url": stack.web_url, "environment": _ours(stack.environment)}
    STATE_FILE.write_text(json.dumps(state, indent=1), "utf-8")
    try:
        yield
    finally:
        STATE_FILE.unlink(missing_ok=True)


def join_local_stack() -> str | None:
    """Sets the environment of the running local stack in this process; returns its web address, None if none runs.

    If ``AWS_ENDPOINT_URL`` is set already, the environment names another cloud and is left unchanged.
    """
    if "AWS_ENDPOINT_URL" in os.environ or not STATE_FILE.exists():
        return None
    state = json.loads(STATE_FILE.read_text("utf-8"))
    try:
        os.kill(state["pid"], 0)
    except ProcessLookupError:
        return None
    os.environ.update(state["environment"])
    return str(state["web_url"])


def _ours(environment: dict[str, str]) -> dict[str, str]:
    ours = {name: value for name, value in environment.items() if name.startswith(("EIC_", "AWS_"))}
    # The file must not hold secrets.
    return {name: value for name, value in ours.items() if name not in SECRETS}
