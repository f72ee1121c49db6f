"""Plan of an upload into a batch that has images already: which files to send, and to which positions.

So an upload that was interrupted is resumed from any machine: its client names all files again, and sends what is
missing.  The decisions are pure; `web_tier.domain.batches` lists the batch.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count

from core.batch_record import BatchRecord
from core.jobs import clean_name


@dataclass(frozen=True, slots=True)
class ChosenFile:
    """A file that a client is about to send; `name` is its relative path."""

    name: str
    size_bytes: int


class KnownImages:
    """The images that a batch has, by name and size.

    A file is in the batch if an image has the same name and, where it is known, the same size.  Each image stands for
    one file: of two equal files, of which one is there, the other is new.

    Args:
        images: pairs of name and size in bytes; None for a rejected file, of which only the result is stored.
    """

    def __init__(self, images: Iterable[tuple[str, int | None]]) -> None:
        self._images = Counter(images)

    def take(self, file: ChosenFile) -> bool:
        """Whether a file is in the batch; its image then stands for no other file."""
        name = clean_name(file.name)
        for entry in ((name, file.size_bytes), (name, None)):
            if self._images[entry]:
                self._images[entry] -= 1
                return True
        return False


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """Where each file goes.

    Attributes:
        positions: for each file, in order, its position; None if it is not to be sent.
        known: how many files are in the batch already.
        full: how many files the batch has no room for.
        announced: how many images the batch then has in all.
        additional: whether the files were taken for more than what is missing of those announced before.
    """

    positions: list[int | None]
    known: int
    full: int
    announced: int
    additional: bool


def plan_upload(
    missing_here: Sequence[bool],
    taken: Collection[int],
    accepted: int,
    record: BatchRecord,
    max_images: int,
    *,
    additional: bool = False,
) -> UploadPlan:
    """Decides the positions of files, and how many images the batch has with them.

    The rest of an interrupted upload gets the positions that are free among those announced, in order, so that the
    batch is in the order of the folder again.  Additional files come after all others, since an upload that is in
    progress elsewhere uses the free positions.

    Files are taken for the rest if some of the same choice are in the batch, or if there are as many as are missing.
    Where this is wrong, too many images are announced rather than too few: the batch then stays incomplete until it is
    closed, but no file is forgotten.

    Args:
        missing_here: for each file, whether the batch lacks it.
        taken: the positions in use.
        accepted: how many images the batch has.
        max_images: the limit on a batch's images; no position reaches it.
        additional: the files certainly are none of those announced before.
    """
    wanted = sum(missing_here)
    missing = max(0, record.announced - accepted)
    additional = additional or (wanted == len(missing_here) and wanted != missing)
    after = max((position + 1 for position in taken), default=0)
    if additional:
        free: Iterator[int] = count(max(after, record.announced))
    else:
        gaps = (position for position in range(record.announced) if position not in taken)
        free = chain(gaps, count(max(after, record.announced)))
    positions, full = _allot(missing_here, free, max_images)
    sent = wanted - full
    base = accepted if record.closed else max(record.announced, accepted)
    announced = base + sent if additional else max(base, accepted + sent)
    return UploadPlan(positions, len(missing_here) - wanted, full, announced, additional)


def _allot(missing_here: Sequence[bool], free: Iterator[int], end: int) -> tuple[list[int | None], int]:
    positions: list[int | None] = []
    full = 0
    for missing in missing_here:
        position = next(free) if missing else None
        if position is not None and position >= end:
            position, full = None, full + 1
        positions.append(position)
    return positions, full


def announce(record: BatchRecord, announced: int, now: float) -> BatchRecord:
    """The record with at least `announced` images announced, and open for them.

    Args:
        now: seconds since the epoch.
    """
    total = announced if record.closed else max(record.announced, announced)
    return dataclasses.replace(record, announced=total, announced_at=now, closed=False)
