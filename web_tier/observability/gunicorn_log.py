"""Gunicorn's log in the form of ours: it has texts of clients, too, and goes to the same stream."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger

from core.log_format import OneLineFormatter


class OneLineLogger(Logger):  # type: ignore[misc]
    """Writes each entry as one line."""

    def _set_handler(self, log: Any, output: Any, fmt: Any, stream: Any = None) -> None:
        super()._set_handler(log, output, OneLineFormatter(fmt._fmt, fmt.datefmt), stream)
