"""Print tables that fit the terminal, and lists where they do not."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text


def print_table(console: Console, table: Table) -> None:
    """Print a table; if the terminal is too narrow for it, each row as lines of heading and value, nothing cut."""
    if Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width:
        console.print(table, highlight=False)
        return
    if table.title:
        console.print(table.title, highlight=False)
    for row in zip(*(column.cells for column in table.columns), strict=True):
        for column, cell in zip(table.columns, row, strict=True):
            if text := _plain(cell):
                # A value that is longer than the line wraps, and is whole for a program that reads it.
                console.print(Text.assemble((f"{_plain(column.header)}: ", "dim"), text), soft_wrap=True)
        console.print()


def _plain(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
