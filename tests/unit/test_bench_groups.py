"""`elastic bench groups`: what counts as right, and the whole command with the shipped model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from benchmarks.label_groups import Outcome, judge, summary
from core.jobs import Prediction
from tests.conftest import PHOTOS
from web_tier.domain.label_groups import imagenet_groups

HOUNDS = (Prediction("beagle", 0.45), Prediction("basset", 0.4), Prediction("tabby", 0.01))
ANYTHING = (Prediction("beagle", 0.3), Prediction("minivan", 0.2), Prediction("fig", 0.1))
SURE = (Prediction("beagle", 0.9), Prediction("basset", 0.1))


@pytest.mark.parametrize(
    ("label", "predictions", "outcome"),
    [
        ("beagle", HOUNDS, Outcome(True, True, True, "hound", True)),
        ("whippet", HOUNDS, Outcome(True, True, False, "hound", True)),
        ("boxer", HOUNDS, Outcome(True, True, False, "hound", False)),
        ("Band Aid", HOUNDS, Outcome(True, True, False, "hound", False)),
        ("beagle", ANYTHING, Outcome(True, True, True)),
        ("boxer", SURE, Outcome(True, False, False)),
    ],
)
def test_what_is_right(label: str, predictions: tuple[Prediction, ...], outcome: Outcome) -> None:
    assert judge(label, predictions, True, 0.5, imagenet_groups()) == outcome


def test_the_figures_count_unsure_photos_only() -> None:
    outcomes = [
        Outcome(True, True, False, "dog", True),
        Outcome(True, True, False, "dog", False),
        Outcome(True, True, True),
        Outcome(True, False, True),
    ]
    assert summary(outcomes) == {
        "photos": 4,
        "unsure": 3,
        "labels_right": 1,
        "groups_shown": 2,
        "groups_right": 1,
        "share_right": 0.5,
    }
    assert summary([])["share_right"] is None


def test_the_command_measures_a_bundle_on_photos_of_classes_that_it_has_and_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The score of the cat's face is near the usual limit.
    monkeypatch.setenv("EIC_UNSURE_BELOW", "0.95")
    truth = tmp_path / "truth.csv"
    truth.write_text("file,label\ncat-face.jpg,tabby\nclock.jpg,church tower\n")
    arguments = ["--images", str(PHOTOS), "--truth", str(truth), "--bundle", "models/resnet50-imagenet"]
    done = CliRunner().invoke(cli.main, ["bench", "groups", *arguments, "--json", str(tmp_path / "report.json")])
    assert done.exit_code == 0, done.output
    of_known, of_all = json.loads((tmp_path / "report.json").read_text())["rows"]
    assert (of_known["photos_of"], of_known["photos"]) == ("its classes", 1)
    assert (of_all["photos_of"], of_all["photos"]) == ("all classes", 2)
    # The cat's face is a tabby or an Egyptian cat, the clock is blurred.
    assert (of_known["groups_shown"], of_known["groups_right"]) == (1, 1)
