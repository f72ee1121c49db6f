"""`elastic compare`: a run, its bundle and their ensemble on the photos of the run's split, and on others."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

pytest.importorskip("tensorflow", reason="TensorFlow, which training needs, is not installed")

from cli import main
from evaluation.score_table import Scores, to_text
from tests.training.helpers import SHAPES, toy_config, write_shapes
from training.data import prepare_data, write_data
from training.train import Training


def _compare(*arguments: Any, status: int = 0) -> str:
    result = CliRunner().invoke(main, ["compare", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


@pytest.mark.usefixtures("quick")
def test_a_run_its_bundle_and_their_ensemble(tmp_path: Path) -> None:
    shapes, run = write_shapes(tmp_path / "shapes", 20), tmp_path / "run"
    config = toy_config(shapes, epochs=3, dropout=0.0, learning_rate=0.02, warmup_epochs=1)
    data = prepare_data(config, tmp_path / "cache", Console(quiet=True))
    described = Training(config, data, run, Console(quiet=True)).run()
    write_data(data, run)
    exported = CliRunner().invoke(main, ["export", str(run), "--to", str(tmp_path / "small"), "--kind", "int8"])
    assert exported.exit_code == 0, exported.output

    table = tmp_path / "table.json"
    _compare(run, tmp_path / "small", "--ensemble", tmp_path / "both", "--output", table)
    found = json.loads(table.read_text("utf-8"))
    assert (found["validation_photos"], found["test_photos"]) == (12, 12)
    assert [(each["name"], each["kind"]) for each in found["models"]] == [
        (f"run@1 ({run})", "float32"),
        (f"run@1 ({tmp_path / 'small'})", "int8"),
        ("both@1", "ensemble"),
    ]
    # Exported in float32, the run has the figures that its training measured.
    first, small, both = found["models"]
    assert first["test_accuracy"] == pytest.approx(described["test"]["accuracy"], abs=1e-4)
    assert first["validation_accuracy"] == pytest.approx(described["validation"]["accuracy"], abs=1e-4)
    assert first["f1"] == pytest.approx(described["test"]["f1"], abs=1e-4)
    assert both["size_bytes"] == first["size_bytes"] + small["size_bytes"] > 0
    assert all(each["latency_milliseconds"] > 0 and each["trained_on"] == 0 for each in found["models"])

    # On all photos of a class that one of them knows, many of which it was trained on.
    shutil.copytree(shapes / "circle", tmp_path / "photos" / "circle")
    (tmp_path / "photos" / "circle" / "broken.png").write_text("no image")
    for file in (tmp_path / "photos" / "circle").glob("0*.png"):
        file.unlink()
        file.symlink_to(shapes / "circle" / file.name)
    output = _compare(run, "--images", tmp_path / "photos", "--output", tmp_path / "table.md")
    trained = sum(photo == "train" for photo in data.parts[data.label_indices == SHAPES.index("circle")])
    assert f"run@1 was trained on {trained} of the test photos: its figures are too good." in output
    assert "Left out of 21 photos: circle/broken.png: " in output
    assert (tmp_path / "table.md").read_text("utf-8").splitlines()[2].startswith("| run@1 | float32 | – | ")

    refused = _compare(tmp_path / "small", status=2)
    assert "bundles have no photos: give a folder with --images" in refused
    refused = _compare(run, "--ensemble", tmp_path / "alone", status=2)
    assert "an ensemble has two to 5 members; these are 1" in refused
    assert not (tmp_path / "alone").exists()


def test_the_table_in_each_format() -> None:
    scores = [
        Scores("a@1", "int8", 0.81, 0.8, 0.79, 0.78, 0.77, 2_000_000, 3.14, 5),
        Scores("b|c@1", "ensemble", None, 1.0, 1.0, 1.0, 1.0, 512, 10.0),
    ]
    assert to_text(scores, ".md", {}) == (
        "| model | kind | validation accuracy | test accuracy | precision | recall | F1 | size | ms per image |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| a@1 | int8 | 0.8100 | 0.8000 | 0.7900 | 0.7800 | 0.7700 | 1.9 MiB | 3.1 |\n"
        "| b\\|c@1 | ensemble | – | 1.0000 | 1.0000 | 1.0000 | 1.0000 | 512 bytes | 10.0 |\n"
    )
    rows = list(csv.DictReader(to_text(scores, ".csv", {}).splitlines()))
    assert [(row["name"], row["validation_accuracy"], row["trained_on"]) for row in rows] == [
        ("a@1", "0.81", "5"),
        ("b|c@1", "", "0"),
    ]
    fields = json.loads(to_text(scores, ".json", {"test_photos": 9}))
    assert fields["test_photos"] == 9 and fields["models"][0]["size_bytes"] == 2_000_000
