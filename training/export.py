"""Export a Keras model as a model bundle, and compare the bundle with the float model."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app_tier.bundle import InputSpec, ModelBundle, load_bundle
from app_tier.classifier import preprocess
from core.bundle_manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE
from core.errors import ExportError, ImageError
from evaluation.figures import measure
from evaluation.predictions import decoder, open_classifier, predict
from evaluation.truth import LabelledPhoto
from training.export_formats import DESCRIPTIONS, Kind
from training.model_card import CARD_FILE, write_card
from training.quantize import convert

BATCH_SIZE = 16
_RESIZE = "largest centred square, bicubic"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Parity:
    """The differences between the exported model's and the float model's predictions for `images` photos."""

    images: int
    top1_agreement: float
    largest_probability_difference: float
    mean_top1_difference: float


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported bundle; `figures`, of `evaluation.figures.measure`, if there were labelled photos."""

    bundle: ModelBundle
    parity: Parity
    figures: dict[str, Any] | None
    float_accuracy: float | None


def export_bundle(
    model: Any,
    labels: Sequence[str],
    preprocessing: InputSpec,
    calibration_images: Sequence[Pixels],
    folder: Path,
    *,
    name: str,
    version: str = "1",
    kind: Kind = "int8",
    architecture: str = "",
    synsets: Sequence[str] = (),
    test_photos: Sequence[LabelledPhoto] = (),
    temperature: float = 1.0,
    notes: str = "",
    on_step: Callable[[str], None] = lambda step: None,
) -> Exported:
    """Converts a model, compares it with the float model, measures it and writes its bundle, all or nothing.

    Args:
        model: a Keras model from preprocessed float32 images to probabilities, shape (images, labels).
        calibration_images: typical photos, uint8 RGB of the input's size; see `read_images`.
        folder: the bundle's folder; must not exist yet.
        test_photos: labelled photos; figures measured on them go into the manifest and the model card, and the
            comparison with the float model uses them.  Without, it uses the calibration images.
        temperature: the logits are divided by it; see `evaluation.figures.best_temperature`.  Changes `model`.
        notes: the model card's section on training, data and licences, Markdown.
        on_step: called with a description of each step as it begins.

    Raises:
        ExportError: the model cannot be converted or does not fit the labels, or the folder exists already.
    """
    if folder.exists():
        raise ExportError(f"{folder} already exists; name another folder, or remove it")
    if not calibration_images:
        raise ExportError("there is no photo to calibrate with")
    if int(model.output_shape[-1]) != len(labels) or len(set(labels)) != len(labels):
        raise ExportError(f"the model has {model.output_shape[-1]} outputs, for {len(set(labels))} different labels")
    if temperature != 1.0:
        divide_logits(model, temperature)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    partial.chmod(0o755)
    try:
        on_step(f"converting to {kind}, calibrated on {len(calibration_images)} photos")
        batch = preprocessed(calibration_images, preprocessing)
        (partial / MODEL_FILE).write_bytes(convert(model, kind, batch))
        (partial / LABELS_FILE).write_text("".join(f"{label}\n" for label in labels), "utf-8")
        manifest = _manifest(name, version, architecture, kind, preprocessing, synsets, len(calibration_images))
        _write_manifest(partial, manifest)
        bundle = load_bundle(partial)
        if test_photos:
            on_step(f"measuring on {len(test_photos)} photos, in {kind} and in float32")
            parity, figures, float_accuracy = _measure(model, bundle, test_photos)
        else:
            on_step("comparing with the float model")
            parity, figures, float_accuracy = _compare_on(model, bundle, calibration_images), None, None
        manifest["measured"] = _measured(kind, parity, figures, float_accuracy)
        _write_manifest(partial, manifest)
        (partial / CARD_FILE).write_text(write_card(manifest, labels, notes), "utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Exported(load_bundle(folder), parity, figures, float_accuracy)


def divide_logits(model: Any, temperature: float) -> None:
    """Divides the logits of a model that ends in a dense layer, by dividing that layer's weights.

    Raises:
        ExportError: it ends in another layer.
    """
    last = next((layer for layer in reversed(model.layers) if layer.weights), None)
    if last is None or type(last).__name__ != "Dense":
        raise ExportError("a temperature needs a model whose last layer with weights is a dense one")
    last.set_weights([weights / np.float32(temperature) for weights in last.get_weights()])


def read_images(paths: Sequence[Path], spec: InputSpec, limit: int, seed: int = 0) -> list[Pixels]:
    """Decodes up to `limit` of the photos, chosen at random, to the bundle's input; undecodable ones are left out.

    Raises:
        ExportError: none of them can be decoded.
    """
    chosen = list(paths)
    random.Random(seed).shuffle(chosen)  # noqa: S311 - repeatable, not secret
    decode = decoder(spec)
    images: list[Pixels] = []
    for path in chosen:
        if len(images) == limit:
            break
        with contextlib.suppress(ImageError):
            images.append(decode(path))
    if not images:
        raise ExportError("none of the photos to calibrate with can be decoded")
    return images


def preprocessed(images: Sequence[Pixels], spec: InputSpec) -> NDArray[np.float32]:
    """Preprocesses images as a worker does, to shape (images, height, width, 3)."""
    batch = np.empty((len(images), spec.height, spec.width, 3), np.float32)
    preprocess(images, spec, batch)
    return batch


def float_probabilities(model: Any, images: Sequence[Pixels], spec: InputSpec) -> NDArray[np.float32]:
    """The Keras model's probabilities, shape (images, labels)."""
    chunks = [images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]
    return np.concatenate([np.asarray(model.predict_on_batch(preprocessed(chunk, spec))) for chunk in chunks])


def compare(ours: NDArray[np.float32], exact: NDArray[np.float32]) -> Parity:
    """Compares the probabilities `ours` with `exact`, both of shape (images, labels)."""
    winners, rows = exact.argmax(axis=1), np.arange(len(exact))
    difference = np.abs(ours - exact)
    return Parity(
        images=len(exact),
        top1_agreement=round(float((ours.argmax(axis=1) == winners).mean()), 4),
        largest_probability_difference=round(float(difference.max()), 4),
        mean_top1_difference=round(float(difference[rows, winners].mean()), 4),
    )


def _compare_on(model: Any, bundle: ModelBundle, images: Sequence[Pixels]) -> Parity:
    classifier = open_classifier(bundle, 1)
    ours = [classifier.probabilities(images[start : start + BATCH_SIZE]) for start in range(0, len(images), BATCH_SIZE)]
    return compare(np.concatenate(ours), float_probabilities(model, images, bundle.input))


def _measure(model: Any, bundle: ModelBundle, photos: Sequence[LabelledPhoto]) -> tuple[Parity, dict[str, Any], float]:
    predictions = predict(bundle, photos)
    decode = decoder(bundle.input)
    exact = np.concatenate(
        [
            float_probabilities(
                model, [decode(photo.path) for photo in predictions.photos[start : start + BATCH_SIZE]], bundle.input
            )
            for start in range(0, len(predictions.photos), BATCH_SIZE)
        ]
    )
    figures = measure(predictions.truth, predictions.probabilities, bundle.labels)
    float_accuracy = round(float((exact.argmax(axis=1) == predictions.truth).mean()), 4)
    return compare(predictions.probabilities, exact), figures, float_accuracy


def _measured(
    kind: Kind, parity: Parity, figures: dict[str, Any] | None, float_accuracy: float | None
) -> dict[str, Any]:
    measured: dict[str, Any] = {
        "against_float32": {
            "images": parity.images,
            "top1_agreement": parity.top1_agreement,
            "largest_probability_difference": parity.largest_probability_difference,
        }
    }
    if figures is not None:
        measured |= {
            "images": figures["images"],
            f"top1_{kind}": figures["accuracy"],
            f"top5_{kind}": figures["top5"],
            "top1_float32": float_accuracy,
            **{key: figures[key] for key in ("precision", "recall", "f1", "ece")},
            "per_class_recall": {row["label"]: row["recall"] for row in figures["per_class"]},
        }
    return measured


def _manifest(
    name: str,
    version: str,
    architecture: str,
    kind: Kind,
    spec: InputSpec,
    synsets: Sequence[str],
    calibration_images: int,
) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "name": name,
        "version": version,
        "architecture": ", ".join(filter(None, (architecture, DESCRIPTIONS[kind]))),
        "kind": kind,
        "input": {
            "height": spec.height,
            "width": spec.width,
            "channels": spec.channels,
            "dtype": "float32",
            "batch": "dynamic (resize_tensor_input)",
            "subtract": list(spec.subtract),
            "resize": _RESIZE,
        },
        "output": f"softmax probabilities over {LABELS_FILE}, in its order",
        "labels": LABELS_FILE,
    }
    if synsets:
        manifest["synsets"] = list(synsets)
    if kind in ("int8", "int16"):
        manifest["calibration_images"] = calibration_images
    return manifest


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["sha256"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MODEL_FILE, LABELS_FILE)
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")
