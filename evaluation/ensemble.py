"""Make an ensemble: a bundle of several models whose probabilities are averaged."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app_tier.bundle import ENSEMBLE, MAX_MEMBERS, ModelBundle, load_bundle
from core.bundle_manifest import LABELS_FILE, MEMBER_FILES, MODEL_FILE, read_manifest
from core.errors import EvaluationError
from evaluation.bundle_files import bundle_files, write_description


def require_compatible(bundles: Sequence[ModelBundle]) -> None:
    """Checks that bundles can be averaged: single models with the same labels in the same order, and one input size.

    Raises:
        EvaluationError: they cannot.
    """
    if not 2 <= len(bundles) <= MAX_MEMBERS:
        raise EvaluationError(f"an ensemble has two to {MAX_MEMBERS} members; these are {len(bundles)}")
    first = bundles[0]
    for each in bundles:
        if each.ensemble or each.view is not None:
            raise EvaluationError(f"{each.full_name} is an ensemble or a view itself; give single models")
        if each.labels != first.labels:
            raise EvaluationError(f"{first.full_name} and {each.full_name} have different labels, or another order")
        if (each.input.height, each.input.width) != (first.input.height, first.input.width):
            raise EvaluationError(
                f"{first.full_name} and {each.full_name} have inputs of different sizes "
                f"({first.input.width} and {each.input.width} pixels); an image is decoded to one"
            )


def write_ensemble(bundles: Sequence[ModelBundle], folder: Path, version: str = "1") -> ModelBundle:
    """Writes the ensemble of the bundles as a bundle, which workers serve as any other.

    Args:
        folder: its new folder; its name becomes the bundle's.

    Raises:
        EvaluationError: the bundles cannot be averaged, or the folder exists.
    """
    require_compatible(bundles)
    if folder.exists():
        raise EvaluationError(f"{folder} exists already; give another folder for the ensemble")
    files = [MODEL_FILE, *MEMBER_FILES][: len(bundles)]
    with bundle_files(folder) as partial:
        for file, bundle in zip(files, bundles, strict=True):
            shutil.copyfile(bundle.model_path, partial / file)
        shutil.copyfile(bundles[0].folder / LABELS_FILE, partial / LABELS_FILE)
        manifest = _manifest(folder.name, version, bundles, files)
        write_description(partial, manifest, _card(manifest), (*files, LABELS_FILE))
    return load_bundle(folder)


def _manifest(name: str, version: str, bundles: Sequence[ModelBundle], files: Sequence[str]) -> dict[str, Any]:
    described = [read_manifest(bundle.folder) for bundle in bundles]
    first = described[0]
    return {
        "name": name,
        "version": version,
        "architecture": f"ensemble of {', '.join(bundle.full_name for bundle in bundles)}",
        "kind": ENSEMBLE,
        "input": first["input"],
        "output": f"mean of the members' probabilities over {LABELS_FILE}, in its order",
        "labels": LABELS_FILE,
        **({"synsets": first["synsets"]} if first.get("synsets") else {}),
        "members": [
            {"file": file, "name": bundle.full_name, "input": fields["input"]}
            for file, bundle, fields in zip(files, bundles, described, strict=True)
        ],
    }


def _card(manifest: dict[str, Any]) -> str:
    members = "".join(f"- {member['name']} (`{member['file']}`)\n" for member in manifest["members"])
    count = len(manifest["members"])
    return (
        f"# {manifest['name']}\n\nThe mean of the probabilities of {count} models.  "
        f"Each of them runs for each image:\n\n{members}"
    )
