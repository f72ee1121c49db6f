"""`elastic export`: make a model bundle of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
from rich.console import Console
from rich.text import Text

from api_client.image_files import collect
from cli.options import quiet
from cli.session import progress_console
from core.errors import ArgumentError
from core.sizes import format_bytes
from core.standard_error import silenced_stderr
from evaluation.truth import read_truth
from training.export_formats import DESCRIPTIONS, Kind
from training.requirement import require_tensorflow
from training.trained_run import TrainedRun

if TYPE_CHECKING:
    from training.export import Exported

# More photos widen the ranges to rare outliers and cost precision for all others: docs/reference/quantization.md.
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
@click.option("--calibration", type=_FOLDER, help="Folder of typical photos.  [default: the run's own training photos]")
@click.option(
    "--calibration-photos",
    "count",
    type=click.IntRange(min=1),
    default=CALIBRATION_PHOTOS,
    show_default=True,
    help="How many of them, chosen at random.",
)
@click.option(
    "--images", type=_FOLDER, help="Labelled photos to measure on.  [default: the run's test, else validation photos]"
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CSV file with their labels, as for `elastic evaluate`.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Divide the logits by this number, so that scores are probabilities; `elastic evaluate` prints the best one.",
)
@click.option("--name", help="The bundle's name.  [default: the run's folder]")
@click.option("--version", default="1", show_default=True, help="The bundle's version.")
@quiet
def export(
    run: Path,
    folder: Path,
    kind: Kind,
    calibration: Path | None,
    count: int,
    images: Path | None,
    truth: Path | None,
    temperature: float,
    name: str | None,
    version: str,
) -> None:
    """Export a training run as a model bundle, quantized and checked.

    RUN is the run's folder.  The bundle's model card has the accuracy before and after quantization.  Needs TensorFlow.
    """
    console = Console(stderr=True)
    if folder.exists():
        raise ArgumentError(f"{folder} already exists; name another folder, or remove it")
    trained = TrainedRun.read(run)
    paths = trained.training_photos() if calibration is None else collect([calibration])[0]
    part, photos = ("given", read_truth(images, truth)[0]) if images else trained.held_out()
    spec = trained.input_spec()
    require_tensorflow()
    with silenced_stderr():
        from training.export import export_bundle, read_images

    with progress_console().status("") as status:
        exported = export_bundle(
            trained.load_model(),
            trained.fields["labels"],
            spec,
            read_images(paths, spec, count),
            folder,
            name=name or run.resolve().name,
            version=version,
            kind=kind,
            architecture=str(trained.fields["architecture"]),
            synsets=trained.fields.get("synsets") or (),
            test_photos=photos,
            temperature=temperature,
            notes=trained.notes(part) + ("" if temperature == 1 else f" The logits are divided by {temperature:g}."),
            on_step=lambda step: status.update(step[0].upper() + step[1:] + " …"),
        )
    print_export(console, exported)


def print_export(console: Console, exported: Exported) -> None:
    """Prints a summary of an exported bundle: labels, size, agreement with the float model, accuracy."""
    parity, bundle = exported.parity, exported.bundle
    size = format_bytes(bundle.size_bytes)
    lines = [
        f"{bundle.folder}: {bundle.full_name}, {len(bundle.labels):,} labels, {size}.",
        f"Compared with the float model on {parity.images:,} photos: top-1 agreement {parity.top1_agreement:.4f}, "
        f"largest difference of a probability {parity.largest_probability_difference:.3f}.",
    ]
    if exported.figures is not None and exported.float_accuracy is not None:
        lines.append(f"Accuracy {exported.figures['accuracy']:.4f}; in float32 {exported.float_accuracy:.4f}.")
    for line in lines:
        console.print(Text(line), soft_wrap=True)
