"""Fault injection: WSGI middleware around the emulator that fails and delays requests, and delivers messages twice.

It simulates the faults that AWS's documentation describes: throttling and internal errors in each service's own
format, slow responses, connections that end before or *after* the request took effect, and SQS's at-least-once
delivery.  S3 and SQS get all of them; of EC2, describing and launching are throttled and delayed, and launching lacks
capacity.  The sequence of faults depends on the seed; which requests they affect, on the timing of the threads.

A reserved path reports and controls it: ``GET /_faults`` returns ``{"enabled": …, "counts": {kind: number}}``,
and ``POST /_faults`` with fields of `FaultSpec`, or with ``{"enabled": false}``, changes it and returns the same.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from werkzeug.wrappers import Request, Response

from local_cloud.fault_control import CONTROL_PATH
from local_cloud.moto_ec2 import CAPACITY_HEADER

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# The scope of a Signature Version 4: access key, date, region, service.
_SCOPE = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request")
# SDKs send the same value with each attempt of a request.
_INVOCATION_HEADER = "HTTP_AMZ_SDK_INVOCATION_ID"
_REMEMBERED_INVOCATIONS = 1000
# The WSGI name of the header that passes a lack of capacity to `local_cloud.moto_ec2`, and the most capacity then.
_CAPACITY_VARIABLE = f"HTTP_{CAPACITY_HEADER.upper().replace('-', '_')}"
_MOST_CAPACITY = 3
_EC2_ACTIONS = frozenset(("CreateFleet", "DescribeInstances", "RunInstances"))


class Fault(enum.StrEnum):
    """The kinds of faults."""

    THROTTLE = enum.auto()
    ERROR = enum.auto()
    DELAY = enum.auto()
    CUT_BEFORE = enum.auto()
    CUT_AFTER = enum.auto()
    REDELIVER = enum.auto()
    CAPACITY = enum.auto()


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """The rate of each kind of fault: a share of the requests, from 0 to 1, together at most 1.

    `throttle` and `error` respond without carrying out the request; `delay` waits up to `max_delay_seconds` first;
    `cut_before` and `cut_after` close the connection without a response, before and after the effect.  A share
    `persistence` of the affected requests fails again at each retry, so that the client gives up.
    `redeliver` is a share of the received messages, which become visible again at once.  `capacity` is a share of the
    launches (``CreateFleet``), which get fewer instances than requested, often none.
    """

    seed: int = 0
    throttle: float = 0.05
    error: float = 0.02
    delay: float = 0.06
    cut_before: float = 0.015
    cut_after: float = 0.015
    persistence: float = 0.1
    redeliver: float = 0.05
    capacity: float = 0.2
    max_delay_seconds: float = 0.3

    def __post_init__(self) -> None:
        shares = [self.throttle, self.error, self.delay, self.cut_before, self.cut_after]
        alone = [self.persistence, self.redeliver, self.throttle + self.delay + self.capacity]
        if min(*shares, *alone, self.max_delay_seconds) < 0 or max(sum(shares), *alone) > 1:
            raise ValueError("shares of faults are 0 to 1, together at most 1, and delays not negative")

    @classmethod
    def parse(cls, text: str) -> FaultSpec:
        """Parses a command-line value: a seed, or a JSON object with fields of this class.

        Raises:
            ValueError: the value is neither.
        """
        value = json.loads(text)
        return cls(seed=value) if isinstance(value, int) else cls().changed(value)

    def changed(self, fields: Any) -> FaultSpec:
        """A copy with other values for some `fields`.

        Raises:
            ValueError: `fields` is not a mapping of fields of this class to numbers in range.
        """
        try:
            return dataclasses.replace(self, **fields)
        except TypeError as error:
            raise ValueError(f"not fields of a fault specification: {fields!r}") from error


@dataclass(frozen=True, slots=True)
class Call:
    """A request's service, by its name in signatures, its action if known, and its region."""

    service: str
    action: str
    region: str


def choose(call: Call, spec: FaultSpec, dice: random.Random) -> Fault | None:
    """Chooses a fault for a request, or None.  Draws exactly one number from `dice`."""
    point = dice.random()
    if call.service not in ("s3", "sqs") and not (call.service == "ec2" and call.action in _EC2_ACTIONS):
        return None
    shares = {Fault.THROTTLE: spec.throttle, Fault.DELAY: spec.delay}
    if call.action == "CreateFleet":
        shares |= {Fault.CAPACITY: spec.capacity}
    if call.service != "ec2":
        shares |= {Fault.ERROR: spec.error, Fault.CUT_BEFORE: spec.cut_before, Fault.CUT_AFTER: spec.cut_after}
    for fault, share in shares.items():
        if point < share:
            return fault
        point -= share
    return None


def error_response(service: str, fault: Fault) -> Response:
    """The response of an overloaded (`Fault.THROTTLE`) or failing service, in the format of its protocol."""
    throttled = fault is Fault.THROTTLE
    if service == "s3":
        code = "SlowDown" if throttled else "InternalError"
        body = f"<Error><Code>{code}</Code><Message>A fault was injected.</Message></Error>"
        return Response(body, 503 if throttled else 500, mimetype="application/xml")
    if service == "sqs":
        code = "ThrottlingException" if throttled else "InternalFailure"
        body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "A fault was injected."})
        return Response(body, 400 if throttled else 500, mimetype="application/x-amz-json-1.0")
    code = "RequestLimitExceeded" if throttled else "InternalError"
    body = f"<Error><Code>{code}</Code><Message>A fault was injected.</Message></Error>"
    return Response(
        f"<Response><Errors>{body}</Errors></Response>", 503 if throttled else 500, mimetype="application/xml"
    )


class FaultInjector:
    """The middleware; safe under threads.

    Args:
        app: the application to wrap.
        redeliver: makes a message that was just received visible again, given the region, its queue's URL and its
            receipt handle; returns whether it succeeded.
    """

    def __init__(self, app: WSGIApplication, spec: FaultSpec, redeliver: Callable[[str, str, str], bool]) -> None:
        self._app = app
        self._spec = spec
        self._redeliver = redeliver
        self._dice = random.Random(spec.seed)  # noqa: S311 - repeatable, not secret
        self._enabled = True
        self._counts: Counter[Fault] = Counter()
        self._persistent: dict[str, Fault] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == CONTROL_PATH:
            return self._control(Request(environ))(environ, start_response)
        call = read_call(environ)
        if call is None:
            return self._app(environ, start_response)
        with self._lock:
            fault = self._next_fault(call, environ.get(_INVOCATION_HEADER, "")) if self._enabled else None
            delay_seconds = self._dice.uniform(0, self._spec.max_delay_seconds) if fault is Fault.DELAY else 0.0
            if fault is Fault.CAPACITY:
                environ[_CAPACITY_VARIABLE] = str(int(self._dice.triangular(0, _MOST_CAPACITY, 0)))
            if fault is not None:
                self._counts[fault] += 1
        if fault in (Fault.THROTTLE, Fault.ERROR):
            return error_response(call.service, fault)(environ, start_response)
        if fault is Fault.CUT_BEFORE:
            raise ConnectionAbortedError("a fault was injected")
        time.sleep(delay_seconds)
        if call.service == "sqs" and call.action == "ReceiveMessage":
            response = self._receive(call, environ)
        elif fault is Fault.CUT_AFTER:
            response = Response.from_app(self._app, environ, buffered=True)
        else:
            return self._app(environ, start_response)
        if fault is Fault.CUT_AFTER:
            raise ConnectionAbortedError("a fault was injected")
        return response(environ, start_response)

    def _next_fault(self, call: Call, invocation: str) -> Fault | None:
        if invocation in self._persistent:
            return self._persistent[invocation]
        fault = choose(call, self._spec, self._dice)
        if fault is not None and self._dice.random() < self._spec.persistence:
            self._persistent[invocation] = fault
            if len(self._persistent) > _REMEMBERED_INVOCATIONS:
                del self._persistent[next(iter(self._persistent))]  # the oldest
        return fault

    def _receive(self, call: Call, environ: WSGIEnvironment) -> Response:
        """Carries out the receive request, then makes some of the received messages visible again."""
        queue_url = json.loads(_peek_body(environ)).get("QueueUrl", "")
        response = Response.from_app(self._app, environ, buffered=True)
        if response.status_code == 200:
            for message in json.loads(response.get_data()).get("Messages", []):
                with self._lock:
                    chosen = self._enabled and self._dice.random() < self._spec.redeliver
                if chosen and self._redeliver(call.region, queue_url, message["ReceiptHandle"]):
                    with self._lock:
                        self._counts[Fault.REDELIVER] += 1
        return response

    def _control(self, request: Request) -> Response:
        with self._lock:
            if request.method == "POST":
                try:
                    fields = dict(request.get_json())
                    enabled = bool(fields.pop("enabled", self._enabled))
                    spec = self._spec.changed(fields)
                except (TypeError, ValueError) as error:
                    return Response(f"{error}\n", 400)
                if "seed" in fields:
                    self._dice.seed(spec.seed)
                self._enabled, self._spec = enabled, spec
            state = {"enabled": self._enabled, "counts": {fault: self._counts[fault] for fault in Fault}}
        return Response(json.dumps(state), mimetype="application/json")


def read_call(environ: WSGIEnvironment) -> Call | None:
    """Parses a request's service, action and region; None if it is not signed as AWS's SDKs do."""
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if scope is None:
        return None
    region, service = scope.groups()
    action = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    if service == "ec2":
        action = parse_qs(_peek_body(environ).decode()).get("Action", [""])[0]
    return Call(service, action, region)


def _peek_body(environ: WSGIEnvironment) -> bytes:
    """Reads the body of a small request, and puts it back for the application."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = BytesIO(body)
    return body
