"""HTTP client of the web tier's API: create batches, upload images, follow results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from api_client.responses import ApiError, failed_request, json_of, not_ours
from api_client.upload_files import UploadFile, as_upload_file
from core.errors import ImageError

IMAGES_PER_REQUEST = 20
# Requests are held in memory as a whole.
BYTES_PER_REQUEST = 8 * 1024 * 1024
PARALLEL_REQUESTS = 3
POLL_SECONDS = 0.25
# A poll costs the web tier two listings, so the pause grows with the response time.
POLL_REST_FACTOR = 3
TIMEOUT_SECONDS = 60.0
RETRY_BACKOFF_SECONDS = 0.2
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


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """The limits of a web tier."""

    max_image_bytes: int
    max_batch_images: int


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class ApiClient:
    """Uploads images to a web tier and follows their results.

    Every method raises `ApiError`, with a sentence for people, if the web tier refuses a request or cannot be reached.

    Args:
        token: an access token, if the web tier requires one.
    """

    def __init__(self, base_url: str, token: str = "") -> None:
        self._address = base_url.rstrip("/")
        self._has_token = bool(token)
        self._max_image_bytes: int | None = None
        self._session = requests.Session()
        # Otherwise requests would look for credentials in a .netrc file.
        self._session.auth = _Bearer(token)
        # Retries are safe: a request with an offset stores the same images under the same keys.
        retry = Retry(
            total=4,
            backoff_factor=RETRY_BACKOFF_SECONDS,
            status_forcelist=(502, 503, 504),
            allowed_methods=None,
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=PARALLEL_REQUESTS + 1))

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
        """The limits on uploads."""
        fields = self._json("GET", "/limits")
        try:
            return UploadLimits(int(fields["max_image_bytes"]), int(fields["max_batch_images"]))
        except (KeyError, TypeError, ValueError) as error:
            raise not_ours(self._address) from error

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
        if self._max_image_bytes is None:
            self._max_image_bytes = self.limits().max_image_bytes
        return self._max_image_bytes

    def follow(
        self, batch_id: str, expected: int | Callable[[], int | None], timeout_seconds: float
    ) -> Iterator[dict[str, Any]]:
        """Yields each result of a batch once, as it is stored, until there are `expected`.

        Args:
            expected: the number of results, or a function that returns it; None while the upload goes on.

        Raises:
            ApiError: there was no further result for `timeout_seconds`.
        """
        cursor, seen = "", set[str]()
        deadline = time.monotonic() + timeout_seconds
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
                raise ApiError(f"{len(seen)} of {total} images were answered, and none for {timeout_seconds:g} s")
            if not page.get("more"):
                time.sleep(max(POLL_SECONDS, POLL_REST_FACTOR * (time.monotonic() - polled_at)))

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        url = f"{self._address}/api/v1{path}"
        try:
            response = self._session.request(method, url, timeout=TIMEOUT_SECONDS, **options)
        except requests.RequestException as error:
            raise failed_request(error, self._address) from error
        return json_of(response, self._address, has_token=self._has_token)


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
