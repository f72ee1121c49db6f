"""Evaluation: the figures by hand-made cases, the truth as people write it, and the shipped bundle's own figures."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix

import cli
from core.errors import EvaluationError
from evaluation import plots
from evaluation.figures import (
    best_temperature,
    calibration_bins,
    confusion,
    expected_calibration_error,
    measure,
    most_confused,
    suspected_label_errors,
)
from evaluation.localize import centred_square, localizer
from evaluation.truth import ClassFinder, LabelledPhoto, read_truth
from local_cloud.sample_photos import from_packages
from tests.bundles import SHIPPED, SHIPPED_NAME, measured

LABELS = ("cat", "dog", "fox")
# Four photos of cats, three of dogs; no fox, though the model answers it once.
TRUTH = np.array([0, 0, 0, 0, 1, 1, 1])
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.2, 0.7, 0.1],
        [0.3, 0.2, 0.5],
        [0.1, 0.9, 0.0],
        [0.2, 0.5, 0.3],
        [0.9, 0.1, 0.0],
    ],
    np.float32,
)


def test_the_figures_of_a_case_worked_out_by_hand() -> None:
    figures = measure(TRUTH, PROBABILITIES, LABELS)
    # Cats: 2 of 4 found, 2 of 3 answers right.  Dogs: 2 of 3 found, 2 of 3 answers right.
    assert figures["accuracy"] == round(4 / 7, 4) == figures["averages"]["micro"]["f1"]
    assert figures["precision"] == round((2 / 3 + 2 / 3) / 2, 4)
    assert figures["recall"] == round((1 / 2 + 2 / 3) / 2, 4)
    assert figures["averages"]["weighted"]["recall"] == round((4 * 1 / 2 + 3 * 2 / 3) / 7, 4)
    assert figures["f1"] == round((4 / 7 + 2 / 3) / 2, 4)
    assert [(row["label"], row["images"], row["recall"]) for row in figures["per_class"]] == [
        ("cat", 4, 0.5),
        ("dog", 3, 0.6667),
    ]
    assert figures["confusion"] == {"cat": {"cat": 2, "dog": 1, "fox": 1}, "dog": {"cat": 1, "dog": 2}}
    assert (figures["top5"], figures["classes"], figures["images"]) == (1.0, 2, 7)
    json.dumps(figures)


def test_top5_counts_the_true_class_among_the_five_best() -> None:
    probabilities = np.tile(np.linspace(0.3, 0.0, 8, dtype=np.float32), (4, 1))
    assert measure(np.array([0, 4, 5, 7]), probabilities, [str(n) for n in range(8)])["top5"] == 0.5


def test_pairs_are_ordered_by_how_often_they_are_confused() -> None:
    matrix = confusion(np.array([0, 0, 0, 1]), np.array([1, 1, 0, 0]), LABELS)
    assert most_confused(matrix, 5) == [("cat", "dog", 2), ("dog", "cat", 1)]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_the_matrix_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    ours = confusion(truth, predicted, LABELS)
    dense = [[ours.get(true, {}).get(answered, 0) for answered in LABELS] for true in LABELS]
    np.testing.assert_array_equal(dense, confusion_matrix(truth, predicted, labels=range(3)))


def sure(confidence: float, count: int) -> NDArray[np.float32]:
    return np.tile(np.array([confidence, 1 - confidence], np.float32), (count, 1))


@pytest.mark.parametrize(
    ("confidence", "right", "error"), [(0.75, 6, 0.0), (0.75, 8, 0.25), (0.95, 4, 0.45), (1.0, 8, 0.0)]
)
def test_calibration_error_is_the_gap_between_sure_and_right(confidence: float, right: int, error: float) -> None:
    truth = np.array([0] * right + [1] * (8 - right))
    bins = calibration_bins(truth, sure(confidence, 8))
    assert sum(each.images for each in bins) == 8
    assert expected_calibration_error(bins) == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_that_scores_were_made_with_is_found(temperature: float) -> None:
    """Classes drawn by the probabilities of some logits; the model's are those of the logits times `temperature`."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (4000, 5))
    exact, scaled = (np.exp(scale * logits) for scale in (1.0, temperature))
    exact /= exact.sum(axis=1, keepdims=True)
    truth = (exact.cumsum(axis=1) < generator.random((4000, 1))).sum(axis=1).clip(0, 4)
    probabilities = (scaled / scaled.sum(axis=1, keepdims=True)).astype(np.float32)
    assert best_temperature(truth, probabilities) == pytest.approx(temperature, rel=0.08)


def test_a_confident_answer_against_the_label_is_suspected_and_an_unsure_one_is_not() -> None:
    # Photo 6, labelled dog: surer of cat than cats are on average.  Photo 2, labelled cat: 0.7 for dog, whose own
    # photos get 0.5 on average.  Photo 3: a fox, of which there is none to compare with.
    assert suspected_label_errors(TRUTH, PROBABILITIES) == [6, 2]


@pytest.mark.parametrize(
    ("label", "synset", "number"),
    [
        ("golden_retriever", "", 0),
        ("Golden retriever", "", 0),
        ("Cardigan", "", 1),
        ("cardigan", "", 2),
        ("CARDIGAN", "", None),
        ("n02", "", 1),
        ("whatever", "n03", 2),
        ("whatever", "n99", None),
    ],
)
def test_labels_are_found_as_people_write_them(label: str, synset: str, number: int | None) -> None:
    finder = ClassFinder(("golden retriever", "Cardigan", "cardigan"), ("n01", "n02", "n03"))
    assert finder.find(LabelledPhoto(Path("x.jpg"), "x.jpg", label, synset)) == number


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), "teal").save(path)


def test_a_folder_per_class_is_the_truth(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "dog/old/2.png", "3.jpg"):
        picture(tmp_path / name)
    photos, problems = read_truth(tmp_path, None)
    assert [(photo.name, photo.label) for photo in photos] == [("cat/1.jpg", "cat"), ("dog/old/2.png", "dog")]
    assert problems == ["3.jpg: is not in a folder that would be its label"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,label\n1.jpg,cat\n", "needs the columns file and label"),
        ("file,label\n", "no photo in .* has a label"),
        ("file,label\nmissing.jpg,cat\n", "no photo in .* has a label"),
        ("", "needs the columns"),
    ],
)
def test_a_useless_list_is_refused_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "truth.csv").write_text(text)
    with pytest.raises(EvaluationError, match=sentence):
        read_truth(tmp_path, tmp_path / "truth.csv")


@given(
    st.tuples(st.integers(20, 900), st.integers(20, 900)),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_what_is_cut_out_is_a_square_within_the_photo(size: tuple[int, int], shares: list[float]) -> None:
    left, top = shares[0] * size[0], shares[1] * size[1]
    box = [left, top, shares[2] * (size[0] - left), shares[3] * (size[1] - top)]
    x0, y0, x1, y1 = centred_square(size, box, 2.0)
    assert 0 <= x0 <= x1 <= size[0] and 0 <= y0 <= y1 <= size[1]
    assert abs((x1 - x0) - (y1 - y0)) <= 1


def test_a_face_is_cut_out_and_a_photo_without_one_stays_as_it_is() -> None:
    pytest.importorskip("cv2", reason="OpenCV, which only localization needs, is not installed")
    find = localizer("haar")
    astronaut = next(path for path in from_packages() if path.name == "astronaut.png").read_bytes()
    with Image.open(io.BytesIO(find(astronaut))) as cut:
        assert cut.width == cut.height < 512
    brick = next(path for path in from_packages() if path.name == "brick.png").read_bytes()
    assert find(brick) == brick
    assert find(b"no image") == b"no image"


def run(*arguments: object) -> tuple[int, str]:
    answer = CliRunner().invoke(cli.main, ["evaluate", *map(str, arguments)])
    return answer.exit_code, answer.output


def test_what_cannot_be_evaluated_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    picture(photos / "beagle" / "1.jpg")
    picture(photos / "unicorn" / "2.jpg")
    (photos / "beagle" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (photos / "beagle" / "<script>.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    status, output = run("--images", photos, "--json", figures, "--report", report)
    assert status == 0, output
    fields = json.loads(figures.read_text())
    assert fields["images"] == 1 and len(fields["left_out"]) == 3
    assert (
        f"{SHIPPED_NAME} does not know that label" in output
        and "beagle/broken.jpg: the JPEG image is damaged" in output
    )
    page = report.read_text()
    # Nothing is fetched: every picture and drawing is inside.
    assert not re.search(r"(src|href)=\"(?!data:|#)", page) and "<script" not in page and "<svg" in page
    assert "beagle/&lt;script&gt;.jpg" in page


def test_an_empty_folder_is_a_sentence(tmp_path: Path) -> None:
    status, output = run("--images", tmp_path)
    assert status == 2 and "there is no image in" in output


def test_a_report_that_could_not_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    status, output = run("--images", tmp_path, "--report", tmp_path / "missing" / "report.html")
    assert status == 2 and "there is no folder" in output


@pytest.mark.slow
def test_the_shipped_bundle_has_the_figures_of_its_card(many_photos: list[tuple[Path, str]], tmp_path: Path) -> None:
    folder, figures = many_photos[0][0].parent, tmp_path / "figures.json"
    status, output = run("--images", folder, "--truth", folder / "truth.csv", "--json", figures)
    assert status == 0, output
    fields = json.loads(figures.read_text())
    # Kernels round differently from processor to processor: one photo in 300 may go the other way.
    assert fields["accuracy"] == pytest.approx(measured()["photos_300_top1_int8"], abs=0.004)
    assert {"accuracy", "top5", "precision", "recall", "f1"} <= fields.keys()
    assert fields["images"] == 300 and fields["left_out"] == []


def test_bundles_side_by_side_say_how_often_they_agree(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "copy")
    picture(tmp_path / "photos" / "beagle" / "1.jpg")
    figures = tmp_path / "figures.json"
    arguments = ("--images", tmp_path / "photos", "--bundle", SHIPPED, "--bundle", tmp_path / "copy")
    status, output = run(*arguments, "--json", figures)
    assert status == 0, output
    first, second = json.loads(figures.read_text())["bundles"]
    assert second["agreement"] == 1.0 and first["size_bytes"] == second["size_bytes"]
    assert first["latency_milliseconds"] > 0


def test_the_confusion_matrix_has_rows_only_for_the_photos_classes() -> None:
    svg, complete = plots.confusion_matrix({"cat": {"cat": 3, "fox": 1}, "dog": {"dog": 2}})
    assert complete and svg.count("fox") == 1 and svg.count("cat") == 2 and svg.count("dog") == 2
    # Of many classes, those that are confused: a class with no mistake is no row.
    many = {f"class {number}": {f"class {number}": 5} for number in range(60)}
    many["class 7"]["class 8"] = 2
    svg, complete = plots.confusion_matrix(many)
    assert not complete and set(re.findall(r"class \d+", svg)) == {"class 7", "class 8"}
