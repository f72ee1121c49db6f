"""HTTP client of the web tier's API: create batches, upload images, follow results."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import requests

from api_client.responses import ApiError, NoResultError, failed_request, json_of, not_ours
from api_client.results import Result
from api_client.session import retrying_session
from api_client.upload_files import MemoryFile, UploadFile, as_upload_file, select
from core.errors import ArgumentError, ImageError

IMAGES_PER_REQUEST = 20
# Requests are held in memory as a whole.
BYTES_PER_REQUEST = 8 * 1024 * 1024
PARALLEL_REQUESTS = 3
# A small batch is answered in less than the longest pause between two polls; the first pauses are a share of the time
# that has passed.
SHORTEST_POLL_SECONDS, POLL_SECONDS, POLL_SHARE = 0.05, 0.25, 0.2
# A poll costs the web tier two listings, so the pause grows with the response time.
POLL_REST_FACTOR = 3
TIMEOUT_SECONDS = 60.0
# No image takes this long, even while 15 workers start on one core.
NO_ANSWER_TIMEOUT_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class NotUploaded:
    """A file that could not be read or stored; it has no result."""

    position: int
    name: str
    code: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"

    def fields(self) -> dict[str, Any]:
        """What the API would return for the file, had it been stored."""
        error = {"code": self.code, "sentence": self.sentence}
        return {"name": self.name, "status": "failed", "label": None, "score": None, "error": error}


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """The limits of a web tier."""

    max_image_bytes: int
    max_batch_images: int


class ApiClient:
    """Classifies images through a web tier.

    `classify` yields the results of many files as they come, `classify_async` the same in asyncio, and `classify_image`
    returns that of one.  The other methods are their steps: a batch is created, files are uploaded into it, and its
    results are followed.

    Every method raises an `ApiError`, with a sentence for people, if the web tier refuses a request or cannot be
    reached.  Requests are retried, see `api_client.session`; no image is stored twice by that.  Several threads may use
    one client.

    Args:
        base_url: the web tier's address, such as `http://127.0.0.1:8080`.
        token: an access token, if the web tier requires one.
    """

    def __init__(self, base_url: str, token: str = "") -> None:
        self._address = base_url.rstrip("/")
        self._has_token = bool(token)
        self._limits: UploadLimits | None = None
        self._session = retrying_session(token, PARALLEL_REQUESTS + 1)

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def classify(self, paths: Iterable[str | os.PathLike[str]]) -> Generator[Result, None, None]:
        """Classifies files, folders and ZIP archives; yields each image's result once, as it comes.

        Files are uploaded in the background meanwhile; closing the iterator ends that.  An image that cannot be read
        or classified has a result with an `error`, and the others go on.  Of folders and archives, files with an
        image's ending are taken.

        Raises:
            NoPhotosError: there is no image.
            OSError: an archive cannot be read.
            ApiError: the web tier failed, or no further result came for three minutes.
        """
        return self._classify_paths(paths, threading.Event())

    async def classify_async(self, paths: Iterable[str | os.PathLike[str]]) -> AsyncGenerator[Result, None]:
        """Yields the results of `classify` in asyncio, whose event loop is not held up; raises the same errors.

        A thread of the iterator's own waits for the next result.  Cancelling the task, or closing the iterator, ends
        the upload.
        """
        stopped = threading.Event()
        results = self._classify_paths(paths, stopped)
        loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(1)
        try:
            while (result := await loop.run_in_executor(pool, next, results, None)) is not None:
                yield result
        finally:
            stopped.set()
            await loop.run_in_executor(pool, results.close)
            pool.shutdown(wait=False)

    def classify_image(self, image: str | os.PathLike[str] | bytes, name: str = "image") -> Result:
        """Classifies one image and waits for its result.

        It is sent as a batch of its own, not by `POST /classify`: only uploads into a batch may be repeated without
        classifying the image twice.

        Args:
            image: its path, or the content of the file.
            name: that of an image given by its content.

        Raises:
            ArgumentError: the path is that of a folder or an archive, without an image or with several.
            ApiError: the web tier failed, or no result came for three minutes.
        """
        with ExitStack() as stack:
            files = [MemoryFile(image, name)] if isinstance(image, bytes) else select([Path(image)], stack).files
            if len(files) != 1:
                raise ArgumentError(f"{image!s} has {len(files)} images; `classify` takes several")
            [result] = self.classify_files(files)
        return result

    def classify_files(
        self,
        files: Sequence[UploadFile],
        on_batch: Callable[[str, int, int], None] = lambda batch_id, number, count: None,
        on_sent: Callable[[int], None] = lambda count: None,
        stopped: threading.Event | None = None,
    ) -> Generator[Result, None, None]:
        """Classifies files that `api_client.upload_files.select` found; see `classify`.

        Args:
            on_batch: called with each batch's id, its number from 1, and the number of batches; files beyond the limit
                of a batch make several.
            on_sent: called with the number of files of each finished request, from other threads.
            stopped: ends the iteration and the upload when it is set.
        """
        stopped = stopped or threading.Event()
        size = self.limits().max_batch_images
        starts = range(0, len(files), size)
        for number, start in enumerate(starts, start=1):
            if stopped.is_set():
                return
            batch_id = self.create_batch()
            on_batch(batch_id, number, len(starts))
            some = files[start : start + size]
            for position, fields in self._classify_batch(batch_id, some, on_sent, stopped):
                yield Result.of({**fields, "batch_id": batch_id}, some[position].path, start + position)

    def _classify_paths(
        self, paths: Iterable[str | os.PathLike[str]], stopped: threading.Event
    ) -> Generator[Result, None, None]:
        with ExitStack() as stack:
            files = select([Path(path) for path in paths], stack).files
            yield from self.classify_files(files, stopped=stopped)

    def _classify_batch(
        self, batch_id: str, files: Sequence[UploadFile], on_sent: Callable[[int], None], stopped: threading.Event
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields each file's position in `files` with the fields of its result, while the files are uploaded."""
        ended = threading.Event()

        def sent(count: int) -> None:
            if ended.is_set() or stopped.is_set():
                raise ApiError("the upload was stopped")
            on_sent(count)

        def expected() -> int | None:
            return len(files) - len(upload.result()) if upload.done() else None

        with ThreadPoolExecutor(1) as pool:
            upload = pool.submit(self.upload, batch_id, files, sent)
            try:
                for fields in self.follow(batch_id, expected, NO_ANSWER_TIMEOUT_SECONDS, stopped):
                    yield fields["position"], fields
            finally:
                ended.set()
        if stopped.is_set():
            return
        for problem in upload.result():
            yield problem.position, problem.fields()

    def create_batch(self) -> str:
        """Creates a batch; returns its id."""
        batch_id = self._json("POST", "/batches").get("batch_id")
        if not isinstance(batch_id, str):
            raise not_ours(self._address)
        return batch_id

    def batch_url(self, batch_id: str) -> str:
        """The address of a batch's page."""
        return f"{self._address}/batches/{batch_id}"

    def limits(self) -> UploadLimits:
        """The limits on uploads; asked for once."""
        if self._limits is None:
            fields = self._json("GET", "/limits")
            try:
                self._limits = UploadLimits(int(fields["max_image_bytes"]), int(fields["max_batch_images"]))
            except (KeyError, TypeError, ValueError) as error:
                raise not_ours(self._address) from error
        return self._limits

    def upload_once(self, batch_id: str, offset: int, files: Sequence[Path | UploadFile]) -> dict[str, Any]:
        """Uploads files in one request, the first at the position `offset`; returns the web tier's report.

        Raises:
            OSError, ImageError: a file cannot be read.
        """
        sources = [as_upload_file(file) for file in files]
        return self._post(batch_id, offset, [(file.name, file.open(self._file_limit())) for file in sources])

    def upload(
        self, batch_id: str, files: Sequence[Path | UploadFile], on_sent: Callable[[int], None]
    ) -> list[NotUploaded]:
        """Uploads files in parallel requests; returns those that could not be read or stored.

        The position of each file in the batch is that in `files`.

        Args:
            on_sent: called with the number of files of each finished request; what it raises ends the upload.
        """
        sources = [as_upload_file(file) for file in files]

        def send(positions: range) -> list[NotUploaded]:
            problems = self._send(batch_id, positions.start, sources[positions.start : positions.stop])
            on_sent(len(positions))
            return problems

        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            return [problem for problems in pool.map(send, _chunks(sources)) for problem in problems]

    def _send(self, batch_id: str, start: int, files: Sequence[UploadFile]) -> list[NotUploaded]:
        problems = []
        readable: list[tuple[int, str, IO[bytes]]] = []
        for position, file in enumerate(files, start):
            try:
                readable.append((position, file.name, file.open(self._file_limit())))
            except ImageError as error:
                problems.append(NotUploaded(position, file.name, error.code, str(error)))
            except OSError as error:
                sentence = f"the file cannot be read: {error.strerror or error}"
                problems.append(NotUploaded(position, file.name, "unreadable", sentence))
        # A request's files have consecutive positions.
        for _, run in groupby(enumerate(readable), key=lambda entry: entry[1][0] - entry[0]):
            files_of_run = [entry for _, entry in run]
            report = self._post(batch_id, files_of_run[0][0], [(name, body) for _, name, body in files_of_run])
            problems += [
                NotUploaded(entry["position"], entry["name"], entry["code"], entry["error"])
                for entry in report["not_stored"]
            ]
        return problems

    def _post(self, batch_id: str, offset: int, files: Sequence[tuple[str, IO[bytes]]]) -> dict[str, Any]:
        form = [("images", file) for file in files]
        return self._json("POST", f"/batches/{batch_id}/images", params={"offset": offset}, files=form)

    def _file_limit(self) -> int:
        """The limit on a file; of a longer one, a byte more suffices for the web tier to reject it."""
        return self.limits().max_image_bytes

    def follow(
        self,
        batch_id: str,
        expected: int | Callable[[], int | None],
        timeout_seconds: float,
        stopped: threading.Event | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yields the fields of each result of a batch once, as it is stored, until there are `expected`.

        Args:
            expected: the number of results, or a function that returns it; None while the upload goes on.
            stopped: ends the iteration when it is set.

        Raises:
            NoResultError: there was no further result for `timeout_seconds`.
        """
        cursor, seen, stopped = "", set[str](), stopped or threading.Event()
        began = time.monotonic()
        deadline = began + timeout_seconds
        while (total := expected() if callable(expected) else expected) is None or len(seen) < total:
            polled_at = time.monotonic()
            page = self._json("GET", f"/batches/{batch_id}/results", params={"cursor": cursor} if cursor else {})
            cursor = page["cursor"]
            if page["results"] or total is None:
                deadline = time.monotonic() + timeout_seconds
            for result in page["results"]:
                if result["key"] not in seen:
                    seen.add(result["key"])
                    yield result
            if time.monotonic() > deadline:
                raise NoResultError(f"{len(seen)} of {total} images were answered, and none for {timeout_seconds:g} s")
            now = time.monotonic()
            if stopped.wait(0 if page.get("more") else _pause_seconds(now - began, now - polled_at)):
                return

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        url = f"{self._address}/api/v1{path}"
        try:
            response = self._session.request(method, url, timeout=TIMEOUT_SECONDS, **options)
        except requests.RequestException as error:
            raise failed_request(error, self._address) from error
        return json_of(response, self._address, has_token=self._has_token)


def _pause_seconds(followed_seconds: float, response_seconds: float) -> float:
    """The pause after a poll that took `response_seconds`, of a batch that has been followed for `followed_seconds`."""
    share = min(max(SHORTEST_POLL_SECONDS, POLL_SHARE * followed_seconds), POLL_SECONDS)
    return max(share, POLL_REST_FACTOR * response_seconds)


def _chunks(files: Sequence[UploadFile]) -> Iterator[range]:
    """Yields the positions of the files of each request."""
    start, size_bytes = 0, 0
    for position, file in enumerate(files):
        if position > start and (
            position - start == IMAGES_PER_REQUEST or size_bytes + file.size_bytes > BYTES_PER_REQUEST
        ):
            yield range(start, position)
            start, size_bytes = position, 0
        size_bytes += file.size_bytes
    if start < len(files):
        yield range(start, len(files))
