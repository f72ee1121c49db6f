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
from urllib.parse import urlsplit

from core.errors import ElasticError
from core.jobs import is_batch_id
from core.object_keys import PENDING_WEBHOOKS
from core.versioned_json import Count, Record, Seconds, record

_MAX_RECORD_BYTES = 32 * 1024
SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix is no secret
MAX_URL_CHARACTERS = 2000
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
_DEFAULT_PORTS = {"https": 443, "http": 80}
# NAT64's well-known prefix (RFC 6052) and IPv4 in IPv6 (RFC 4291): the last four bytes are an IPv4 address.
_WITH_IPV4 = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "::ffff:0:0/96"))
# All IPv6 addresses that are assigned to the public internet (IANA, IPv6 Global Unicast Address Space).
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# The IANA IPv4 and IPv6 Special-Purpose Address Registries (https://www.iana.org/assignments/iana-ipv4-special-registry,
# …/iana-ipv6-special-registry): what is not globally reachable, and protocol assignments and 6to4, which no receiver
# has.  With multicast and reserved addresses.  Not `ipaddress.is_global`, which differs between versions of Python.
NOT_PUBLIC: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)
# Characters that IDNA 2003, which Python has, and IDNA 2008 turn into different names (RFC 5894, section 7.2).
_AMBIGUOUS = frozenset("\u00df\u03c2\u200c\u200d")

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


@dataclass(frozen=True, slots=True)
class Receiver:
    """The parts of a webhook's address; `host` is in ASCII, as DNS and certificates have it, and in no brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def check_url(url: str, *, allow_private: bool) -> Receiver:
    """Check the text of a webhook's address and return its parts; `is_public` checks what it resolves to.

    Args:
        allow_private: also allow plain HTTP and private addresses.

    Raises:
        WebhookError: it is not an absolute https address without credentials.
    """
    if len(url) > MAX_URL_CHARACTERS or not url.isprintable() or " " in url or "\\" in url:
        raise WebhookError("the webhook's address is too long or has characters that no address has")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise WebhookError("the webhook's address is malformed") from error
    if parts.scheme not in (("https", "http") if allow_private else ("https",)):
        raise WebhookError("the webhook's address must begin with https://")
    if not parts.hostname or parts.username is not None or parts.password is not None or port == 0:
        raise WebhookError("the webhook's address must name a host, without user or password")
    host = ascii_host(parts.hostname)
    literal = _literal(host)
    if literal is not None and not allow_private and not is_public(literal):
        raise WebhookError("the webhook's address lies inside a private network")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Receiver(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], target)


def ascii_host(host: str) -> str:
    """Convert a host name to ASCII: an international domain name to its form in DNS.

    Raises:
        WebhookError: it is no name, or one that programs convert in different ways.
    """
    if _literal(host) is not None:
        return host
    if _AMBIGUOUS & set(host):
        raise WebhookError("the webhook's host has a character that programs read in different ways: use its xn-- form")
    try:
        name = host.encode("idna").decode("ascii").lower()
    except UnicodeError as error:
        raise WebhookError("the webhook's host is not a name that DNS can have") from error
    # Resolvers take such names for addresses: 127.1, 0x7f.1, 2130706433.
    last = name.removesuffix(".").rpartition(".")[2]
    if _literal(name) is None and (not last or last.isdigit() or last.startswith("0x")):
        raise WebhookError("the webhook's host is neither a name nor an address")
    return name


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet; an IPv4 address inside an IPv6 address is checked, too."""
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _WITH_IPV4):
            return is_public(ipaddress.IPv4Address(address.packed[-4:]))
        if address not in _GLOBAL_UNICAST:
            return False
    return not any(address in network for network in NOT_PUBLIC)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
