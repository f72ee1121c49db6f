"""Shadow mode: the candidate that classifies a share of the photos in addition to the serving model.

One object in the state bucket, written by ``elastic model shadow`` and read by every worker.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated

from core.versioned_json import Record, between, record

MAX_BYTES = 4096
# Workers may read this prefix.
KEY = "models/shadow.json"


@record("a shadow", version=1, max_bytes=MAX_BYTES)
@dataclass(frozen=True, slots=True)
class Shadow(Record):
    """A candidate (``name@version``; empty: none) and the share of photos that it classifies, 0 to 1."""

    model: str = ""
    share: Annotated[float, between(0, 1)] = 0.0

    def sees(self, key: str) -> bool:
        """Whether the candidate classifies the photo with this key; the same for every worker and delivery."""
        if not self.model:
            return False
        point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
        return point < self.share
