"""Read a training run for its export: labels, input, photos by part of the split, and the trained model."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app_tier.bundle import InputSpec
from core.errors import ExportError, TrainingError
from evaluation.truth import LabelledPhoto
from training.datasets.samples import TEST, TRAIN, VALIDATION
from training.run_folder import MODEL_FILE, RUN_FILE, SPLIT_FILE, read_run


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A run in `folder`.

    Attributes:
        fields: the run's description, see `training.run_folder.read_run`.
        split: each photo that is a file, with its part of the split.
    """

    folder: Path
    fields: dict[str, Any]
    split: tuple[tuple[str, LabelledPhoto], ...]

    @classmethod
    def read(cls, folder: Path) -> TrainedRun:
        """Reads the run's description and its split.

        Raises:
            TrainingError: the folder holds no run, one of another version, or an incomplete description.
        """
        fields = read_run(folder)
        if missing := {"labels", "input", "architecture"} - fields.keys():
            raise TrainingError(f"{folder / RUN_FILE} lacks {', '.join(sorted(missing))}")
        return cls(folder, fields, _read_split(folder / SPLIT_FILE))

    def photos(self, part: str) -> list[LabelledPhoto]:
        """The photos of a part of the split."""
        return [photo for its_part, photo in self.split if its_part == part]

    def training_photos(self) -> list[Path]:
        """The files that the model was trained on.

        Raises:
            ExportError: there are none, as for a data set in an archive.
        """
        if not (photos := self.photos(TRAIN)):
            raise ExportError(f"{self.folder / SPLIT_FILE} lists no training photos; give some with --calibration")
        return [photo.path for photo in photos]

    def held_out(self) -> tuple[str, list[LabelledPhoto]]:
        """The photos to measure the model on, and their part: the test photos, else the validation photos."""
        for part in (TEST, VALIDATION):
            if photos := self.photos(part):
                return part, photos
        return "none", []

    def input_spec(self) -> InputSpec:
        """How the model's input is preprocessed.

        Raises:
            ExportError: the run scales its input, which workers do not.
        """
        spec = self.fields["input"]
        if float(spec.get("scale", 1.0)) != 1.0:
            raise ExportError("the run scales its input, which a worker does not; put a Rescaling layer into the model")
        first, second, third = (float(value) for value in spec["subtract"])
        return InputSpec(int(spec["height"]), int(spec["width"]), spec["channels"], (first, second, third))

    def load_model(self) -> Any:
        """Loads the best epoch's Keras model.

        Raises:
            ExportError: there is none, or it cannot be loaded.
        """
        path = self.folder / MODEL_FILE
        if not path.exists():
            raise ExportError(f"{path} does not exist: the run has not completed an epoch")
        import keras

        try:
            return keras.models.load_model(path, compile=False)
        except Exception as error:  # Keras raises many kinds of exceptions for damaged files
            raise ExportError(f"{path} cannot be loaded: {str(error).strip().splitlines()[0]}") from error

    def notes(self, measured_on: str) -> str:
        """The model card's section on the training, Markdown.

        Args:
            measured_on: the part of the split that the figures are measured on.
        """
        dataset = self.fields.get("dataset") or {}
        if teacher := self.fields.get("teacher"):
            origin = (
                f"by `elastic distil`: it learned the answers of {teacher} to random views of "
                f"{dataset.get('train', '?')} photos without labels ({dataset.get('name', 'photos')})."
            )
        else:
            origin = (
                f"by `elastic train` on {dataset.get('name', 'photos')}: "
                f"{dataset.get('train', '?')} photos to train, {dataset.get('validation', '?')} to validate."
            )
        sentences = [f"**Training.** {self.fields['architecture']} {origin}"]
        if self.fields.get("best_epoch") is not None:
            sentences.append(f"Best epoch: {self.fields['best_epoch']}.")
        if self.fields.get("hyperparameters"):
            values = (f"{key.replace('_', ' ')} {value}" for key, value in self.fields["hyperparameters"].items())
            sentences.append(f"Hyperparameters: {', '.join(values)}.")
        if measured_on == VALIDATION:
            sentences.append(
                "Measured on the validation photos, by which the best epoch was chosen: the figures are optimistic."
            )
        return " ".join(sentences)


def _read_split(path: Path) -> tuple[tuple[str, LabelledPhoto], ...]:
    if not path.exists():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(
            (row["split"], LabelledPhoto(Path(row["path"]), row["name"], row["label"], row.get("synset") or ""))
            for row in csv.DictReader(file)
            if row["path"]
        )
