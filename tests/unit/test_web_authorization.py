"""With authentication: who gets in, what each scope opens, and that no owner sees another's batches."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from core.errors import CloudError
from tests.web import JPEG, WebBench, form
from web_tier.auth import scopes, token_cache
from web_tier.auth.token_cache import TokenCache
from web_tier.ttl_cache import MAX_ENTRIES

FOREIGN = {"batch_id", "rest", "file"}


@pytest.fixture
def bench() -> WebBench:
    return WebBench(authentication="tokens", classify_wait_seconds=0.0, compat_wait_seconds=0.0)


@pytest.fixture
def entries(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """Reads the audit log so far."""
    caplog.set_level(logging.INFO, "audit")

    def read(event: str = "") -> list[dict[str, Any]]:
        lines = [record.getMessage() for record in caplog.records if record.name == "audit"]
        assert not any("\n" in line for line in lines)
        return [entry for line in lines if (entry := json.loads(line))["event"] == event or not event]

    return read  # type: ignore[return-value]


def methods(rule: Rule) -> list[str]:
    return sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})


def batch_of(bench: WebBench, headers: dict[str, str], files: int = 1) -> tuple[str, str]:
    """A batch with an answered image; its id and the image's part of the key."""
    created = bench.client.post("/api/v1/batches", headers=headers)
    assert created.status_code == 201, created.text
    batch_id = created.get_json()["batch_id"]
    data = form([(f"{number}.jpg", JPEG) for number in range(files)])
    answer = bench.client.post(f"/api/v1/batches/{batch_id}/images?offset=0", headers=headers, data=data)
    assert answer.status_code == 200
    bench.answer()
    return batch_id, answer.get_json()["accepted"][0]["key"].partition("/")[2]


def ask_everything(bench: WebBench, headers: dict[str, str], values: dict[str, str]) -> dict[str, TestResponse]:
    """Sends a request to every route that is about a batch, those that end it last."""
    answers = {}
    rules = [
        rule for rule in bench.app.url_map.iter_rules() if rule.arguments & FOREIGN and "filename" not in rule.arguments
    ]
    # While all is answered, events end by themselves.
    asked = [(rule, method) for rule in rules for method in methods(rule)]
    asked.sort(
        key=lambda one: (
            one[0].rule.endswith("/delete") and one[1] == "POST",
            one[1] == "DELETE",
            one[0].rule.endswith("/cancel"),
            one[1] == "POST",
        )
    )
    for rule, method in asked:
        with bench.app.test_request_context():
            _domain, path = rule.build({name: values[name] for name in rule.arguments}) or ("", "")
        options: dict[str, Any] = {"data": form([("x.jpg", JPEG)])} if path.endswith("/images") else {}
        if path.endswith(("/uploads", "/plan")):
            options = {"json": {"files": [{"name": "a.jpg", "size_bytes": 5}]}}
        elif path.endswith("/complete"):
            options = {"json": {"keys": [f"{values['batch_id']}/{values['file']}"]}}
        answers[f"{method} {rule.rule}"] = bench.client.open(
            path, method=method, headers=headers, buffered=True, **options
        )
    return answers


def test_no_owner_sees_another_owners_batch_on_any_route(bench: WebBench) -> None:
    ada, bob = bench.token("ada"), bench.token("bob")
    batch_id, file = batch_of(bench, ada)
    values = {"batch_id": batch_id, "file": file, "rest": file}
    before = (dict(bench.images.objects), dict(bench.results.objects))
    foreign = ask_everything(bench, bob, values)
    assert len(foreign) >= 13
    assert {name: answer.status_code for name, answer in foreign.items()} == dict.fromkeys(foreign, 404)
    assert (dict(bench.images.objects), dict(bench.results.objects)) == before, "a refused request changed something"
    # The same requests with an id that never was: nothing distinguishes the two.
    unknown = ask_everything(bench, bob, {**values, "batch_id": batch_id[:-4] + "0000"})
    assert {name: answer.data.replace(b"0000", b"") for name, answer in unknown.items()} == {
        name: answer.data.replace(b"0000", b"") for name, answer in foreign.items()
    }
    own = ask_everything(bench, ada, values)
    refused = {name: answer.status_code for name, answer in own.items() if answer.status_code >= 400}
    # The batch can be deleted once only, and its page comes after the API.
    assert refused == {"POST /batches/<batch_id>/delete": 404}, (
        "the walk proves nothing unless its requests are good ones"
    )


def test_lists_have_only_the_owners_batches(bench: WebBench) -> None:
    ada, bob = bench.token("ada"), bench.token("bob")
    batch_id, _file = batch_of(bench, ada)
    assert [entry["batch_id"] for entry in bench.client.get("/api/v1/batches", headers=ada).get_json()["batches"]] == [
        batch_id
    ]
    assert bench.client.get("/api/v1/batches", headers=bob).get_json()["batches"] == []
    assert batch_id not in bench.client.get("/", headers=bob).text
    assert batch_id in bench.client.get("/", headers=ada).text
    # Another token of the same owner sees what the owner has.
    assert bench.client.get(f"/api/v1/batches/{batch_id}", headers=bench.token("ada", "read")).status_code == 200


def test_single_images_belong_to_who_sent_them(bench: WebBench) -> None:
    ada, bob = bench.token("ada"), bench.token("bob")
    urls = []
    for headers in (ada, bob):
        sent = bench.client.post("/api/v1/classify", headers={**headers, "Content-Type": "image/jpeg"}, data=JPEG)
        urls.append(sent.get_json()["result_url"])
    assert [bench.client.get(url, headers=ada).status_code for url in urls] == [202, 404]
    assert [bench.client.get(url, headers=bob).status_code for url in urls] == [404, 202]


def test_every_route_has_a_scope_and_a_new_one_is_closed(bench: WebBench) -> None:
    missing = [rule.endpoint for rule in bench.app.url_map.iter_rules() if scopes.required(rule.endpoint) is None]
    assert missing == []
    known = {rule.endpoint for rule in bench.app.url_map.iter_rules()}
    assert set(scopes._SCOPES) == known, "a scope is named for a route that there is not"
    bench.app.add_url_rule("/new", "new", lambda: "secret")
    answer = bench.client.get("/new", headers=bench.token("ada"))
    assert answer.status_code == 403 and "secret" not in answer.text


def test_each_route_asks_for_its_scope_and_no_other(bench: WebBench) -> None:
    holders = {scope: bench.token("ada", scope) for scope in ("upload", "read", "admin")}
    values = dict.fromkeys(FOREIGN, "x") | {"filename": "app.css", "run_id": "x"}
    for rule in bench.app.url_map.iter_rules():
        required = scopes.required(rule.endpoint)
        with bench.app.test_request_context():
            _domain, path = rule.build({name: values[name] for name in rule.arguments}) or ("", "")
        for method in methods(rule):
            stranger = bench.client.open(path, method=method)
            if required == scopes.PUBLIC:
                assert stranger.status_code != 401
                continue
            assert stranger.status_code in (401, 303), (rule, stranger.status_code)
            for scope, headers in holders.items():
                answer = bench.client.open(path, method=method, headers=headers)
                lacking = answer.status_code == 403 and "lacks the scope" in answer.text
                assert lacking == (scope != required), (rule, method, scope, answer.status_code)


# --- strangers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/api/v1/limits", "/api/v1/batches", "/metrics", "/api/v1/fleet", "/api/v1/openapi.json"]
)
def test_programs_are_asked_for_a_token(bench: WebBench, path: str) -> None:
    answer = bench.client.get(path)
    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="Elastic Image Classifier"'
    assert json.loads(answer.data)["detail"] == "an access token is needed"


@pytest.mark.parametrize("path", ["/", "/fleet", "/batches/20260101-000000-abcdef", "/api/v1/docs"])
def test_people_are_led_to_the_form_and_back(bench: WebBench, path: str) -> None:
    answer = bench.client.get(f"{path}?page=2")
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/sign-in?next={path}?page%3D2"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/static/app.css", "/sign-in"])
def test_what_is_open_to_strangers(bench: WebBench, path: str) -> None:
    assert bench.client.get(path).status_code == 200


def test_clients_without_a_token_do_not_see_what_does_not_answer(bench: WebBench) -> None:
    bench.queue.fail_next("backlog", times=2)
    answer = bench.client.get("/readyz")
    assert (answer.status_code, json.loads(answer.data)["detail"]) == (503, "not ready")
    reported = bench.client.get("/readyz", headers=bench.token("ada", "read"))
    assert json.loads(reported.data)["detail"] == "the queue does not answer"


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer eic_", "Basic YWRhOmE=", "Bearer eic_0123456789abcdef_" + "A" * 43]
)
def test_a_wrong_token_is_refused(bench: WebBench, header: str, entries: Any) -> None:
    answer = bench.client.get("/api/v1/limits", headers={"Authorization": header})
    assert answer.status_code == 401
    assert "error=invalid_token" in answer.headers["WWW-Authenticate"]
    [entry] = entries("authentication")
    assert (entry["outcome"], entry["owner"], entry["route"]) == ("refused", None, "/api/v1/limits")


def test_another_tokens_secret_opens_nothing(bench: WebBench) -> None:
    ada, bob = bench.token("ada")["Authorization"], bench.token("bob")["Authorization"]
    mixed = "_".join([*ada.split("_")[:2], bob.split("_", 2)[2]])
    assert bench.client.get("/api/v1/limits", headers={"Authorization": mixed}).status_code == 401


def test_an_expired_token_opens_nothing(bench: WebBench, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = bench.token("ada", expires_days=1)
    assert bench.client.get("/api/v1/limits", headers=headers).status_code == 200
    later = time.time() + 86_401
    monkeypatch.setattr(time, "time", lambda: later)
    assert bench.client.get("/api/v1/limits", headers=headers).status_code == 401


def test_a_revoked_token_is_refused_within_seconds_and_asked_for_once_meanwhile() -> None:
    now, asked = [0.0], []

    def find(token_id: str) -> None:
        asked.append(token_id)

    known = TokenCache(find, clock=lambda: now[0])
    for now[0] in (0.0, 1.0, token_cache.CACHE_SECONDS - 0.1, token_cache.CACHE_SECONDS):
        assert known.get("a") is None
    assert asked == ["a", "a"]
    assert token_cache.CACHE_SECONDS <= 10


def test_a_flood_of_ids_does_not_fill_the_memory() -> None:
    known = TokenCache(lambda token_id: None)
    for number in range(MAX_ENTRIES + 100):
        known.get(str(number))
        known.is_new_address(str(number), "")
    assert len(known) == len(known._addresses) == MAX_ENTRIES


def test_a_failing_store_lets_no_client_in(bench: WebBench) -> None:
    headers = bench.token("ada")
    bench.state.fail_next("get", error=CloudError("secret endpoint"))
    answer = bench.client.get("/api/v1/limits", headers=headers)
    assert answer.status_code == 503 and "secret" not in answer.text


# --- the audit log -------------------------------------------------------------------------------


def test_the_audit_log_says_who_did_what_and_never_a_secret(bench: WebBench, entries: Any, caplog: Any) -> None:
    headers = bench.token("ada")
    batch_id, _file = batch_of(bench, headers)
    bench.client.post(f"/api/v1/batches/{batch_id}/cancel", headers=headers)
    bench.client.delete(f"/api/v1/batches/{batch_id}", headers=headers)
    reported = entries()
    assert [entry["event"] for entry in reported] == [
        "token_used",
        "batch_created",
        "upload",
        "batch_cancelled",
        "batch_deleted",
    ]
    for entry in reported:
        assert (entry["owner"], entry["address"], entry["outcome"]) == ("ada", "127.0.0.1", "done")
        assert entry["token_id"] == headers["Authorization"].split("_")[1]
    assert (reported[2]["accepted"], reported[2]["rejected"], reported[2]["batch_id"]) == (1, 0, batch_id)
    assert headers["Authorization"].split("_", 2)[2] not in caplog.text
