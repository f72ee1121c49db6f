"""Write the report on a data set: one self-contained HTML file with pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from core.errors import ImageError
from training.datasets.samples import Sample
from training.inspection.findings import Findings, Group
from training.inspection.pictures import Pixels, choose_samples
from training.prepare import decode_limits, decode_sample

_TEMPLATE = "report.html.j2"
THUMBNAIL_SIDE = 96
# Groups of duplicates, their images, and broken files on the page; --json lists all.
_MAX_GROUPS, _MAX_MEMBERS, _MAX_BROKEN = 24, 6, 200
_SIZE_BINS = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)


def thumbnails(findings: Findings, indices: Sequence[int], side: int = THUMBNAIL_SIDE) -> dict[int, Pixels]:
    """Decodes samples to small squares, by their indices; leaves out what cannot be decoded (any more)."""
    limits = decode_limits()
    found: dict[int, Pixels] = {}
    for index in indices:
        if not findings.facts[index].problem:
            try:
                found[index] = decode_sample(findings.dataset.samples[index], side, limits)
            except (ImageError, OSError):
                continue
    return found


def sample_rows(findings: Findings, seed: int) -> dict[str, list[Pixels]]:
    """Samples of each class that can be decoded, by label."""
    usable = [index for index, each in enumerate(findings.facts) if not each.problem]
    chosen = choose_samples([findings.dataset.samples[index].label for index in usable], seed)
    pictures = thumbnails(findings, [usable[place] for places in chosen.values() for place in places])
    return {
        findings.dataset.labels[label]: [pictures[usable[place]] for place in places if usable[place] in pictures]
        for label, places in chosen.items()
    }


def to_html(findings: Findings, rows: dict[str, list[Pixels]], now: datetime) -> str:
    """The report as HTML.

    Args:
        rows: samples of each class, as `sample_rows` returns.
    """
    samples, labels = findings.dataset.samples, findings.dataset.labels
    shown = [*findings.exact[:_MAX_GROUPS], *findings.near[:_MAX_GROUPS]]
    pictures = thumbnails(findings, sorted({index for group in shown for index in group.members[:_MAX_MEMBERS]}))

    def groups(found: Sequence[Group]) -> list[dict[str, Any]]:
        return [
            {
                "group": group,
                "images": [
                    _figure(samples[index], labels, pictures.get(index)) for index in group.members[:_MAX_MEMBERS]
                ],
            }
            for group in found[:_MAX_GROUPS]
        ]

    largest = max(sum(by_part.values()) for _, by_part in findings.counts)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template(_TEMPLATE).render(
        findings=findings,
        classes=[(labels[label], by_part, sum(by_part.values())) for label, by_part in findings.counts],
        largest=largest,
        rows={label: [_uri(picture) for picture in row] for label, row in rows.items()},
        sizes=size_histogram(findings.shorter_sides),
        widths=findings.spread(each.width for each in findings.facts),
        heights=findings.spread(each.height for each in findings.facts),
        exact=groups(findings.exact),
        near=groups(findings.near),
        broken=[(samples[index].name, findings.facts[index].problem) for index in findings.broken[:_MAX_BROKEN]],
        now=now,
    )


def size_histogram(sides: Sequence[int]) -> list[tuple[str, int]]:
    """Counts images by their shorter side, in bins whose limits are common input sizes; without empty outer bins."""
    counts = np.bincount(np.digitize(sides, _SIZE_BINS), minlength=len(_SIZE_BINS) + 1).tolist()
    names = [
        f"below {_SIZE_BINS[0]}",
        *(f"{low}–{high - 1}" for low, high in pairwise(_SIZE_BINS)),
        f"{_SIZE_BINS[-1]} and more",
    ]
    filled = [place for place, count in enumerate(counts) if count]
    return list(zip(names, counts, strict=True))[filled[0] : filled[-1] + 1] if filled else []


def _figure(sample: Sample, labels: Sequence[str], picture: Pixels | None) -> dict[str, str]:
    return {
        "name": sample.name,
        "label": labels[sample.label],
        "part": sample.part or "",
        "picture": "" if picture is None else _uri(picture),
    }


def _uri(picture: Pixels) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
