"""The benchmark's stores in memory can be called as the cloud's are."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from aws.buckets import ImageStore, ResultStore
from aws.queue import JobQueue
from benchmarks.in_memory import MemoryImages, MemoryQueue, MemoryResults

PAIRS = [(MemoryQueue, JobQueue), (MemoryImages, ImageStore), (MemoryResults, ResultStore)]


def parameters(method: Callable[..., Any]) -> list[tuple[str, inspect._ParameterKind, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize(
    ("stand_in", "real", "name"),
    [(stand_in, real, name) for stand_in, real in PAIRS for name in vars(stand_in) if not name.startswith("_")],
)
def test_a_stand_in_takes_what_the_real_one_takes(stand_in: type, real: type, name: str) -> None:
    if callable(getattr(stand_in, name)):
        assert parameters(getattr(stand_in, name)) == parameters(getattr(real, name))
