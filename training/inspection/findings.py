"""Summarize a scanned data set: class distribution, sizes, duplicates and broken files; pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from training.datasets.near_duplicates import groups_within
from training.datasets.samples import PARTS, ImageDataset
from training.inspection.scan import ImageFacts

UNASSIGNED = "unassigned"


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are duplicates of each other, as indices of samples.

    Attributes:
        across_classes: they have different labels, of which all but one are wrong.
        across_parts: they are in different parts, so that a model would be tested on images that it was trained on.
    """

    members: tuple[int, ...]
    across_classes: bool
    across_parts: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """What `inspect` finds.

    Attributes:
        counts: for each class the number of its images by part, the largest class first.
        broken: indices of images that cannot be decoded.
        exact: groups of images with the same pixels.
        near: groups of images that resemble each other; those of `exact` count as one image.
        formats: the number of images by file format.
    """

    dataset: ImageDataset
    facts: tuple[ImageFacts, ...]
    counts: tuple[tuple[int, dict[str, int]], ...]
    broken: tuple[int, ...]
    exact: tuple[Group, ...]
    near: tuple[Group, ...]
    formats: dict[str, int]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that the data set assigns; `UNASSIGNED` if `elastic train` would split it."""
        found = {part for _, by_part in self.counts for part in by_part}
        return tuple(part for part in (*PARTS, UNASSIGNED) if part in found)

    @property
    def imbalance(self) -> float:
        """How many times as many images the largest class has as the smallest."""
        totals = [sum(by_part.values()) for _, by_part in self.counts]
        return max(totals) / min(totals)

    def spread(self, values: Iterable[int]) -> tuple[int, float, int]:
        """The smallest, the median and the largest of positive values; zeros if there is none."""
        known = [value for value in values if value > 0]
        return (min(known), median(known), max(known)) if known else (0, 0.0, 0)

    @property
    def shorter_sides(self) -> list[int]:
        """The shorter side of each image whose size is known, pixels."""
        return [min(each.width, each.height) for each in self.facts if each.width]

    def to_json(self) -> dict[str, Any]:
        """The findings as JSON values; images are given by their names."""
        names, labels = [sample.name for sample in self.dataset.samples], self.dataset.labels

        def groups(found: Sequence[Group]) -> list[dict[str, Any]]:
            return [
                {
                    "images": [names[index] for index in group.members],
                    "across_classes": group.across_classes,
                    "across_parts": group.across_parts,
                }
                for group in found
            ]

        keys = ("smallest", "median", "largest")
        return {
            "name": self.dataset.name,
            "images": len(names),
            "classes": [{"label": labels[label], **by_part} for label, by_part in self.counts],
            "width": dict(zip(keys, self.spread(each.width for each in self.facts), strict=True)),
            "height": dict(zip(keys, self.spread(each.height for each in self.facts), strict=True)),
            "file_bytes": dict(zip(keys, self.spread(each.size_bytes for each in self.facts), strict=True)),
            "formats": self.formats,
            "broken": [{"name": names[index], "reason": self.facts[index].problem} for index in self.broken],
            "exact_duplicates": groups(self.exact),
            "near_duplicates": groups(self.near),
        }


def inspect(dataset: ImageDataset, facts: Sequence[ImageFacts]) -> Findings:
    """Summarizes the facts of a data set's images, which are in the order of its samples."""
    by_class: dict[int, Counter[str]] = defaultdict(Counter)
    for sample in dataset.samples:
        by_class[sample.label][sample.part or UNASSIGNED] += 1
    by_digest: dict[str, list[int]] = defaultdict(list)
    for index, each in enumerate(facts):
        if each.digest:
            by_digest[each.digest].append(index)
    # Exact duplicates are one image here: else they would be reported twice.
    firsts = [members[0] for members in by_digest.values()]
    hashes = np.array([facts[index].difference_hash for index in firsts], np.uint64)
    return Findings(
        dataset,
        tuple(facts),
        tuple((label, dict(count)) for label, count in sorted(by_class.items(), key=lambda e: -e[1].total())),
        tuple(index for index, each in enumerate(facts) if each.problem),
        tuple(_group(dataset, members) for members in by_digest.values() if len(members) > 1),
        tuple(_group(dataset, [firsts[position] for position in group]) for group in groups_within(hashes)),
        dict(Counter(each.format for each in facts if each.format).most_common()),
    )


def _group(dataset: ImageDataset, members: Sequence[int]) -> Group:
    samples = [dataset.samples[index] for index in members]
    return Group(tuple(members), len({each.label for each in samples}) > 1, len({each.part for each in samples}) > 1)
