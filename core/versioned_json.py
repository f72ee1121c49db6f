"""Frozen records as small JSON objects with a version: the form of what is kept in the state bucket."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from core.errors import DecodeError

Record = TypeVar("Record")


def encode_record(fields: Mapping[str, Any], version: int) -> bytes:
    """The object's body."""
    return json.dumps({"v": version, **fields}, separators=(",", ":")).encode()


def decode_record(body: bytes, version: int, build: Callable[[dict[str, Any]], Record], what: str) -> Record:
    """Reads what `encode_record` wrote.

    Args:
        build: makes the record of its fields; may raise what comes of fields that are missing, too many or odd.
        what: what it should be, with its article, for the error.

    Raises:
        DecodeError: it is something else, or of another version.
    """
    try:
        fields: dict[str, Any] = json.loads(body)
        if fields.pop("v") != version:
            raise ValueError("an unknown version")
        return build(fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DecodeError(f"not {what}: {error}") from error
