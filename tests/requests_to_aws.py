"""The requests that the program can make of AWS: derived from `aws/`, and recorded while tests run.

A request is a service, an operation and its parameters' names.  `requests_in_code` finds them in the source: a call of
a method that a client of one of the program's services has, or a paginator.  `recording` notes what tests really send
through `aws/`, so that a call that the former would miss is found.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.client
import botocore.session
from botocore import xform_name
from botocore.model import ListShape, OperationModel, ServiceModel, Shape, StructureShape

from core.paths import REPOSITORY_ROOT

PACKAGE = REPOSITORY_ROOT / "aws"
# The services whose clients the program makes; a test compares them with the code.
SERVICES = (
    "autoscaling",
    "cloudformation",
    "cloudwatch",
    "ec2",
    "iam",
    "pricing",
    "resourcegroupstaggingapi",
    "s3",
    "service-quotas",
    "sqs",
    "ssm",
    "sts",
)


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """A request in the source.

    Attributes:
        problems: what the service's model does not have of it.
        is_open: some of its parameters are computed, and so not among `parameters`.
    """

    where: str
    service: str
    operation: str
    parameters: frozenset[str]
    is_open: bool
    is_paginated: bool
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request that was sent through `aws/`."""

    service: str
    operation: str
    parameters: frozenset[str]


@functools.cache
def model_of(service: str) -> ServiceModel:
    """botocore's model of a service."""
    return _session().get_service_model(service)


@functools.cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


@functools.cache
def _methods() -> dict[str, list[tuple[str, str]]]:
    """The services and operations of each method of a client."""
    found: dict[str, list[tuple[str, str]]] = {}
    for service in SERVICES:
        for operation in model_of(service).operation_names:
            found.setdefault(xform_name(operation), []).append((service, operation))
    return found


@functools.cache
def requests_in_code(package: Path = PACKAGE) -> tuple[CodeRequest, ...]:
    """All requests in the modules of a folder."""
    found: list[CodeRequest] = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text("utf-8")
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, ast.FunctionDef):
                pages = _paginators(function) if "get_paginator" in text else {}
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                        where = f"{path.relative_to(package.parent)}:{node.lineno}"
                        found += _request(node, node.func, pages, where)
    return tuple(found)


def _request(call: ast.Call, function: ast.Attribute, pages: dict[str, str], where: str) -> Iterator[CodeRequest]:
    if function.attr == "paginate":
        source = function.value
        method = pages.get(ast.unparse(source)) or _paginated(source)
        if method is None:
            raise AssertionError(f"{where}: the operation of this paginator is not found")
        yield _described(where, method, call.keywords, paginated=True)
    elif function.attr == "generate_presigned_url":
        name, parameters = call.args[0], next(word.value for word in call.keywords if word.arg == "Params")
        assert isinstance(name, ast.Constant) and isinstance(parameters, ast.Dict)
        words = [
            ast.keyword(str(key.value), value)
            for key, value in zip(parameters.keys, parameters.values, strict=True)
            if isinstance(key, ast.Constant)
        ]
        yield _described(where, str(name.value), words)
    elif function.attr in _methods() and ast.unparse(function.value) != "self":
        yield _described(where, function.attr, call.keywords)


def _paginators(tree: ast.AST) -> dict[str, str]:
    """The method of each of a function's variables that holds a paginator."""
    return {
        ast.unparse(node.targets[0]): method
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and (method := _paginated(node.value)) is not None
    }


def _paginated(node: ast.expr) -> str | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get_paginator":
        name = node.args[0]
        return str(name.value) if isinstance(name, ast.Constant) else None
    return None


def _described(where: str, method: str, words: list[ast.keyword], *, paginated: bool = False) -> CodeRequest:
    candidates = _methods().get(method, [])
    if len(candidates) != 1:
        raise AssertionError(f"{where}: {method} is a method of {len(candidates)} of the program's services")
    [(service, operation)] = candidates
    model = model_of(service).operation_model(operation)
    problems = [problem for word in words if word.arg for problem in _problems(word, model)]
    named = frozenset(word.arg for word in words if word.arg)
    is_open = any(word.arg is None for word in words)
    if not is_open and not paginated and model.input_shape is not None:
        problems += [f"{name} is required" for name in model.input_shape.required_members if name not in named]
    if paginated and not _can_paginate(service, operation):
        problems.append("it has no paginator")
    return CodeRequest(where, service, operation, named, is_open, paginated, tuple(problems))


def _can_paginate(service: str, operation: str) -> bool:
    loader = _session().get_component("data_loader")
    return operation in loader.load_service_model(service, "paginators-1")["pagination"]


def _problems(word: ast.keyword, model: OperationModel) -> Iterator[str]:
    members = model.input_shape.members if model.input_shape is not None else {}
    if word.arg not in members:
        yield f"there is no parameter {word.arg}"
    else:
        yield from _value_problems(word.value, members[str(word.arg)], str(word.arg))


def _value_problems(node: ast.expr, shape: Shape, path: str) -> Iterator[str]:
    """What a literal has that the shape lacks; other expressions are checked where they are sent."""
    if isinstance(node, ast.Dict) and isinstance(shape, StructureShape):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                if key.value in shape.members:
                    yield from _value_problems(value, shape.members[key.value], f"{path}.{key.value}")
                else:
                    yield f"{path} has no {key.value}"
    elif isinstance(node, ast.List) and isinstance(shape, ListShape):
        for entry in node.elts:
            yield from _value_problems(entry, shape.member, path)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        allowed = getattr(shape, "enum", [])
        if allowed and node.value not in allowed:
            yield f"{path} cannot be {node.value}"


@contextlib.contextmanager
def recording() -> Iterator[set[SentRequest]]:
    """Record the requests that modules of `aws/` send, until the end of the block."""
    recorded: set[SentRequest] = set()
    original = botocore.client.BaseClient._make_api_call

    def make_api_call(self: Any, operation_name: str, api_params: dict[str, Any]) -> Any:
        if _sent_by_us(sys._getframe(1)):
            service = self.meta.service_model.service_name
            recorded.add(SentRequest(service, operation_name, frozenset(api_params)))
        return original(self, operation_name, api_params)

    botocore.client.BaseClient._make_api_call = make_api_call
    try:
        yield recorded
    finally:
        botocore.client.BaseClient._make_api_call = original


def _sent_by_us(frame: Any) -> bool:
    """Whether the code that called the client, outside libraries, is a module of `aws/`."""
    while frame is not None and "site-packages" in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(f"{PACKAGE}/")


def unlisted(sent: set[SentRequest], listed: Sequence[CodeRequest]) -> list[str]:
    """The recorded requests that the code's list does not have, each as text."""
    found = []
    for request in sorted(sent, key=lambda request: (request.service, request.operation, sorted(request.parameters))):
        matching = [
            entry for entry in listed if (entry.service, entry.operation) == (request.service, request.operation)
        ]
        fits = any(entry.is_open or entry.is_paginated or request.parameters <= entry.parameters for entry in matching)
        if not fits:
            found.append(f"{request.service}:{request.operation}({', '.join(sorted(request.parameters))})")
    return found
