"""A client that openapi-python-client generates from the OpenAPI document does a whole batch, events included."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.paths import REPOSITORY_ROOT
from tests.waiting import PATIENCE_SECONDS
from tests.web import JPEG, WebBench

ENVIRONMENT = REPOSITORY_ROOT / "var" / "openapi-client" / "bin"
FOLDER = REPOSITORY_ROOT / "tests" / "openapi_client"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ENVIRONMENT / "openapi-python-client").exists(),
        reason="the generator of clients is not installed; `make var/openapi-client/.installed` installs it",
    ),
]


@pytest.fixture(scope="module")
def bench() -> WebBench:
    bench = WebBench(authentication="tokens")
    bench.answer_at_once()
    return bench


@pytest.fixture(scope="module")
def found(bench: WebBench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the generated client received."""
    folder = tmp_path_factory.mktemp("client")
    headers = bench.token("ada", "read", "upload")
    document = folder / "openapi.json"
    document.write_bytes(bench.client.get("/api/v1/openapi.json", headers=headers).data)
    generate: list[str | Path] = [
        ENVIRONMENT / "openapi-python-client",
        "generate",
        "--fail-on-warning",
        "--meta",
        "none",
    ]
    run(*generate, "--path", document, "--output-path", folder / "elastic_client", "--config", FOLDER / "config.yaml")
    with bench.served() as url:
        token = headers["Authorization"].removeprefix("Bearer ")
        program: list[str | Path] = [ENVIRONMENT / "python", FOLDER / "whole_batch.py", url, token]
        received: dict[str, Any] = json.loads(run(*program, path=folder, standard_input=JPEG))
    return received


def run(*command: str | Path, path: Path | None = None, standard_input: bytes = b"") -> bytes:
    # The generator formats its code by a command of its own environment.
    environment = {"PATH": f"{ENVIRONMENT}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(path or "")}
    done = subprocess.run(
        command, env=environment, input=standard_input, capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout


def test_a_batch_is_created_filled_read_and_deleted(found: dict[str, Any]) -> None:
    names = ["set_1/image_1.jpg", "set_2/image_1.jpg"]
    assert found["accepted"] == [result["name"] for result in found["results"]] == names
    assert found["json"] == found["results"] == [json.loads(line) for line in found["jsonl"].splitlines()]
    assert found["single"] == found["results"][0] and found["repeated"] == 0
    assert found["csv"] == "image,label,score\r\nset_2/image_1.jpg,beagle,0.9\r\n"
    assert (found["batch"]["name"], found["batch"]["state"], found["batch"]["answered"]) == ("holiday", "done", 2)
    assert (found["deleted"], found["missing"]) == (204, 404)


def test_its_events_are_a_text_with_the_results(found: dict[str, Any]) -> None:
    events = [dict(line.split(": ", 1) for line in event) for event in found["events"] if event[0][:5] == "event"]
    assert (events[0]["event"], events[-1]["event"]) == ("results", "complete")
    assert json.loads(events[0]["data"])["results"] == found["results"]


def test_one_image_is_sent_as_a_binary_body(found: dict[str, Any]) -> None:
    assert (found["classify"]["name"], found["classify"]["label"]) == ("alone.jpg", "beagle")


def test_operations_have_names_that_read_like_functions(bench: WebBench) -> None:
    document = bench.client.get("/api/v1/openapi.json", headers=bench.token("ada")).get_json()
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    verbs = (
        "get_",
        "list_",
        "create_",
        "delete_",
        "cancel_",
        "add_",
        "permit_",
        "complete_",
        "plan_",
        "close_",
        "start_",
        "resume_",
    )
    assert len(set(ids)) == len(ids)
    assert [name for name in ids if not name.startswith(verbs)] == ["classify"]
