"""Webhooks: signatures, checks of addresses, and the note that a webhook is pending.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over
``<id>.<timestamp>.<body>`` with the secret's bytes, in base64 after ``v1,``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from core.errors import ElasticError
from core.jobs import is_batch_id
from core.object_keys import PENDING_WEBHOOKS
from core.versioned_json import Count, Record, Seconds, record

_MAX_RECORD_BYTES = 32 * 1024
SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix is no secret
MAX_URL_CHARACTERS = 2000
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
# NAT64's well-known prefix (RFC 6052): the last four bytes are an IPv4 address.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class WebhookError(ElasticError):
    """The webhook's address or secret cannot be used."""


@record("a pending webhook", version=1, max_bytes=_MAX_RECORD_BYTES)
@dataclass(frozen=True, slots=True)
class PendingWebhook(Record):
    """A note that a client is to be notified of a batch's completion.

    `attempts` is the number of attempts so far; the next may begin at `not_before`, in seconds since the epoch.
    """

    batch_id: str
    url: str
    secret: str
    created_at: Seconds
    attempts: Count = 0
    not_before: Seconds = 0.0

    @property
    def key(self) -> str:
        """The key of the note in the state bucket."""
        return PENDING_WEBHOOKS.key_of(self.batch_id)

    def check(self) -> None:
        """Check a decoded note; its address is checked before each request.

        Raises:
            ValueError, WebhookError: the batch id or the secret is malformed.
        """
        if not is_batch_id(self.batch_id):
            raise ValueError("the id of the batch does not have its form")
        secret_bytes(self.secret)


def new_secret() -> str:
    """Create a secret of 24 random bytes in the form of Standard Webhooks."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(MIN_SECRET_BYTES)).decode()


def secret_bytes(secret: str) -> bytes:
    """Decode the bytes of a secret.

    Raises:
        WebhookError: it is not ``whsec_`` and 24 to 64 bytes in base64.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise WebhookError(
            f"the secret must be {SECRET_PREFIX} and {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes in base64"
        )
    return key


def signed_headers(secret: str, message_id: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
    """Return the headers with which the receiver can verify the sender of `body` and the time."""
    signed = f"{message_id}.{timestamp_seconds}.".encode() + body
    digest = hmac.new(secret_bytes(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_seconds),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def check_url(url: str, *, allow_private: bool) -> SplitResult:
    """Check the text of a webhook's address and return its parts; `is_public` checks what it resolves to.

    Args:
        allow_private: also allow plain HTTP and private addresses.

    Raises:
        WebhookError: it is not an absolute https address without credentials.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        parts.hostname.encode("idna") if parts.hostname else None
    except ValueError as error:  # UnicodeError, which idna raises, is one
        raise WebhookError("the webhook's address is malformed") from error
    if len(url) > MAX_URL_CHARACTERS or not url.isprintable() or " " in url or "\\" in url:
        raise WebhookError("the webhook's address is too long or has characters that no address has")
    if parts.scheme not in (("https", "http") if allow_private else ("https",)):
        raise WebhookError("the webhook's address must begin with https://")
    if not parts.hostname or parts.username is not None or parts.password is not None or port == 0:
        raise WebhookError("the webhook's address must name a host, without user or password")
    literal = _literal(parts.hostname)
    if literal is not None and not allow_private and not is_public(literal):
        raise WebhookError("the webhook's address lies inside a private network")
    return parts


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet; an IPv4 address inside an IPv6 address is checked, too."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(address.packed[-4:]))
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
