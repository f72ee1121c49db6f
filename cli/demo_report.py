"""The report of `elastic demo`: one self-contained HTML file with the pictures, their labels and the fleet's size."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from app_tier.decode import DecodeLimits, decode_image
from core.errors import ImageError
from core.settings import Settings
from local_cloud.fleet_size_history import Change

# A page with more pictures is slow to open; each takes about 10 KiB.
MAX_PICTURES = 500
_THUMBNAIL_PIXELS = 200
# Of the chart, in the units of its viewBox: width, height, and the edges of what is drawn.
_WIDTH, _HEIGHT = 900, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 880, 30, 190
_MOST_LEVELS, _MOST_TIMES = 6, 8
_DEFAULTS = Settings()
_LIMITS = DecodeLimits(_DEFAULTS.max_image_bytes, _DEFAULTS.max_image_pixels, _DEFAULTS.max_aspect_ratio)


def to_html(
    report: dict[str, Any],
    results: Sequence[dict[str, Any]],
    photos: Sequence[Path],
    changes: Sequence[Change],
    *,
    model: str,
    labels: int,
    ended_seconds: float,
    now: datetime,
) -> str:
    """The report as HTML.

    Args:
        report: the figures, as `elastic demo --json` writes them.
        results: the results as the API returns them; ``position`` is an index into `photos`.
        changes: the fleet's sizes.
        model: the model's name.
        labels: how many labels it has.
        ended_seconds: when the fleet was last looked at, on the clock of `changes`.
        now: when the report was made.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template("demo_report.html.j2").render(
        report=report,
        photos=[_photo(result, photos) for result in results[:MAX_PICTURES]],
        left_out=max(0, len(results) - MAX_PICTURES),
        unsure=sum(bool(result["unsure"]) for result in results),
        chart=chart_of(changes, report["seconds"], ended_seconds),
        model=model,
        labels=labels,
        now=now,
    )


def chart_of(changes: Sequence[Change], answered_seconds: float, ended_seconds: float) -> dict[str, Any]:
    """The coordinates of the chart of the fleet's size: a step at each change, until `ended_seconds`."""
    end = max(1.0, ended_seconds, answered_seconds)
    top = max(1, *(change.size for change in changes)) if changes else 1

    def x(seconds: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * min(seconds, end) / end, 1)

    def y(size: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * size / top, 1)

    steps = "".join(f" H{x(change.seconds)} V{y(change.size)}" for change in changes)
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": _RIGHT,
        "top": _TOP,
        "bottom": _BOTTOM,
        "path": f"M{_LEFT} {_BOTTOM}{steps} H{_RIGHT} V{_BOTTOM} Z",
        "levels": [(y(size), size) for size in range(0, top + 1, _whole_step(top, _MOST_LEVELS))],
        "times": [(x(at), at) for at in range(0, int(end) + 1, _whole_step(end, _MOST_TIMES))],
        "answered": x(answered_seconds),
        "answered_late": answered_seconds > end / 2,
        "sentence": ", ".join(f"{change.size} after {change.seconds:.1f} s" for change in changes),
    }


def thumbnail(photo: Path) -> str | None:
    """A small JPEG of a photo as a data URI, decoded as a worker does it; None if it cannot be decoded."""
    try:
        pixels = decode_image(photo.read_bytes(), _THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS, _LIMITS)
    except (ImageError, OSError):
        return None
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def doubt(result: dict[str, Any]) -> str:
    """The remark beside a label with a low score."""
    return f"unsure; of the group {result['group']['name']}" if result["group"] else "unsure"


def _photo(result: dict[str, Any], photos: Sequence[Path]) -> dict[str, Any]:
    failed = result["status"] == "failed"
    score = "" if failed else f"score {result['score']:.2f}" + (f", {doubt(result)}" if result["unsure"] else "")
    return {
        "name": result["name"],
        "label": "not classified" if failed else result["label"],
        "remark": result["error"]["sentence"] if failed else score,
        "failed": failed,
        # Where a photo failed, its name says enough; what is decoded here must not be a decoder's trap.
        "picture": None if failed else thumbnail(photos[result["position"]]),
    }


def _whole_step(most: float, count: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, … that divides `most` into at most `count` parts."""
    step, factor = 1, 0
    while most / step > count:
        factor += 1
        step = (1, 2, 5)[factor % 3] * 10 ** (factor // 3)
    return step
