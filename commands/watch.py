"""Follows the output bucket."""

from __future__ import annotations

import threading
from collections.abc import Callable

from aws.buckets import ResultStore
from core.errors import ElasticError

POLL_SECONDS = 0.5


def watch(results: ResultStore, show: Callable[[str], None], stop: threading.Event, *, from_now: bool) -> None:
    """Hands each ``image, label`` line to `show` as it lands, until `stop` is set.

    Args:
        from_now: leave out what is in the bucket already.

    Raises:
        CloudError: the bucket cannot be listed.
    """
    seen = {stored.key for stored in results.list()} if from_now else set[str]()
    while not stop.is_set():
        for stored in results.list():
            if stored.key not in seen:
                seen.add(stored.key)
                try:
                    show(results.line(stored.key))
                except ElasticError as error:
                    show(str(error))
        stop.wait(POLL_SECONDS)
