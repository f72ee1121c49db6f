"""Decoding once, leaving out what is broken or double, and the split."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from core.errors import TrainingError
from tests.training.helpers import SHAPES, toy_config, write_shapes
from training.data import prepare_data, write_data
from training.datasets.folders import read_folders
from training.datasets.samples import TEST, TRAIN, VALIDATION, Sample
from training.prepare import find_duplicates, prepare
from training.split import split


def _nothing(count: int) -> None:
    pass


@given(
    sizes=st.lists(st.integers(10, 60), min_size=2, max_size=6),
    validation_share=st.sampled_from([0.1, 0.2, 0.25]),
    test_share=st.sampled_from([0.0, 0.1, 0.3]),
    seed=st.integers(0, 100),
)
def test_every_class_gives_its_share(sizes: list[int], validation_share: float, test_share: float, seed: int) -> None:
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    shares = {"validation_share": validation_share, "test_share": test_share}
    parts = split(labels, [None] * len(labels), **shares, seed=seed)
    assert (parts == split(labels, [None] * len(labels), **shares, seed=seed)).all()
    counts = Counter(zip(labels, parts.tolist(), strict=True))
    for label, size in enumerate(sizes):
        # The whole part is rounded once, and each class to a whole image.
        assert abs(counts[label, VALIDATION] - validation_share * size) <= 2
        assert abs(counts[label, TEST] - test_share * size) <= 2
        assert sum(counts[label, part] for part in (TRAIN, VALIDATION, TEST)) == size
    assert int((parts == VALIDATION).sum()) == round(validation_share * len(labels))
    assert int((parts == TEST).sum()) == round(test_share * len(labels))


def test_seeds_split_differently() -> None:
    labels = [0, 1] * 30
    first, second = (split(labels, [None] * 60, validation_share=0.2, test_share=0.2, seed=s) for s in (1, 2))
    assert (first != second).any()


@pytest.mark.parametrize(
    ("given_parts", "expected"),
    [
        ([TRAIN] * 20 + [TEST] * 10, {TRAIN: 16, VALIDATION: 4, TEST: 10}),
        ([TRAIN] * 20 + [VALIDATION] * 10, {TRAIN: 20, VALIDATION: 10}),
        ([None] * 30, {TRAIN: 18, VALIDATION: 6, TEST: 6}),
    ],
)
def test_parts_of_the_data_set_are_kept(given_parts: list[str | None], expected: dict[str, int]) -> None:
    parts = split([0, 1] * 15, given_parts, validation_share=0.2, test_share=0.2, seed=1)
    assert Counter(parts.tolist()) == expected
    assert all(own == part for own, part in zip(given_parts, parts, strict=True) if own in (TEST, VALIDATION))


def test_too_few_images_of_a_class() -> None:
    with pytest.raises(TrainingError, match="class number 1 has 1"):
        split([0] * 20 + [1], [None] * 21, validation_share=0.2, test_share=0.2, seed=1)


@pytest.mark.parametrize(
    ("labels", "parts", "digests", "left_out"),
    [
        ([0, 0, 0], [None] * 3, ["a", "b", "a"], {2: 0}),
        # Unreadable images are no duplicates of each other.
        ([0, 0], [None] * 2, ["", ""], {}),
        # One of the two labels must be wrong.
        ([0, 1], [None] * 2, ["a", "a"], {0: 1, 1: 0}),
        # What is tested must not be trained on.
        ([0, 0], [TRAIN, TEST], ["a", "a"], {0: 1}),
        ([0, 0, 0], [TRAIN, VALIDATION, TRAIN], ["a", "a", "a"], {0: 1, 2: 1}),
        # A published test part stays as it is.
        ([0, 1], [TEST, TEST], ["a", "a"], {}),
    ],
)
def test_duplicates(labels: list[int], parts: list[str | None], digests: list[str], left_out: dict[int, int]) -> None:
    assert find_duplicates(labels, parts, digests) == left_out


def test_pixels_are_decoded_once(tmp_path: Path) -> None:
    samples = read_folders(write_shapes(tmp_path / "shapes", 3)).samples
    counted: list[int] = []
    first = prepare(samples, 16, tmp_path / "cache", counted.append)
    again = prepare(samples, 16, tmp_path / "cache", counted.append)
    assert sum(counted) == 9
    assert (first.array == again.array).all() and first.digests == again.digests
    assert first.array.shape == (9, 16, 16, 3)
    path = samples[4].path
    assert path is not None
    with Image.open(path) as image:
        assert (first.array[4] == np.asarray(image.convert("RGB"))).all()
    # A changed file is decoded again, and so is another size.
    Image.new("RGB", (20, 20), "blue").save(path)
    assert (prepare(samples, 16, tmp_path / "cache", counted.append).array[4] == (0, 0, 255)).all()
    prepare(samples, 8, tmp_path / "cache", counted.append)
    assert sum(counted) == 27


def test_pixels_of_arrays_are_resized(tmp_path: Path) -> None:
    sample = Sample("one", 0, pixels=np.full((32, 32, 3), 7, np.uint8))
    assert (prepare([sample], 16, tmp_path, _nothing).array == 7).all()


def test_unreadable_and_duplicate_images_are_reported_and_left_out(tmp_path: Path) -> None:
    root = write_shapes(tmp_path / "shapes", 12)
    (root / "circle" / "text.png").write_text("no image")
    whole = (root / "circle" / "000.png").read_bytes()
    (root / "circle" / "half.png").write_bytes(whole[: len(whole) // 2])
    (root / "square" / "copy.png").write_bytes((root / "square" / "000.png").read_bytes())
    console = Console(record=True, width=400)
    data = prepare_data(toy_config(root), tmp_path / "cache", console)
    names = {sample.name for sample in data.samples}
    assert len(names) == 36 and not names & {"circle/text.png", "circle/half.png", "square/copy.png"}
    assert {entry["name"] for entry in data.facts["unreadable"]} == {"circle/text.png", "circle/half.png"}
    assert data.facts["duplicates"] == [{"name": "square/copy.png", "of": "square/000.png"}]
    printed = console.export_text()
    assert "2 images, such as circle/" in printed and "square/copy.png (square/000.png)" in printed

    write_data(data, tmp_path)
    with (tmp_path / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["name"], row["label"]) for row in rows} == {(s.name, SHAPES[s.label]) for s in data.samples}
    assert Counter(row["split"] for row in rows) == {part: data.facts[part] for part in (TRAIN, VALIDATION, TEST)}
    assert (tmp_path / "classes.png").stat().st_size > 1000
    with Image.open(tmp_path / "samples.png") as sheet:
        # Three rows of eight pictures, 100 pixels each, beside the labels.
        assert sheet.width > 800 and sheet.height > 300


def test_validation_images_are_decoded_to_the_size_of_the_input(tmp_path: Path) -> None:
    data = prepare_data(
        toy_config(write_shapes(tmp_path / "shapes", 10), augment="crop"), tmp_path / "cache", Console()
    )
    (train, _), (exact, rows) = data.pixels(TRAIN), data.pixels(VALIDATION)
    assert train.shape[1:] == (18, 18, 3) and exact.shape == (12, 16, 16, 3)
    for index in data.part(VALIDATION):
        path = data.samples[index].path
        assert path is not None
        with Image.open(path) as image:
            assert (exact[rows[index]] == np.asarray(image)).all()


def test_a_class_without_a_usable_image(tmp_path: Path) -> None:
    root = write_shapes(tmp_path / "shapes", 5)
    (root / "star").mkdir()
    (root / "star" / "a.png").write_text("no image")
    with pytest.raises(TrainingError, match="no usable image of star"):
        prepare_data(toy_config(root), tmp_path / "cache", Console())
