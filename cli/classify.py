"""`elastic classify`: classify files, folders and ZIP archives through a running web tier."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from api_client import ApiClient, ApiError, Result
from api_client.image_files import as_unicode
from api_client.upload_files import LEFT_OUT, UploadFile, select
from benchmarks.report import output_file
from cli.options import quiet
from cli.session import print_progress, progress_console
from core.csv_export import as_text
from core.errors import NoPhotosError
from core.file_selection import FileKind
from core.image_layouts import result_line
from core.jobs import displayable
from local_cloud.local_stack_registry import join_local_stack


class CannotRunError(click.ClickException):
    """The command could not do its work: there is nothing to classify, or no web tier to do it."""

    exit_code = 2


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--url", help="The web tier's address.  [default: the local stack's]")
@click.option("--token", envvar="ELASTIC_TOKEN", default="", help="An access token; better set ELASTIC_TOKEN.")
@click.option("--scores", is_flag=True, help="Print `image, label, score`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines: one object with all fields for each image.")
@output_file("--output", "output", "Also write a CSV file, with one line for each image in the order of PATHS.")
@quiet
def classify(
    paths: tuple[Path, ...], url: str | None, token: str, scores: bool, as_json: bool, output: Path | None
) -> None:
    """Classify files and folders through a running web tier.

    PATHS are images, folders and ZIP archives.  Of folders and archives, the files with an image's ending are taken
    that are not hidden; the number of others is printed.  Images beyond the limit of a batch go into further batches.

    Prints an `image, label` line for each image as it is answered, with its path as it was given; for one that cannot
    be classified, `image, error: reason`.  Progress and remarks on incomplete files go to standard error.

    Exit status: 0 if every image has a label, 1 if an image failed, 2 if the command could not run, for example because
    the web tier cannot be reached or refuses the request.
    """
    address = url or join_local_stack()
    if address is None:
        raise CannotRunError("no local stack is running; start one with `elastic up` or give --url")
    with ExitStack() as stack:
        try:
            found = select(paths, stack)
            report = Report(found.files, output, scores=scores, as_json=as_json)
        except (NoPhotosError, OSError) as error:
            raise CannotRunError(str(error)) from error
        _print_left_out(found.left_out)
        stack.enter_context(report)
        try:
            _classify_all(ApiClient(address, token), found.files, report)
        except ApiError as error:
            _stop(error, report)
    sys.exit(1 if report.failed else 0)


def _classify_all(api: ApiClient, files: Sequence[UploadFile], report: Report) -> None:
    def batch_begun(batch_id: str, number: int, count: int) -> None:
        which = f"Batch {number} of {count}" if count > 1 else "Batch"
        report.note(f"{which}: {api.batch_url(batch_id)}")

    for result in api.classify_files(files, batch_begun, report.uploaded):
        report.add(result)


def _print_left_out(left_out: Counter[FileKind]) -> None:
    counts = [(left_out[kind], *names) for kind, names in LEFT_OUT.items() if left_out[kind]]
    if counts:
        text = ", ".join(f"{count:,} {one if count == 1 else many}" for count, one, many in counts)
        click.echo(f"Left out: {text}.", err=True)


def _stop(error: ApiError, report: Report) -> NoReturn:
    left = report.unanswered
    rest = f"; {left:,} of {report.total:,} images have no answer" if left < report.total else ""
    raise CannotRunError(f"{error}{rest}") from error


class Report:
    """Prints results and progress as they arrive, and writes the CSV file at the end; a context manager.

    Raises:
        OSError: the CSV file cannot be written.
    """

    def __init__(self, files: Sequence[UploadFile], output: Path | None, *, scores: bool, as_json: bool) -> None:
        self._files = files
        self._output = output.open("w", encoding="utf-8", errors="surrogateescape", newline="") if output else None
        self._scores = scores
        self._as_json = as_json
        self._rows: dict[int, tuple[str, str, float | str]] = {}
        self._started = time.monotonic()
        self.failed = 0
        # Remarks on a file are results; the address and the bars are progress.
        self._remarks = Console(stderr=True)
        console = progress_console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rate]}"),
            console=console,
            disable=not console.is_terminal or console.quiet,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._uploading = self._progress.add_task("uploaded", total=len(files), rate="")
        self._answering = self._progress.add_task("answered", total=len(files), rate="")

    @property
    def total(self) -> int:
        """The number of files."""
        return len(self._files)

    @property
    def unanswered(self) -> int:
        """The number of files without a result."""
        return len(self._files) - len(self._rows)

    def note(self, sentence: str) -> None:
        """Prints a sentence on standard error, above the bars."""
        self._progress.console.print(Text(sentence), soft_wrap=True)

    def uploaded(self, count: int) -> None:
        """Counts uploaded files."""
        self._progress.advance(self._uploading, count)

    def add(self, result: Result) -> None:
        """Prints the result of one of `files`."""
        path = result.path
        self.failed += result.error is not None
        answer = f"error: {result.error.sentence}" if result.error is not None else str(result.label)
        score = "" if result.score is None else result.score
        self._rows.setdefault(result.position, (path, answer, score))
        if self._as_json:
            self._print(json.dumps({**result.fields, "name": as_unicode(path)}, ensure_ascii=False))
        elif self._scores and score != "":
            self._print(f"{result_line(path, answer)}, {score:.4f}")
        else:
            self._print(result_line(path, answer))
        if note := result.note:
            remarks = self._remarks if self._progress.disable else self._progress.console
            remarks.print(Text(f"{displayable(path)}: {note}"), soft_wrap=True)
        self._progress.update(self._answering, advance=1, rate=self._rate())

    def _print(self, line: str) -> None:
        """Print a line with a path: to a program byte by byte, to a terminal without what would control it."""
        if not sys.stdout.isatty():
            click.echo(os.fsencode(line))
        elif self._progress.disable:
            click.echo(displayable(line))
        else:
            # Above the bars, which would be torn otherwise.
            self._progress.console.print(Text(displayable(line)), soft_wrap=True)

    def _rate(self) -> str:
        return f"{len(self._rows) / max(0.001, time.monotonic() - self._started):.1f} images/s"

    def __enter__(self) -> Report:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        if self._output is not None:
            with self._output as file:
                self._write(csv.writer(file))
        if self._rows:
            seconds = time.monotonic() - self._started
            failed = f", {self.failed:,} failed" if self.failed else ""
            print_progress(f"{len(self._rows):,} images in {seconds:.1f} s, {self._rate()}{failed}.")

    def _write(self, writer: Any) -> None:
        headings = ["image", "label", "score"] if self._scores else ["image", "label"]
        writer.writerow(headings)
        for _, row in sorted(self._rows.items()):
            writer.writerow([as_text(cell) for cell in row[: len(headings)]])
