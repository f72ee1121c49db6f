"""The progress of a batch: what is waited for, on a terminal and in a log."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from local_cloud.progress import BatchProgress, instances


@pytest.mark.parametrize(
    ("count", "answered", "words"),
    [
        (0, 0, "waiting for the controller to launch instances"),
        (2, 0, "2 instances booting"),
        (1, 5, "1 instance"),
        (0, 5, "0 instances"),
    ],
)
def test_the_fleet_in_words_says_what_is_waited_for(count: int, answered: int, words: str) -> None:
    assert instances(count, answered) == words


def test_a_log_has_a_line_for_each_state_and_none_twice() -> None:
    history: Any = SimpleNamespace(size=0)
    console = Console(file=io.StringIO(), width=200)
    with BatchProgress(console, 3, history, more=lambda: "2 kills") as progress:
        progress.uploaded(3)
        progress.show_note("uploaded all")
        progress.show_note("uploaded all")
        history.size = 1
        progress.answered(1)
        progress.show_note("waiting")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "uploaded 3/3, answered 0/3, waiting for the controller to launch instances, 2 kills, uploaded all",
        "uploaded 3/3, answered 1/3, 1 instance, 2 kills, waiting",
    ]


def test_a_terminal_shows_the_fleet_as_it_is_while_nothing_arrives() -> None:
    history: Any = SimpleNamespace(size=0)
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    with BatchProgress(console, 3, history) as progress:
        progress.uploaded(3)
        history.size = 2
    # The last frame is drawn when the bars end, without another event.
    assert isinstance(console.file, io.StringIO)
    assert "2 instances booting" in console.file.getvalue()
