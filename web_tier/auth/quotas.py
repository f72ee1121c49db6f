"""Uploads under the daily quota of their access token, counted in the metrics and recorded in the audit log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from werkzeug.exceptions import Forbidden, Unauthorized

from core.errors import CloudError
from core.jobs import batch_of
from web_tier.auth import authorization
from web_tier.auth.identity import Identity, identity
from web_tier.domain.archives import ExpandedFiles
from web_tier.domain.multipart import UploadedFile
from web_tier.domain.presigned_uploads import Permission
from web_tier.domain.single_image import Submitted
from web_tier.domain.upload_plan import KnownImages
from web_tier.domain.upload_service import Refusal, UploadReport
from web_tier.security import audit_log
from web_tier.services import services

# Images reserved at a time: a quota costs two requests to S3 for each twenty images.
_RESERVATION_IMAGES = 20
# Codes of files that were admitted and then not stored.
_FREE = ("not_stored", "batch_full")


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

    not_stored = 0
    try:
        report = services().uploads.accept(batch_id, expanded, offset, admit, keep_others=keep_others)
        not_stored = sum(lost.code in _FREE for lost in report.not_stored) - report.no_room
    finally:
        quota.close(not_stored)
    report.archives = expanded.archives
    record_outcome(report, batch_id)
    return report


def submit_single(file: UploadedFile, *, named: bool = False) -> Submitted:
    """Stores and enqueues one image that belongs to no batch of the client's; see `SingleImages.submit`.

    Raises:
        Forbidden: nothing is left of the quota.
        TooManyWaitingError: the limit on waiting requests is reached; nothing is stored.
        CloudError: S3 failed.
    """
    client = _client()
    quota = Quota(client)
    try:
        quota.take_one()
        submitted, report = services().single_images.submit(client.owner, file, named=named)
    except BaseException:
        file.body.close()
        quota.give_back()
        raise
    record_outcome(report, batch_of(submitted.key))
    return submitted


def permit_uploads(batch_id: str, files: Sequence[tuple[str, int]], offset: int | None) -> list[Permission]:
    """Presigns uploads of files to S3 and takes them from the client's quota; see `PresignedUploads.permit`.

    Raises:
        Forbidden: less than that is left of the quota.
        ImageError, ValueError, CloudError: nothing is taken from the quota.
    """
    quota = Quota(_client())
    quota.prepay(len(files))
    try:
        return services().presigned_uploads.permit(batch_id, files, offset)
    except BaseException:
        quota.give_back()
        raise


def complete_uploads(batch_id: str, keys: Sequence[str]) -> UploadReport:
    """Enqueues uploads that have arrived at S3; see `PresignedUploads.complete`.

    Each job costs an image of the quota, which its permission has paid.  An upload beyond the quota has a job already,
    or gets one from the controller: so often does a client repeat a request.
    """
    report = services().presigned_uploads.complete(batch_id, keys, Quota(_client()).take_prepaid)
    record_outcome(report, batch_id)
    return report


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

    Every file that is processed counts, also one that is rejected or sent again: it costs the same work.  A file that
    is not stored, or a request that is refused, costs nothing.

    Args:
        today: returns the day, such as ``2026-11-21``.
    """

    def __init__(self, client: Identity, today: Callable[[], str] | None = None) -> None:
        self._token_id = client.token_id
        self._limit = client.images_per_day
        self._today = today or _today
        # What this request has taken and may have to return, by day: a long one goes on after midnight.
        self._taken: Counter[str] = Counter()
        self._day = ""
        self._reserved = 0
        self._refused = 0
        self._prepaid = False

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
            self._taken[self._day] += 1
            return None
        self._refused += 1
        return Refusal("quota_exceeded", f"today's quota of {self._limit:,} images is used up")

    def take_one(self) -> None:
        """Takes one image.

        Raises:
            Forbidden: nothing is left.
        """
        if self._limit:
            day = self._today()
            if not services().usage.take(self._token_id, day, 1, self._limit):
                raise self.exceeded()
            self._taken[day] += 1

    def prepay(self, count: int) -> None:
        """Takes images whose jobs are enqueued later.

        Raises:
            Forbidden: fewer are left.
        """
        if self._limit:
            day = self._today()
            if not services().usage.prepay(self._token_id, day, count, self._limit):
                raise self.exceeded()
            self._prepaid = True
            self._taken[day] += count

    def take_prepaid(self, wanted: int) -> int:
        """Takes up to `wanted` images, first of those prepaid, to enqueue their jobs; returns how many."""
        if not self._limit or not wanted:
            return wanted
        return services().usage.take_prepaid(self._token_id, self._today(), wanted, self._limit)

    def give_back(self) -> None:
        """Returns what this request has taken; where S3 fails, the rest of the day's quota is smaller by it."""
        taken, self._taken = self._taken, Counter()
        for day, count in taken.items():
            self._return(day, count)

    def close(self, not_stored: int = 0) -> None:
        """Returns what is left of the reservation, and records the refused files in the audit log.

        Args:
            not_stored: how many of the admitted files were not stored; returned as far as they were admitted today.
        """
        if self._refused:
            audit_log.record("quota", "refused", images=self._refused, images_per_day=self._limit)
        self._return(self._day, self._reserved + min(not_stored, self._taken[self._day]))
        self._reserved = 0

    def exceeded(self) -> Forbidden:
        """The error that refuses the whole request; recorded in the audit log."""
        audit_log.record("quota", "refused", images_per_day=self._limit)
        # Not 429: clients retry that by themselves, and the next day is too far away.
        return Forbidden(
            f"the access token's quota of {self._limit:,} images a day does not suffice; it is reset at midnight, UTC"
        )

    def _has_one(self) -> bool:
        if not self._limit:
            self._reserved = 1
            return True
        day = self._today()
        if day != self._day or self._reserved == 0:
            # What was reserved before midnight is not used after it.
            self._day = day
            self._reserved = services().usage.take(self._token_id, day, _RESERVATION_IMAGES, self._limit)
        return self._reserved > 0

    def _return(self, day: str, count: int) -> None:
        if self._limit and count:
            with suppress(CloudError):
                services().usage.give_back(self._token_id, day, count, prepaid=self._prepaid)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _client() -> Identity:
    found = identity()
    if found is None:
        raise Unauthorized("an access token is needed")
    return found
