"""Layouts: the key and the body of an image's result.  The form of the image's key decides which layout applies.

* An image *of a batch* has the key ``<batch_id>/<position>-<safe name>``, a *dropped* photo ``drop/`` and any name.
  Its result has the same key in the other bucket, and the line ``image name, label`` as its body.
* A *named* image has its file's name as its key and belongs to no batch.  Its result's key is the name without its
  ending, and the body is the label alone: the layout that graders of courses expect (docs/reference/course.md).
"""

from __future__ import annotations

import csv
import io
from typing import Protocol

from core.errors import DecodeError


class Layout(Protocol):
    """How the result of an image is stored."""

    def result_key(self, key: str) -> str:
        """The key of the result of the image with this key."""
        ...

    def body(self, name: str, answer: str) -> str:
        """The body of a result, from the image's name and its label or failure."""
        ...

    def name(self, key: str, body: str) -> str:
        """The image's name, from its key and its result's body.

        Raises:
            DecodeError: `body` did not write this body.
        """
        ...


class _OfBatch:
    def result_key(self, key: str) -> str:
        return key

    def body(self, name: str, answer: str) -> str:
        return f"{result_line(name, answer)}\n"

    def name(self, key: str, body: str) -> str:
        return parse_result_line(body)[0]


class _Named:
    def result_key(self, key: str) -> str:
        return without_ending(key)

    def body(self, name: str, answer: str) -> str:
        return answer

    def name(self, key: str, body: str) -> str:
        return key


_OF_BATCH, _NAMED = _OfBatch(), _Named()


def is_named(key: str) -> bool:
    """Whether a key is that of a named image: it has no folder."""
    return bool(key) and "/" not in key


def layout_of(key: str) -> Layout:
    """The layout of the image with this key."""
    return _NAMED if is_named(key) else _OF_BATCH


def result_key(key: str) -> str:
    """The key of the result of the image with this key."""
    return layout_of(key).result_key(key)


def without_ending(name: str) -> str:
    """A file's name without its ending, such as ``.jpg``; a name that is nothing but an ending stays as it is."""
    return name.rpartition(".")[0] or name


def answer_line(name: str, answer: str, form: str) -> str:
    """An answer in a form of the setting `compat_answer`: one line, since `core.jobs.clean_name` has made the name."""
    if form == "label":
        return answer
    return f"{without_ending(name) if form == 'stem:label' else name}:{answer}"


def result_line(name: str, answer: str) -> str:
    """Format one line ``image name, label``: CSV with a space after the comma, quoted only where needed."""
    return ", ".join(_quote(text) for text in (name, answer))


def parse_result_line(line: str) -> tuple[str, str]:
    """The (image name, answer) of a line written by `result_line`.

    Raises:
        DecodeError: the line does not have exactly two fields.
    """
    try:
        rows = list(csv.reader(io.StringIO(line, newline=""), skipinitialspace=True))
    except csv.Error as error:
        raise DecodeError(f"a result line cannot be read: {error}") from error
    if len(rows) != 1 or len(rows[0]) != 2:
        raise DecodeError("a result line has the form «image name, label»")
    return rows[0][0], rows[0][1]


def _quote(text: str) -> str:
    if text == "" or text != text.strip() or any(c in text for c in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
