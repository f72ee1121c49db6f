"""The CloudFormation templates: `stack.yaml`, and `simple.yaml`, which takes most of its resources from the former."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from core.errors import ElasticError

PATH = Path(__file__).with_name("stack.yaml")
SIMPLE_PATH = Path(__file__).with_name("simple.yaml")
# CloudFormation's limit on a template that is sent with the request.
MAX_BYTES = 51_200
SHARED_TAG = "!Shared"
_FROM, _EDIT = "From", "Edit"

Template = dict[str, Any]


class TemplateError(ElasticError):
    """The template refers to what the other one does not have."""


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


def simple_text() -> str:
    """The text of the template of ``elastic deploy --simple``, JSON."""
    return json.dumps(simple(), separators=(",", ":"))


def simple() -> Template:
    """The template of ``elastic deploy --simple``: `simple.yaml` with what it shares with `stack.yaml`."""
    template: Template = resolve(parse(SIMPLE_PATH.read_text("utf-8")), parse(PATH.read_text("utf-8")))
    return template


def role_actions(template: Template) -> list[str]:
    """The actions that the roles of a template allow, sorted."""
    policies = [
        policy
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::IAM::Role"
        for policy in resource["Properties"].get("Policies", [])
    ]
    # A statement that a condition can leave out is not needed by all.
    statements = [entry for policy in policies for entry in policy["PolicyDocument"]["Statement"] if "Action" in entry]
    actions = [entry["Action"] if isinstance(entry["Action"], list) else [entry["Action"]] for entry in statements]
    return sorted({action for some in actions for action in some})


class Shared(dict[str, Any]):
    """A node of `simple.yaml` with the tag ``!Shared``: a node of `stack.yaml`, and what differs from it.

    ``From`` is the node's path, with dots.  ``Edit`` replaces texts in it, each of which must occur exactly once.  All
    other entries are merged into the node: mappings recursively, and numbers are positions in a list.
    """


def resolve(node: Any, source: Template) -> Any:
    """Replace every `Shared` node below `node` by what it stands for.

    Raises:
        TemplateError: `source` does not have what a node refers to.
    """
    if isinstance(node, Shared):
        found = _edited(_at(source, node[_FROM]), node.get(_EDIT, {}), node[_FROM])
        changes = {key: resolve(value, source) for key, value in node.items() if key not in (_FROM, _EDIT)}
        return _merged(found, changes) if changes else found
    if isinstance(node, dict):
        return {key: resolve(value, source) for key, value in node.items()}
    if isinstance(node, list):
        return [resolve(entry, source) for entry in node]
    return node


def _at(source: Any, path: str) -> Any:
    for part in path.split("."):
        try:
            source = source[int(part)] if isinstance(source, list) else source[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise TemplateError(f"{PATH.name} has no {path}: {part} is missing") from None
    return copy.deepcopy(source)


def _edited(node: Any, edits: Mapping[str, str], path: str) -> Any:
    for old, new in edits.items():
        count = _count(node, old)
        if count != 1:
            raise TemplateError(f"{PATH.name}: {path} has {old!r} {count} times, not once")
        node = _replaced(node, old, new)
    return node


def _count(node: Any, text: str) -> int:
    if isinstance(node, str):
        return node.count(text)
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return sum(_count(part, text) for part in parts)


def _replaced(node: Any, old: str, new: str) -> Any:
    if isinstance(node, str):
        return node.replace(old, new)
    if isinstance(node, dict):
        return {key: _replaced(value, old, new) for key, value in node.items()}
    return [_replaced(entry, old, new) for entry in node] if isinstance(node, list) else node


def _merged(node: Any, changes: Mapping[Any, Any]) -> Any:
    if isinstance(node, list):
        return [_merge_value(entry, changes[index]) if index in changes else entry for index, entry in enumerate(node)]
    result = dict(node)
    for key, value in changes.items():
        result[key] = _merge_value(result.get(key), value)
    return result


def _merge_value(before: Any, after: Any) -> Any:
    if not isinstance(after, dict) or not isinstance(before, (dict, list)):
        return after
    # Another function, such as Fn::If instead of Fn::GetAtt, replaces the value.
    is_function = any(key == "Ref" or str(key).startswith("Fn::") for key in after)
    return (
        after
        if is_function and not (isinstance(before, dict) and after.keys() <= before.keys())
        else _merged(before, after)
    )


if TYPE_CHECKING:
    from yaml import SafeLoader
else:
    # libyaml, of which PyYAML's wheels have a copy, is eight times faster.
    SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(SafeLoader):
    """YAML with CloudFormation's short forms, which become its long ones, and ``!Shared``."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    if suffix == "Shared":
        return Shared({_FROM: value} if isinstance(value, str) else value)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)
# A date stays what it is in the template: a text.
_Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for key, resolvers in SafeLoader.yaml_implicit_resolvers.items()
}


def parse(text: str) -> Template:
    """Parse a template, with its short forms (``!Ref`` …) expanded."""
    template: Template = yaml.load(text, _Loader)  # noqa: S506 - the loader is a safe one
    return template


if __name__ == "__main__":
    print(simple_text())
