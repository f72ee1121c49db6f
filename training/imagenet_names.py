"""The names of ImageNet's 1000 classes."""

from __future__ import annotations

from pathlib import Path

_CLASSES_FILE = Path(__file__).parent / "imagenet_classes.txt"
# Two pairs of classes share a name; their labels have to differ.
_DISAMBIGUATED = {
    "n02012849": "crane (bird)",
    "n03126707": "crane (machine)",
    "n03710637": "maillot (tights)",
    "n03710721": "maillot (tank suit)",
}


def class_names() -> list[tuple[str, str]]:
    """ImageNet's 1000 classes in the order of Keras's outputs: synset, and Keras's name for it.

    A test compares the list with the hash that Keras publishes for its own.
    """
    lines = _CLASSES_FILE.read_text("utf-8").splitlines()
    return [(synset, name) for synset, _, name in (line.partition(" ") for line in lines)]


def labels() -> list[str]:
    """The 1000 labels, all different, with spaces instead of underscores."""
    return [_DISAMBIGUATED.get(synset, name.replace("_", " ")) for synset, name in class_names()]


def names_of_synsets() -> dict[str, str]:
    """The label of each of the 1000 synsets."""
    return dict(zip((synset for synset, _ in class_names()), labels(), strict=True))
