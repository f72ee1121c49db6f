"""Access tokens: their form, their records and their checks.

A token reads ``eic_<id>_<secret>``.  The id names its record, ``tokens/<id>.json`` in the state bucket, which
contains only the SHA-256 of the secret.  A fast hash is enough, because the secret is 256 random bits: unlike a
password it cannot be guessed from its hash, however fast the hash is (NIST SP 800-63B requires salt and a slow hash
only below 112 bits).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from core import object_keys
from core.errors import ArgumentError
from core.versioned_json import MAX_NUMBER, MAX_SECONDS, Count, Record, Seconds, record

SCOPES = ("upload", "read", "admin")
_SECRET_BYTES = 32
_ID_BYTES = 8
_TOKEN_ID = re.compile(object_keys.TOKEN_ID)
_FORM = re.compile(r"eic_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
# An owner's name becomes a part of keys, so it has no slash and no character that resembles one.
_OWNER = re.compile(object_keys.OWNER)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_NAME_CHARACTERS = 100
_SECONDS_PER_DAY = 86_400.0
_MAX_RECORD_BYTES = 8192


class TokenError(ArgumentError):
    """The access token cannot be created with these values."""


@record("the record of an access token", version=1, max_bytes=_MAX_RECORD_BYTES)
@dataclass(frozen=True, slots=True)
class AccessToken(Record):
    """The stored record of an access token.

    Attributes:
        secret_sha256: the SHA-256 of the secret, in hexadecimal.
        owner: the owner whose batches the token gives access to.
        scopes: some of `SCOPES`.
        name: a name for people.
        created_at, expires_at: Unix time, seconds; `expires_at` None: never.
        images_per_day: the quota of images in a day (UTC); 0: no quota.
    """

    token_id: str
    secret_sha256: str
    owner: str
    scopes: tuple[str, ...]
    name: str
    created_at: Seconds
    expires_at: Seconds | None
    images_per_day: Count

    @property
    def key(self) -> str:
        """The key of the record in the state bucket."""
        return key_of(self.token_id)

    def accepts(self, secret: str) -> bool:
        """Whether `secret` is the token's secret; compares in constant time."""
        return hmac.compare_digest(_hash(secret), self.secret_sha256)

    def is_valid(self, now: float) -> bool:
        """Whether the token has not expired at `now`, Unix time in seconds."""
        return self.expires_at is None or now < self.expires_at

    def check(self) -> None:
        """Check a decoded token; an unknown scope, perhaps a newer version's, is no error and grants nothing.

        Raises:
            ValueError, TokenError: the id, the owner or the hash is malformed.
        """
        check_owner(self.owner)
        if not is_token_id(self.token_id) or not _SHA256.fullmatch(self.secret_sha256):
            raise ValueError("the id or the hash does not have its form")


def new_token(
    owner: str,
    scopes: Iterable[str],
    now: float,
    *,
    name: str = "",
    expires_days: float | None = None,
    images_per_day: int = 0,
) -> tuple[str, AccessToken]:
    """Create an access token; return its text, which is not stored anywhere, and its record.

    Args:
        now: Unix time, seconds.

    Raises:
        TokenError: a value cannot be used.
    """
    check_owner(owner)
    chosen = tuple(scope for scope in SCOPES if scope in set(scopes))
    if not chosen or set(scopes) - set(SCOPES):
        raise TokenError(f"a token needs at least one of the scopes {', '.join(SCOPES)}, and no other")
    if len(name) > _MAX_NAME_CHARACTERS or not name.isprintable():
        raise TokenError(f"a token's name is one line of at most {_MAX_NAME_CHARACTERS} characters")
    if images_per_day < 0 or (expires_days is not None and not expires_days > 0):
        raise TokenError("a token's days and images must not be negative")
    token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    expires_at = None if expires_days is None else now + expires_days * _SECONDS_PER_DAY
    if images_per_day > MAX_NUMBER or (expires_at is not None and expires_at > MAX_SECONDS):
        raise TokenError("a token's days or images are too many; leave them out for no limit")
    record = AccessToken(token_id, _hash(secret), owner, chosen, name, now, expires_at, images_per_day)
    return f"eic_{token_id}_{secret}", record


def parse(text: str) -> tuple[str, str] | None:
    """The id and the secret of a token's text; None where it does not have a token's form."""
    found = _FORM.fullmatch(text)
    return (found[1], found[2]) if found else None


def check_owner(owner: str) -> None:
    """Check the name of an owner.

    Raises:
        TokenError: it has other characters than letters, digits and ``. _ @ -``, or is too long.
    """
    if not _OWNER.fullmatch(owner):
        raise TokenError("an owner's name has up to 64 letters, digits or any of '._@-', the first a letter or digit")


def key_of(token_id: str) -> str:
    """The key of a token's record in the state bucket."""
    return object_keys.TOKENS.key_of(token_id)


def is_token_id(text: str) -> bool:
    """Whether `text` has the form of a token's id."""
    return _TOKEN_ID.fullmatch(text) is not None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
