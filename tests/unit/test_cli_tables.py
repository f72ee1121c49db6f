"""Tables of the commands: nothing is cut, however narrow the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.tables import print_table

ID = "a-rather-long-identifier-0123456789"


def printed(width: int) -> str:
    table = Table("id", "owner", "note", title="Tokens")
    table.add_row(Text(ID), "ada [bold]", "")
    table.add_row(Text("x"), Text("[red]"), Text("n" * 40))
    console = Console(file=io.StringIO(), width=width)
    print_table(console, table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_table_that_fits_is_a_table() -> None:
    assert "│" in printed(120) and ID in printed(120)


@pytest.mark.parametrize("width", [20, 80])
def test_a_table_that_does_not_fit_is_a_list_with_whole_values(width: int) -> None:
    lines = printed(width).splitlines()
    assert lines[:3] == ["Tokens", f"id: {ID}", "owner: ada [bold]"]
    # A program that reads the output finds each value in one line; an empty one is left out.
    assert f"note: {'n' * 40}" in lines and "owner: [red]" in lines and "│" not in "".join(lines)
    assert sum(line.startswith("note") for line in lines) == 1
