"""Whether a server can be reached, answered within seconds."""

from __future__ import annotations

import contextlib
import threading

import requests


def status_of(url: str, within_seconds: float) -> int | None:
    """The HTTP status that `url` answers with; None if nothing has come in time.

    Neither a resolver nor a firewall that is silent holds this up.
    """
    answers: list[int] = []

    def ask() -> None:
        with contextlib.suppress(requests.RequestException, ValueError):
            answers.append(requests.head(url, timeout=within_seconds, allow_redirects=True).status_code)

    # A name that is being resolved cannot be interrupted; the thread ends with the program.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(within_seconds)
    return answers[0] if answers else None
