"""Show the progress of a batch in a terminal or a log."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from core.periodic_task import PeriodicTask
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
        self._printed = ""
        self._remark = ""
        self._stop = threading.Event()
        self._lines = PeriodicTask("progress", PLAIN_PROGRESS_SECONDS, self._print_line)
        self._thread: threading.Thread | None = None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _NoteColumn(self._note),
            console=console,
            disable=not console.is_terminal,
        )
        self._upload_task = self._progress.add_task("uploaded", total=total)
        self._answer_task = self._progress.add_task("answered", total=total, noted=True)

    def __enter__(self) -> BatchProgress:
        self._progress.start()
        if not self._console.is_terminal:
            self._thread = self._lines.start(self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
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
        self._remark = text
        if not self._console.is_terminal:
            self._print_line()

    def _show(self) -> None:
        self._progress.update(self._upload_task, completed=self._uploaded)
        self._progress.update(self._answer_task, completed=self._answered)

    def _print_line(self) -> None:
        line = f"uploaded {self._uploaded}/{self._total}, answered {self._answered}/{self._total}, {self._note()}"
        if line != self._printed:
            self._printed = line
            self._console.print(Text(line), soft_wrap=True)

    def _note(self) -> str:
        return ", ".join(filter(None, (instances(self._history.size, self._answered), self._more(), self._remark)))


def instances(count: int, answered: int) -> str:
    """The fleet in words: before the first answer, what is waited for."""
    if not answered and not count:
        return "waiting for the controller to launch instances"
    shown = f"{count} instance{'' if count == 1 else 's'}"
    return shown if answered else f"{shown} booting"


class _NoteColumn(ProgressColumn):
    """A note beside one of the tasks, read anew each time the bars are drawn."""

    def __init__(self, note: Callable[[], str]) -> None:
        super().__init__()
        self._note = note

    def render(self, task: Task) -> Text:
        """The note."""
        return Text(self._note() if task.fields.get("noted") else "")
