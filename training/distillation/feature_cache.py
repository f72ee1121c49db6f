"""Cache the frozen layers' features of planned views; goes on after an interruption where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.distillation.shards import VIEWS_PER_SHARD, has_shard, write_shard
from training.distillation.view_maker import PlannedView, ViewMaker, make_views

_BATCH_SIZE = 32

Features = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def cache_features(
    folder: Path,
    planned: Sequence[PlannedView],
    maker: ViewMaker,
    features: Features,
    advance: Callable[[int], None],
) -> None:
    """Makes the shards that are missing in `folder`; needs memory for one shard, whatever the number of views.

    Args:
        planned: the same in every call for this folder.
        features: of uint8 RGB images.
        advance: called with the number of views done since the last call.
    """
    count = -(-len(planned) // VIEWS_PER_SHARD)
    for number in range(count):
        chunk = planned[number * VIEWS_PER_SHARD : (number + 1) * VIEWS_PER_SHARD]
        if has_shard(folder, number):
            advance(len(chunk))
            continue
        made = [
            (features(b.images).astype(np.float16), b.logits) for b in make_views(maker, chunk, _BATCH_SIZE, advance)
        ]
        if made:
            write_shard(folder, number, *(np.concatenate(parts) for parts in zip(*made, strict=True)))
        else:
            # An empty one, so that its photos are not tried again.
            write_shard(folder, number, np.empty(0), np.empty(0))
