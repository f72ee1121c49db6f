"""Uploads under the daily quota of their access token, counted in the metrics and recorded in the audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime

from werkzeug.exceptions import Forbidden, Unauthorized

from core.errors import CloudError
from web_tier.auth import authorization
from web_tier.auth.identity import Identity, identity
from web_tier.domain.archives import ExpandedFiles
from web_tier.domain.multipart import UploadedFile
from web_tier.domain.single_image import Submitted
from web_tier.domain.upload_plan import KnownImages
from web_tier.domain.upload_service import Refusal, UploadReport
from web_tier.security import audit_log
from web_tier.services import services

# Images reserved at a time: a quota costs two requests to S3 for each twenty images.
_RESERVATION_IMAGES = 20


def accept_files(
    batch_id: str,
    files: Iterable[UploadedFile],
    offset: int | None,
    *,
    keep_others: bool = False,
    known: Callable[[], KnownImages] | None = None,
) -> UploadReport:
    """Processes the files of the current request, archives expanded; see `UploadService.accept` and `ExpandedFiles`.

    Files beyond the quota are `not_stored` with the code ``quota_exceeded``.

    Raises:
        Forbidden: nothing is left of the quota; no file has been read.
        Conflict, NotFoundError: the batch has been cancelled or deleted; the files before that moment are stored.
        CloudError: S3 failed.
    """
    quota = Quota(_client())
    quota.open()
    expanded = ExpandedFiles(files, services().settings, known)

    def admit(file: UploadedFile) -> Refusal | None:
        # An archive takes minutes, and its batch may be cancelled meanwhile.
        authorization.open_batch(batch_id)
        return quota.admit(file)

    try:
        report = services().uploads.accept(batch_id, expanded, offset, admit, keep_others=keep_others)
    finally:
        quota.close()
    report.archives = expanded.archives
    record_outcome(report, batch_id)
    return report


def submit_single(file: UploadedFile) -> Submitted:
    """Stores and enqueues one image that belongs to no batch of the client's; see `SingleImages.submit`.

    Raises:
        Forbidden: nothing is left of the quota.
        TooManyWaitingError: the limit on waiting requests is reached; nothing is stored.
        CloudError: S3 failed.
    """
    client = _client()
    try:
        reserve(1)
    except BaseException:
        file.body.close()
        raise
    try:
        submitted, report = services().single_images.submit(client.owner, file)
    except BaseException:
        Quota(client).release(1)
        raise
    record_outcome(report, submitted.key.partition("/")[0])
    return submitted


def reserve(count: int) -> None:
    """Takes `count` images from the client's quota, or none.

    Raises:
        Forbidden: fewer are left.
        CloudError: S3 failed.
    """
    quota = Quota(_client())
    granted = quota.take(count)
    if granted < count:
        quota.release(granted)
        raise quota.exceeded()


def record_outcome(report: UploadReport, batch_id: str) -> None:
    """Counts the outcome of a request's files in the metrics and records it in the audit log."""
    services().metrics.reported(report)
    audit_log.record(
        "upload",
        batch_id=batch_id,
        accepted=len(report.accepted),
        rejected=len(report.rejected),
        not_stored=len(report.not_stored),
    )


class Quota:
    """The share of one request in its token's quota of images a day (UTC).

    Every file that is read counts, also one that is rejected or sent again: it costs the same work.
    """

    def __init__(self, client: Identity) -> None:
        self._token_id = client.token_id
        self._limit = client.images_per_day
        self._day = datetime.now(UTC).date().isoformat()
        self._reserved = 0
        self._refused = 0

    def open(self) -> None:
        """Reserves the first images.

        Raises:
            Forbidden: nothing is left.
        """
        if not self._has_one():
            raise self.exceeded()

    def admit(self, _file: UploadedFile) -> Refusal | None:
        """Takes one image from the quota; once it is used up, refuses this file and every later one."""
        if not self._refused and self._has_one():
            self._reserved -= 1
            return None
        self._refused += 1
        return Refusal("quota_exceeded", f"today's quota of {self._limit:,} images is used up")

    def take(self, wanted: int) -> int:
        """Reserves up to `wanted` images; returns how many."""
        if not self._limit:
            return wanted
        return services().usage.take(self._token_id, self._day, wanted, self._limit)

    def release(self, count: int) -> None:
        """Returns reserved images to the quota; where S3 fails, the rest of the day's quota is smaller by them."""
        if self._limit and count:
            with suppress(CloudError):
                services().usage.take(self._token_id, self._day, -count, self._limit)

    def close(self) -> None:
        """Releases what is left of the reservation, and records the refused files in the audit log."""
        if self._refused:
            audit_log.record("quota", "refused", images=self._refused, images_per_day=self._limit)
        self.release(self._reserved)
        self._reserved = 0

    def exceeded(self) -> Forbidden:
        """The error that refuses the whole request; recorded in the audit log."""
        audit_log.record("quota", "refused", images_per_day=self._limit)
        # Not 429: clients retry that by themselves, and the next day is too far away.
        return Forbidden(
            f"the access token's quota of {self._limit:,} images a day does not suffice; it is reset at midnight, UTC"
        )

    def _has_one(self) -> bool:
        if self._reserved == 0:
            self._reserved = self.take(_RESERVATION_IMAGES)
        return self._reserved > 0


def _client() -> Identity:
    found = identity()
    if found is None:
        raise Unauthorized("an access token is needed")
    return found
