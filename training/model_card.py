"""Write the model card of a bundle: input, training, accuracy and known limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CARD_FILE = "card.md"
_WEAKEST = 8


def write_card(manifest: dict[str, Any], labels: Sequence[str], notes: str) -> str:
    """Writes the model card, Markdown.

    Args:
        manifest: the bundle's manifest, with ``measured``.
        notes: the section on training, data and licences.
    """
    spec, measured, kind = manifest["input"], manifest["measured"], manifest["kind"]
    subtract = ", ".join(f"{value:g}" for value in spec["subtract"])
    parity = measured["against_float32"]
    paragraphs = [
        f"# {manifest['name']}, version {manifest['version']}",
        f"{manifest['architecture']}. {len(labels):,} labels.",
        f"**Input.** {spec['height']}×{spec['width']}, {spec['channels']}, minus ({subtract}), from the "
        f"{spec['resize']}. Batch is dynamic. `bundle.json` states it for programs.",
        notes.strip(),
        f"**Compared with the float32 model**, on {parity['images']:,} photos: top-1 agreement "
        f"{parity['top1_agreement']:.4f}, largest difference of a probability "
        f"{parity['largest_probability_difference']:.3f}.",
    ]
    if "images" in measured:
        weakest = sorted(measured["per_class_recall"].items(), key=lambda pair: pair[1])[:_WEAKEST]
        paragraphs += [
            f"**Measured** on {measured['images']:,} photos held out from training: top-1 "
            f"{measured[f'top1_{kind}']:.4f} ({measured['top1_float32']:.4f} in float32), "
            f"top-5 {measured[f'top5_{kind}']:.4f}; macro precision "
            f"{measured['precision']:.4f}, recall {measured['recall']:.4f}, F1 {measured['f1']:.4f}; expected "
            f"calibration error {measured['ece']:.4f}.",
            f"Weakest by recall: {', '.join(f'{label} {recall:.2f}' for label, recall in weakest)}.",
        ]
    else:
        paragraphs.append("**Not measured:** the export had no labelled photos.")
    paragraphs.append(
        "**Known limits.** The model assigns one of its labels to every photo, also to photos of anything else, often "
        'with a low score; treat scores below 0.5 as "not sure".'
    )
    return "\n\n".join(filter(None, paragraphs)) + "\n"
