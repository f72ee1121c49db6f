"""Upload photos through a web tier whose requests fail, and keep the uploads in step with the kills."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from api_client.client import ApiClient
from api_client.responses import ApiError
from aws.queue import JobQueue
from chaos.deadline import POLL_SECONDS, Deadline
from chaos.sabotage import Saboteur
from core.errors import CloudError

PHOTOS_PER_REQUEST = 10
# Uploads run ahead of the kills by this many photos, so that the workers that are killed hold jobs.
LEAD_PHOTOS = 80


class Uploader:
    """Uploads the photos of one batch; safe under threads.

    Args:
        on_accepted: called with the number of photos that each request stored.

    Attributes:
        accepted: the keys that the web tier has confirmed.
    """

    def __init__(
        self,
        api: ApiClient,
        jobs: JobQueue,
        saboteur: Saboteur,
        photos: Sequence[Path],
        deadline: Deadline,
        on_accepted: Callable[[int], None],
    ) -> None:
        self.accepted: set[str] = set()
        self._api = api
        self._jobs = jobs
        self._saboteur = saboteur
        self._photos = photos
        self._deadline = deadline
        self._on_accepted = on_accepted

    @property
    def complete(self) -> bool:
        """Whether every photo has been accepted."""
        return len(self.accepted) == len(self._photos)

    def request_starts(self) -> range:
        """The positions at which requests begin."""
        return range(0, len(self._photos), PHOTOS_PER_REQUEST)

    def upload(self, batch_id: str, start: int) -> None:
        """Uploads the photos of one request; those that are not stored are sent again, at the same positions."""
        self._wait_for_kills(start)
        to_send = [(start, self._photos[start : start + PHOTOS_PER_REQUEST])]
        while to_send and not self._deadline.passed:
            offset, photos = to_send.pop()
            try:
                report = self._api.upload_once(batch_id, offset, photos)
            except ApiError:
                to_send.append((offset, photos))
                time.sleep(POLL_SECONDS)
                continue
            self.accepted.update(entry["key"] for entry in report["accepted"])
            self._on_accepted(len(report["accepted"]))
            positions = [entry["position"] for entry in report["not_stored"]]
            to_send += [(position, photos[position - offset : position - offset + 1]) for position in positions]

    def _wait_for_kills(self, position: int) -> None:
        """Delays uploads until there were as many kills in proportion, unless the workers have no jobs left."""
        share = (position - LEAD_PHOTOS) / len(self._photos)
        while self._saboteur.kills < share * self._saboteur.target_kills and not self._deadline.passed:
            with contextlib.suppress(CloudError):
                if self._jobs.backlog().total == 0:
                    return
            time.sleep(POLL_SECONDS)
