"""What all tests share: where the photos are, and images made on the spot for those that need none."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

from core.paths import REPOSITORY_ROOT

DATA = REPOSITORY_ROOT.parent / "shared" / "data"

# A busy machine is no failure: speed is measured by `benchmarks`, never by a test.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests decide about settings and clouds themselves."""
    for name in list(os.environ):
        if name.startswith(("EIC_", "AWS_")):
            monkeypatch.delenv(name)
    # Nor does a model that this machine may have, or could download, change what they see.
    monkeypatch.setenv("EIC_IMAGENET_WEIGHTS_URL", "off")


@pytest.fixture(scope="session")
def photos() -> list[tuple[Path, str]]:
    """Real photos with their true labels; skips where they are not there."""
    folder = DATA / "photos"
    if not folder.is_dir():
        pytest.skip("the folder of real photos, ../shared/data/photos, is not there")
    with (folder / "truth.csv").open(newline="") as file:
        return [(folder / row["file"], row["label"].replace("_", " ")) for row in csv.DictReader(file)]


@pytest.fixture(scope="session")
def odd_images() -> list[tuple[Path, bool]]:
    """Odd and malformed files, and whether each can be decoded; skips where they are not there."""
    folder = DATA / "odd-images"
    if not folder.is_dir():
        pytest.skip("the folder of odd images, ../shared/data/odd-images, is not there")
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    verdict = list(rows[0])[-1]
    return [(folder / row["file"], row[verdict] == "decodes") for row in rows]


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[..., list[Path]]:
    """Writes `count` different small JPEG files; returns their paths."""

    def make(count: int, folder: str = "images", seed: int = 0) -> list[Path]:
        directory = tmp_path / folder
        directory.mkdir()
        rng = np.random.default_rng(seed)
        paths = []
        for number in range(count):
            noise = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize((160, 120))
            file = io.BytesIO()
            noise.save(file, "JPEG")
            paths.append(directory / f"image-{number:04d}.jpg")
            paths[-1].write_bytes(file.getvalue())
        return paths

    return make
