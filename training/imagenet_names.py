"""The names of ImageNet's 1000 classes."""

from __future__ import annotations

from pathlib import Path

_CLASSES_FILE = Path(__file__).parent / "imagenet_classes.txt"
# Two pairs of classes have one name between them; a label must say which is meant.
_TOLD_APART = {
    "n02012849": "crane (bird)",
    "n03126707": "crane (machine)",
    "n03710637": "maillot (tights)",
    "n03710721": "maillot (tank suit)",
}


def class_names() -> list[tuple[str, str]]:
    """ImageNet's 1000 classes in the order of Keras's outputs: synset, and Keras's name for it.

    Facts; that they are Keras's own list, a test shows by the hash that Keras publishes for it.
    """
    lines = _CLASSES_FILE.read_text("utf-8").splitlines()
    return [(synset, name) for synset, _, name in (line.partition(" ") for line in lines)]


def labels() -> list[str]:
    """The 1000 labels, no two alike, with spaces."""
    return [_TOLD_APART.get(synset, name.replace("_", " ")) for synset, name in class_names()]


def names_of_synsets() -> dict[str, str]:
    """For each of the 1000 synsets its label."""
    return dict(zip((synset for synset, _ in class_names()), labels(), strict=True))
