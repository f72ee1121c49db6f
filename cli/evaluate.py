"""`elastic evaluate`: measure the quality of model bundles on labelled photos."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from app_tier.bundle import load_bundle
from benchmarks.report import output_file
from cli.options import quiet
from cli.predicting import advance, latencies, predictions_progress
from cli.tables import print_table
from core.output_files import write_output_file
from core.paths import REPOSITORY_ROOT
from core.settings import Settings
from core.sizes import format_bytes
from evaluation.comparison import compare
from evaluation.figures import measure, most_confused
from evaluation.label_view import VIEWS, chosen_labels, view_predictions
from evaluation.localize import LOCALIZERS, localizer
from evaluation.predictions import predict
from evaluation.report import Evaluation, to_html, to_json
from evaluation.truth import read_truth

_MOST_SENTENCES = 10


@click.command("evaluate")
@click.option(
    "--images", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, help="Folder of photos."
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CSV file with the columns file, and label or synset.  [default: a photo's folder is its label]",
)
@click.option(
    "--bundle",
    "folders",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="Model bundle; repeat the option to compare several.  [default: EIC_MODEL_BUNDLE, else the shipped one]",
)
@click.option(
    "--localize", type=click.Choice(LOCALIZERS), help="Crop each photo to the subject that this detector finds."
)
@click.option(
    "--labels",
    "view",
    type=click.Choice(tuple(VIEWS)),
    help="Measure only these labels of models with synsets, renormalized; all others are one label, as 'not a dog'.",
)
@output_file("--json", "json_path", "Write all figures to this file.")
@output_file("--report", "report_path", "Write a report to this file, HTML with pictures.")
@quiet
def evaluate(
    images: Path,
    truth: Path | None,
    folders: tuple[Path, ...],
    localize: str | None,
    view: str | None,
    json_path: Path | None,
    report_path: Path | None,
) -> None:
    """Measure the quality of model bundles on labelled photos.

    Photos are decoded and classified with the worker's own code.  Reports accuracy, top-5, precision, recall and F1
    (micro, macro, weighted, per class), confusions, calibration, suspected label errors, the time for an image and the
    model's size.  Photos that cannot be decoded, or whose label the model does not have, are listed and left out.
    Models with different labels are compared on the photos whose labels all of them have.
    """
    console = Console()
    photos, problems = read_truth(images, truth)
    bundles = [load_bundle(folder) for folder in folders or (_default_bundle(),)]
    if view is not None:
        for bundle in bundles:
            chosen_labels(bundle, VIEWS[view])
    find = localizer(localize) if localize else None
    with predictions_progress() as progress:
        predictions = [
            predict(bundle, photos, find, advance(progress, bundle.full_name, len(photos))) for bundle in bundles
        ]
    if view is not None:
        predictions = [view_predictions(each, VIEWS[view]) for each in predictions]
    measured = latencies(bundles, predictions[0], find)
    evaluations = [
        Evaluation(
            each,
            measure(each.truth, each.probabilities, each.bundle.labels),
            latency,
            each.bundle.size_bytes,
        )
        for each, latency in zip(predictions, measured, strict=True)
    ]
    _print(console, evaluations, problems)
    if json_path is not None:
        fields = to_json(evaluations, problems)
        write_output_file(json_path, json.dumps(fields, indent=1, ensure_ascii=False) + "\n")
    if report_path is not None:
        source = (
            images.resolve().name
            + (f", {localize} localization" if localize else "")
            + (f", {view} only" if view else "")
        )
        write_output_file(report_path, to_html(evaluations, problems, source, datetime.now(UTC).astimezone()))
        console.print(f"Report: {report_path}", highlight=False, soft_wrap=True)


def _default_bundle() -> Path:
    shipped = str(REPOSITORY_ROOT / Settings().model_bundle)
    return Path(Settings.from_environment(os.environ, defaults={"model_bundle": shipped}).model_bundle)


_ROWS: tuple[tuple[str, Callable[[Evaluation], str]], ...] = (
    ("photos", lambda each: f"{each.figures['images']:,}"),
    ("classes among them", lambda each: str(each.figures["classes"])),
    ("accuracy", lambda each: f"{each.figures['accuracy']:.4f}"),
    ("top-5", lambda each: f"{each.figures['top5']:.4f}"),
    ("precision, macro", lambda each: f"{each.figures['precision']:.4f}"),
    ("recall, macro", lambda each: f"{each.figures['recall']:.4f}"),
    ("F1, macro", lambda each: f"{each.figures['f1']:.4f}"),
    ("F1, weighted", lambda each: f"{each.figures['averages']['weighted']['f1']:.4f}"),
    ("expected calibration error", lambda each: f"{each.figures['ece']:.4f}"),
    ("best temperature of the scores", lambda each: f"{each.figures['temperature']:.2f}"),
    ("one image on one core, ms", lambda each: f"{each.latency_milliseconds:.1f}"),
    ("size", lambda each: format_bytes(each.size_bytes)),
)


def _print(console: Console, evaluations: Sequence[Evaluation], problems: Sequence[str]) -> None:
    table = Table("figure", *(escape(_heading(each, evaluations)) for each in evaluations))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, show in _ROWS:
        table.add_row(name, *(show(each) for each in evaluations))
    if len(evaluations) > 1:
        comparisons = compare([each.predictions for each in evaluations])
        table.add_section()
        table.add_row("labels shared with the first", *(f"{each.labels:,}" for each in comparisons))
        table.add_row(f"accuracy, {comparisons[0].images:,} shared photos", *(_share(e.accuracy) for e in comparisons))
        table.add_row("agreement with the first", *(_share(each.agreement) for each in comparisons))
    print_table(console, table)
    first = evaluations[0]
    pairs = most_confused(first.figures["confusion"], 5)
    if pairs:
        confused = "; ".join(f"{true} as {answered} ({images})" for true, answered, images in pairs)
        console.print(Text(f"Confused most often: {confused}."), soft_wrap=True)
    for each in evaluations:
        sentences = [*(problems if each is first else ()), *each.predictions.left_out]
        if sentences:
            console.print(Text(f"Left out of {each.name}'s figures:"), soft_wrap=True)
        for sentence in sentences[:_MOST_SENTENCES]:
            console.print(Text(f"  {sentence}"), soft_wrap=True)
        if len(sentences) > _MOST_SENTENCES:
            console.print(f"  … and {len(sentences) - _MOST_SENTENCES} more; --json lists all.")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _heading(evaluation: Evaluation, all_of_them: Sequence[Evaluation]) -> str:
    """The model's name, with its folder if two models have the same name."""
    if sum(each.name == evaluation.name for each in all_of_them) == 1:
        return evaluation.name
    return f"{evaluation.name}\n{evaluation.predictions.bundle.folder.name}"
