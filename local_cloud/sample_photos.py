"""Find sample photos in installed packages, and make random crops of them."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from core.errors import NoPhotosError

# Photographs (no charts, drawings or test patterns) in the wheels of packages that this project uses.
_PACKAGE_PHOTOS = (
    ("sklearn", "datasets/images/*.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("matplotlib", "mpl-data/sample_data/Minduka_Present_Blue_Pack.png"),
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/brick.png"),
    ("skimage", "data/camera.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/coins.png"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/gravel.png"),
    ("skimage", "data/hubble_deep_field.jpg"),
    ("skimage", "data/moon.png"),
    ("skimage", "data/motorcycle_*.png"),
    ("skimage", "data/retina.jpg"),
    ("skimage", "data/rocket.jpg"),
)


_CROP_SIZE = (320, 240)


def from_packages() -> list[Path]:
    """The sample photos in installed packages.

    Raises:
        NoPhotosError: none of these packages is installed.
    """
    found: list[Path] = []
    for package, pattern in _PACKAGE_PHOTOS:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found.extend(sorted(Path(spec.origin).parent.glob(pattern)))
    if not found:
        raise NoPhotosError("no installed package has sample photos; give a folder with --images")
    return found


def make_crops(count: int, seed: int, folder: Path, photos: Sequence[Path] | None = None) -> list[Path]:
    """Writes `count` different small JPEG files to `folder`: random crops of `photos`.

    Args:
        photos: by default those of `from_packages`.

    Raises:
        NoPhotosError: see `from_packages`.
    """
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    originals = [Image.open(path).convert("RGB") for path in photos or from_packages()]
    paths = []
    for number in range(count):
        original = dice.choice(originals)
        width = dice.randint(min(original.size) // 3, min(original.size))
        height = width * _CROP_SIZE[1] // _CROP_SIZE[0]
        left, top = dice.randint(0, original.width - width), dice.randint(0, original.height - height)
        crop = original.resize(_CROP_SIZE, box=(left, top, left + width, top + height))
        paths.append(folder / f"photo-{number:04d}.jpg")
        crop.save(paths[-1], quality=85)
    return paths
