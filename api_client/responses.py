"""Sentences for people about requests that failed, instead of status codes, HTML and the exceptions of libraries."""

from __future__ import annotations

from typing import Any

import requests

from core.errors import ElasticError
from core.jobs import displayable

_MAX_DETAIL_CHARACTERS = 300


class ApiError(ElasticError):
    """The web tier refused a request, failed, or could not be reached."""


def json_of(response: requests.Response, address: str, *, has_token: bool) -> dict[str, Any]:
    """The JSON object of a successful response.

    Raises:
        ApiError: the server refused or failed, or is not a web tier.
    """
    try:
        body = response.json()
    except requests.JSONDecodeError:
        body = None
    if response.ok and isinstance(body, dict):
        return body
    raise ApiError(_refusal(response.status_code, _detail(body), address, has_token=has_token))


def not_ours(address: str) -> ApiError:
    """The error about a server that is not this program's."""
    return ApiError(f"{address} is not the address of an Elastic Image Classifier; check --url")


def failed_request(error: requests.RequestException, address: str) -> ApiError:
    """The error about a request without a response."""
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema | ValueError):
        return ApiError(f"{address} is not a valid address; it must begin with http:// or https://")
    if isinstance(error, requests.exceptions.SSLError):
        return ApiError(f"there is no secure connection to {address}: its certificate is not valid, or it is not https")
    if isinstance(error, requests.Timeout):
        return ApiError(f"the server at {address} does not respond in time")
    return ApiError(f"the server at {address} cannot be reached; check that it runs, and the address")


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
