"""`elastic compare`: one table of training runs and model bundles on one data set."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app_tier.bundle import ModelBundle, load_bundle
from benchmarks.report import output_file
from cli.options import quiet
from cli.predicting import advance, latencies, predictions_progress
from cli.session import progress_console
from cli.tables import print_table
from core.bundle_manifest import MANIFEST_FILE, read_manifest
from core.errors import ArgumentError, EvaluationError
from core.output_files import write_output_file
from core.standard_error import silenced_stderr
from evaluation.ensemble import require_compatible, write_ensemble
from evaluation.figures import measure
from evaluation.predictions import Predictions, predict
from evaluation.score_table import ENDINGS, Scores, cells, headings, to_text
from evaluation.truth import LabelledPhoto, read_truth
from training.datasets.samples import TEST, TRAIN, VALIDATION
from training.export_formats import Kind
from training.requirement import require_tensorflow
from training.run_folder import RUN_FILE
from training.trained_run import TrainedRun

_CALIBRATION_PHOTOS = 32
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("compare")
@click.argument("models", nargs=-1, required=True, type=_FOLDER)
@click.option("--images", type=_FOLDER, help="Folder of test photos.  [default: those of the first run]")
@click.option(
    "--truth",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CSV file with their labels, as for `elastic evaluate`.",
)
@click.option(
    "--kind",
    type=click.Choice(get_args(Kind)),
    default="float32",
    show_default=True,
    help="Number format in which runs are measured; bundles have their own.",
)
@click.option(
    "--ensemble",
    type=click.Path(path_type=Path),
    help="Also average all of them: write this bundle, and measure it.",
)
@output_file("--output", "output_path", f"Write the table to this file: {', '.join(ENDINGS)}.", ENDINGS)
@quiet
def compare(
    models: tuple[Path, ...],
    images: Path | None,
    truth: Path | None,
    kind: Kind,
    ensemble: Path | None,
    output_path: Path | None,
) -> None:
    """Compare training runs and model bundles on one data set.

    MODELS are folders of runs (`elastic train`) and of bundles.  Runs are exported first, which needs TensorFlow.
    Validation and test photos are those of the first run's split, or --images.  All models are measured on the photos
    whose labels all of them have, with the worker's code: accuracy, precision, recall and F1 (macro), size, and the
    time for one image on one core.
    """
    runs = {folder: TrainedRun.read(folder) for folder in models if (folder / RUN_FILE).exists()}
    for folder in models:
        if folder not in runs and not (folder / MANIFEST_FILE).exists():
            raise ArgumentError(f"{folder} is neither a run (it has no {RUN_FILE}) nor a bundle (no {MANIFEST_FILE})")
    validation, test, problems = _photos(runs, images, truth)
    if ensemble is not None and ensemble.exists():
        raise ArgumentError(f"{ensemble} exists already; give another folder for the ensemble")
    if runs:
        require_tensorflow()
    with tempfile.TemporaryDirectory() as temporary:
        bundles = [
            _export(runs[folder], Path(temporary) / str(number), kind) if folder in runs else load_bundle(folder)
            for number, folder in enumerate(models)
        ]
        if ensemble is not None:
            require_compatible(bundles)
            bundles.append(write_ensemble(bundles, ensemble))
        with predictions_progress() as progress:
            photos = [*validation, *test]
            predictions = [
                predict(bundle, photos, on_progress=advance(progress, bundle.full_name, len(photos)))
                for bundle in bundles
            ]
        trained_on = [_trained_on(runs[folder], test) if folder in runs else 0 for folder in models]
        folders = [*models, *([ensemble] if ensemble is not None else [])]
        names = _names([bundle.full_name for bundle in bundles], folders)
        scores = _scores(predictions, {photo.path for photo in validation}, names, [*trained_on, 0])
    _print(scores, predictions, problems, len(photos))
    if output_path is not None:
        facts = {"validation_photos": len(validation), "test_photos": len(test)}
        write_output_file(output_path, to_text(scores, output_path.suffix.lower(), facts))


def _photos(
    runs: dict[Path, TrainedRun], images: Path | None, truth: Path | None
) -> tuple[list[LabelledPhoto], list[LabelledPhoto], list[str]]:
    """The validation and test photos, and a sentence for each that has no label or file."""
    if images is not None:
        test, problems = read_truth(images, truth)
        return [], test, problems
    if not runs:
        raise ArgumentError("bundles have no photos: give a folder with --images")
    folder, first = next(iter(runs.items()))
    if not (test := first.photos(TEST)):
        raise ArgumentError(f"{folder} has no test photos that are files: give a folder with --images")
    return first.photos(VALIDATION), test, []


def _export(run: TrainedRun, folder: Path, kind: Kind) -> ModelBundle:
    with silenced_stderr():
        from training.export import export_bundle, read_images

    spec = run.input_spec()
    with progress_console().status(f"Exporting {run.folder} …"):
        exported = export_bundle(
            run.load_model(),
            run.fields["labels"],
            spec,
            read_images(run.training_photos(), spec, _CALIBRATION_PHOTOS),
            folder,
            name=run.folder.resolve().name,
            kind=kind,
            architecture=str(run.fields["architecture"]),
            synsets=run.fields.get("synsets") or (),
        )
    return exported.bundle


def _trained_on(run: TrainedRun, test: Sequence[LabelledPhoto]) -> int:
    trained = {photo.path.resolve() for photo in run.photos(TRAIN)}
    return sum(photo.path.resolve() in trained for photo in test)


def _names(full_names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The models' names, with their folders where two models have the same name."""
    return [
        name if full_names.count(name) == 1 else f"{name} ({folder})"
        for name, folder in zip(full_names, folders, strict=True)
    ]


def _scores(
    predictions: Sequence[Predictions], validation: set[Path], names: Sequence[str], trained_on: Sequence[int]
) -> list[Scores]:
    """The figures of each model on the photos that all of them could classify."""
    shared = set.intersection(*({photo.path for photo in each.photos} for each in predictions))
    if not shared - validation:
        raise EvaluationError("the models have no label of a test photo in common")
    found = []
    times = latencies([each.bundle for each in predictions], predictions[0])
    for each, name, milliseconds, known in zip(predictions, names, times, trained_on, strict=False):
        is_shared = np.array([photo.path in shared for photo in each.photos])
        is_validation = np.array([photo.path in validation for photo in each.photos])
        validated, tested = is_shared & is_validation, is_shared & ~is_validation
        figures = measure(each.truth[tested], each.probabilities[tested], each.bundle.labels)
        right = each.predicted[validated] == each.truth[validated]
        found.append(
            Scores(
                name=name,
                kind=str(read_manifest(each.bundle.folder).get("kind", "–")),
                validation_accuracy=round(float(right.mean()), 4) if right.size else None,
                test_accuracy=figures["accuracy"],
                precision=figures["precision"],
                recall=figures["recall"],
                f1=figures["f1"],
                size_bytes=each.bundle.size_bytes,
                latency_milliseconds=round(milliseconds, 2),
                trained_on=known,
            )
        )
    return found


def _print(scores: Sequence[Scores], predictions: Sequence[Predictions], problems: Sequence[str], photos: int) -> None:
    console = Console()
    table = Table(*headings())
    for column in table.columns[2:]:
        column.justify = "right"
    for each in scores:
        table.add_row(*(Text(cell) for cell in cells(each)))
    print_table(console, table)
    lines = [
        f"{each.name} was trained on {each.trained_on:,} of the test photos: its figures are too good."
        for each in scores
        if each.trained_on
    ]
    left_out = [*problems, *dict.fromkeys(sentence for each in predictions for sentence in each.left_out)]
    if left_out:
        lines.append(f"Left out of {photos:,} photos: {'; '.join(left_out[:3])}{' …' if left_out[3:] else ''}")
    for line in lines:
        console.print(Text(line), soft_wrap=True)
