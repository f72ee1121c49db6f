"""A session of HTTP requests that sends an access token and retries what may be retried."""

from __future__ import annotations

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

RETRIES = 4
RETRY_BACKOFF_SECONDS = 0.2
# Limits of requests are per minute; a server that asks for a longer pause is asked again after this.
LONGEST_RETRY_AFTER_SECONDS = 60


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def retrying_session(token: str, connections: int) -> requests.Session:
    """Creates a session whose requests are repeated up to four times.

    They are repeated after connections that fail or are reset before a response comes, and after 429, 502, 503 and 504,
    when the response's `Retry-After` has passed.  For requests that may be repeated only: an upload needs an offset,
    with which it stores the same images under the same keys.

    Args:
        token: an access token; none is sent if it is empty.
        connections: how many are kept open.
    """
    session = requests.Session()
    # Sentences go to terminals and logs, which are English.
    session.headers["Accept-Language"] = "en"
    # Otherwise requests would look for credentials in a .netrc file.
    session.auth = _Bearer(token)
    retry = Retry(
        total=RETRIES,
        backoff_factor=RETRY_BACKOFF_SECONDS,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
        retry_after_max=LONGEST_RETRY_AFTER_SECONDS,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=connections))
    return session
