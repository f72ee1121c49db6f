"""The audit log: who did what, when and from where, one JSON object in a line.

It has no secrets, and of files only their number.  Names of any kind are JSON strings, so that no line break in them
can forge an entry.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from flask import g, request

log = logging.getLogger("audit")


def to_stream() -> None:
    """Sends the audit log to the standard error stream, each entry as a line of its own without decoration."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def record(event: str, outcome: str = "done", **details: str | int) -> None:
    """Writes one entry about the current request.

    Args:
        event: what was attempted, such as ``batch_created``.
        outcome: ``done``, ``refused`` or ``failed``.
        details: further fields; a token's id and owner are there already.
    """
    # Only an identity that is known already: authenticating here could fail, and again while that failure is recorded.
    identity = g.get("identity")
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": event,
        "outcome": outcome,
        "owner": identity.owner if identity else None,
        "token_id": (identity.token_id or None) if identity else None,
        "address": request.remote_addr,
        "method": request.method,
        # The rule, not the path: clients can send any text as a path.
        "route": request.url_rule.rule if request.url_rule is not None else None,
        **details,
    }
    log.info(json.dumps(entry))
