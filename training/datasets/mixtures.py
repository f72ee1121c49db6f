"""Read a mixture of data sets: a TOML file that lists data sets, and maps their class names to ImageNet's."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from core.errors import TrainingError
from training.datasets.near_duplicates import find_near_duplicates
from training.datasets.samples import PARTS, TEST, ImageDataset, build_dataset
from training.imagenet_names import names_of_synsets

# The placeholder in `images` for the part of the path that is the class.
CLASS = "{class}"
_SYNSET = re.compile(r"n\d{8}")
_TOKENS = re.compile(r"\*\*/|\*|\{class\}")
_AS_REGEX = {"**/": r"(?:.*/)?", "*": r"[^/]*", CLASS: r"(?P<label>[^/]+?)"}


@dataclass(frozen=True, slots=True)
class Source:
    """One data set of a mixture.

    Args:
        images: pattern of its files relative to the mixture's folder; `CLASS` is a synset, or a key of `classes`.
        classes: ImageNet's name or synset, by the set's own class name; other classes are left out.
        part: one of `PARTS`; None: to be split.
        leave_out: pattern of file names that are left out.
    """

    images: str
    classes: Mapping[str, str] | None
    part: str | None
    leave_out: str

    def files(self, root: Path) -> Iterator[tuple[Path, str]]:
        """Yields the files, and the synset of each.

        Raises:
            TrainingError: no file matches.
        """
        pattern = _TOKENS.split(self.images), _TOKENS.findall(self.images)
        regex = re.compile("".join(_interleaved(pattern)))
        found = False
        for path in sorted(root.glob(self.images.replace(CLASS, "*"))):
            match = regex.fullmatch(path.relative_to(root).as_posix())
            if match is None or not path.is_file() or (self.leave_out and fnmatch(path.name, self.leave_out)):
                continue
            found = True
            label = match["label"]
            synset = label if self.classes is None else self.classes.get(label, "")
            if _SYNSET.fullmatch(synset):
                yield path, synset
        if not found:
            raise TrainingError(f"no file in {root} matches {self.images}")


def read_mixture(path: Path) -> ImageDataset:
    """Reads a mixture.

    Test images of classes without training images are left out, and so are training images that are near duplicates
    of a test image: two data sets may have the same photo in different sizes.

    Raises:
        TrainingError: the file is invalid, or a data set is missing.
    """
    root = path.parent.resolve()
    name, sources = _read(path)
    items = [
        (file.relative_to(root).as_posix(), synset, source, file)
        for source in sources
        for file, synset in source.files(root)
    ]
    trained = {synset for _, synset, source, _ in items if source.part != TEST}
    tests = [item for item in items if item[2].part == TEST and item[1] in trained]
    others = [item for item in items if item[2].part != TEST]
    duplicates = find_near_duplicates([item[3] for item in others], [item[3] for item in tests])
    kept = [item for index, item in enumerate(others) if index not in duplicates] + tests
    dataset = build_dataset(
        name, [(file_name, synset, source.part, file) for file_name, synset, source, file in kept], names_of_synsets()
    )
    named = zip(dataset.samples, kept, strict=True)
    return replace(dataset, samples=tuple(replace(sample, source=item[2].images) for sample, item in named))


def _read(path: Path) -> tuple[str, list[Source]]:
    try:
        with path.open("rb") as file:
            fields = tomllib.load(file)
        sources = [_source(source) for source in fields["source"]]
        return str(fields.get("name", path.stem)), sources
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path} is not a mixture of data sets: {error}") from error


def _source(fields: dict[str, Any]) -> Source:
    fields = dict(fields)
    images, part = str(fields.pop("images")), fields.pop("part", None)
    classes: dict[str, str] | None = fields.pop("classes", None)
    leave_out = str(fields.pop("leave_out", ""))
    if fields:
        raise ValueError(f"unknown key {', '.join(sorted(fields))}")
    if images.count(CLASS) != 1 or images.startswith("/") or ".." in Path(images).parts:
        raise ValueError(f"images = {images!r} must be a path in the file's folder with one {CLASS}")
    if part not in (None, *PARTS):
        raise ValueError(f"part = {part!r} is none of {', '.join(PARTS)}")
    return Source(images, None if classes is None else _synsets_of(classes), part, leave_out)


def _synsets_of(classes: Mapping[str, str]) -> dict[str, str]:
    """Maps class names to synsets.

    Raises:
        ValueError: ImageNet has no class of a name, or two.
    """
    by_name: dict[str, list[str]] = {}
    for synset, name in names_of_synsets().items():
        by_name.setdefault(name, []).append(synset)
        by_name[synset] = [synset]
    for own, name in classes.items():
        if len(by_name.get(name, ())) != 1:
            raise ValueError(f"{own} = {name!r}: ImageNet has {len(by_name.get(name, ()))} classes of that name")
    return {own: by_name[name][0] for own, name in classes.items()}


def _interleaved(pattern: tuple[list[str], list[str]]) -> Iterator[str]:
    texts, tokens = pattern
    for text, token in zip(texts, [*tokens, ""], strict=True):
        yield re.escape(text)
        yield _AS_REGEX.get(token, "")
