"""Groups of ImageNet's labels in plain words: a tabby is a cat, and a beagle a hound, a dog, a mammal and an animal.

`label_groups.tsv` has the groups of each label; ``python -m training.label_groups`` writes it from WordNet.  Results
have labels only, so the groups are found by label when a result is read, and results of any age have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from core.jobs import Prediction

TABLE_FILE = Path(__file__).with_name("label_groups.tsv")
# In the table: between a group and the wider one that contains it; instead of a group where there is none.
WITHIN, NONE = " < ", "-"

# `common_group` looks at this many labels.  Its group needs this share of their scores' sum, and this much of the whole
# probability: then it is right for nine photos of ten, see docs/reference/label-groups.md.
BEST_LABELS = 5
MIN_SHARE_OF_BEST = 0.95
MIN_GROUP_SCORE = 0.6


@dataclass(frozen=True, slots=True)
class LabelGroups:
    """The groups of a label.

    Attributes:
        shown: the group that is named beside the label; empty if there is none.
        path: all groups, from the narrowest to the widest, each within the next.
    """

    shown: str = ""
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CommonGroup:
    """A group that several of an image's labels belong to, and the sum of their scores."""

    name: str
    score: float


GroupTable = Mapping[str, LabelGroups]


def parse_table(text: str) -> dict[str, LabelGroups]:
    """The groups by label, from the table's text: lines of synset, label, shown group and path, separated by tabs."""
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return {
        label: LabelGroups("" if shown == NONE else shown, () if path == NONE else tuple(path.split(WITHIN)))
        for _synset, label, shown, path in rows
    }


@cache
def imagenet_groups() -> GroupTable:
    """The groups of ImageNet's 1000 labels, by label."""
    return parse_table(TABLE_FILE.read_text("utf-8"))


def groups_of(predictions: Sequence[Prediction], table: GroupTable) -> list[LabelGroups]:
    """The groups of each prediction's label.

    No label has a group unless all of them are in the table: other models have labels such as "jaguar" or "crane" that
    mean other things, but hardly five that are ImageNet's.
    """
    known = [table.get(prediction.label) for prediction in predictions]
    found = [groups for groups in known if groups is not None]
    return found if len(found) == len(predictions) else [LabelGroups()] * len(predictions)


def common_group(predictions: Sequence[Prediction], groups: Sequence[LabelGroups]) -> CommonGroup | None:
    """The narrowest group that an image's best labels have in common, by their scores; None if it is too unlikely.

    The labels of the group have at least `MIN_SHARE_OF_BEST` of the sum of all best labels' scores, and a score of
    `MIN_GROUP_SCORE` together.

    Args:
        predictions: best first; only the first `BEST_LABELS` count.
        groups: those of each prediction's label.
    """
    best = list(zip(predictions, groups, strict=True))[:BEST_LABELS]
    needed = max(MIN_GROUP_SCORE, MIN_SHARE_OF_BEST * sum(prediction.score for prediction, _ in best))
    # A group with nearly all of the probability contains the best label.
    for name in best[0][1].path if best else ():
        score = sum(prediction.score for prediction, of_label in best if name in of_label.path)
        if score >= needed:
            # Scores are rounded, so that their sum may exceed 1.
            return CommonGroup(name, min(score, 1.0))
    return None


def with_article(group: str) -> str:
    """A group with "a" or "an"; no group's name begins with a vowel that sounds like a consonant."""
    return f"{'an' if group[0] in 'aeiou' else 'a'} {group}"
