"""The upload service: every file of a request becomes a stored image with a job, or a stored failure."""

from __future__ import annotations

import enum
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from aws.buckets import ImageStore, ResultStore
from aws.queue import MAX_MESSAGES_PER_REQUEST
from core.errors import AlreadyExistsError, CloudError, DecodeError, ImageError
from core.jobs import (
    ClassificationJob,
    ClassificationResult,
    Failure,
    clean_name,
    image_key,
    is_key,
    named_key,
    new_job_id,
    position_of,
)
from core.settings import Settings
from web_tier.domain.archives import ExpandedArchive
from web_tier.domain.image_validation import check_upload
from web_tier.domain.job_batcher import JobBatcher
from web_tier.domain.multipart import UploadedFile

WORKER_ID = "web-tier"
# Files of one request that are stored at the same time: hides S3's latency, bounds memory.
_WINDOW = 8
_NO_ROOM = "there is no room for it on the server at the moment, please try again later"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A file that is stored and has a job."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that cannot be classified; its failure is stored as its result."""

    name: str
    key: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class NotStored:
    """A file that was not stored, or stored without a job, and should be sent again.

    `code` is ``not_stored`` or ``not_queued``, where trying again may help, ``batch_full``, or that of a `Refusal`.
    """

    name: str
    position: int
    code: str
    sentence: str


@dataclass(slots=True)
class UploadReport:
    """What became of the files of one request; each is in exactly one list.

    `received_bytes` sums up their sizes.  `archives` are those whose images are among the files.  `no_room` counts the
    files for which there was no room on this server's disk; they are `not_stored`.
    """

    accepted: list[Accepted] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    not_stored: list[NotStored] = field(default_factory=list)
    received_bytes: int = 0
    archives: list[ExpandedArchive] = field(default_factory=list)
    no_room: int = 0

    @property
    def out_of_space(self) -> bool:
        """Whether nothing of the request was stored, because this server's disk is full."""
        return self.no_room > 0 and not self.accepted and not self.rejected


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file is not admitted: a stable code for programs, a sentence for people."""

    code: str
    sentence: str


# Decides whether a file is processed, before anything of it is checked; None admits it.
Admission = Callable[[UploadedFile], Refusal | None]


def _admit(_file: UploadedFile) -> None:
    """Admits every file."""


class UploadService:
    """Checks files, stores them and enqueues their jobs; safe to share between threads.

    Args:
        executor: stores files, at most a few of each request at a time.  The last file of a request, which may be the
            only one, is stored by the request's own thread.
    """

    def __init__(
        self, settings: Settings, images: ImageStore, results: ResultStore, job_batcher: JobBatcher, executor: Executor
    ) -> None:
        self._settings = settings
        self._images = images
        self._results = results
        self.job_batcher = job_batcher
        self._executor = executor

    def accept(
        self,
        batch_id: str,
        files: Iterable[UploadedFile],
        offset: int | None,
        admit: Admission = _admit,
        *,
        keep_others: bool = False,
    ) -> UploadReport:
        """Checks, stores and enqueues the files of one request; returns what became of each.

        Every file takes the next position, whether it is stored or not.  Jobs are sent ten at a time, each only after
        its image is stored.  A file that is not admitted, or for which S3 or SQS fails, is reported, and the others
        are processed.  If `files` or `admit` raises, the files before that point are completed first.

        Args:
            offset: the position of the first file.  Repeating a request with the same offset is harmless: it
                writes the same keys.  None: after what the batch has, and never over anything stored there.
            admit: called with each file, in order, in the request's own thread.
            keep_others: store nothing over another file: if the key of a file's position has one, the file takes a
                later position.  The same file, with the same name and size, keeps its position, so that repeating a
                request is harmless.

        Raises:
            CloudError: `offset` is None and the batch cannot be listed.
        """
        first = self.next_position(batch_id) if offset is None else offset
        positions = _Positions(first, self._settings.max_batch_images)
        keep = _Keep.EVERYTHING if offset is None else _Keep.OTHERS if keep_others else _Keep.NOTHING
        outbox = Outbox(self.job_batcher)
        pending: deque[Future[Stored | Rejected | NotStored]] = deque()
        held: tuple[int, UploadedFile] | None = None

        def store(position: int, file: UploadedFile) -> Stored | Rejected | NotStored:
            return self._store(batch_id, position, file, positions, keep)

        try:
            for file in files:
                position = positions.take()
                outbox.report.received_bytes += file.size_bytes
                outbox.report.no_room += file.no_room
                refused = _refused(file, position, admit)
                if refused is not None:
                    outbox.add(refused)
                    continue
                if held is not None:
                    if len(pending) >= _WINDOW:
                        outbox.add(pending.popleft().result())
                    pending.append(self._executor.submit(store, *held))
                held = position, file
        finally:
            last = store(*held) if held is not None else None
            while pending:
                outbox.add(pending.popleft().result())
            if last is not None:
                outbox.add(last)
            outbox.flush()
        outbox.report.not_stored.sort(key=lambda entry: entry.position)
        return outbox.report

    def accept_named(self, file: UploadedFile) -> UploadReport:
        """Checks, stores and enqueues one file as a named image, which replaces an earlier one of its name.

        The earlier result is deleted first, so that a client that waits for the new one does not find it.
        """
        outbox = Outbox(self.job_batcher)
        outbox.report.received_bytes, outbox.report.no_room = file.size_bytes, int(file.no_room)
        outbox.add(_refused(file, 0, _admit) or self._store_named(file))
        outbox.flush()
        return outbox.report

    def next_position(self, batch_id: str) -> int:
        """The position after everything that a batch has."""
        keys = {entry.key for entry in self._images.list(batch_id)}
        keys.update(entry.key for entry in self._results.list(f"{batch_id}/"))
        return max((position_of(key) + 1 for key in keys if is_key(key)), default=0)

    def new_job(self, batch_id: str, key: str, name: str) -> ClassificationJob:
        """A job for a stored image."""
        return ClassificationJob(new_job_id(), batch_id, self._images.bucket, key, name)

    def check_job(self, job: ClassificationJob) -> Failure | None:
        """Why a job cannot be enqueued: the queue takes no message of its length."""
        limit = self._settings.max_message_bytes
        if limit and len(job.encode().encode()) > limit:
            return Failure("name_too_long", "the name is too long for this server's queue")
        return None

    def _store(
        self, batch_id: str, position: int, file: UploadedFile, positions: _Positions, keep: _Keep
    ) -> Stored | Rejected | NotStored:
        name = clean_name(file.filename)
        with file.body:
            checked = self._check(file)
            while position < positions.end:
                key = image_key(batch_id, position, name)
                job = self.new_job(batch_id, key, name)
                failure = checked or self.check_job(job)
                try:
                    if self._put(key, name, file, failure, keep):
                        if failure is not None:
                            return Rejected(name, key, failure)
                        return Stored(job)
                    # Another request has stored a file of this name at this position.
                    other = positions.take() if keep is _Keep.EVERYTHING else self.next_position(batch_id)
                    position = max(position + 1, other)
                    file.body.seek(0)
                except CloudError as error:
                    log.warning("%s: %s", key, error)
                    return NotStored(name, position, "not_stored", "could not be stored, please try again")
        return NotStored(name, position, "batch_full", f"the batch is full: it can have {positions.end:,} images")

    def _store_named(self, file: UploadedFile) -> Stored | Rejected | NotStored:
        key = named_key(file.filename)
        job = self.new_job("", key, key)
        with file.body:
            failure = self._check(file) or self.check_job(job)
            try:
                self._results.delete(key)
                self._put(key, key, file, failure, _Keep.NOTHING)
            except CloudError as error:
                log.warning("%s: %s", key, error)
                return NotStored(key, 0, "not_stored", "could not be stored, please try again")
        if failure is not None:
            return Rejected(key, key, failure)
        return Stored(job)

    def _put(self, key: str, name: str, file: UploadedFile, failure: Failure | None, keep: _Keep) -> bool:
        """Stores an image, or its failure; returns False if what is stored there has to be kept."""
        try:
            if failure is not None:
                result = ClassificationResult(key, name, failure=failure, worker_id=WORKER_ID)
                self._results.put(result, only_if_new=keep is _Keep.OTHERS)
            else:
                self._images.put(key, file.body, name, only_if_new=keep is not _Keep.NOTHING)
        except AlreadyExistsError:
            if keep is _Keep.EVERYTHING:
                return False
            if failure is not None:
                with suppress(DecodeError):
                    return self._results.get(key).name == name
                return False
            return self._images.head(key) == (name, file.size_bytes)
        return True

    def _check(self, file: UploadedFile) -> Failure | None:
        if file.failure is not None:
            return file.failure
        limits = self._settings
        try:
            check_upload(file.body, file.size_bytes, limits.max_image_bytes, limits.max_image_pixels)
        except ImageError as error:
            return Failure(error.code, str(error))
        return None


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored image whose job is not sent yet."""

    job: ClassificationJob


def _refused(file: UploadedFile, position: int, admit: Admission) -> NotStored | None:
    """The report of a file that is not admitted, whose body is closed then; None for one that is."""
    if file.no_room:
        return NotStored(clean_name(file.filename), position, "not_stored", _NO_ROOM)
    with ExitStack() as stack:
        stack.callback(file.body.close)
        refusal = admit(file)
        if refusal is None:
            stack.pop_all()
            return None
    return NotStored(clean_name(file.filename), position, refusal.code, refusal.sentence)


def _position(job: ClassificationJob) -> int:
    """The position of a job's image in its batch; a named image is alone."""
    return position_of(job.key) if job.batch_id else 0


class _Keep(enum.Enum):
    """What an upload does not replace: nothing, so that repeating a request stores the same keys; files of another
    name or size; or everything.
    """

    NOTHING = enum.auto()
    OTHERS = enum.auto()
    EVERYTHING = enum.auto()


class _Positions:
    """Allots the positions of one request's files, to several threads; from `end` on the batch is full."""

    def __init__(self, first: int, end: int) -> None:
        self.end = end
        self._next = first
        self._lock = threading.Lock()

    def take(self) -> int:
        with self._lock:
            self._next += 1
            return self._next - 1


class Outbox:
    """Collects outcomes into a report, and the jobs of stored images into full queue requests."""

    def __init__(self, job_batcher: JobBatcher) -> None:
        self.report = UploadReport()
        self._job_batcher = job_batcher
        self._jobs: list[ClassificationJob] = []

    def add(self, outcome: Stored | Rejected | NotStored) -> None:
        """Adds one file's outcome; sends the jobs of stored images ten at a time."""
        if isinstance(outcome, Rejected):
            self.report.rejected.append(outcome)
        elif isinstance(outcome, NotStored):
            self.report.not_stored.append(outcome)
        else:
            self._jobs.append(outcome.job)
            if len(self._jobs) == MAX_MESSAGES_PER_REQUEST:
                self.flush()

    def flush(self) -> None:
        """Sends the remaining jobs."""
        jobs, self._jobs = self._jobs, []
        if not jobs:
            return
        try:
            self._job_batcher.send(jobs)
        except CloudError as error:
            log.warning("%d jobs of batch %s: %s", len(jobs), jobs[0].batch_id, error)
            self.report.not_stored.extend(
                NotStored(job.name, _position(job), "not_queued", "could not be queued, please try again")
                for job in jobs
            )
        else:
            self.report.accepted.extend(Accepted(job.name, job.key) for job in jobs)
