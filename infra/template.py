"""Read the stack's CloudFormation template."""

from __future__ import annotations

from pathlib import Path

PATH = Path(__file__).with_name("stack.yaml")
# CloudFormation's limit on a template that is sent with the request.
MAX_BYTES = 51_200


def text() -> str:
    """The template's text, YAML, as it is sent: without the comments of the file, which would exceed the limit."""
    return without_comments(PATH.read_text("utf-8"))


def without_comments(yaml: str) -> str:
    """Remove the lines of YAML that are comments; in a literal block, such as a script, a line is never one."""
    kept: list[str] = []
    begins_block, block_indent = False, 0  # 0: outside of a block
    for line in yaml.splitlines():
        content = line.lstrip()
        indent = len(line) - len(content)
        if content and begins_block:
            begins_block, block_indent = False, indent
        elif content and indent < block_indent:
            block_indent = 0
        if not block_indent and not begins_block:
            if content.startswith("#"):
                continue
            begins_block = content.endswith(("|", "|-", ">", ">-"))
        kept.append(line)
    return "".join(f"{line}\n" for line in kept)
