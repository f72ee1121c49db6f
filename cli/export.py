"""`elastic export`: from a training run to a model bundle."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from rich.console import Console
from rich.text import Text

from api_client.image_files import collect
from app_tier.bundle import InputSpec
from core.errors import ExportError
from evaluation.truth import LabelledPhoto, read_truth
from training.export_formats import DESCRIPTIONS, Kind
from training.requirement import require_tensorflow
from training.run_folder import MODEL_FILE, RUN_FILE, SPLIT_FILE, read_run

if TYPE_CHECKING:
    from training.export import Exported

# More widen the ranges to rare outliers and cost precision everywhere else: docs/reference/quantization.md.
CALIBRATION_PHOTOS = 32
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("export")
@click.argument("run", type=_FOLDER)
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, help="The bundle's new folder.")
@click.option(
    "--kind",
    type=click.Choice(get_args(Kind)),
    default="int8",
    show_default=True,
    help="; ".join(f"{kind}: {description}" for kind, description in DESCRIPTIONS.items()) + ".",
)
@click.option(
    "--calibration", type=_FOLDER, help="Photos like those to come.  [default: the run's own training photos]"
)
@click.option(
    "--calibration-photos",
    "count",
    type=click.IntRange(min=1),
    default=CALIBRATION_PHOTOS,
    show_default=True,
    help="How many of them, chosen by chance.",
)
@click.option(
    "--images", type=_FOLDER, help="Labelled photos to measure on.  [default: the run's test, else validation photos]"
)
@click.option(
    "--truth", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Their labels, as `elastic evaluate`."
)
@click.option("--name", help="The bundle's name.  [default: the run's folder]")
@click.option("--version", default="1", show_default=True, help="The bundle's version.")
def export(
    run: Path,
    folder: Path,
    kind: Kind,
    calibration: Path | None,
    count: int,
    images: Path | None,
    truth: Path | None,
    name: str | None,
    version: str,
) -> None:
    """Make a model bundle of the training run in the folder RUN: quantized, checked and measured.

    Needs TensorFlow.  The bundle's card says how good it is, before and after quantization.
    """
    console = Console(stderr=True)
    fields = _read_run(run)
    split = _read_split(run)
    if calibration is not None:
        paths = collect([calibration])[0]
    else:
        paths = [photo.path for part, photo in split if part == "train"]
    if not paths:
        raise ExportError(f"{run / SPLIT_FILE} names no training photos; give some with --calibration")
    part, photos = ("given", read_truth(images, truth)[0]) if images else _held_out(split)
    spec = _input_spec(fields["input"])
    require_tensorflow()
    from training.export import export_bundle, read_images

    with console.status("") as status:
        exported = export_bundle(
            _load(run / MODEL_FILE),
            fields["labels"],
            spec,
            read_images(paths, spec, count),
            folder,
            name=name or run.resolve().name,
            version=version,
            kind=kind,
            architecture=str(fields["architecture"]),
            synsets=fields.get("synsets") or (),
            test_photos=photos,
            notes=_notes(fields, part),
            on_step=lambda step: status.update(step[0].upper() + step[1:] + " …"),
        )
    print_export(console, exported)


def print_export(console: Console, exported: Exported) -> None:
    """Says in a few lines what became of the model."""
    parity, bundle = exported.parity, exported.bundle
    size = bundle.model_path.stat().st_size / 1e6
    lines = [
        f"{bundle.folder}: {bundle.full_name}, {len(bundle.labels):,} labels, {size:.1f} MB.",
        f"Against the float model on {parity.images:,} photos: the same answer to {parity.top1_agreement:.4f}, "
        f"largest difference of a probability {parity.largest_probability_difference:.3f}.",
    ]
    if exported.figures is not None and exported.float_accuracy is not None:
        lines.append(f"Accuracy {exported.figures['accuracy']:.4f}, in float32 {exported.float_accuracy:.4f}.")
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _read_run(run: Path) -> dict[str, Any]:
    fields = read_run(run)
    if missing := {"labels", "input", "architecture"} - fields.keys():
        raise ExportError(f"{run / RUN_FILE} lacks {', '.join(sorted(missing))}")
    return fields


def _read_split(run: Path) -> list[tuple[str, LabelledPhoto]]:
    """Each photo of the run that is a file, with the part of the split it belongs to."""
    if not (run / SPLIT_FILE).exists():
        return []
    with (run / SPLIT_FILE).open(newline="", encoding="utf-8") as file:
        return [
            (row["split"], LabelledPhoto(Path(row["path"]), row["name"], row["label"], row.get("synset") or ""))
            for row in csv.DictReader(file)
            if row["path"]
        ]


def _held_out(split: list[tuple[str, LabelledPhoto]]) -> tuple[str, list[LabelledPhoto]]:
    for wanted in ("test", "validation"):
        if found := [photo for part, photo in split if part == wanted]:
            return wanted, found
    return "none", []


def _input_spec(fields: dict[str, Any]) -> InputSpec:
    if float(fields.get("scale", 1.0)) != 1.0:
        raise ExportError("the run scales its input, which a worker does not; put a Rescaling layer into the model")
    first, second, third = (float(value) for value in fields["subtract"])
    return InputSpec(int(fields["height"]), int(fields["width"]), fields["channels"], (first, second, third))


def _load(path: Path) -> Any:
    if not path.exists():
        raise ExportError(f"there is no {path}: has an epoch of the run ended?")
    import keras

    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras answers damaged files with many kinds of exception
        raise ExportError(f"{path} cannot be loaded: {str(error).strip().splitlines()[0]}") from error


def _notes(fields: dict[str, Any], measured_on: str) -> str:
    dataset = fields.get("dataset") or {}
    sentences = [
        f"**Training.** {fields['architecture']} by `elastic train` on {dataset.get('name', 'photos')}: "
        f"{dataset.get('train', '?')} photos to train, {dataset.get('validation', '?')} to validate."
    ]
    if fields.get("best_epoch") is not None:
        sentences.append(f"Best epoch: {fields['best_epoch']}.")
    if fields.get("hyperparameters"):
        values = (f"{key.replace('_', ' ')} {value}" for key, value in fields["hyperparameters"].items())
        sentences.append(f"Hyperparameters: {', '.join(values)}.")
    if measured_on == "validation":
        sentences.append("Measured on the validation photos, by which training chose its best epoch: that flatters.")
    return " ".join(sentences)
