"""IAM for the emulator: each tier signs with a key of its own, and requests that its role does not allow are refused.

The policies are those that the stack has created, read from the emulator's IAM.  Actions and resources are compared,
conditions are not: the emulator has no context keys.  ``aws:userid``
stands for any instance with any role.  Keys that belong to no tier are not restricted, unless actions are forbidden to
them; then IAM's simulator, which moto lacks, answers accordingly.
"""

from __future__ import annotations

import json
import re
import threading
from ast import literal_eval
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/")
_S3_OBJECT = {
    "GET": "GetObject",
    "HEAD": "GetObject",
    "PUT": "PutObject",
    "POST": "PutObject",
    "DELETE": "DeleteObject",
}
# Where the prefix of a service's actions differs from the name with which its requests are signed.
_PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag"}
_DENIED = (
    b"<?xml version='1.0'?><ErrorResponse><Error><Code>AccessDenied</Code><Message>not allowed</Message></Error>"
    b"</ErrorResponse>"
)

Statements = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Request:
    """A signed request; `resources` are ARNs, or ``*`` if only the action is known."""

    key: str
    action: str
    resources: tuple[str, ...]


@dataclass(slots=True)
class Guard:
    """WSGI middleware around the emulator.

    Attributes:
        policies: statements by access key; other keys are not restricted.
        forbidden: patterns of actions by access key, which may do everything else.
        asked, refused: all requests, and the refused ones, of keys with policies or forbidden actions.
        counts: the number of these requests, by key and action.
    """

    app: WSGIApplication
    policies: dict[str, Statements] = field(default_factory=dict)
    forbidden: dict[str, tuple[str, ...]] = field(default_factory=dict)
    asked: set[Request] = field(default_factory=set)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: set[Request] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        found = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if found is None or found.group(1) not in self.policies.keys() | self.forbidden.keys():
            return self.app(environ, start_response)
        key, service = found.groups()
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        request = Request(key, *identify(service, environ, body))
        patterns = self.forbidden.get(key, ())
        allowed = not _matches(request.action, patterns) and (
            key not in self.policies or is_allowed(self.policies[key], request)
        )
        with self._lock:
            self.asked.add(request)
            self.counts[key, request.action] += 1
            if not allowed:
                self.refused.add(request)
        if request.action == "iam:SimulatePrincipalPolicy" and allowed:
            start_response("200 OK", [("Content-Type", "text/xml")])
            return [_simulated(parse_qs(body.decode()), patterns)]
        if allowed:
            return self.app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/xml"), ("Content-Length", str(len(_DENIED)))])
        return [_DENIED]


def _matches(action: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(action, pattern) for pattern in patterns)


def _simulated(form: Mapping[str, list[str]], patterns: Iterable[str]) -> bytes:
    """The response of IAM's simulator: what is not forbidden is allowed."""
    actions = [values[0] for name, values in form.items() if name.startswith("ActionNames.member.")]
    results = "".join(
        f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>*</EvalResourceName><EvalDecision>"
        f"{'implicitDeny' if _matches(action, patterns) else 'allowed'}</EvalDecision></member>"
        for action in actions
    )
    return (
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        f"<SimulatePrincipalPolicyResult><EvaluationResults>{results}</EvaluationResults>"
        "<IsTruncated>false</IsTruncated></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
    ).encode()


def is_allowed(statements: Statements, request: Request) -> bool:
    """Whether each of the resources is allowed by a statement."""
    return all(
        any(
            request.action in _list(statement["Action"])
            and any(
                resource == "*" or fnmatchcase(resource, _resolved(pattern)) for pattern in _list(statement["Resource"])
            )
            for statement in statements
        )
        for resource in request.resources
    )


def _resolved(pattern: str) -> str:
    return pattern.replace("${aws:userid}", "*:i-*")


def identify(service: str, environ: Mapping[str, Any], body: bytes) -> tuple[str, tuple[str, ...]]:
    """The action of a request, and the ARNs of its resources."""
    if service == "s3":
        return _s3(environ, body)
    action = _operation(environ, body)
    if service == "sqs":
        parameters = json.loads(body)
        name = parameters.get("QueueName") or parameters.get("QueueUrl", "*").rpartition("/")[2]
        return f"sqs:{action.removesuffix('Batch')}", (f"arn:aws:sqs:us-east-1:123456789012:{name}",)
    return f"{_PREFIXES.get(service, service)}:{action}", ("*",)


def _s3(environ: Mapping[str, Any], body: bytes) -> tuple[str, tuple[str, ...]]:
    bucket, _, key = unquote(environ["PATH_INFO"]).lstrip("/").partition("/")
    method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
    if key:
        return f"s3:{_S3_OBJECT[method]}", (f"arn:aws:s3:::{bucket}/{key}",)
    if method == "POST" and "delete" in query:
        keys = re.findall(rb"<Key>(.*?)</Key>", body)
        return "s3:DeleteObject", tuple(f"arn:aws:s3:::{bucket}/{unquote(found.decode())}" for found in keys)
    return "s3:ListBucket", (f"arn:aws:s3:::{bucket}",)


def _operation(environ: Mapping[str, Any], body: bytes) -> str:
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if "/operation/" in environ["PATH_INFO"]:
        return str(environ["PATH_INFO"]).rpartition("/")[2]
    return parse_qs(body.decode())["Action"][0]


def role_statements(iam: Any, role: str) -> Iterator[dict[str, Any]]:
    """The statements of a role's inline policies, read from IAM."""
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        if isinstance(document, str):  # moto stores CloudFormation's policies as Python literals
            document = literal_eval(document)
        yield from filter(None, document["Statement"])  # moto keeps AWS::NoValue as None


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
