"""Measure the effect of quantization on predictions: the int8 model against the same network in float32.

``python -m benchmarks.parity --images DIR [--json FILE]``.  Both get the same pixels and use the bundle's weights; they
differ in the rounding of activations.  If the folder has a ``truth.csv`` (columns ``file`` and ``label``), the accuracy
of both is measured, too.  Needs TensorFlow.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from keras.applications import resnet50
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from api_client.image_files import collect
from app_tier.bundle import InputSpec, load_bundle
from app_tier.classifier import Classifier, preprocess
from benchmarks.drain import decoder
from benchmarks.float_model import FloatModel
from benchmarks.report import json_option, write_json
from core.paths import REPOSITORY_ROOT
from core.settings import Settings

BATCH_SIZE = 20
_TRUTH_FILE = "truth.csv"


def run(folder: Path) -> dict[str, Any]:
    """Compares the bundled model with itself in float32 on the photos of `folder`.

    Keys of the report: ``images``; ``preprocessing_difference``, largest, between ours and Keras's;
    ``largest_probability_difference`` over all images and labels; ``mean_top1_difference``, of the probability of
    the label that float32 chose; ``top1_agreement``; and with a ``truth.csv`` ``top1_int8`` and ``top1_float32``.
    """
    settings = Settings(model_bundle=str(REPOSITORY_ROOT / Settings().model_bundle))
    bundle = load_bundle(Path(settings.model_bundle))
    paths, _ = collect([folder])
    decode = decoder(bundle, settings)
    classifier, float_model = Classifier(bundle, interpreters=2, top_k=1), FloatModel(bundle.model_path)

    int8, float32, preprocessing = [], [], 0.0
    for start in range(0, len(paths), BATCH_SIZE):
        images = [decode(path.read_bytes()).pixels for path in paths[start : start + BATCH_SIZE]]
        batch = _preprocessed(images, bundle.input)
        preprocessing = max(preprocessing, float(np.abs(batch - _preprocessed_by_keras(images)).max()))
        int8.append(classifier.probabilities(images))
        float32.append(float_model.probabilities(batch))
    ours, exact = np.concatenate(int8), np.concatenate(float32)

    winners = exact.argmax(axis=1)
    rows = np.arange(len(paths))
    report: dict[str, Any] = {
        "images": len(paths),
        "preprocessing_difference": preprocessing,
        "largest_probability_difference": round(float(np.abs(ours - exact).max()), 4),
        "mean_top1_difference": round(float(np.abs(ours - exact)[rows, winners].mean()), 4),
        "top1_agreement": round(float((ours.argmax(axis=1) == winners).mean()), 4),
    }
    if (folder / _TRUTH_FILE).exists():
        truth = _truth(folder, paths, bundle.labels)
        report["top1_int8"] = round(float((ours.argmax(axis=1) == truth).mean()), 4)
        report["top1_float32"] = round(float((winners == truth).mean()), 4)
    return report


def _preprocessed(images: Sequence[NDArray[np.uint8]], spec: InputSpec) -> NDArray[np.float32]:
    batch = np.empty((len(images), spec.height, spec.width, 3), np.float32)
    preprocess(images, spec, batch)
    return batch


def _preprocessed_by_keras(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    answer: NDArray[np.float32] = resnet50.preprocess_input(np.stack(images).astype(np.float32))
    return answer


def _truth(folder: Path, paths: Sequence[Path], labels: Sequence[str]) -> NDArray[np.intp]:
    """The index of the true label of each photo."""
    with (folder / _TRUTH_FILE).open(newline="") as file:
        true = {row["file"]: row["label"].replace("_", " ") for row in csv.DictReader(file)}
    return np.array([labels.index(true[path.name]) for path in paths])


@click.command("parity")
@click.option(
    "--images", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, help="Folder of photos."
)
@json_option
def command(images: Path, json_path: Path | None) -> None:
    """Compare the int8 model with the same network in float32."""
    report = run(images)
    table = Table(title="int8 against float32", title_justify="left", show_header=False)
    for name, value in report.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)
    if json_path is not None:
        write_json(report, json_path)


if __name__ == "__main__":
    command()
