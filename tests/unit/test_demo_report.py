"""The page that `elastic demo --report` writes: self-contained, escaped, with every picture, label and size."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.demo_report import MAX_PICTURES, chart_of, thumbnail, to_html
from local_cloud.fleet_size_history import Change

CHANGES = (Change(0.0, 0), Change(1.0, 3), Change(9.0, 0))
REPORT = {"images": 3, "classified": 2, "failed": 1, "seconds": 5.0, "peak_instances": 3, "final_instances": 0,
          "images_per_second": 0.6}  # fmt: skip


def result(position: int, name: str, label: str | None, **fields: Any) -> dict[str, Any]:
    status = "failed" if label is None else "classified"
    error = {"code": "broken", "sentence": "the image is damaged"} if label is None else None
    shown = {"position": position, "name": name, "label": label, "status": status, "error": error}
    return {**shown, "score": None if label is None else 0.75, "unsure": False, "group": None, **fields}


def page(results: list[dict[str, Any]], photos: list[Path]) -> str:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    return to_html(REPORT, results, photos, CHANGES, model="m@1", labels=267, ended_seconds=10.0, now=now)


def test_the_page_shows_each_photo_and_fetches_nothing(photos: list[tuple[Path, str]], tmp_path: Path) -> None:
    paths = [photos[0][0], photos[1][0], tmp_path / "gone.jpg"]
    html = page(
        [
            result(1, "<b>.jpg", "tabby"),
            result(0, "b.jpg", "beagle", unsure=True, group={"name": "dog"}),
            result(2, "gone.jpg", None),
        ],
        paths,
    )
    assert html.count("data:image/jpeg;base64,") == 2 and not re.search(r'(src|href)="(?!data:)', html)
    assert "&lt;b&gt;.jpg" in html and "<b>.jpg" not in html
    assert "score 0.75, unsure; of the group dog" in html and "the image is damaged" in html
    # Each label is beside its own picture, in whichever order the results are.
    first, second = re.findall(r'<img src="([^"]+)"', html)
    assert (first, second) == (thumbnail(paths[1]), thumbnail(paths[0]))


def test_a_page_has_no_more_pictures_than_a_browser_opens_quickly() -> None:
    html = page([result(0, f"{number}.jpg", None) for number in range(MAX_PICTURES + 20)], [])
    assert html.count("<figure") == MAX_PICTURES and "… and 20 more" in html


@pytest.mark.parametrize(
    ("changes", "levels"),
    [
        ((), [0, 1]),
        (CHANGES, [0, 1, 2, 3]),
        ((Change(0.0, 15),), [0, 5, 10, 15]),
    ],
)
def test_the_chart_steps_at_each_change_within_its_frame(changes: tuple[Change, ...], levels: list[int]) -> None:
    chart = chart_of(changes, answered_seconds=5.0, ended_seconds=10.0)
    assert [size for _, size in chart["levels"]] == levels
    assert chart["path"].count(" H") == len(changes) + 1
    assert [at for _, at in chart["times"]] == [0, 2, 4, 6, 8, 10]
    numbers = [float(number) for number in re.findall(r"[HV](\d+\.?\d*)", chart["path"])]
    assert all(chart["top"] <= number <= chart["right"] for number in numbers)
    assert chart["answered"] == (chart["left"] + chart["right"]) / 2 and not chart["answered_late"]


def test_a_run_of_no_time_has_a_chart() -> None:
    assert chart_of((), 0.0, 0.0)["times"][0] == (40.0, 0)
