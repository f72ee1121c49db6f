"""`elastic demo`, the way a stranger runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.paths import REPOSITORY_ROOT

pytestmark = pytest.mark.acceptance


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "demo", *arguments]
    return subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=240)


def test_demo_answers_every_photo_and_reports(make_images: Callable[..., list[Path]], tmp_path: Path) -> None:
    paths = make_images(6)
    (paths[0].parent / "notes.txt").write_text("not an image")
    paths[2].write_bytes(b"this is no image")
    report_path = tmp_path / "report.json"

    page_path = tmp_path / "report.html"
    run = demo("--images", str(paths[0].parent), "--json", str(report_path), "--report", str(page_path))

    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(report_path.read_text())
    assert " ".join(report) == (
        "images classified failed seconds peak_instances final_instances images_per_second results"
    )
    assert (report["images"], report["classified"], report["failed"], report["final_instances"]) == (6, 5, 1, 0)
    assert report["peak_instances"] >= 1
    assert [result["name"] for result in report["results"]] == [path.name for path in paths]
    assert [result["status"] for result in report["results"]].index("failed") == 2
    assert "notes.txt" in run.stdout and "not an image" in run.stdout
    assert "Instances: 0 (" in run.stdout
    # Each step is named while it is waited for, and the page has the pictures that could be classified.
    for step in ("Checking the model …", "Starting the web tier …", "uploaded 6/6", page_path.as_uri()):
        assert step in run.stdout
    page = page_path.read_text()
    assert page.count("data:image/jpeg;base64,") == 5 and page.count('class="failed"') == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--images", "nowhere"), "nowhere does not exist"),
        (("--images", "core"), "there is no image in core"),
        (("--boot-seconds", "-1"), "Invalid value for '--boot-seconds'"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    run = demo(*arguments)
    assert run.returncode != 0 and sentence in run.stderr and "Traceback" not in run.stderr
