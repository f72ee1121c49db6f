"""Cached features of views with the teacher's logits, in files of some thousand views, read by memory mapping."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VIEWS_PER_SHARD = 2048


def has_shard(folder: Path, number: int) -> bool:
    """Whether a shard is complete."""
    return _path(folder, number, "logits").exists()


def write_shard(folder: Path, number: int, features: NDArray[np.floating], logits: NDArray[np.floating]) -> None:
    """Writes a shard as float16, which changes no logit by more than a thousandth of their spread.

    Args:
        features: shape (views, height, width, channels).
        logits: shape (views, classes).
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The logits come last: where they exist, the features are complete.
    for name, values in (("features", features), ("logits", logits)):
        path = _path(folder, number, name)
        part = path.with_name(f".part-{path.name}")
        np.save(part, values.astype(np.float16))
        part.replace(path)


class Shards:
    """The views in all shards of some folders, numbered from 0 through all of them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        paths = [path for folder in folders for path in sorted(folder.glob("*-logits.npy"))]
        pairs = [
            (np.load(path.with_name(path.name.replace("logits", "features")), mmap_mode="r"), logits)
            for path in paths
            if len(logits := np.load(path, mmap_mode="r"))
        ]
        self._features = [features for features, _ in pairs]
        self._logits = [logits for _, logits in pairs]
        self._ends = np.cumsum([len(logits) for logits in self._logits], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of a view's features and of its logits."""
        return self._features[0].shape[1:], self._logits[0].shape[1:]

    @property
    def logits(self) -> Sequence[NDArray[np.float16]]:
        """The teacher's logits, in parts of shape (views, classes), mapped from their files."""
        return self._logits

    def read(self, views: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        """Reads features (views, height, width, channels) and logits (views, classes)."""
        numbers = np.asarray(views)
        shards = np.searchsorted(self._ends, numbers, side="right")
        rows = numbers - np.concatenate([[0], self._ends])[shards]
        features = np.stack([self._features[shard][row] for shard, row in zip(shards, rows, strict=True)])
        logits = np.stack([self._logits[shard][row] for shard, row in zip(shards, rows, strict=True)])
        return features, logits.astype(np.float32)


def _path(folder: Path, number: int, name: str) -> Path:
    return folder / f"{number:05d}-{name}.npy"
