"""Show the progress of a batch in a terminal or a log."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from local_cloud.fleet_size_history import FleetSizeHistory

# Without a terminal there is no live bar, but a line at this interval.
PLAIN_PROGRESS_SECONDS = 2.0


class BatchProgress:
    """Shows the progress of photos and instances: bars on a terminal, else lines; a context manager.

    Args:
        more: returns a few words to show beside the number of instances.
    """

    def __init__(
        self, console: Console, total: int, history: FleetSizeHistory, more: Callable[[], str] = lambda: ""
    ) -> None:
        self._console = console
        self._total = total
        self._history = history
        self._more = more
        self._uploaded = self._answered = 0
        self._printed_at = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._upload_task = self._progress.add_task("uploaded", total=total, note="")
        self._answer_task = self._progress.add_task("answered", total=total, note="")

    def __enter__(self) -> BatchProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def uploaded(self, count: int) -> None:
        """Counts photos that were uploaded."""
        self._uploaded += count
        self._show()

    def answered(self, count: int) -> None:
        """Counts photos that were answered."""
        self._answered += count
        self._show()

    def show_note(self, text: str) -> None:
        """Shows a note on the present step, such as what is being waited for."""
        self._progress.update(self._answer_task, note=text)
        if not self._console.is_terminal:
            self._print_line()
            self._console.print(text)

    def _show(self) -> None:
        self._progress.update(self._upload_task, completed=self._uploaded)
        self._progress.update(self._answer_task, completed=self._answered, note=self._note())
        if not self._console.is_terminal and time.monotonic() - self._printed_at > PLAIN_PROGRESS_SECONDS:
            self._print_line()

    def _print_line(self) -> None:
        self._printed_at = time.monotonic()
        self._console.print(
            f"uploaded {self._uploaded}/{self._total}, answered {self._answered}/{self._total}, {self._note()}",
            highlight=False,
        )

    def _note(self) -> str:
        return ", ".join(filter(None, (f"{self._history.size} instances", self._more())))
