"""The card of a model bundle: what it is for, how good it is, where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CARD_FILE = "card.md"
_WEAKEST = 8


def write_card(manifest: dict[str, Any], labels: Sequence[str], notes: str) -> str:
    """The card as Markdown.

    Args:
        manifest: the bundle's, with ``measured``.
        notes: what to say of training, data and licences.
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
        f"**Against the float32 model it was made from**, on {parity['images']:,} photos: the same answer to "
        f"{parity['top1_agreement']:.4f}, no probability further away than "
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
        paragraphs.append("**Not measured:** no labelled photos were given when it was exported.")
    paragraphs.append(
        "**Known limits.** Shown anything outside its labels it must still choose one, often with a low score; treat "
        'scores below 0.5 as "not sure".'
    )
    return "\n\n".join(filter(None, paragraphs)) + "\n"
