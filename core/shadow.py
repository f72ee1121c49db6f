"""Shadow mode: which model sees a share of the photos beside the one that answers them.

One object in the state bucket, written by ``elastic model shadow`` and read by every worker.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

from core.versioned_json import decode_record, encode_record

VERSION = 1
# Below the prefix that workers may read.
KEY = "models/shadow.json"


@dataclass(frozen=True, slots=True)
class Shadow:
    """A candidate (``name@version``; empty: none) and the share of photos that it sees, 0 to 1."""

    model: str = ""
    share: float = 0.0

    def sees(self, key: str) -> bool:
        """Whether the candidate sees the photo with this key; the same at every worker and every time."""
        if not self.model:
            return False
        point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
        return point < self.share

    def encode(self) -> bytes:
        """The object's body."""
        return encode_record(dataclasses.asdict(self), VERSION)

    @classmethod
    def decode(cls, body: bytes) -> Shadow:
        """Reads what `encode` wrote.

        Raises:
            DecodeError: it is something else, or of another version.
        """
        return decode_record(body, VERSION, lambda f: cls(str(f["model"]), float(f["share"])), "a shadow")
