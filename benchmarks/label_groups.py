"""Measure how often a photo belongs to the group that the page shows where the model is unsure of the label."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from app_tier.bundle import ModelBundle, load_bundle
from app_tier.classifier import Classifier
from benchmarks.report import json_option, write_json
from core.errors import ImageError
from core.jobs import Prediction
from core.settings import Settings
from evaluation.predictions import decoder
from evaluation.truth import LabelledPhoto, read_truth
from web_tier.domain.label_groups import GroupTable, LabelGroups, common_group, groups_of, imagenet_groups


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the page shows for one photo.

    Attributes:
        known: whether the model has the photo's true label.
        unsure: whether the score of the best label is below the limit.
        label_right: whether the best label is the true one.
        group: the group shown; None if there is none.
        group_right: whether the true label belongs to it.
    """

    known: bool
    unsure: bool
    label_right: bool
    group: str | None = None
    group_right: bool = False


def judge(
    label: str, predictions: Sequence[Prediction], known: bool, unsure_below: float, table: GroupTable
) -> Outcome:
    """Compares what the page shows with the true label."""
    best = predictions[0]
    outcome = Outcome(known, best.score < unsure_below, best.label == label)
    group = common_group(predictions, groups_of(predictions, table)) if outcome.unsure else None
    if group is None:
        return outcome
    right = group.name in table.get(label, LabelGroups()).path
    return Outcome(known, True, outcome.label_right, group.name, right)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The figures: photos, how many are unsure, of these how many labels are right, groups shown, groups right."""
    unsure = [outcome for outcome in outcomes if outcome.unsure]
    shown = [outcome for outcome in unsure if outcome.group is not None]
    right = sum(outcome.group_right for outcome in shown)
    return {
        "photos": len(outcomes),
        "unsure": len(unsure),
        "labels_right": sum(outcome.label_right for outcome in unsure),
        "groups_shown": len(shown),
        "groups_right": right,
        "share_right": round(right / len(shown), 4) if shown else None,
    }


def outcomes_of(bundle: ModelBundle, photos: Sequence[LabelledPhoto], settings: Settings) -> Iterator[Outcome]:
    """Classifies each photo as a worker does and judges what the page would show; leaves out damaged photos."""
    classifier, decode, table = Classifier(bundle, 1, settings.top_k), decoder(bundle.input), imagenet_groups()
    for photo in photos:
        try:
            pixels = decode(photo.path)
        except ImageError:
            continue
        predictions = classifier.classify([np.asarray(pixels)])[0]
        yield judge(photo.label, predictions, photo.label in bundle.labels, settings.unsure_below, table)


@click.command("groups")
@click.option(
    "--images", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True, help="Folder of photos."
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="CSV file with the columns file and label, which is one of ImageNet's.",
)
@click.option(
    "--bundle",
    "folders",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    required=True,
    help="Model bundle; repeat the option for several.",
)
@json_option
def command(images: Path, truth: Path, folders: tuple[Path, ...], json_path: Path | None) -> None:
    """Measure how often a group shown in doubt is right.

    EIC_UNSURE_BELOW and EIC_TOP_K apply.  Also counts photos whose label the model does not have.
    """
    photos, _ = read_truth(images, truth)
    reports = []
    for folder in folders:
        bundle = load_bundle(folder)
        outcomes = list(outcomes_of(bundle, photos, Settings.from_environment(os.environ)))
        known = [outcome for outcome in outcomes if outcome.known]
        reports.append({"model": bundle.full_name, "photos_of": "its classes", **summary(known)})
        if len(known) < len(outcomes):
            reports.append({"model": bundle.full_name, "photos_of": "all classes", **summary(outcomes)})
    table = Table(title="Groups shown in doubt", title_justify="left", show_header=False)
    for _ in range(len(reports) + 1):
        table.add_column(overflow="fold")
    for key in reports[0]:
        table.add_row(key.replace("_", " "), *(str(report[key]) for report in reports))
    Console().print(table)
    if json_path is not None:
        write_json({"rows": reports}, json_path)
