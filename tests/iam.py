"""Derive the AWS actions of each tier from its code: the methods of `aws` that it uses, and the client calls in them.

mypy determines the class of each object whose attribute is used, so that no name is guessed.  All functions of a
tier's modules count, called or not; inside `aws` only those that are reachable from them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mypy import build
from mypy.modulefinder import BuildSource
from mypy.nodes import (
    CallExpr,
    Decorator,
    Expression,
    FuncDef,
    MemberExpr,
    MypyFile,
    NameExpr,
    Node,
    OverloadedFuncDef,
    RefExpr,
    StrExpr,
    SymbolNode,
    TypeInfo,
)
from mypy.options import Options
from mypy.types import AnyType, Instance, TupleType, Type, TypeType, UnionType, get_proper_type

from core.paths import REPOSITORY_ROOT

PACKAGES = ("core", "aws", "app_tier", "controller", "web_tier")
ENTRIES = {"web": "web_tier.wsgi", "controller": "controller.__main__", "worker": "app_tier.__main__"}

# The template's resource that a class, or an attribute of a class, works on.
RESOURCES = {
    "aws.buckets.ImageStore": "InputBucket",
    "aws.batch_index.BatchIndex": "InputBucket",
    "aws.buckets.ResultStore": "OutputBucket",
    "aws.state.StateStore": "StateBucket",
    "aws.queue.JobQueue": "JobQueue",
    "aws.response_queue.ResponseQueue": "ResponseQueue",
    "aws.bulk_queue.BulkQueue": "BulkQueue",
    "aws.bulk_buckets.PhotoSource": "BulkBuckets",
    "aws.bulk_buckets.BulkOutput": "OutputBucket",
    "aws.dead_letters.DeadLetters._dead": "DeadLetterQueue",
    "aws.dead_letters._Pass._queue": "DeadLetterQueue",
    "aws.fleet.Fleet": "*",
    "aws.metrics.MetricSink": "*",
}
# The setting that names each resource.
SETTINGS = {
    "InputBucket": "input_bucket",
    "OutputBucket": "output_bucket",
    "StateBucket": "state_bucket",
    "JobQueue": "queue_name",
    "ResponseQueue": "response_queue_name",
    "BulkQueue": "bulk_queue_name",
    "DeadLetterQueue": "dead_letter_queue_name",
}
# Methods of a client that send no request.
_NO_REQUESTS = ("get_paginator", "close")
# The actions behind each method of a client: "Actions, resources, and condition keys" in the service authorization
# reference.
ACTIONS = {
    "get_object": ("s3:GetObject",),
    "head_object": ("s3:GetObject",),
    "put_object": ("s3:PutObject",),
    "generate_presigned_post": ("s3:PutObject",),
    "generate_presigned_url": ("s3:GetObject",),
    "delete_object": ("s3:DeleteObject",),
    "delete_objects": ("s3:DeleteObject",),
    "list_objects_v2": ("s3:ListBucket",),
    "head_bucket": ("s3:ListBucket",),
    "get_queue_url": ("sqs:GetQueueUrl",),
    "get_queue_attributes": ("sqs:GetQueueAttributes",),
    "send_message": ("sqs:SendMessage",),
    "send_message_batch": ("sqs:SendMessage",),
    "receive_message": ("sqs:ReceiveMessage",),
    "delete_message_batch": ("sqs:DeleteMessage",),
    "change_message_visibility_batch": ("sqs:ChangeMessageVisibility",),
    "put_metric_data": ("cloudwatch:PutMetricData",),
    "describe_instances": ("ec2:DescribeInstances",),
    # An instant fleet launches, tags and passes the instances' role with the caller's own rights.
    "create_fleet": ("ec2:CreateFleet", "ec2:RunInstances", "ec2:CreateTags", "iam:PassRole"),
    "create_tags": ("ec2:CreateTags",),
    "terminate_instances": ("ec2:TerminateInstances",),
}


@dataclass(frozen=True, slots=True)
class Need:
    """An action on one of the template's resources, or on ``*``."""

    action: str
    resource: str


@dataclass(frozen=True, slots=True)
class _Use:
    """An attribute of an object of a class, or a function (whose `member` is empty)."""

    owner: str
    member: str
    resource: str


class Program:
    """The program's modules with their types."""

    def __init__(self, root: Path = REPOSITORY_ROOT) -> None:
        options = Options()
        options.export_types = options.preserve_asts = options.ignore_missing_imports = True
        options.incremental = False
        options.python_version = (3, 11)
        # Libraries are skipped: only the types of `aws` matter.
        options.follow_imports = "skip"
        sources = [
            BuildSource(str(path), ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"))
            for package in PACKAGES
            for path in sorted((root / package).rglob("*.py"))
        ]
        built = build.build(sources, options)
        self._types = built.types
        self._graph = built.graph
        self._trees: dict[str, MypyFile] = {
            name: state.tree for name, state in built.graph.items() if state.tree is not None
        }

    def needs(self, tier: str) -> set[Need]:
        """All actions that a tier needs."""
        return {
            Need(action, use.resource)
            for use, expressions in self._reachable(tier)
            for expression in expressions
            for action in self._actions(expression)
        }

    def keys(self, tier: str) -> set[tuple[Need, str]]:
        """The S3 actions of a tier with the families of `core.object_keys` that the same functions refer to."""
        found = set()
        for use, expressions in self._reachable(tier):
            families = {
                expression.name
                for expression in expressions
                if isinstance(expression, NameExpr) and expression.fullname.startswith("core.object_keys.")
            }
            for expression in expressions:
                for action in self._actions(expression):
                    if action.startswith("s3:") and action != "s3:ListBucket":
                        found |= {(Need(action, use.resource), family) for family in families}
        return found

    def _reachable(self, tier: str) -> Iterator[tuple[_Use, list[Expression]]]:
        """The functions of `aws` that a tier reaches, with the expressions of their bodies."""
        modules = self._modules(ENTRIES[tier])
        uses = list(self._uses(modules))
        seen: set[_Use] = set()
        while uses:
            use = uses.pop()
            if use in seen:
                continue
            seen.add(use)
            body = self._body(use)
            if body is None:
                continue
            expressions = _expressions(body)
            for expression in expressions:
                uses += self._used_by(expression, modules, use)
            yield use, expressions

    def constructions(self, tier: str) -> Iterator[tuple[str, str]]:
        """For each object that a tier creates of a class in `RESOURCES`: the class, and the setting that is passed."""
        for module in self._modules(ENTRIES[tier]):
            for expression in _expressions(self._trees[module]):
                if isinstance(expression, CallExpr) and isinstance(expression.callee, RefExpr):
                    name = expression.callee.fullname
                    if name in RESOURCES and len(expression.args) == 2:
                        setting = expression.args[1]
                        if isinstance(setting, MemberExpr):
                            yield name, setting.name

    def _modules(self, entry: str) -> list[str]:
        """A tier's own modules that its entry module imports, directly or indirectly."""
        found, waiting = set(), [entry]
        while waiting:
            module = waiting.pop()
            if module not in found and module in self._trees and module.partition(".")[0] in PACKAGES:
                found.add(module)
                waiting += self._graph[module].dependencies
                waiting += [module.rpartition(".")[0]]
        return sorted(module for module in found if module.partition(".")[0] not in ("aws", "core"))

    def _uses(self, modules: Iterable[str]) -> Iterator[_Use]:
        modules = list(modules)
        for module in modules:
            for expression in _expressions(self._trees[module]):
                yield from self._used_by(expression, modules, _Use("", "", ""))

    def _used_by(self, expression: Expression, modules: Iterable[str], user: _Use) -> Iterator[_Use]:
        if isinstance(expression, NameExpr) and isinstance(expression.node, FuncDef):
            if expression.fullname.startswith("aws."):
                yield _Use(expression.fullname, "", user.resource)
        elif isinstance(expression, MemberExpr):
            is_self = isinstance(expression.expr, NameExpr) and expression.expr.name == "self"
            for info in _classes(self._types.get(expression.expr)):
                for owner in self._implementations(info, modules):
                    resource = RESOURCES.get(
                        _qualified(expression.expr, self._types), RESOURCES.get(owner, user.resource)
                    )
                    yield _Use(owner, expression.name, user.resource if is_self else resource)

    def _implementations(self, info: TypeInfo, modules: Iterable[str]) -> list[str]:
        """The class itself; for a protocol all classes of `aws` that implement it."""
        if not info.is_protocol:
            return [info.fullname] if info.fullname.startswith("aws.") else []
        members = {name for name in info.names if not name.startswith("__")}
        return [other.fullname for other in self._instantiated(tuple(modules)) if members <= other.names.keys()]

    @functools.cache  # noqa: B019 - there is one program
    def _instantiated(self, modules: tuple[str, ...]) -> tuple[TypeInfo, ...]:
        """The classes of `aws` that these modules instantiate."""
        found = {}
        for module in modules:
            for expression in _expressions(self._trees[module]):
                if isinstance(expression, CallExpr) and isinstance(expression.callee, RefExpr):
                    node = expression.callee.node
                    if isinstance(node, TypeInfo) and node.fullname.startswith("aws."):
                        found[node.fullname] = node
        return tuple(found.values())

    def _body(self, use: _Use) -> FuncDef | None:
        module, _, name = use.owner.rpartition(".")
        if module not in self._trees:
            return None
        symbol = self._trees[module].names.get(name)
        node = symbol.node if symbol is not None else None
        if use.member and isinstance(node, TypeInfo):
            member = node.get(use.member)
            node = member.node if member is not None else None
        if isinstance(node, Decorator):
            node = node.func
        return node if isinstance(node, FuncDef) else None

    def _actions(self, expression: Expression) -> Iterator[str]:
        """The actions of an expression, if it calls a method of a client or makes a paginator."""
        if isinstance(expression, CallExpr) and isinstance(expression.callee, MemberExpr):
            called, first = expression.callee, expression.args[0] if expression.args else None
            if called.name == "get_paginator" and isinstance(first, StrExpr):
                yield from ACTIONS[first.value]
            elif self._is_client(called.expr) and called.name in ACTIONS:
                yield from ACTIONS[called.name]
            elif self._is_client(called.expr) and called.name not in _NO_REQUESTS:
                raise AssertionError(f"the actions of the client's method {called.name} are not listed")

    def _is_client(self, expression: Expression) -> bool:
        name = expression.name if isinstance(expression, (MemberExpr, NameExpr)) else ""
        return name.endswith("client") and isinstance(get_proper_type(self._types.get(expression)), AnyType)


# Attributes of nodes that refer to definitions outside the tree.
_ELSEWHERE = frozenset(("node", "info", "original_def", "analyzed", "defn", "globals", "names"))


def _expressions(root: Node) -> list[Expression]:
    """The names, attributes and calls below a node.  (mypy's compiled visitors cannot be subclassed.)"""
    found: list[Expression] = []
    seen: set[int] = set()
    waiting: list[object] = [root]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, (list, tuple)):
            waiting += entry
        elif entry is root or _is_code(entry):
            if id(entry) in seen:
                continue
            seen.add(id(entry))
            if isinstance(entry, (MemberExpr, NameExpr, CallExpr)):
                found.append(entry)
            waiting += [getattr(entry, name, None) for name in _fields(type(entry))]  # type: ignore[arg-type]  # mypy: a class is not Hashable
    return found


def _is_code(entry: object) -> bool:
    """Whether it is part of the tree, not a definition that a name in it refers to."""
    is_definition = isinstance(entry, (FuncDef, Decorator, OverloadedFuncDef))
    return is_definition or (isinstance(entry, Node) and not isinstance(entry, SymbolNode))


@functools.cache
def _fields(kind: type) -> tuple[str, ...]:
    return tuple(
        name
        for name in dir(kind)
        if not name.startswith("_") and name not in _ELSEWHERE and not callable(getattr(kind, name, None))
    )


def _classes(found: Type | None) -> list[TypeInfo]:
    proper = get_proper_type(found)
    if isinstance(proper, UnionType):
        return [info for item in proper.items for info in _classes(item)]
    if isinstance(proper, TupleType):
        proper = proper.partial_fallback
    if isinstance(proper, TypeType):
        proper = proper.item
    return [proper.type] if isinstance(proper, Instance) else []


def _qualified(expression: Expression, types: dict[Expression, Type]) -> str:
    """``Class.attribute`` of an expression such as ``self._dead``."""
    if not isinstance(expression, MemberExpr):
        return ""
    classes = _classes(types.get(expression.expr))
    return f"{classes[0].fullname}.{expression.name}" if classes else ""
