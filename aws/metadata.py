"""Client of the instance metadata service (IMDSv2): the instance's id, tags, user data and interruption notices."""

from __future__ import annotations

import os
from collections.abc import Mapping

import urllib3

from core.errors import ElasticError

# The standard variables of the AWS SDKs.
ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
DISABLED_VARIABLE = "AWS_EC2_METADATA_DISABLED"
_DEFAULT_ENDPOINT = "http://169.254.169.254"
_TOKEN_SECONDS = 21_600
# The service runs on the host itself: a slower response means that there is no such service.
_TIMEOUT_SECONDS = 1.0


class MetadataUnavailableError(ElasticError):
    """There is no instance metadata service on this machine."""


class InstanceMetadata:
    """Client of the metadata service that uses session tokens, as IMDSv2 requires.

    Every method raises `MetadataUnavailableError` where there is no such service.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._endpoint = environment.get(ENDPOINT_VARIABLE, _DEFAULT_ENDPOINT).rstrip("/")
        self._disabled = environment.get(DISABLED_VARIABLE, "").lower() == "true"
        self._http = urllib3.PoolManager(timeout=_TIMEOUT_SECONDS, retries=False)
        self._token: str | None = None

    def instance_id(self) -> str:
        """This instance's id."""
        return self._get("instance-id") or ""

    def region(self) -> str:
        """The region that this instance runs in."""
        return self._get("placement/region") or ""

    def tag(self, key: str) -> str | None:
        """The value of one of this instance's tags; None if it has no such tag.

        EC2 serves tags only where the launch template's metadata options enable it (``InstanceMetadataTags``).
        """
        return self._get(f"tags/instance/{key}")

    def user_data(self) -> str | None:
        """The user data that this instance was launched with; None if there is none."""
        return self._get("user-data", tree="")

    def interruption(self) -> str | None:
        """The interruption notice or rebalance recommendation for this instance; None if there is neither.

        A *spot interruption notice* comes two minutes before EC2 reclaims the instance; a *rebalance recommendation*
        comes earlier, when an interruption has become likely.
        """
        if notice := self._get("spot/instance-action"):
            return f"spot interruption notice: {notice}"
        if notice := self._get("events/recommendations/rebalance"):
            return f"rebalance recommendation: {notice}"
        return None

    def _get(self, path: str, tree: str = "meta-data/") -> str | None:
        """Fetch the text at a path of the metadata; None if there is none."""
        if self._disabled:
            raise MetadataUnavailableError("disabled by the environment")
        for _attempt in range(2):
            response = self._request("GET", f"{tree}{path}", {"X-aws-ec2-metadata-token": self._session_token()})
            if response.status == 401:  # the token has expired
                self._token = None
                continue
            if response.status == 404:
                return None
            if response.status != 200:
                raise MetadataUnavailableError(f"status {response.status}")
            return response.data.decode("utf-8", "replace")
        raise MetadataUnavailableError("the session token is refused")

    def _session_token(self) -> str:
        if self._token is None:
            headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
            response = self._request("PUT", "api/token", headers)
            if response.status != 200:
                raise MetadataUnavailableError(f"status {response.status}")
            self._token = response.data.decode("ascii", "replace")
        return self._token

    def _request(self, method: str, path: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            return self._http.request(method, f"{self._endpoint}/latest/{path}", headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise MetadataUnavailableError(str(error)) from error
