"""Print tables that fit the terminal, and lists where they do not."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text, TextType


def print_table(console: Console, table: Table) -> None:
    """Print a table; if the terminal is too narrow for it, each row as lines of heading and value, nothing cut."""
    console.print(FittingTable(table), highlight=False, soft_wrap=not _fits(console, table))


@dataclass(frozen=True, slots=True)
class FittingTable:
    """A table, or if it does not fit each of its rows as lines, as `print_table` prints it; for use within others."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the table or the lines."""
        if _fits(console, self.table):
            yield self.table
            return
        if self.table.title:
            yield _as_text(self.table.title)
        for row in zip(*(column.cells for column in self.table.columns), strict=True):
            for column, cell in zip(self.table.columns, row, strict=True):
                if text := _plain(cell):
                    # A value that is longer than the line wraps, and is whole for a program that reads it.
                    yield Text.assemble((f"{_plain(column.header)}: ", "dim"), text)
            yield Text()


def _fits(console: Console, table: Table) -> bool:
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width


def _as_text(title: TextType) -> Text:
    return title if isinstance(title, Text) else Text.from_markup(title)


def _plain(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
