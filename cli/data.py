"""`elastic data`: look at a data set before training on it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.report import output_file
from cli.options import quiet
from cli.session import progress_console
from cli.tables import print_table
from cli.training_run import CACHE, classes_option, kind_option, seed_option
from core.errors import TrainingError
from core.output_files import write_output_file
from core.sizes import format_bytes
from core.standard_error import silenced_stderr
from training.config import AUGMENTATIONS
from training.datasets import load_dataset
from training.progress_bar import make_bar
from training.requirement import require_tensorflow

if TYPE_CHECKING:
    from training.datasets.samples import ImageDataset
    from training.inspection.findings import Findings

# Classes, and broken files or groups of duplicates, in the terminal; the report and --json have all.
_MAX_CLASSES = 30
_MAX_EXAMPLES = 3
_AUGMENTED_SIDE = 160


@click.command("data")
@click.argument("data", type=click.Path(path_type=Path))
@kind_option
@classes_option
@output_file("--report", "report_path", "Write a report to this file, HTML with pictures.", (".html", ".htm"))
@output_file("--sheet", "sheet_path", "Write the contact sheet of samples per class to this file, PNG.", (".png",))
@output_file("--augmented", "augmented_path", "Write what each augmentation does to an image, PNG.", (".png",))
@output_file("--json", "json_path", "Write all findings to this file.")
@seed_option
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=CACHE,
    show_default=True,
    help="Folder into which archives are unpacked.",
)
@quiet
def data(
    data: Path,
    kind: str,
    classes: str,
    report_path: Path | None,
    sheet_path: Path | None,
    augmented_path: Path | None,
    json_path: Path | None,
    seed: int,
    cache: Path,
) -> None:
    """Look at a data set before training on it.

    DATA is what `elastic train` takes: a folder with a folder for each class, a .lst manifest, a published data set or
    a mixture.  Each image is decoded as a worker does it.  The terminal shows the class distribution, the sizes,
    broken files, exact duplicates, and near duplicates by their difference hashes; --report adds pictures.
    --augmented needs TensorFlow.
    """
    if augmented_path is not None:
        require_tensorflow()
    progress = progress_console(stderr=False)
    dataset = load_dataset(data, kind, cache, classes)
    findings = _scan(dataset, progress)
    console = Console()
    _print(findings, console)
    if json_path is not None:
        write_output_file(json_path, json.dumps(findings.to_json(), indent=1, ensure_ascii=False) + "\n")
    if report_path is not None or sheet_path is not None:
        from training.inspection.pictures import draw_rows
        from training.inspection.report import THUMBNAIL_SIDE, sample_rows, to_html

        rows = sample_rows(findings, seed)
        if report_path is not None:
            write_output_file(report_path, to_html(findings, rows, datetime.now(UTC).astimezone()))
            _print_path(console, "Report", report_path)
        if sheet_path is not None:
            draw_rows(rows, f"{dataset.name}: samples of each class", THUMBNAIL_SIDE, sheet_path)
            _print_path(console, "Contact sheet", sheet_path)
    if augmented_path is not None:
        _draw_augmented(findings, seed, augmented_path)
        _print_path(console, "Augmentations", augmented_path)


def _scan(dataset: ImageDataset, console: Console) -> Findings:
    from training.inspection.findings import inspect
    from training.inspection.scan import scan

    with make_bar(console) as bar:
        task = bar.add_task("Scanning", total=len(dataset.samples), text="")
        facts = scan(dataset.samples, lambda count: bar.update(task, advance=count))
    return inspect(dataset, facts)


def _draw_augmented(findings: Findings, seed: int, path: Path) -> None:
    from training.architectures import ARCHITECTURES
    from training.inspection.pictures import draw_rows
    from training.inspection.report import thumbnails

    with silenced_stderr():
        from training.inspection.augmented import augmented_rows

    usable = next((index for index, each in enumerate(findings.facts) if not each.problem), None)
    if usable is None:
        raise TrainingError("no image of the data set can be decoded")
    image = thumbnails(findings, [usable], _AUGMENTED_SIDE)[usable]
    together = ARCHITECTURES["resnet50"].defaults["augment"]
    rows = augmented_rows(image, AUGMENTATIONS, together, seed)
    title = f"{findings.dataset.samples[usable].name}, augmented; together: {', '.join(together)}"
    draw_rows(rows, title, _AUGMENTED_SIDE, path)


def _print(findings: Findings, console: Console) -> None:
    dataset = findings.dataset
    table = Table("class", *(findings.parts if len(findings.parts) > 1 else ()), "images")
    for column in table.columns[1:]:
        column.justify = "right"
    for label, by_part in findings.counts[:_MAX_CLASSES]:
        parts = [f"{by_part.get(part, 0):,}" for part in findings.parts] if len(findings.parts) > 1 else []
        table.add_row(Text(dataset.labels[label]), *parts, f"{sum(by_part.values()):,}")
    print_table(console, table)
    lines = []
    if (more := len(findings.counts) - _MAX_CLASSES) > 0:
        lines.append(f"… and {more:,} smaller classes; --report and --json list all.")
    lines += [
        f"{dataset.name}: {len(findings.facts):,} images of {len(findings.counts):,} classes; "
        f"the largest has {findings.imbalance:.1f} times as many as the smallest.",
        _sizes(findings),
        _broken(findings),
        _groups("Exact duplicates", findings, exact=True),
        _groups("Near duplicates", findings, exact=False),
    ]
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _sizes(findings: Findings) -> str:
    width, height, size = (
        findings.spread(getattr(each, name) for each in findings.facts) for name in ("width", "height", "size_bytes")
    )
    formats = ", ".join(f"{name} {count:,}" for name, count in findings.formats.items())
    files = f"; files of {format_bytes(size[0])} to {format_bytes(size[2])}" if size[2] else ""
    return (
        f"Sizes: {width[0]} × {height[0]} to {width[2]} × {height[2]} pixels, "
        f"medians {width[1]:g} × {height[1]:g}{files}; {formats}."
    )


def _broken(findings: Findings) -> str:
    names = [f"{findings.dataset.samples[i].name} ({findings.facts[i].problem})" for i in findings.broken]
    return f"Broken files: {len(names):,}{_examples(names)}."


def _groups(title: str, findings: Findings, *, exact: bool) -> str:
    groups = findings.exact if exact else findings.near
    samples = findings.dataset.samples
    examples = [" = ".join(samples[index].name for index in group.members[:2]) for group in groups]
    doubts = [
        f"{count:,} {text}"
        for count, text in (
            (sum(group.across_classes for group in groups), "with different classes"),
            (sum(group.across_parts for group in groups), "in more than one part"),
        )
        if count
    ]
    kind = "group" if len(groups) == 1 else "groups"
    return f"{title}: {len(groups):,} {kind}{', ' if doubts else ''}{', '.join(doubts)}{_examples(examples)}."


def _examples(names: list[str]) -> str:
    return f", such as {'; '.join(names[:_MAX_EXAMPLES])}" if names else ""


def _print_path(console: Console, what: str, path: Path) -> None:
    console.print(f"{what}: {path}", highlight=False, markup=False, soft_wrap=True)
