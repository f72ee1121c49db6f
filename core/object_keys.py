"""Object keys: the families of keys that this program writes, and the names in them.

A bucket can also hold foreign objects: a photo copied there by hand, the empty object that S3's console makes for a
folder.  The stores' listings yield only keys of the requested family, so no caller has to filter.  Only below ``drop/``
in the input bucket are other programs asked to put objects, under any key: see `core.dropped_photos`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# S3's limit.
MAX_KEY_BYTES = 1024
BATCH_ID = r"[0-9]{8}-[0-9]{6}-[0-9a-f]{12}"
_POSITION_AND_NAME = r"[0-9]{5}-[A-Za-z0-9._-]{1,64}"
OWNER = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
TOKEN_ID = r"[0-9a-f]{16}"  # noqa: S105 - a pattern is no secret
# A part of a model's key, of a tag and of a folder's name.
MODEL_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
ROLE_ID = r"[A-Z0-9]{16,64}"
_INSTANCE_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


@dataclass(frozen=True, slots=True)
class KeyFamily:
    """The keys of one kind of object: a prefix, a name and a suffix.

    Attributes:
        name: a regular expression for the part between prefix and suffix.
    """

    prefix: str
    name: str
    suffix: str = ""
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pattern = re.compile(f"{re.escape(self.prefix)}({self.name}){re.escape(self.suffix)}")
        object.__setattr__(self, "_pattern", pattern)

    def key_of(self, name: str) -> str:
        """The key of the object of this name.

        Raises:
            ValueError: the name does not match the family's pattern.
        """
        key = f"{self.prefix}{name}{self.suffix}"
        if not self.owns(key):
            raise ValueError(f"{name!r} cannot be a part of a key such as {self.prefix}…{self.suffix}")
        return key

    def name_of(self, key: str) -> str:
        """The name in a key.

        Raises:
            ValueError: it is a key of another family, or a foreign one.
        """
        found = self._pattern.fullmatch(key)
        if found is None:
            raise ValueError(f"{key!r} is not a key such as {self.prefix}…{self.suffix}")
        return found[1]

    def owns(self, key: str) -> bool:
        """Whether a key is of this family."""
        return self._pattern.fullmatch(key) is not None


@dataclass(frozen=True, slots=True)
class OpenKeys:
    """The keys below a prefix whose rest other programs choose: of any characters, but not that of a folder."""

    prefix: str

    def name_of(self, key: str) -> str:
        """The part of a key after the prefix.

        Raises:
            ValueError: it is another key, or that of a folder.
        """
        if not self.owns(key):
            raise ValueError(f"{key!r} is not a key such as {self.prefix}…")
        return key[len(self.prefix) :]

    def owns(self, key: str) -> bool:
        """Whether a key is one of these."""
        return (
            key.startswith(self.prefix) and not key.endswith("/") and len(key.encode(errors="replace")) <= MAX_KEY_BYTES
        )


# The input bucket, and with the same key the output bucket.
IMAGES = KeyFamily("", f"{BATCH_ID}/{_POSITION_AND_NAME}")
DROPPED = OpenKeys("drop/")
# The input bucket, beside the images.
BATCH_RECORDS = KeyFamily("batches/", BATCH_ID, ".json")
OWNED_BATCHES = KeyFamily("owners/", f"{OWNER}/[0-9]{{14}}-{BATCH_ID}")
DELETED_BATCHES = KeyFamily("deleted/", BATCH_ID)
# Names of images that are too long for the image's metadata, by their SHA-256.
LONG_NAMES = KeyFamily("names/", f"{BATCH_ID}/[0-9a-f]{{64}}")
# The output bucket, beside a batch's results: a listing of these shows the mark without another request.
CANCELLED_MARKS = KeyFamily("", BATCH_ID, "/cancelled")
RESULT_TABLES = KeyFamily("", BATCH_ID, "/results.csv")
# Several results of a batch, by the highest position among them; see `aws.result_packs`.
RESULT_PACKS = KeyFamily("", f"{BATCH_ID}/[0-9]{{5}}_[0-9a-f]{{16}}", ".jsonl")
# The state bucket.
# Before the instance may stand the id of its role: together they are what IAM calls the user id of an instance.
HEARTBEATS = KeyFamily("workers/", f"(?:{ROLE_ID}:)?{_INSTANCE_ID}", ".json")
TOKENS = KeyFamily("tokens/", TOKEN_ID, ".json")
USAGE = KeyFamily("usage/", TOKEN_ID, ".json")
PENDING_WEBHOOKS = KeyFamily("webhooks/", BATCH_ID, ".json")
MODEL_FILES = KeyFamily("models/files/", r"[0-9a-f]{64}")
MODEL_VERSIONS = KeyFamily("models/versions/", f"{MODEL_PART}/{MODEL_PART}", ".json")
# A run's id has the form of a batch's; the marks make the runs that are not over cheap to find.
BULK_RUNS = KeyFamily("controller/bulk/runs/", BATCH_ID, ".json")
ACTIVE_BULK_RUNS = KeyFamily("controller/bulk/active/", BATCH_ID)
# What the web tier asks the controller for, by the run's id.
BULK_REQUESTS = KeyFamily("web/bulk/", BATCH_ID, ".json")

# Every family; a test checks each against the contract of this module.
FAMILIES = (
    IMAGES,
    BATCH_RECORDS,
    OWNED_BATCHES,
    DELETED_BATCHES,
    LONG_NAMES,
    CANCELLED_MARKS,
    RESULT_TABLES,
    RESULT_PACKS,
    HEARTBEATS,
    TOKENS,
    USAGE,
    PENDING_WEBHOOKS,
    MODEL_FILES,
    MODEL_VERSIONS,
    BULK_RUNS,
    ACTIVE_BULK_RUNS,
    BULK_REQUESTS,
)
# The prefixes in the input bucket, beside those of its batches.
INPUT_PREFIXES = frozenset(kind.prefix for kind in (BATCH_RECORDS, OWNED_BATCHES, DELETED_BATCHES, LONG_NAMES, DROPPED))
