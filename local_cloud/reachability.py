"""Check within seconds whether a server can be reached."""

from __future__ import annotations

import contextlib
import threading

import requests


def status_of(url: str, within_seconds: float) -> int | None:
    """The HTTP status of a HEAD request to `url`; None without a response in time.

    The time limit also holds if name resolution hangs, or a firewall drops packets.
    """
    statuses: list[int] = []

    def request() -> None:
        with contextlib.suppress(requests.RequestException, ValueError):
            statuses.append(requests.head(url, timeout=within_seconds, allow_redirects=True).status_code)

    # Name resolution cannot be interrupted; the daemon thread ends with the program.
    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(within_seconds)
    return statuses[0] if statuses else None
