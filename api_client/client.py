"""HTTP client of the web tier's API: create batches, upload images, follow results."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from api_client.image_files import file_name
from core.errors import ElasticError

IMAGES_PER_REQUEST = 20
PARALLEL_REQUESTS = 3
POLL_SECONDS = 0.25
# A poll costs the web tier two listings, so the pause grows with the response time.
POLL_REST_FACTOR = 3
TIMEOUT_SECONDS = 60.0
# No image takes this long, even while 15 workers start on one core.
NO_ANSWER_TIMEOUT_SECONDS = 180.0


class ApiError(ElasticError):
    """The web tier refused a request, failed, or could not be reached."""


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class ApiClient:
    """Uploads images to a web tier and follows their results.

    Every method raises `ApiError` if the web tier refuses a request or cannot be reached.

    Args:
        token: an access token, if the web tier requires one.
    """

    def __init__(self, base_url: str, token: str = "") -> None:
        self._api = f"{base_url.rstrip('/')}/api/v1"
        self._session = requests.Session()
        # Otherwise requests would look for credentials in a .netrc file.
        self._session.auth = _Bearer(token)
        # Retries are safe: a request with an offset stores the same images under the same keys.
        retry = Retry(total=4, backoff_factor=0.2, status_forcelist=(502, 503, 504), allowed_methods=None)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=PARALLEL_REQUESTS + 1))

    def create_batch(self) -> str:
        """Creates a batch; returns its id."""
        return str(self._json("POST", "/batches")["batch_id"])

    def upload_once(
        self, batch_id: str, offset: int, paths: Sequence[Path], name_of: Callable[[Path], str] = file_name
    ) -> dict[str, Any]:
        """Uploads files in one request, the first at the position `offset`; returns the web tier's report.

        Args:
            name_of: the name that an image gets; see `api_client.image_files`.
        """
        with contextlib.ExitStack() as stack:
            files = [("images", (name_of(path), stack.enter_context(path.open("rb")))) for path in paths]
            return self._json("POST", f"/batches/{batch_id}/images", params={"offset": offset}, files=files)

    def upload(
        self,
        batch_id: str,
        paths: Sequence[Path],
        on_sent: Callable[[int], None],
        name_of: Callable[[Path], str] = file_name,
    ) -> list[str]:
        """Uploads files in parallel requests; returns a sentence for each file that could not be stored.

        The position of each file in the batch is that in `paths`.

        Args:
            on_sent: called with the number of files of each finished request.
            name_of: the name that an image gets; see `api_client.image_files`.
        """

        def send(start: int) -> list[str]:
            chunk = paths[start : start + IMAGES_PER_REQUEST]
            report = self.upload_once(batch_id, start, chunk, name_of)
            on_sent(len(chunk))
            return [f"{entry['name']}: {entry['error']}" for entry in report["not_stored"]]

        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            problems = pool.map(send, range(0, len(paths), IMAGES_PER_REQUEST))
            return [sentence for sentences in problems for sentence in sentences]

    def follow(self, batch_id: str, expected: int, timeout_seconds: float) -> Iterator[dict[str, Any]]:
        """Yields each result of a batch once, as it is stored, until there are `expected`.

        Raises:
            ApiError: there was no further result for `timeout_seconds`.
        """
        cursor, seen = "", set[str]()
        deadline = time.monotonic() + timeout_seconds
        while len(seen) < expected:
            polled_at = time.monotonic()
            page = self._json("GET", f"/batches/{batch_id}/results", params={"cursor": cursor} if cursor else {})
            cursor = page["cursor"]
            for result in page["results"]:
                if result["key"] not in seen:
                    seen.add(result["key"])
                    deadline = time.monotonic() + timeout_seconds
                    yield result
            if time.monotonic() > deadline:
                raise ApiError(f"{len(seen)} of {expected} images were answered, and none for {timeout_seconds:g} s")
            if not page.get("more"):
                time.sleep(max(POLL_SECONDS, POLL_REST_FACTOR * (time.monotonic() - polled_at)))

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._session.request(method, f"{self._api}{path}", timeout=TIMEOUT_SECONDS, **options)
            if not response.ok:
                raise ApiError(f"{method} {path}: {response.status_code} {response.text[:300]}")
            body: dict[str, Any] = response.json()
            return body
        except requests.RequestException as error:
            raise ApiError(f"{method} {path}: {error}") from error
