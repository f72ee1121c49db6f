"""Time limit for clients that neither send nor take anything while they hold a thread."""

from __future__ import annotations

from flask import Flask, request

from web_tier.services import services


def init_app(app: Flask) -> None:
    """Sets the time limit for every request to `app`."""
    app.before_request(_set_timeout)


def _set_timeout() -> None:
    # Gunicorn resets it for the next request of the connection.
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(services().settings.client_silence_seconds)
