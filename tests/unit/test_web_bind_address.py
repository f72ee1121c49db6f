"""Without authentication only this machine is served: by what is listened on, by who asks, and under which name."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.up import up
from core.errors import SettingsError
from core.settings import Settings
from local_cloud.stack import _address, _listener
from tests.web import WebBench
from web_tier.security.bind_address import check_addresses
from web_tier.security.trusted_hosts import is_own_name


@pytest.mark.parametrize(
    ("address", "local"),
    [
        (("127.0.0.1", 8000), True),
        (("127.3.2.1", 8000), True),
        (("::1", 8000, 0, 0), True),
        (("::ffff:127.0.0.1", 8000, 0, 0), True),
        (("localhost", 8000), True),
        ("/run/web.sock", True),
        ("", True),
        (b"\0abstract", True),
        (("0.0.0.0", 8000), False),
        (("::", 8000, 0, 0), False),
        (("192.168.1.5", 8000), False),
        (("169.254.169.254", 80), False),
        (("::ffff:10.0.0.1", 8000, 0, 0), False),
        (("fe80::1%eth0", 8000, 0, 2), False),
        (("example.org", 8000), False),
    ],
)
def test_what_may_be_listened_on_without_authentication(address: Any, local: bool) -> None:
    check_addresses([address], "tokens")
    if local:
        check_addresses([address], "off")
    else:
        with pytest.raises(SettingsError, match=r"will not listen on .* without authentication: set EIC_AUTH"):
            check_addresses([("127.0.0.1", 1), address], "off")


def test_real_sockets_are_distinguished(tmp_path: Path) -> None:
    with socket.socket() as loopback, socket.socket() as everywhere, socket.socket(socket.AF_UNIX) as unix:
        loopback.bind(("127.0.0.1", 0))
        everywhere.bind(("0.0.0.0", 0))
        unix.bind(str(tmp_path / "web.sock"))
        check_addresses([loopback.getsockname(), unix.getsockname()], "off")
        with pytest.raises(SettingsError, match=r"0\.0\.0\.0 port \d+"):
            check_addresses([loopback.getsockname(), everywhere.getsockname()], "off")


@pytest.mark.parametrize(("address", "status"), [("127.0.0.1", 200), ("::1", 200), ("", 200), ("192.0.2.1", 403)])
def test_other_machines_are_refused_even_where_a_server_listens_to_them(address: str, status: int) -> None:
    answer = WebBench().client.get("/api/v1/limits", environ_overrides={"REMOTE_ADDR": address})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("host", "settings", "own"),
    [
        ("localhost:8000", {}, True),
        ("evil.example", {}, False),
        ("evil.example:8000", {}, False),
        ("photos.example", {"trusted_hosts": "photos.example"}, True),
        ("PHOTOS.example:443", {"trusted_hosts": "other.example, photos.example"}, True),
        ("xphotos.example", {"trusted_hosts": "photos.example"}, False),
        ("sub.photos.example", {"trusted_hosts": "photos.example"}, False),
        ("127.0.0.1", {"trusted_hosts": "photos.example"}, True),
        ("evil.example", {"authentication": "tokens"}, True),
        ("evil.example", {"authentication": "tokens", "trusted_hosts": "photos.example"}, False),
        ("[", {"trusted_hosts": "photos.example"}, False),
    ],
)
def test_names_that_are_ours(host: str, settings: dict[str, Any], own: bool) -> None:
    assert is_own_name(host, Settings(**settings)) == own


@pytest.mark.parametrize("path", ["/", "/api/v1/limits", "/nothing"])
def test_another_sites_name_does_not_lead_here(path: str) -> None:
    answer = WebBench().client.get(path, headers={"Host": "rebound.example"})
    assert answer.status_code == 400 and "does not go by that name" in answer.text


def test_a_load_balancer_may_ask_by_address_whether_all_is_well() -> None:
    bench = WebBench(authentication="tokens", trusted_hosts="photos.example")
    assert bench.client.get("/healthz", headers={"Host": "10.1.2.3"}).status_code == 200
    assert bench.client.get("/readyz", headers={"Host": "10.1.2.3"}).status_code == 200
    assert bench.client.get("/sign-in", headers={"Host": "10.1.2.3"}).status_code == 400


def test_the_local_stack_listens_elsewhere_only_with_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, object]] = []

    class StoppedError(Exception):
        pass

    def stack(*_: object, **options: object) -> None:
        started.append(options)
        raise StoppedError

    monkeypatch.setattr("cli.up.local_stack", stack)
    monkeypatch.setattr("cli.up.stop_on_signals", lambda: None)
    refused = CliRunner().invoke(up, ["--host", "0.0.0.0"])
    assert "will not listen on 0.0.0.0 port 8080 without authentication" in str(refused.exception) and not started
    monkeypatch.setenv("EIC_AUTHENTICATION", "tokens")
    assert isinstance(CliRunner().invoke(up, ["--host", "0.0.0.0"]).exception, StoppedError)
    assert started[0]["web_host"] == "0.0.0.0"


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")]
)
def test_this_machine_reaches_all_addresses_by_loopback(host: str, shown: str) -> None:
    with _listener(0, host) as listener:
        assert _address(listener) == f"http://{shown}:{listener.getsockname()[1]}"
