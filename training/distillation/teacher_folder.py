"""Check that a folder holds a teacher, before TensorFlow is imported."""

from __future__ import annotations

from pathlib import Path

from app_tier.bundle import load_bundle
from core.bundle_manifest import MANIFEST_FILE
from core.errors import TrainingError
from training.run_folder import RUN_FILE
from training.trained_run import TrainedRun


def check_teacher(folder: Path) -> None:
    """Check that a folder holds a model bundle or a training run that can be a teacher.

    Raises:
        TrainingError: it is neither, or the run cannot be used.
        BundleError: the bundle cannot be used.
    """
    if (folder / MANIFEST_FILE).is_file():
        load_bundle(folder)
    elif (folder / RUN_FILE).is_file():
        TrainedRun.read(folder)
    else:
        raise TrainingError(
            f"{folder} is no teacher: it has neither a bundle's {MANIFEST_FILE} nor a training run's {RUN_FILE}"
        )
