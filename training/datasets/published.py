"""Where published data sets come from, what their files are checked against, and their download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.datasets import cifar10, stanford_dogs
from training.download import download


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file, and its hash as ``algorithm:digits``."""

    url: str
    hash: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class PublishedDataset:
    """A data set with its official page and its files."""

    page: str
    files: tuple[PublishedFile, ...]


_DOGS = "http://vision.stanford.edu/aditya86/ImageNetDogs"
PUBLISHED = {
    "cifar10": PublishedDataset(
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (PublishedFile(f"https://www.cs.toronto.edu/~kriz/{cifar10.ARCHIVE}", f"md5:{cifar10.MD5}"),),
    ),
    "stanford-dogs": PublishedDataset(
        f"{_DOGS}/",
        tuple(PublishedFile(f"{_DOGS}/{name}", f"sha256:{digits}") for name, digits in stanford_dogs.SHA256.items()),
    ),
}


def download_dataset(
    dataset: PublishedDataset,
    folder: Path,
    report: Callable[[str], None],
    on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
) -> None:
    """Downloads a data set's files into a folder, unless they are there, and checks their hashes.

    Args:
        report: called with a sentence for each file: its address and what it is checked against.
        on_bytes: see `training.download.download`.

    Raises:
        ExportError: a file cannot be downloaded, or is not the published one.
    """
    report(f"The data set's page: {dataset.page}")
    for file in dataset.files:
        algorithm, _, digits = file.hash.partition(":")
        report(f"{file.url} to {folder / file.name}, checked against its published {algorithm}, {digits}")
        download(file.url, file.hash, folder / file.name, on_bytes)
