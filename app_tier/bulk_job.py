"""A bulk job in hand: the answers for its images, until all are there and make up its part."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from app_tier.quarantine import QuarantineError
from app_tier.stages import Work
from core.bulk_run import BulkJob, LabelledImage
from core.errors import (
    CloudError,
    DecoderCrashError,
    DeniedError,
    ImageError,
    MissingImageError,
    NotFoundError,
    UnreadableImageError,
)
from core.jobs import Failure, Prediction

log = logging.getLogger(__name__)

# From this delivery on, an image that cannot be fetched is a failure, whatever the reason; before, its job is returned.
LAST_FETCH_RECEIVE_COUNT = 4
# How often a photo is fetched in one delivery of its job, botocore's retries aside.
MAX_TRIES = 3
_MAX_REASON_CHARACTERS = 200


@dataclass(slots=True, eq=False)
class OpenBulkJob:
    """A delivery of a bulk job.  Thread-safe.

    Args:
        on_complete: called once, with the job, when each of its images is answered or the job is to be returned.
        on_image: called when an image leaves the stages.

    Attributes:
        must_return: the seconds after which the job is to be delivered again; None: it has been answered.
    """

    job: BulkJob
    receipt_handle: str
    receive_count: int
    on_complete: Callable[[OpenBulkJob], None]
    on_image: Callable[[], None]
    must_return: int | None = None
    _answers: dict[int, LabelledImage] = field(default_factory=dict)
    _times: dict[int, dict[str, float]] = field(default_factory=dict)
    _in_stages: int = 0
    _begun: int = 0
    _is_over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def answers(self) -> tuple[LabelledImage, ...]:
        """The answers in the order of the job's keys."""
        return tuple(self._answers[index] for index in range(len(self.job.keys)))

    def stage_milliseconds(self, index: int) -> dict[str, float]:
        """The time that each stage took for an image; empty where it has not passed them."""
        return self._times.get(index, {})

    @property
    def remaining(self) -> int:
        """How many images are not answered."""
        return len(self.job.keys) - len(self._answers)

    def begin(self, index: int) -> bool:
        """Note that an image is about to enter the stages; return whether it shall."""
        with self._lock:
            if self.must_return is not None:
                return False
            self._in_stages += 1
            self._begun = index + 1
            return True

    def leave(self, index: int, work: Work, answer: LabelledImage) -> None:
        """Keep an image's answer."""
        with self._lock:
            self._answers[index] = answer
            self._times[index] = work.stage_milliseconds
            self._in_stages -= 1
        self._after_image()

    def leave_unanswered(self, delay_seconds: int) -> None:
        """Have the job returned, because an image that was in the stages cannot be answered now."""
        with self._lock:
            self.must_return = max(delay_seconds, self.must_return or 0)
            self._in_stages -= 1
        self._after_image()

    def stop(self) -> None:
        """Have the job returned at once, without the images that have not begun."""
        with self._lock:
            if self.must_return is None and self._begun < len(self.job.keys):
                self.must_return = 0
        self._complete_if_over()

    def _after_image(self) -> None:
        self.on_image()
        self._complete_if_over()

    def _complete_if_over(self) -> None:
        with self._lock:
            is_done = self.must_return is not None or self._begun == len(self.job.keys)
            if self._is_over or self._in_stages or not is_done:
                return
            self._is_over = True
        self.on_complete(self)


@dataclass(slots=True, eq=False)
class BulkImage:
    """An image of a bulk job on its way through the stages: a `Task`.

    Args:
        get: fetches a photo by its key.
        again: passes the image through the stages once more, without a new delivery of its whole job.
    """

    open_job: OpenBulkJob
    index: int
    get: Callable[[str], bytes]
    again: Callable[[BulkImage], None]
    tries: int = 1

    @property
    def key(self) -> str:
        """The photo's key in the source bucket."""
        return self.open_job.job.keys[self.index]

    @property
    def receive_count(self) -> int:
        return self.open_job.receive_count

    def fetch(self) -> bytes:
        try:
            return self.get(self.key)
        except NotFoundError:
            raise
        except CloudError as error:
            is_last = self.receive_count >= LAST_FETCH_RECEIVE_COUNT and self.tries == MAX_TRIES
            if isinstance(error, DeniedError) or is_last:
                raise UnreadableImageError(_reason(error)) from error
            raise

    def answer(self, work: Work, predictions: tuple[Prediction, ...]) -> None:
        rounded = tuple(Prediction(found.label, round(found.score, 5)) for found in predictions)
        self.open_job.leave(self.index, work, LabelledImage(self.key, rounded, note=work.note))

    def fail(self, work: Work, error: ImageError) -> None:
        failure = Failure(error.code, str(error))
        self.open_job.leave(self.index, work, LabelledImage(self.key, failure=failure, note=work.note))

    def miss(self, work: Work) -> None:
        self.fail(work, MissingImageError("the photo is no longer stored"))

    def crash(self, work: Work, error: QuarantineError) -> None:
        log.error("%s (delivery %d): %s", self.key, self.receive_count, error)
        self.fail(work, DecoderCrashError())

    def postpone(self, work: Work, error: Exception | None) -> None:
        if isinstance(error, CloudError):
            log.warning("%s: %s; it will be tried again", self.key, error)
        elif error is not None:
            log.error("%s: unexpected trouble; its job will be tried again", self.key, exc_info=error)
        if isinstance(error, CloudError) and self.tries < MAX_TRIES:
            self.tries += 1
            self.again(self)
        elif self.receive_count < LAST_FETCH_RECEIVE_COUNT:
            self.open_job.leave_unanswered(2**self.receive_count)
        else:
            self.fail(work, ImageError())

    def release(self, work: Work) -> None:
        self.open_job.leave_unanswered(0)


def _reason(error: CloudError) -> str:
    return f"{UnreadableImageError.__doc__}: {error}"[:_MAX_REASON_CHARACTERS]
