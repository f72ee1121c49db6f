"""The OpenAPI document describes what the service does: thousands of requests made up from it find no server error."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.properties import examples
from tests.web import JPEG, WebBench
from web_tier.api import events

_bench = WebBench(classify_wait_seconds=0.0)
_schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", _bench.app)
_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(autouse=True, scope="module")
def _short_streams() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "LIFETIME_SECONDS", 0.02)
        yield


def test_the_document_is_valid_and_complete() -> None:
    document = WebBench().get("/api/v1/openapi.json")
    validate(document)
    operations = {(method, path) for path, item in document["paths"].items() for method in item}
    rules = {
        (method.lower(), rule.rule.replace("<", "{").replace(">", "}"))
        for rule in _bench.app.url_map.iter_rules()
        if rule.endpoint.startswith("api_")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert operations == rules and len(operations) >= 17
    assert all(item["summary"] for path in document["paths"].values() for item in path.values())


@_schema.parametrize()
@settings(max_examples=examples(0.4), suppress_health_check=list(HealthCheck))
def test_no_request_brings_about_a_server_error(case: schemathesis.Case[Any]) -> None:
    if "batch_id" in case.path_parameters and zlib.crc32(repr(case.path_parameters).encode()) % 2:
        # Made up ids meet no batch: half of the requests get one that exists, with an image and its answer.
        batch_id = _bench.create_batch()
        _bench.upload(batch_id, [("a.jpg", JPEG)])
        _bench.answer()
        case.path_parameters["batch_id"] = batch_id
    # The document describes the stream of events as one text, as clients receive it; Schemathesis would apply that
    # schema to each event.  What the events are is tested in test_web_events.
    checks = [
        check for check in _CHECKS if not (case.path.endswith("/events") and check is response_schema_conformance)
    ]
    case.call_and_validate(checks=checks)
