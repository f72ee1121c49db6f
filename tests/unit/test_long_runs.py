"""What a stack that runs for weeks depends on: credentials that rotate, logs that are bounded, objects that expire."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.credentials
import pytest

from aws.clients import Clients
from core.paths import REPOSITORY_ROOT
from infra import template
from tests.serving import running

MACHINE = REPOSITORY_ROOT / "infra" / "machine"


class InstanceProfile(BaseHTTPRequestHandler):
    """EC2's metadata service with a role, whose credentials are others with each request."""

    issued = 0
    valid_for = timedelta(hours=6)

    def do_PUT(self) -> None:
        self._answer("token")

    def do_GET(self) -> None:
        if not self.path.endswith("/role"):
            self._answer("role")
            return
        type(self).issued += 1
        expires_at = datetime.now(UTC) + self.valid_for * self.issued
        credentials = {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": f"KEY{self.issued}",
            "SecretAccessKey": "secret",
            "Token": "token",
            "LastUpdated": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "Expiration": f"{expires_at:%Y-%m-%dT%H:%M:%SZ}",
        }
        self._answer(json.dumps(credentials))

    def _answer(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr(InstanceProfile, "issued", 0)
    with running(ThreadingHTTPServer(("127.0.0.1", 0), InstanceProfile)) as url:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        yield


def key_of(clients: Clients) -> str:
    """The access key by which a client signs a request."""
    url = clients["s3"].generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    return str(parse_qs(urlsplit(url).query)["X-Amz-Credential"][0].partition("/")[0])


def test_clients_sign_with_new_credentials_before_the_instances_end(
    instance: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = Clients()
    assert key_of(clients) == key_of(clients) == "KEY1"
    later = datetime.now(UTC) + InstanceProfile.valid_for - timedelta(minutes=5)
    credentials = clients["s3"]._request_signer._credentials
    assert isinstance(credentials, botocore.credentials.RefreshableCredentials)
    monkeypatch.setattr(credentials, "_time_fetcher", lambda: later)
    assert key_of(clients) == "KEY2", "of the same client, minutes before the first ones end"
    assert key_of(clients) == "KEY2"


def test_the_logs_of_the_services_are_those_that_are_rotated() -> None:
    configuration = (MACHINE / "logrotate.conf").read_text("ascii")
    pattern = configuration.split()[0]
    assert re.search(r"size \d+M", configuration) and re.search(r"rotate \d", configuration)
    services = sorted(MACHINE.glob("elastic-*.service"))
    assert len(services) == 2
    for service in services:
        [log] = re.findall(r"^StandardOutput=append:(.*)$", service.read_text("ascii"), re.MULTILINE)
        assert fnmatchcase(log, pattern), service.name
    # Services keep their files open, for appending: they are copied and truncated.
    assert "copytruncate" in configuration
    assert "infra/machine/logrotate.conf /etc/logrotate.d/" in (MACHINE / "install.sh").read_text("ascii")


@pytest.mark.parametrize(
    "parsed", [lambda: template.parse(template.text()), template.simple], ids=["thorough", "simple"]
)
def test_everything_that_a_stack_stores_expires_or_is_bounded(parsed: Any) -> None:
    resources = parsed()["Resources"]
    rules = {
        name: resources[name]["Properties"]["LifecycleConfiguration"]["Rules"]
        for name in ("InputBucket", "OutputBucket", "StateBucket")
    }
    for name, each in rules.items():
        assert all(rule["Status"] == "Enabled" for rule in each)
        assert [rule for rule in each if "AbortIncompleteMultipartUpload" in rule], name
    for name in ("InputBucket", "OutputBucket"):
        # Without a prefix: whatever is stored in it.
        everything = [rule for rule in rules[name] if "ExpirationInDays" in rule and "Prefix" not in rule]
        assert [rule["ExpirationInDays"] for rule in everything] == [{"Ref": "ResultDays"}], name
        # Replaced versions would be kept for ever.
        assert "VersioningConfiguration" not in resources[name]["Properties"], name
    assert any(rule.get("Prefix") == "web/signed-out/" for rule in rules["StateBucket"])
    assert "MessageRetentionPeriod" in resources["DeadLetterQueue"]["Properties"]
    logs = [entry for entry in resources.values() if entry["Type"] == "AWS::Logs::LogGroup"]
    assert len(logs) == 2 and all(entry["Properties"]["RetentionInDays"] == {"Ref": "LogDays"} for entry in logs)
