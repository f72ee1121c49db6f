"""`elastic data`: what it finds in a small data set with every fault, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from cli import main
from training.config import AUGMENTATIONS
from training.datasets.near_duplicates import MAX_DISTANCE_BITS, groups_within
from training.inspection.pictures import SAMPLES_PER_CLASS, choose_samples, draw_rows
from training.inspection.report import size_histogram

SIDE = 96


def _photo(seed: int) -> Image.Image:
    """Soft patches of colour: like a photo, it keeps its difference hash when it is shrunk."""
    patches = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), np.uint8)
    return Image.fromarray(patches).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes in two parts, with a broken file, exact duplicates in two classes, and near ones in two parts."""
    root = tmp_path_factory.mktemp("data") / "pets"
    for seed, name in enumerate(
        ["train/cat/1.png", "train/cat/2.png", "train/cat/3.png", "train/dog/1.png", "test/cat/4.png", "test/dog/2.png"]
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        _photo(seed).save(root / name)
    (root / "train/cat/broken.jpg").write_bytes(b"no image")
    (root / "train/dog/copy.png").write_bytes((root / "train/cat/1.png").read_bytes())
    _photo(1).filter(ImageFilter.GaussianBlur(1)).resize((72, 72)).save(root / "test/cat/small.jpg", quality=80)
    return root


def _run(*arguments: Any) -> Result:
    result = CliRunner().invoke(main, ["data", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_every_fault_is_found(data: Path, tmp_path: Path) -> None:
    files = tmp_path / "report.html", tmp_path / "sheet.png", tmp_path / "findings.json"
    result = _run(data, "--report", files[0], "--sheet", files[1], "--json", files[2])
    found = json.loads(files[2].read_text("utf-8"))
    assert found["classes"] == [{"label": "cat", "train": 4, "test": 2}, {"label": "dog", "train": 2, "test": 1}]
    assert found["width"] == {"smallest": 72, "median": 96, "largest": 96}
    assert found["formats"] == {"PNG": 7, "JPEG": 1}
    assert [each["name"] for each in found["broken"]] == ["train/cat/broken.jpg"]
    assert found["exact_duplicates"] == [
        {"images": ["train/cat/1.png", "train/dog/copy.png"], "across_classes": True, "across_parts": False}
    ]
    (near,) = found["near_duplicates"]
    assert set(near["images"]) == {"test/cat/small.jpg", "train/cat/2.png"}
    assert near["across_parts"] and not near["across_classes"]
    for sentence in (
        "pets: 9 images of 2 classes; the largest has 2.0 times as many as the smallest.",
        "Broken files: 1, such as train/cat/broken.jpg (the file is not an image of a known format",
        "Exact duplicates: 1 group, 1 with different classes, such as",
        "Near duplicates: 1 group, 1 in more than one part, such as",
    ):
        assert sentence in result.output

    html = files[0].read_text("utf-8")
    # Self-contained: each usable image as a sample, and two pairs of duplicates.
    assert html.count("data:image/jpeg;base64,") == 8 + 4
    assert "http" not in html and "<script" not in html
    assert "train/cat/broken.jpg" in html and "Different classes." in html and "In training and test." in html
    with Image.open(files[1]) as sheet:
        assert sheet.height > 2 * 96


def test_each_augmentation_is_shown(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow, which training needs, is not installed")
    from training.inspection.augmented import VARIANTS, augmented_rows

    image = np.asarray(_photo(0))
    rows = augmented_rows(image, AUGMENTATIONS, ("crop", "flip"), seed=1)
    assert list(rows) == ["original", *AUGMENTATIONS, "together"]
    for name in (*AUGMENTATIONS, "together"):
        assert len(rows[name]) == VARIANTS and {picture.shape for picture in rows[name]} == {image.shape}
        assert any((picture != image).any() for picture in rows[name]), name
    _run(data, "--augmented", tmp_path / "augmented.png", "--quiet")
    with Image.open(tmp_path / "augmented.png") as picture:
        assert picture.height > 160 * len(rows)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.data())
def test_groups_are_those_that_a_chain_of_near_duplicates_connects(numbers: list[int], data: st.DataObject) -> None:
    # Random hashes are never near: some are made of others.
    if numbers:
        for _ in range(data.draw(st.integers(0, 10))):
            bits = data.draw(st.sets(st.integers(0, 63), max_size=8))
            numbers.append(data.draw(st.sampled_from(numbers)) ^ sum(1 << bit for bit in bits))
    expected = [{index} for index, number in enumerate(numbers) if number]
    for left, one in enumerate(numbers):
        for right, other in enumerate(numbers[:left]):
            if one and other and (one ^ other).bit_count() <= MAX_DISTANCE_BITS:
                first, second = (next(group for group in expected if index in group) for index in (left, right))
                if first is not second:
                    expected.remove(second)
                    first |= second
    groups = groups_within(np.array(numbers, np.uint64))
    assert sorted(groups) == sorted(sorted(group) for group in expected if len(group) > 1)
    assert groups == sorted(groups, key=min)


@pytest.mark.parametrize(("classes", "each"), [(3, SAMPLES_PER_CLASS), (400, 2), (1500, 1)])
def test_samples_are_few_enough_for_a_page(classes: int, each: int) -> None:
    chosen = choose_samples([label for label in range(classes) for _ in range(10)])
    assert {len(indices) for indices in chosen.values()} == {each}
    assert sum(map(len, chosen.values())) <= 1000
    assert all(index // 10 == label for label, indices in chosen.items() for index in indices)


def test_a_thousand_classes_fit_a_picture(tmp_path: Path) -> None:
    pixel = np.zeros((4, 4, 3), np.uint8)
    draw_rows({str(number): [pixel] for number in range(1000)}, "many", 4, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.height < 65_536


def test_sizes_are_counted_by_the_shorter_side() -> None:
    assert size_histogram([]) == []
    assert size_histogram([31]) == [("below 32", 1)]
    assert size_histogram([224, 255, 256, 512]) == [("192–255", 2), ("256–383", 1), ("384–511", 0), ("512–767", 1)]
    assert size_histogram([5000]) == [("2048 and more", 1)]
