"""The API's errors: sentences for people about requests that failed, instead of HTML and exceptions of libraries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests

from core.errors import ElasticError
from core.jobs import displayable

_MAX_DETAIL_CHARACTERS = 300


class ApiError(ElasticError):
    """The web tier refused a request, failed, or could not be reached."""

    def __init__(self, message: str | None = None, status: int | None = None, problem: Any = None) -> None:
        """Stores what the web tier responded, for programs.

        Args:
            status: of the response; None if there was none.
            problem: the response's problem document (RFC 9457), if it has one.
        """
        super().__init__(message)
        self.status = status
        self.problem: Mapping[str, Any] = problem if isinstance(problem, dict) else {}


class UnreachableError(ApiError):
    """There was no response from the web tier."""


class RefusedError(ApiError):
    """The web tier refused a request (4xx)."""


class ServerError(ApiError):
    """The web tier, or a proxy before it, failed (5xx)."""


class NoResultError(ApiError):
    """No further image was answered for a long time."""


def json_of(response: requests.Response, address: str, *, has_token: bool) -> dict[str, Any]:
    """The JSON object of a successful response.

    Raises:
        RefusedError, ServerError: the server refused or failed.
        ApiError: it is not a web tier.
    """
    try:
        body = response.json()
    except requests.JSONDecodeError:
        body = None
    if response.ok and isinstance(body, dict):
        return body
    status = response.status_code
    kind = ServerError if status >= 500 else RefusedError if status >= 400 else ApiError
    raise kind(_refusal(status, _detail(body), address, has_token=has_token), status, body)


def not_ours(address: str) -> ApiError:
    """The error about a server that is not this program's."""
    return ApiError(f"{address} is not the address of an Elastic Image Classifier; check the address")


def failed_request(error: requests.RequestException, address: str) -> UnreachableError:
    """The error about a request without a response."""
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema | ValueError):
        return UnreachableError(f"{address} is not a valid address; it must begin with http:// or https://")
    if isinstance(error, requests.exceptions.SSLError):
        return UnreachableError(
            f"there is no secure connection to {address}: its certificate is not valid, or it is not https"
        )
    if isinstance(error, requests.Timeout):
        return UnreachableError(f"the server at {address} does not respond in time")
    return UnreachableError(f"the server at {address} cannot be reached; check that it runs, and the address")


def _refusal(status: int, detail: str, address: str, *, has_token: bool) -> str:
    if status == 401:
        reason = "the access token is not valid" if has_token else "an access token is needed; set ELASTIC_TOKEN"
        return f"the server at {address} refused the request (401): {reason}"
    if status == 413:
        return f"the server at {address}, or a proxy before it, refused an upload as too large (413)"
    if status == 429:
        return f"the server at {address} has too many requests of this client (429); try again in a minute"
    if status >= 500:
        return f"the server at {address} failed ({status}); try again later"
    if status == 403 or detail:
        return f"the server at {address} refused the request ({status}): {detail or 'access is denied'}"
    return str(not_ours(address))


def _detail(body: Any) -> str:
    """The sentence of a problem document (RFC 9457); empty if there is none."""
    detail = body.get("detail") if isinstance(body, dict) else None
    return displayable(detail)[:_MAX_DETAIL_CHARACTERS] if isinstance(detail, str) else ""
