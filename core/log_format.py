"""The log format: one entry in one line, whatever its values contain.

Paths, names and error messages come from clients and from S3.  A line break in one of them could forge an entry, such
as one of the audit log, which goes to the same stream; an escape sequence could mislead a terminal.  So the formatter
encodes what is not printable in every entry, and no code has to think of it.
"""

from __future__ import annotations

import logging
import re

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Control characters (C0, DEL, C1), lone surrogates, and what Unicode takes for a line break or a direction of writing.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_INDENT = "    "


class OneLineFormatter(logging.Formatter):
    """Formats an entry as one line; the lines of a traceback follow it, indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the entry without its traceback."""
        return encode(super().formatMessage(record))

    def formatException(self, *arguments: object) -> str:
        """Format a traceback; messages of exceptions may have values of clients, too."""
        return _indented(super().formatException(*arguments))  # type: ignore[arg-type]

    def formatStack(self, stack_info: str) -> str:
        """Format a stack."""
        return _indented(stack_info)


def configure(level: int = logging.INFO) -> None:
    """Write the log to the standard error stream in this format, unless it is configured already."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter(FORMAT))
    logging.basicConfig(level=level, handlers=[handler])


def encode(text: str) -> str:
    """Replace characters that are not printable by escapes as in Python."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def _indented(text: str) -> str:
    return "\n".join(_INDENT + encode(line) for line in text.split("\n"))
