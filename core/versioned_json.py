"""A codec for the documents in S3 and SQS: frozen dataclasses as small, versioned JSON.

A record type is a frozen dataclass under the decorator `record`, and its annotations define the values of its fields:
``str``, ``int``, ``float``, ``bool``, a ``StrEnum``, another dataclass, ``X | None``, ``tuple[X, ...]`` and
``Mapping[str, X]``.  ``Annotated[X, step, …]`` passes the value through each step, a function that returns the
value to keep and raises `ValueError` for an invalid one.  A dataclass may also have a method ``check``, which raises
`ValueError` where its fields contradict each other.

A document may have been written by an older version of this program, by another program or by an attacker.  So its
size is checked first, then how deeply it nests (the parser recurses), then its syntax, then every value.  Each failure
is a `DecodeError` for that one document; decoding raises no other exception.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NoReturn, Self, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from core.errors import DecodeError, ElasticError

# Deeper than any document of this program, and far below the interpreter's limit on recursion.
MAX_DEPTH = 16
# Every JSON parser reads an integer up to here exactly, and sums and products of a few stay finite.
MAX_NUMBER = 2**53
# The latest moment, in seconds since the epoch; it lies in the year 8307, so `datetime` can represent it.
MAX_SECONDS = 2e11
_MAX_REASON_CHARACTERS = 200

T = TypeVar("T")
Decoder = Callable[[Any], Any]

# Possessive, so that the search never backtracks; an unterminated string is matched, too, and the parser refuses it.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


# --- types of fields -----------------------------------------------------------------------------


def between(low: float, high: float) -> Decoder:
    """Make a step for `Annotated` that refuses a number outside of `low` to `high`."""

    def step(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"outside of {low:g} to {high:g}")
        return value

    return step


def shortened(max_characters: int) -> Decoder:
    """Make a step for `Annotated` that cuts a text after so many characters."""
    return lambda value: value[:max_characters]


Count = Annotated[int, between(0, MAX_NUMBER)]
# A duration, or a moment since the epoch.
Seconds = Annotated[float, between(0, MAX_SECONDS)]
# For texts with few different values: equal ones are interned, so that they share one object in memory.
SharedText = Annotated[str, sys.intern]


class Row:
    """A base for dataclasses that are stored as an array of their fields, in order, to keep documents small."""

    __slots__ = ()


class Record:
    """A base for record types: `encode_record` and `decode_record` as methods."""

    __slots__ = ()

    def encode(self) -> bytes:
        """Encode the record as a document."""
        return encode_record(self)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Decode a document.

        Raises:
            DecodeError: it is not such a document, or of another version.
        """
        return decode_record(cls, body)


@dataclass(frozen=True, slots=True)
class Form:
    """The declaration of a record type; see `record`."""

    title: str
    version: int | None
    max_bytes: int


# Every record type that has been imported; a test checks each against the contract of this module.
RECORDS: dict[type, Form] = {}


def record(title: str, *, version: int | None, max_bytes: int) -> Callable[[type[T]], type[T]]:
    """Declare a dataclass to be a record type.

    Args:
        title: the kind of document with its article, for error messages, such as "a heartbeat".
        version: written to the field ``v``; a document of another version is refused.  None: there is no such
            field, and unknown fields are ignored, so that later versions may add fields with defaults.
        max_bytes: a longer document is refused.
    """

    def register(cls: type[T]) -> type[T]:
        RECORDS[cls] = Form(title, version, max_bytes)
        return cls

    return register


# --- encoding and decoding -----------------------------------------------------------------------


def encode_record(record: object) -> bytes:
    """Encode a record as JSON in UTF-8, with question marks for lone surrogates.

    Raises:
        ValueError: a number is not finite.
    """
    fields, version = _fields_of(record), RECORDS[type(record)].version
    text = _JSON_ENCODER.encode(fields if version is None else {"v": version, **fields})
    return text.encode(errors="replace")


def decode_record(cls: type[T], body: bytes | str) -> T:
    """Decode a document that `encode_record` wrote, in this or an older version of the program.

    Raises:
        DecodeError: it is not such a document, or of another version.
    """
    form = RECORDS[cls]
    try:
        fields = _parse(body, form.max_bytes)
        if form.version is not None:
            version = fields.pop("v", None) if isinstance(fields, dict) else None
            if type(version) is not int or version != form.version:
                raise ValueError(f"not of version {form.version}")
        decoded: T = _decoder(cast("Any", cls))(fields)
    except (ValueError, ElasticError) as error:
        raise _decode_error(form.title, error) from error
    return decoded


def parse_json(body: bytes | str, max_bytes: int, title: str) -> Any:
    """Parse any JSON document within the limits of records: size, depth, finite numbers, valid text.

    Args:
        title: the kind of document with its article, for the error message.

    Raises:
        DecodeError: it is not JSON, or exceeds a limit.
    """
    try:
        return _parse(body, max_bytes)
    except ValueError as error:
        raise _decode_error(title, error) from error


def _decode_error(title: str, error: Exception) -> DecodeError:
    return DecodeError(f"not {title}: {str(error)[:_MAX_REASON_CHARACTERS]}")  # it may quote the document


def _parse(body: bytes | str, max_bytes: int) -> Any:
    size_bytes = len(body) if isinstance(body, bytes) or body.isascii() else len(body.encode())
    if size_bytes > max_bytes:
        raise ValueError(f"longer than {max_bytes} bytes")
    text = body.decode() if isinstance(body, bytes) else body
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(text)
    value = _JSON_DECODER.decode(text)
    if _SURROGATE_ESCAPE.search(text):
        _JSON_ENCODER.encode(value).encode()  # refuses half of a surrogate pair, in a key or in a value
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        mark = text[token.start()]
        if mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested more than {MAX_DEPTH} deep")
        elif mark != '"':
            depth -= 1


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _fields_of(value: Any) -> Any:
    """Convert a dataclass for `json`, which calls this function for the dataclasses in it, too."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return list(fields.values()) if isinstance(value, Row) else fields


_JSON_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse_constant)
_JSON_ENCODER = json.JSONEncoder(default=_fields_of, allow_nan=False, separators=(",", ":"), ensure_ascii=False)


# --- decoders, cached for each type --------------------------------------------------------------


@cache
def _decoder(hint: Any) -> Decoder:
    """Return a function that converts a parsed value to the annotated type, or raises `ValueError`.

    Raises:
        TypeError: the codec does not support this type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is Annotated:
        return _stepwise(_decoder(arguments[0]), hint.__metadata__)
    if origin in (Union, UnionType) and len(arguments) == 2 and NoneType in arguments:
        return _optional(_decoder(next(option for option in arguments if option is not NoneType)))
    if origin is tuple and arguments[1:] == (...,):
        return _sequence(_decoder(arguments[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_decoder(arguments[0]), _decoder(arguments[1]))
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return lambda value: hint(_text(value))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _row(hint) if issubclass(hint, Row) else _fields(hint)
    raise TypeError(f"there is no codec for {hint!r}")


def _mismatch(expected: str, value: object) -> ValueError:
    return ValueError(f"{expected} expected, not {type(value).__name__}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _mismatch("a text", value)
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _mismatch("true or false", value)
    return value


def _integer(value: Any) -> int:
    if type(value) is not int:  # a bool is an int, too
        raise _mismatch("a whole number", value)
    if not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise ValueError("a number is too large")
    return value


def _real(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise _mismatch("a number", value)
    if not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise ValueError("a number is too large")
    return float(value)


_PLAIN: dict[Any, Decoder] = {str: _text, bool: _flag, int: _integer, float: _real}


def _stepwise(decode: Decoder, steps: tuple[Decoder, ...]) -> Decoder:
    for step in steps:
        decode = _then(decode, step)
    return decode


def _then(decode: Decoder, step: Decoder) -> Decoder:
    return lambda value: step(decode(value))


def _optional(decode: Decoder) -> Decoder:
    return lambda value: None if value is None else decode(value)


def _sequence(decode: Decoder) -> Decoder:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _mismatch("an array", value)
        return tuple([decode(item) for item in value])

    return read


def _mapping(decode_key: Decoder, decode: Decoder) -> Decoder:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _mismatch("an object", value)
        return {decode_key(key): decode(item) for key, item in value.items()}

    return read


def _field_decoders(cls: Any) -> tuple[dict[str, Decoder], list[str]]:
    """Return the decoder of each field of a dataclass, in order, and the fields without a default."""
    fields, hints = dataclasses.fields(cls), get_type_hints(cls, include_extras=True)
    without_default = (dataclasses.MISSING, dataclasses.MISSING)
    required = [field.name for field in fields if (field.default, field.default_factory) == without_default]
    return {field.name: _decoder(hints[field.name]) for field in fields}, required


def _fields(cls: type) -> Decoder:
    decoders, required = _field_decoders(cls)
    grows = cls in RECORDS and RECORDS[cls].version is None
    check = getattr(cls, "check", None)

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _mismatch("an object", value)
        known = {}
        for name, item in value.items():
            if (decode := decoders.get(name)) is not None:
                try:
                    known[name] = decode(item)
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
            elif not grows:
                raise ValueError(f"the field {name[:40]!r} is unknown")
        for name in required:
            if name not in known:
                raise ValueError(f"the field {name!r} is missing")
        made = cls(**known)
        if check is not None:
            check(made)
        return made

    return read


def _row(cls: type) -> Decoder:
    decoders = list(_field_decoders(cls)[0].values())
    check = getattr(cls, "check", None)

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _mismatch("an array", value)
        if len(value) != len(decoders):
            raise ValueError(f"{len(value)} items instead of {len(decoders)}")
        made = cls(*[decode(item) for decode, item in zip(decoders, value, strict=True)])
        if check is not None:
            check(made)
        return made

    return read
