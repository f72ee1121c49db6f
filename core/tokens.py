"""Access tokens: what a program or a person shows to be let in.

A token reads ``eic_<id>_<secret>``.  The id names its record, ``tokens/<id>.json`` in the state bucket; of the secret
the record has only the SHA-256.  A fast hash is enough, because the secret is 256 random bits: unlike a password it
cannot be guessed from its hash, however fast the hash is (NIST SP 800-63B asks for salt and a slow hash only below 112
bits).
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from core.errors import DecodeError, ElasticError

PREFIX = "tokens/"
SCOPES = ("upload", "read", "admin")
_SECRET_BYTES = 32
_ID_BYTES = 8
_FORM = re.compile(r"eic_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
# An owner's name becomes a part of keys: no slash, and nothing that looks like one.
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_MAX_NAME_CHARACTERS = 100
_SECONDS_PER_DAY = 86_400.0


class TokenError(ElasticError):
    """An access token cannot be made like this."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What is kept of a token.

    Attributes:
        secret_sha256: of the secret, in hexadecimal.
        owner: whose batches its holder sees.
        scopes: some of `SCOPES`.
        name: what people call it.
        created_at, expires_at: Unix time, seconds; `expires_at` None: never.
        images_per_day: most images that it may send in a day (UTC); 0: any number.
    """

    token_id: str
    secret_sha256: str
    owner: str
    scopes: tuple[str, ...]
    name: str
    created_at: float
    expires_at: float | None
    images_per_day: int

    @property
    def key(self) -> str:
        """Where the record is kept in the state bucket."""
        return key_of(self.token_id)

    def accepts(self, secret: str) -> bool:
        """Whether `secret` is the token's; takes the same time whatever the secret."""
        return hmac.compare_digest(_hash(secret), self.secret_sha256)

    def is_valid(self, now: float) -> bool:
        """Whether the token has not expired at `now`, Unix time in seconds."""
        return self.expires_at is None or now < self.expires_at

    def encode(self) -> bytes:
        """The record."""
        return json.dumps({"v": 1, **dataclasses.asdict(self)}).encode()

    @classmethod
    def decode(cls, body: bytes) -> AccessToken:
        """Reads a record.

        Raises:
            DecodeError: it is none, or of a newer form.
        """
        try:
            fields = json.loads(body)
            if fields.pop("v") != 1:
                raise DecodeError("an access token's record is of an unknown version")
            token = cls(**{**fields, "scopes": tuple(fields["scopes"])})
            check_owner(token.owner)
            if not isinstance(token.secret_sha256, str) or not isinstance(token.images_per_day, int):
                raise TypeError("a field has the wrong type")
            token.is_valid(0.0)
        except (ValueError, TypeError, KeyError, AttributeError, TokenError) as error:
            raise DecodeError(f"an access token's record cannot be read: {error}") from error
        return token


def new_token(
    owner: str,
    scopes: Iterable[str],
    now: float,
    *,
    name: str = "",
    expires_days: float | None = None,
    images_per_day: int = 0,
) -> tuple[str, AccessToken]:
    """A new token's text, which nobody can find out again, and its record.

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
    record = AccessToken(token_id, _hash(secret), owner, chosen, name, now, expires_at, images_per_day)
    return f"eic_{token_id}_{secret}", record


def parse(text: str) -> tuple[str, str] | None:
    """The id and the secret of a token's text; None where it does not have a token's form."""
    found = _FORM.fullmatch(text)
    return (found[1], found[2]) if found else None


def check_owner(owner: str) -> None:
    """Checks an owner's name.

    Raises:
        TokenError: it has other characters than letters, digits and ``. _ @ -``, or is too long.
    """
    if not isinstance(owner, str) or not _OWNER.fullmatch(owner):
        raise TokenError("an owner's name has up to 64 letters, digits or any of '._@-', the first a letter or digit")


def key_of(token_id: str) -> str:
    """Where a token's record is kept."""
    return f"{PREFIX}{token_id}.json"


def is_token_id(text: str) -> bool:
    """Whether `text` has the form of a token's id."""
    return re.fullmatch(r"[0-9a-f]{16}", text) is not None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
