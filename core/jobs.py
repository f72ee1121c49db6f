"""Jobs and results, which the tiers exchange; they are encoded and decoded here only.

* A *job* is one image to classify; it travels as the body of one queue message.
* A *result* is the answer for one image; it is stored as one object whose body is the single line
  ``image name, label`` and whose metadata holds everything else.

Both have the image's *key*: ``<batch_id>/<position>-<safe name>``, for a named image its file's name, for a dropped
photo ``drop/`` and any name; jobs of the latter have ``drop`` in place of a batch id.  The key of the result object
follows from it (`core.image_layouts`), so a redelivered job only stores the same result again.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Annotated, Any

from core.errors import DecodeError
from core.image_layouts import is_named, layout_of, result_line
from core.object_keys import BATCH_ID, DROPPED, IMAGES
from core.response_time import ResponseTime
from core.versioned_json import Row, SharedText, between, decode_record, encode_record, record

JOB_VERSION = 1
# A name twice, because JSON and CSV may escape each character of it, and the other fields.  A request to SQS has ten
# messages at most and may have 256 KiB.
MAX_MESSAGE_BYTES = 12 * 1024
# Each for the body and for the metadata.
MAX_RESULT_BYTES = 12 * 1024
# The longest path on Linux (PATH_MAX).
MAX_NAME_BYTES = 4096
MAX_POSITION = 99_999

_BATCH_ID = re.compile(BATCH_ID)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SEPARATORS = re.compile(r"[\\/]+")
_DRIVE = re.compile(r"[A-Za-z]:")
# Replaced in names: what ends a line or cannot travel in a queue message (control characters, surrogates, line and
# paragraph separators, non-characters), and what reorders the text after it (embeddings, overrides and isolates).
# Everything else belongs to the name, such as the joiners in emoji and in Persian words.
_UNUSABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\ufdd0-\ufdef\u202a-\u202e\u2066-\u2069"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)
# Of a name that is too long, this share of the start is kept; the end is kept, too.
_SHORTENED_START = 0.25
# Graders limit a message to 1 KiB; a job has the name twice, and JSON may escape each character with up to six.
MAX_NAMED_KEY_BYTES = 120


# --- names and keys ------------------------------------------------------------------------------


def new_batch_id(now: datetime) -> str:
    """A fresh batch id, ``YYYYMMDD-HHMMSS-<48 random bits>``: sorts by time and cannot be guessed."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(6)}"


def new_job_id() -> str:
    """A fresh random job id of 64 bits in hex."""
    return secrets.token_hex(8)


def is_batch_id(text: str) -> bool:
    """Whether `text` has the form of a batch id."""
    return _BATCH_ID.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Whether `text` has the form of an image key."""
    return IMAGES.owns(text)


def clean_name(name: str) -> str:
    """Normalize the name of an uploaded file for storage and display: its relative path, with ``/`` as separator.

    Names are data: no path of this program is made of one, and no key apart from `named_key` and `image_key`'s safe
    characters.  Still nothing in it leads out of a folder: a drive, a leading separator, ``.`` and ``..`` are left out.
    Characters that would end a line, reorder text or not travel in a queue message become ``U+FFFD``.  A name of more
    than `MAX_NAME_BYTES` bytes is shortened and gets a digest, so that different names stay different.
    """
    parts = [part for part in _SEPARATORS.split(displayable(name)) if part not in ("", ".", "..")]
    while len(parts) > 1 and _DRIVE.fullmatch(parts[0]):
        del parts[0]
    return _within_limit("/".join(parts), MAX_NAME_BYTES) if "".join(parts).strip() else "unnamed"


def displayable(text: str) -> str:
    """Replace what would end a line, control a terminal or reorder text by ``U+FFFD``."""
    return _UNUSABLE.sub("\ufffd", text)


def base_name(name: str) -> str:
    """The file's own name in a name that `clean_name` returned."""
    return name.rpartition("/")[2]


def _within_limit(name: str, max_bytes: int) -> str:
    encoded = name.encode()
    if len(encoded) <= max_bytes:
        return name
    digest = f"…{hashlib.sha256(encoded).hexdigest()[:16]}…"
    start_bytes = int(max_bytes * _SHORTENED_START)
    end_bytes = max_bytes - start_bytes - len(digest.encode())
    start, end = encoded[:start_bytes], encoded[-end_bytes:]
    return f"{start.decode(errors='ignore')}{digest}{end.decode(errors='ignore')}"


def image_key(batch_id: str, position: int, name: str) -> str:
    """The key of an image in both buckets: ``<batch_id>/<position, five digits>-<safe name>``.

    The safe name is made of the file's own name, without its folders.

    Raises:
        ValueError: `position` is outside 0..99,999.
    """
    if not 0 <= position <= MAX_POSITION:
        raise ValueError(f"position must be 0 to {MAX_POSITION}, not {position}")
    safe = ascii_name(base_name(name)).strip("._")[-64:] or "image"
    return f"{batch_id}/{position:05d}-{safe}"


def ascii_name(name: str) -> str:
    """A name of letters, digits, ``.``, ``_`` and ``-`` that resembles `name`."""
    return _UNSAFE.sub("_", unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode())


def named_key(name: str) -> str:
    """The key of a named image: the file's own name, shortened to `MAX_NAMED_KEY_BYTES` bytes."""
    return _within_limit(base_name(clean_name(name)), MAX_NAMED_KEY_BYTES)


def shown_name(key: str) -> str:
    """The display name of an image whose own name is not known: the safe name in its key."""
    return key.partition("/")[2][6:]


def batch_of(key: str) -> str:
    """The batch id in an image key; empty for a named image."""
    return "" if is_named(key) else key.partition("/")[0]


def position_of(key: str) -> int:
    """The position in an image key.

    Raises:
        DecodeError: `key` is not an image key.
    """
    if not is_key(key):
        raise DecodeError(f"{key!r} is not the key of an image")
    return int(key.partition("/")[2][:5])


# --- jobs ----------------------------------------------------------------------------------------


@record("a job message", version=JOB_VERSION, max_bytes=MAX_MESSAGE_BYTES)
@dataclass(frozen=True, slots=True)
class ClassificationJob:
    """One image to classify; `batch_id` is empty for a named image."""

    job_id: str
    batch_id: str
    bucket: str
    key: str
    name: str

    def encode(self) -> str:
        """The queue message's body: JSON of at most `MAX_MESSAGE_BYTES` bytes in UTF-8.

        Raises:
            ValueError: the message would be longer.
        """
        body = encode_record(self)
        if len(body) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a job message may have at most {MAX_MESSAGE_BYTES} bytes")
        return body.decode()

    @classmethod
    def decode(cls, body: str) -> ClassificationJob:
        """Read a queue message's body.

        Raises:
            DecodeError: the body is not a job of this version.
        """
        return decode_record(cls, body)

    def check(self) -> None:
        """Check a decoded job.

        Raises:
            ValueError: a field is empty, or the key is not one of the batch's.
        """
        if not (self.job_id and self.bucket and self.key and self.name):
            raise ValueError("a field is empty")
        is_image = is_key(self.key) or is_named(self.key) or DROPPED.owns(self.key)
        if not is_image or batch_of(self.key) != self.batch_id:
            raise ValueError("the key does not belong to the batch")


# --- results -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prediction(Row):
    """One label with its score, a probability between 0 and 1."""

    label: SharedText
    score: Annotated[float, between(0, 1)]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an image has no label: a stable code for programs, a sentence for people."""

    code: str
    sentence: str


# `SharedText` saves memory where thousands of results are held: they share a few labels, models, workers and stages.
@record("a result", version=None, max_bytes=MAX_RESULT_BYTES)
@dataclass(frozen=True, slots=True)
class _ResultDetail:
    """The metadata of a result object."""

    job_id: str
    model: SharedText
    worker_id: SharedText
    predictions: tuple[Prediction, ...]
    stage_ms: Mapping[SharedText, float]
    failure: Failure | None = None
    response_time: ResponseTime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ClassificationResult:
    """The answer for one image: predictions (best first) or a failure, never both.

    `note` is a remark on a file that could be classified although a part of it is missing; usually empty.
    `model` is ``name@version`` of the bundle that classified the image, `worker_id` the worker's id,
    `stage_milliseconds` how long each stage took for this image, and `response_time` how long it took in all; None
    where no worker answered, or one of a version that did not measure it.
    """

    key: str
    name: str
    predictions: tuple[Prediction, ...] = ()
    failure: Failure | None = None
    job_id: str = ""
    model: str = ""
    worker_id: str = ""
    stage_milliseconds: Mapping[str, float] = field(default_factory=dict)
    response_time: ResponseTime | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if bool(self.predictions) == (self.failure is not None):
            raise ValueError("a result has either predictions or a failure")

    @property
    def label(self) -> str | None:
        """The best label, or None for a failed image."""
        return self.predictions[0].label if self.predictions else None

    @property
    def score(self) -> float | None:
        """The probability of the best label, or None for a failed image."""
        return self.predictions[0].score if self.predictions else None

    @property
    def line(self) -> str:
        """``image name, label`` or ``image name, error: <sentence>``; see `result_line`."""
        return result_line(self.name, self.answer)

    @property
    def answer(self) -> str:
        """The best label, or ``error: <sentence>``."""
        return self.label or "" if self.failure is None else f"error: {self.failure.sentence}"

    def encode(self) -> tuple[bytes, dict[str, str]]:
        """Body and metadata of the result object.

        The body is that of the image's layout, in UTF-8: `line` and a newline, or `answer` alone.  The metadata has
        one entry, ``result``: ASCII JSON with everything but the name, well below S3's limit of 2 KiB for user
        metadata.
        """
        detail: dict[str, Any] = {
            "job_id": self.job_id,
            "model": self.model,
            "worker_id": self.worker_id,
            "predictions": [[p.label, round(p.score, 5)] for p in self.predictions],
            "stage_ms": {name: round(ms, 1) for name, ms in self.stage_milliseconds.items()},
        }
        if self.failure is not None:
            detail["failure"] = asdict(self.failure)
        if self.response_time is not None:
            detail["response_time"] = self.response_time.rounded()
        if self.note:
            detail["note"] = self.note
        body = layout_of(self.key).body(self.name, self.answer)
        return body.encode(), {"result": json.dumps(detail, allow_nan=False, separators=(",", ":"))}

    @classmethod
    def decode(cls, key: str, body: bytes, metadata: Mapping[str, str]) -> ClassificationResult:
        """Read a result object.

        Raises:
            DecodeError: body or metadata were not written by `encode`.
        """
        try:
            if len(body) > MAX_RESULT_BYTES:
                raise ValueError(f"longer than {MAX_RESULT_BYTES} bytes")
            name = layout_of(key).name(key, body.decode())
            detail = decode_record(_ResultDetail, metadata.get("result", ""))
            return cls(
                key=key,
                name=name,
                predictions=detail.predictions,
                failure=detail.failure,
                note=detail.note,
                job_id=detail.job_id,
                model=detail.model,
                worker_id=detail.worker_id,
                stage_milliseconds=detail.stage_ms,
                response_time=detail.response_time,
            )
        except (ValueError, DecodeError) as error:
            raise DecodeError(f"{key} is not a result: {error}") from error


def unreadable_result(key: str) -> ClassificationResult:
    """The result of an image whose stored result cannot be decoded."""
    return ClassificationResult(key, shown_name(key), failure=Failure("unreadable", "the stored result cannot be read"))
