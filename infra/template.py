"""Read the stack's CloudFormation template."""

from __future__ import annotations

from pathlib import Path

PATH = Path(__file__).with_name("stack.yaml")
# CloudFormation's limit on a template that is sent with the request.
MAX_BYTES = 51_200


def text() -> str:
    """The template's text, YAML."""
    return PATH.read_text("utf-8")
