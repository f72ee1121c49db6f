"""Taking in images for whoever asks: up to the day's quota of their token, counted and noted in the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime

from werkzeug.exceptions import Forbidden, Unauthorized

from core.errors import CloudError
from web_tier.auth.identity import Identity, identity
from web_tier.domain.multipart import UploadedFile
from web_tier.domain.single_image import Submitted
from web_tier.domain.upload_service import Refusal, UploadReport
from web_tier.security import audit_log
from web_tier.services import services

# So many images are reserved at a time, so that a quota costs two requests to S3 for each twenty of them.
_RESERVED_AT_A_TIME = 20


def accept_files(batch_id: str, files: Iterable[UploadedFile], offset: int | None) -> UploadReport:
    """Processes the files of the current request; see `UploadService.accept`.

    Files beyond the quota are `not_stored` with the code ``quota_exceeded``.

    Raises:
        Forbidden: nothing is left of the quota; no file has been read.
        CloudError: S3 failed.
    """
    quota = Quota(_requester())
    quota.open()
    try:
        report = services().uploads.accept(batch_id, files, offset, quota.admit)
    finally:
        quota.close()
    record_outcome(report, batch_id)
    return report


def submit_single(file: UploadedFile) -> Submitted:
    """Takes in one image that belongs to no batch; see `SingleImages.submit`.

    Raises:
        Forbidden: nothing is left of the quota.
        TooManyWaitingError: as many requests wait as may; nothing is stored.
        CloudError: S3 failed.
    """
    requester = _requester()
    try:
        reserve(1)
    except BaseException:
        file.body.close()
        raise
    try:
        submitted, report = services().single_images.submit(requester.owner, file)
    except BaseException:
        Quota(requester).give_back(1)
        raise
    record_outcome(report, submitted.key.partition("/")[0])
    return submitted


def reserve(count: int) -> None:
    """Takes `count` images from the requester's quota, or none.

    Raises:
        Forbidden: fewer are left.
        CloudError: S3 failed.
    """
    quota = Quota(_requester())
    granted = quota.take(count)
    if granted < count:
        quota.give_back(granted)
        raise quota.exceeded()


def record_outcome(report: UploadReport, batch_id: str) -> None:
    """Counts and audits what became of a request's files."""
    services().metrics.reported(report)
    audit_log.record(
        "upload",
        batch_id=batch_id,
        accepted=len(report.accepted),
        rejected=len(report.rejected),
        not_stored=len(report.not_stored),
    )


class Quota:
    """What one request takes from its token's quota of images a day (UTC).

    Every file that is read counts, also one that is refused or sent again: it costs the same.
    """

    def __init__(self, requester: Identity) -> None:
        self._token_id = requester.token_id
        self._limit = requester.images_per_day
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

    def give_back(self, count: int) -> None:
        """Returns what was reserved and not used; where that fails, the day's quota is a little smaller."""
        if self._limit and count:
            with suppress(CloudError):
                services().usage.take(self._token_id, self._day, -count, self._limit)

    def close(self) -> None:
        """Returns what is left of the reservation, and audits the refused files."""
        if self._refused:
            audit_log.record("quota", "refused", images=self._refused, images_per_day=self._limit)
        self.give_back(self._reserved)
        self._reserved = 0

    def exceeded(self) -> Forbidden:
        """The refusal of the whole request."""
        audit_log.record("quota", "refused", images_per_day=self._limit)
        # Not 429: the next day is too far away to try again by itself, as clients do then.
        return Forbidden(
            f"the access token's quota of {self._limit:,} images a day does not suffice; "
            "it begins anew at midnight, UTC"
        )

    def _has_one(self) -> bool:
        if self._reserved == 0:
            self._reserved = self.take(_RESERVED_AT_A_TIME)
        return self._reserved > 0


def _requester() -> Identity:
    found = identity()
    if found is None:
        raise Unauthorized("an access token is needed")
    return found
