"""Mixtures of data sets: patterns, classes, parts, and photos that two sets share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import TrainingError
from core.paths import REPOSITORY_ROOT
from training.datasets import load_dataset
from training.datasets.near_duplicates import find_near_duplicates

CAT, DOG, CUP = "n02124075", "n02099601", "n07930864"
Photo = Callable[..., Path]


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    """Makes photos that do not resemble each other unless they have one seed."""

    def make(name: str, seed: int, size: tuple[int, int] = (96, 96), quality: int = 92) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=quality)
        return path

    return make


def mixture(folder: Path, text: str) -> Path:
    path = folder / "mix.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_mixture_joins_sets_by_what_imagenet_calls_their_classes(tmp_path: Path, photo: Photo) -> None:
    for number in range(3):
        photo(f"wnids/train/{CAT}/{number}.jpg", number)
        photo(f"named/deep/er/golden/{number}.jpg", 10 + number)
        photo(f"named/clutter/{number}.jpg", 20 + number)
    photo(f"wnids/train/{DOG}/ILSVRC2012_val_1.jpg", 30)
    photo(f"wnids/train/{DOG}/own.jpg", 31)
    photo(f"flat/{DOG}_7_dog.jpg", 40)
    photo(f"flat/{CUP}_8_cup.jpg", 41)
    source = mixture(
        tmp_path,
        f"""
        name = "three sets"
        [[source]]
        images = "wnids/train/{{class}}/*.jpg"
        leave_out = "*_val_*"
        [[source]]
        images = "named/**/{{class}}/*.jpg"
        [source.classes]
        golden = "golden retriever"
        unseen = "{CUP}"
        [[source]]
        images = "flat/{{class}}_*.jpg"
        part = "test"
        """,
    )
    dataset = load_dataset(source, "auto", tmp_path)
    assert dataset.name == "three sets"
    assert (dataset.synsets, dataset.labels) == ((DOG, CAT), ("golden retriever", "Egyptian cat"))
    assert [(sample.name, sample.label, sample.part) for sample in dataset.samples] == [
        (f"wnids/train/{DOG}/own.jpg", 0, None),
        *((f"wnids/train/{CAT}/{n}.jpg", 1, None) for n in range(3)),
        *((f"named/deep/er/golden/{n}.jpg", 0, None) for n in range(3)),
        (f"flat/{DOG}_7_dog.jpg", 0, "test"),  # the cup has no training image
    ]
    patterns = ["wnids/train/{class}/*.jpg"] * 4 + ["named/**/{class}/*.jpg"] * 3 + ["flat/{class}_*.jpg"]
    assert [sample.source for sample in dataset.samples] == patterns


def test_training_photos_that_look_like_a_test_photo_are_left_out(tmp_path: Path, photo: Photo) -> None:
    photo(f"train/{CAT}/same-but-small.jpg", 1, (48, 48), quality=60)
    photo(f"train/{CAT}/another.jpg", 2)
    photo(f"train/{DOG}/third.jpg", 3)
    photo(f"test/{CAT}/photo.jpg", 1, (300, 200))
    source = mixture(
        tmp_path,
        """
        [[source]]
        images = "train/{class}/*.jpg"
        [[source]]
        images = "test/{class}/*.jpg"
        part = "test"
        """,
    )
    names = {sample.name for sample in load_dataset(source, "auto", tmp_path).samples}
    assert names == {f"train/{CAT}/another.jpg", f"train/{DOG}/third.jpg", f"test/{CAT}/photo.jpg"}


def test_the_middle_of_a_photo_is_the_same_photo(tmp_path: Path, photo: Photo) -> None:
    whole = photo("whole.jpg", 5, (300, 100))
    middle = tmp_path / "middle.jpg"
    Image.open(whole).crop((100, 0, 200, 100)).save(middle)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    others = [photo(f"{seed}.jpg", seed) for seed in range(6, 10)]
    assert find_near_duplicates([*others, middle, broken], [whole, broken]) == {4}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'source'"),
        ("name = ", "not a mixture"),
        ('[[source]]\nimages = "a/*.jpg"', "must be a path in the file's folder with one {class}"),
        ('[[source]]\nimages = "../{class}/*.jpg"', "must be a path in the file's folder"),
        ('[[source]]\nimages = "/{class}/*.jpg"', "must be a path in the file's folder"),
        ('[[source]]\nimages = "{class}/*"\npart = "exam"', "'exam' is none of train, validation, test"),
        ('[[source]]\nimages = "{class}/*"\nparts = "test"', "unknown key parts"),
        ('[[source]]\nimages = "{class}/*"\nclasses = {a = "unicorn"}', "a = 'unicorn': ImageNet has 0 classes"),
        ('[[source]]\nimages = "{class}/*.gif"', "matches {class}/*.gif"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(TrainingError) as error:
        load_dataset(mixture(tmp_path, text), "auto", tmp_path)
    assert sentence in str(error.value)


def test_the_mixture_that_comes_with_the_program_can_be_read(tmp_path: Path) -> None:
    shipped = REPOSITORY_ROOT / "training" / "mixtures" / "photos-267.toml"
    source = mixture(tmp_path, shipped.read_text("utf-8"))
    with pytest.raises(TrainingError, match=r"no file in .* matches tiny-imagenet-200"):
        load_dataset(source, "auto", tmp_path)
