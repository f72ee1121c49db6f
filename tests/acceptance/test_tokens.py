"""Authentication with real processes: two owners, the command line, revocation, and what may be listened on."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from api_client.client import ApiClient
from api_client.responses import ApiError
from aws.clients import Clients
from aws.state import StateStore
from aws.tokens import TokenStore
from core.paths import REPOSITORY_ROOT
from core.tokens import SCOPES, new_token
from tests.bench import Bench, running_bench
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.acceptance

ELASTIC = [sys.executable, "-m", "cli"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    settings = {"authentication": "tokens", "max_size": 1, "scale_in_stabilization_seconds": 2}
    with running_bench(settings, tmp_path_factory.mktemp("log")) as bench:
        yield bench


def elastic(bench: Bench, *arguments: str, token: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**bench.stack.environment, "ELASTIC_TOKEN": token, "COLUMNS": "200"}
    return subprocess.run(
        [*ELASTIC, *arguments],
        cwd=REPOSITORY_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def create_token(bench: Bench, owner: str) -> str:
    text, record = new_token(owner, SCOPES, time.time())
    clients = Clients(environment=bench.stack.environment)
    TokenStore(StateStore(clients["s3"], bench.stack.settings.state_bucket)).add(record)
    return text


def headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_two_owners_work_side_by_side_and_see_nothing_of_each_other(
    bench: Bench, make_images: Callable[..., list[Path]]
) -> None:
    ada, bob = create_token(bench, "ada"), create_token(bench, "bob")
    paths = make_images(5)
    api, url = ApiClient(bench.stack.web_url, ada), bench.stack.web_url
    batch_id = api.create_batch()
    assert api.upload(batch_id, paths, lambda count: None) == []
    assert len(list(api.follow(batch_id, len(paths), PATIENCE_SECONDS))) == len(paths)
    file = next(iter(bench.images.list(batch_id))).key.partition("/")[2]
    # All operations that the running server itself describes, and the pages.
    document = requests.get(f"{url}/api/v1/openapi.json", headers=headers(bob), timeout=PATIENCE_SECONDS).json()
    operations = [
        (method, path.format(batch_id=batch_id, file=file))
        for path, item in document["paths"].items()
        for method in item
        if "{batch_id}" in path
    ]
    operations += [("get", f"/batches/{batch_id}"), ("get", f"/batches/{batch_id}/images/{file}")]
    assert len(operations) >= 13
    for method, path in operations:
        assert requests.request(method, f"{url}{path}", timeout=PATIENCE_SECONDS).status_code in (401, 200), path
        answer = requests.request(method, f"{url}{path}", headers=headers(bob), timeout=PATIENCE_SECONDS)
        assert answer.status_code == 404, (method, path, answer.text)
        if method == "get":
            assert requests.get(f"{url}{path}", headers=headers(ada), timeout=PATIENCE_SECONDS).ok, path
    with pytest.raises(ApiError, match="401"):
        ApiClient(url).create_batch()
    log = (bench.stack.log_directory / "web-tier.log").read_text()
    entries = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {("batch_created", "ada"), ("upload", "ada"), ("token_used", "bob")} <= {
        (entry["event"], entry["owner"]) for entry in entries
    }
    assert ada.split("_", 2)[2] not in log and bob.split("_", 2)[2] not in log


def test_the_command_line_classifies_with_a_token(bench: Bench, make_images: Callable[..., list[Path]]) -> None:
    [path] = make_images(1)
    arguments = ("classify", "--url", bench.stack.web_url, str(path))
    reported = elastic(bench, *arguments, token=create_token(bench, "ada"))
    assert reported.returncode == 0 and reported.stdout.startswith(f"{path}, ")
    refused = elastic(bench, *arguments)
    assert refused.returncode == 2 and "401" in refused.stderr and "Traceback" not in refused.stderr


def test_a_revoked_token_is_refused_by_every_process_within_seconds(bench: Bench) -> None:
    made = elastic(bench, "token", "create", "--owner", "carol", "--name", "to be revoked")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    url = f"{bench.stack.web_url}/api/v1/limits"
    # Enough connections to meet both processes, which now know the token.
    assert {
        requests.get(url, headers=headers(token), timeout=PATIENCE_SECONDS).status_code for _number in range(20)
    } == {200}
    token_id = token.split("_")[1]
    listed = elastic(bench, "token", "list").stdout
    assert token_id in listed and "carol" in listed and token.split("_", 2)[2] not in listed
    assert elastic(bench, "token", "revoke", token_id).returncode == 0

    def statuses() -> set[int]:
        return {
            requests.get(url, headers=headers(token), timeout=PATIENCE_SECONDS).status_code for _number in range(20)
        }

    wait_until(lambda: statuses() == {401}, "a revoked token is still accepted", 30)
    assert elastic(bench, "token", "revoke", token_id).returncode == 2


def test_a_session_begun_in_one_process_is_good_in_the_other(bench: Bench) -> None:
    token = create_token(bench, "ada")
    url = bench.stack.web_url
    session = requests.Session()
    form = {"token": token, "next": "/fleet"}
    signed = session.post(f"{url}/sign-in", data=form, headers={"Origin": url}, timeout=PATIENCE_SECONDS)
    assert signed.status_code == 200 and signed.url == f"{url}/fleet"
    answers = [
        requests.get(f"{url}/", cookies=session.cookies, allow_redirects=False, timeout=PATIENCE_SECONDS)
        for _n in range(20)
    ]
    assert {answer.status_code for answer in answers} == {200}


# --- what may be listened on ---------------------------------------------------------------------


@contextlib.contextmanager
def serve(
    bind: list[str], authentication: str, environment: dict[str, str], **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """A web tier, which is stopped at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "web_tier", *(argument for one in bind for argument in ("--bind", one))],
        cwd=REPOSITORY_ROOT,
        # An endpoint, since the web tier looks for a cloud first.
        env={"AWS_ENDPOINT_URL": "http://127.0.0.1:9", **environment, "EIC_AUTHENTICATION": authentication},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    ) as process:
        try:
            yield process
            process.terminate()
            process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["address", "second address", "any IPv6", "socket handed over"])
def test_other_machines_are_not_served_without_authentication(how: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EIC_")}
    with socket.socket() as handed:
        handed.bind(("0.0.0.0", 0))
        handed.listen()
        bind = {
            "address": ["0.0.0.0:0"],
            "second address": ["127.0.0.1:0", "0.0.0.0:0"],
            "any IPv6": ["[::]:0"],
            "socket handed over": [f"fd://{handed.fileno()}"],
        }[how]
        with serve(bind, "off", environment, pass_fds=(handed.fileno(),)) as process:
            output, _nothing = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "will not listen on" in output and "EIC_AUTHENTICATION=tokens" in output
    assert "Traceback" not in output and len(output.strip().splitlines()) == 1


def test_a_client_that_falls_silent_is_given_up(bench: Bench) -> None:
    environment = {**bench.stack.environment, "EIC_CLIENT_SILENCE_SECONDS": "1"}
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        with serve([f"fd://{listener.fileno()}"], "tokens", environment, pass_fds=(listener.fileno(),)):
            token = create_token(bench, "ada")
            begun = f"POST /api/v1/classify HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
            with socket.create_connection(address, timeout=PATIENCE_SECONDS) as client:
                client.sendall(f"{begun}Content-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\nabc".encode())
                assert client.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_with_authentication_it_listens_on_the_given_address(bench: Bench) -> None:
    with socket.socket() as free:
        free.bind(("0.0.0.0", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api/v1/limits"

    def answers() -> bool:
        try:
            return requests.get(url, timeout=5).status_code == 401
        except requests.RequestException:
            return False

    with serve([f"0.0.0.0:{port}"], "tokens", bench.stack.environment):
        wait_until(answers, "it never listened")
        assert requests.get(url, headers=headers(create_token(bench, "ada")), timeout=PATIENCE_SECONDS).ok
