"""Signing in and out with a browser: the cookie, where it leads afterwards, and requests that another site forges."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from aws.in_memory import InMemoryStateStore, ManualClock
from core.errors import CloudError, DecodeError
from core.settings import SECRETS, Settings
from tests.web import JPEG, WebBench, form
from web_tier.auth import sessions
from web_tier.auth.sessions import SESSION_SECONDS, session_key
from web_tier.auth.token_cache import CACHE_SECONDS
from web_tier.pages.sign_in import safe_next
from web_tier.security.trusted_hosts import is_loopback_host

# What browsers send with the forms and scripts of a page.
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def bench() -> WebBench:
    return WebBench(authentication="tokens", trusted_hosts="photos.example")


def token_text(headers: dict[str, str]) -> str:
    return headers["Authorization"].partition(" ")[2]


def sign_in(bench: WebBench, text: str, base_url: str = "http://localhost", **fields: str) -> TestResponse:
    page = bench.client.get("/sign-in", base_url=base_url)
    assert page.status_code == 200
    data = {"token": text, **fields}
    return bench.client.post("/sign-in", base_url=base_url, data=data, headers={"Origin": base_url})


def test_a_browser_signs_in_works_and_signs_out(bench: WebBench) -> None:
    answer = sign_in(bench, token_text(bench.token("ada")), next="/fleet")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/fleet")
    home = bench.client.get("/")
    assert home.status_code == 200 and "ada" in home.text
    action = re.search(r'action="(/batches[^"]*)"', home.text)
    assert action is not None
    # The form as a browser without JavaScript sends it.
    created = bench.client.post(action[1], data=form([("a.jpg", JPEG)]), headers=OWN_PAGE)
    assert created.status_code == 303
    assert bench.client.get(created.headers["Location"]).status_code == 200
    cookie = bench.client.get_cookie("eic_session")
    assert cookie is not None
    out = bench.client.post("/sign-out", headers=OWN_PAGE)
    assert (out.status_code, out.headers["Location"]) == (303, "/sign-in")
    assert out.headers["Clear-Site-Data"] == '"cache"'
    # A copy of the cookie is worth nothing either.
    bench.client.set_cookie("eic_session", cookie.value)
    assert bench.client.get(created.headers["Location"]).status_code == 303


@pytest.mark.parametrize(
    ("base_url", "name", "secure"),
    [
        ("http://localhost", "eic_session", False),
        ("http://127.0.0.1:8080", "eic_session", False),
        ("https://photos.example", "__Host-eic_session", True),
    ],
)
def test_the_cookie_is_closed_to_scripts_other_sites_and_plain_http(
    bench: WebBench, base_url: str, name: str, secure: bool
) -> None:
    answer = sign_in(bench, token_text(bench.token("ada")), base_url)
    assert answer.status_code == 303
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{name}=") and "Path=/" in cookie and "Domain" not in cookie
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and ("Secure" in cookie) == secure


def test_no_client_signs_in_over_plain_http_from_elsewhere(bench: WebBench) -> None:
    page = bench.client.get("/sign-in", base_url="http://photos.example")
    assert "needs HTTPS" in page.text and 'type="password"' not in page.text
    data = {"token": token_text(bench.token("ada"))}
    headers = {"Origin": "http://photos.example"}
    answer = bench.client.post("/sign-in", base_url="http://photos.example", data=data, headers=headers)
    assert answer.status_code == 403 and "token_id" not in answer.headers.get("Set-Cookie", "")


def test_a_wrong_token_does_not_sign_in(bench: WebBench) -> None:
    answer = sign_in(bench, "eic_0123456789abcdef_" + "A" * 43)
    assert answer.status_code == 401 and "unknown, expired or revoked" in answer.text
    assert sign_in(bench, token_text(bench.token("ada", "upload"))).status_code == 403
    assert bench.client.get("/").status_code == 303


def test_attempts_to_sign_in_are_few(bench: WebBench) -> None:
    codes = [sign_in(bench, "x").status_code for _number in range(12)]
    assert codes == [401] * 10 + [429] * 2


def test_a_revoked_token_ends_its_sessions() -> None:
    clock = ManualClock()
    bench = WebBench(clock, authentication="tokens")
    headers = bench.token("ada")
    sign_in(bench, token_text(headers))
    assert bench.client.get("/").status_code == 200
    bench.state.delete(f"tokens/{token_text(headers).split('_')[1]}.json")
    clock.advance(CACHE_SECONDS)
    assert bench.client.get("/").status_code == 303


def test_a_session_ends_by_itself_however_it_is_used(bench: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(bench, token_text(bench.token("ada")))
    assert bench.client.get("/").status_code == 200
    now = time.time()
    for passed in (SESSION_SECONDS / 2, SESSION_SECONDS - 10):
        monkeypatch.setattr(time, "time", lambda passed=passed: now + passed)
        answer = bench.client.get("/")
        assert answer.status_code == 200 and "Set-Cookie" not in answer.headers
    monkeypatch.setattr(time, "time", lambda: now + SESSION_SECONDS + 1)
    assert bench.client.get("/").status_code == 303


def test_a_forged_cookie_opens_nothing(bench: WebBench) -> None:
    headers = bench.token("ada")
    stranger = WebBench(authentication="tokens", session_key="x" * 40)
    stranger.state.objects.update(bench.state.objects)
    sign_in(stranger, token_text(headers))
    cookie = stranger.client.get_cookie("eic_session")
    assert cookie is not None and stranger.client.get("/").status_code == 200
    bench.client.set_cookie("eic_session", cookie.value)
    assert bench.client.get("/").status_code == 303


# --- forged requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/batches"),
        ("POST", "/"),
        ("POST", "/sign-out"),
        ("POST", "/api/v1/batches"),
        ("POST", "/api/v1/classify"),
        ("DELETE", "/api/v1/batches/20260101-000000-abcdefabcdef"),
    ],
)
def test_a_cookie_alone_changes_nothing(bench: WebBench, method: str, path: str) -> None:
    sign_in(bench, token_text(bench.token("ada")))
    before = len(bench.images.batches)
    for headers in ({}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
        assert bench.client.open(path, method=method, headers=headers).status_code == 403
    assert len(bench.images.batches) == before
    assert bench.client.get("/").status_code == 200, "still signed in"


def test_a_page_of_ours_works_with_the_cookie(bench: WebBench) -> None:
    sign_in(bench, token_text(bench.token("ada")))
    for headers in (OWN_PAGE, {"Origin": "http://localhost"}):
        created = bench.client.post("/api/v1/batches", headers=headers)
        assert created.status_code == 201
        url = created.get_json()["images_url"]
        assert bench.client.post(url, headers=headers, data=form([("a.jpg", JPEG)])).status_code == 200


def test_programs_with_a_token_name_no_origin(bench: WebBench) -> None:
    assert bench.client.post("/api/v1/batches", headers=bench.token("ada")).status_code == 201


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_page_of_another_site_cannot_sign_in(bench: WebBench, headers: dict[str, str]) -> None:
    answer = bench.client.post("/sign-in", data={"token": token_text(bench.token("ada"))}, headers=headers)
    assert answer.status_code == 403
    assert bench.client.get("/").status_code == 303


def test_a_page_sets_no_cookie_before_the_sign_in(bench: WebBench) -> None:
    assert "Set-Cookie" not in bench.client.get("/sign-in").headers


def test_an_overlong_form_is_not_read(bench: WebBench) -> None:
    assert sign_in(bench, "x" * 20_000).status_code == 413


# --- where to go ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/", "/"),
        ("/fleet", "/fleet"),
        ("/batches/x?page=2", "/batches/x?page=2"),
        ("/batches/x?to=https://evil.example", "/batches/x?to=https://evil.example"),
        ("", "/"),
        ("fleet", "/"),
        ("//evil.example", "/"),
        ("///evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/a\\b", "/"),
        ("/\t/evil.example", "/"),
        ("/\n/evil.example", "/"),
        (" //evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("//[", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(text: str, expected: str) -> None:
    assert safe_next(text, "/") == expected


@given(st.text(alphabet="/\\abc:.?#@[]\t\n \x00é", max_size=12))
def test_wherever_it_leads_is_a_path_of_ours(text: str) -> None:
    found = safe_next(text, "/")
    assert found.startswith("/") and not found.startswith(("//", "/\\")) and not re.search(r"[\x00-\x1f\\]", found)


# --- the key -------------------------------------------------------------------------------------


def test_all_processes_share_one_key() -> None:
    state: Any = InMemoryStateStore()
    key = session_key(Settings(), state)
    assert len(key) >= 32 and session_key(Settings(), state) == key
    assert session_key(Settings(session_key="k" * 32), state) == "k" * 32


def test_of_two_processes_that_start_together_one_makes_the_key() -> None:
    state: Any = InMemoryStateStore()

    def faster(_method: str, effect: Any) -> str:
        state.objects.clear()
        state.put(sessions.KEY, b"the other's key, 43 characters in all, as ours")
        return str(effect())

    state.around = faster
    assert session_key(Settings(), state) == "the other's key, 43 characters in all, as ours"


def test_without_a_key_nothing_starts() -> None:
    state: Any = InMemoryStateStore()
    state.fail_next("get")
    with pytest.raises(CloudError):
        session_key(Settings(), state)


@pytest.mark.parametrize("body", [b"", b"short", b"\xff" * 43, b"x" * 100_000], ids=["none", "short", "bytes", "long"])
def test_what_is_no_key_signs_nothing(body: bytes) -> None:
    state: Any = InMemoryStateStore()
    state.put(sessions.KEY, body)
    with pytest.raises(DecodeError, match="is not a session key"):
        session_key(Settings(), state)


def test_the_key_is_in_no_log_and_no_file() -> None:
    settings = Settings(session_key="do-not-show-" * 4)
    assert "do-not-show" not in repr(settings)
    assert "do-not-show" not in str(settings.to_environment())
    assert {"EIC_SESSION_KEY"} == SECRETS


def test_without_authentication_there_are_no_cookies_and_no_form() -> None:
    bench = WebBench()
    for path in ("/", "/nothing", "/api/v1/limits"):
        answer = bench.client.get(path)
        assert "Set-Cookie" not in answer.headers
    assert bench.client.get("/sign-in").headers["Location"] == "/"
    assert bench.client.post("/sign-in", data={"token": "x"}, headers=OWN_PAGE).status_code == 404
    assert bench.state.count("create") == 0


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("localhost:8080", True),
        ("127.0.0.1:1", True),
        ("127.9.9.9", True),
        ("[::1]:8080", True),
        ("example.org", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("10.0.0.1", False),
        ("[::2]", False),
        ("", False),
        ("[", False),
    ],
)
def test_loopback_names(host: str, own: bool) -> None:
    assert is_loopback_host(host) == own
