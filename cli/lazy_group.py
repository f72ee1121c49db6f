"""A click group that imports a command's module only when the command is used."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from core.errors import ArgumentError, ElasticError


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command's place, and the line that the group's ``--help`` shows for it.

    Attributes:
        target: ``module:attribute``.
        short_help: the first sentence of the command's own help, repeated so that ``--help`` imports no command.
    """

    target: str
    short_help: str

    def load(self) -> click.Command:
        """Imports the command."""
        module, _, attribute = self.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


class _ArgumentFailure(click.ClickException):
    """As for wrong usage: nothing was tried."""

    exit_code = ArgumentError.exit_status


class LazyGroup(click.Group):
    """A group of `LazyCommand`; prints the program's own errors as one sentence instead of a stack trace."""

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})

    def list_commands(self, context: click.Context) -> list[str]:
        return [*super().list_commands(context), *self.lazy]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return self.lazy[name].load() if name in self.lazy else super().get_command(context, name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        eager = {name: command for name in super().list_commands(context) if (command := self.commands.get(name))}
        rows = [(name, command.get_short_help_str(limit=100)) for name, command in eager.items() if not command.hidden]
        rows += [(name, command.short_help) for name, command in self.lazy.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ElasticError as error:
            kind = _ArgumentFailure if isinstance(error, ArgumentError) else click.ClickException
            raise kind(str(error)) from error
        except OSError as error:
            # Of a file that the person has named; others are faults of the program, and have their stack trace.
            if error.filename is None or error.strerror is None:
                raise
            raise click.ClickException(f"{os.fsdecode(error.filename)}: {error.strerror}") from error
