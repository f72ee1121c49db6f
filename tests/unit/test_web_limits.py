"""Rate limits and quotas: a sentence and a time for those who ask too often, and no client gets more than its share."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest

from core.errors import CloudError
from core.settings import Settings
from tests.web import JPEG, WebBench, form
from web_tier.auth.rate_limits import RateLimits


def bench_with(**settings: Any) -> WebBench:
    return WebBench(authentication="tokens", classify_wait_seconds=0.0, compat_wait_seconds=0.0, **settings)


def files(count: int) -> dict[str, Any]:
    return form([(f"{number}.jpg", JPEG) for number in range(count)])


def test_a_token_may_ask_so_often_and_others_go_on() -> None:
    bench = bench_with(requests_per_minute=5)
    ada, bob = bench.token("ada"), bench.token("bob")
    codes = [bench.client.get("/api/v1/limits", headers=ada).status_code for _number in range(7)]
    assert codes == [200] * 5 + [429] * 2
    refused = bench.client.get("/api/v1/limits", headers=ada)
    assert refused.content_type == "application/problem+json"
    assert json.loads(refused.data)["detail"] == "too many requests in a minute; please wait a little"
    assert 1 <= int(refused.headers["Retry-After"]) <= 120
    assert bench.client.get("/api/v1/limits", headers=bob).status_code == 200
    assert bench.client.get("/static/app.css").status_code == bench.client.get("/healthz").status_code == 200


def test_who_guesses_is_stopped_before_anybody_looks(caplog: pytest.LogCaptureFixture) -> None:
    bench = bench_with(stranger_requests_per_minute=4)
    caplog.set_level(logging.INFO, "audit")
    for number in range(6):
        headers = {"Authorization": f"Bearer eic_{number:016x}_{'A' * 43}"}
        assert bench.client.get("/api/v1/limits", headers=headers).status_code == (401 if number < 4 else 429)
    assert bench.state.count("get") == 4 + 1, "the four tokens and the session key"
    assert '"event": "rate_limit", "outcome": "refused"' in caplog.text
    other = bench.client.get("/api/v1/limits", environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    assert other.status_code == 401


def test_behind_a_load_balancer_the_clients_address_counts() -> None:
    bench = bench_with(stranger_requests_per_minute=1, forwarded_proxies=1)

    def ask(forwarded: str) -> int:
        return bench.client.get("/api/v1/limits", headers={"X-Forwarded-For": forwarded}).status_code

    assert [ask("192.0.2.1"), ask("192.0.2.2"), ask("192.0.2.1")] == [401, 401, 429]
    # What the client itself wrote in front is not believed.
    assert ask("192.0.2.9, 192.0.2.1") == 429


def test_without_a_load_balancer_no_client_chooses_its_address() -> None:
    bench = bench_with(stranger_requests_per_minute=1)
    codes = [
        bench.client.get("/api/v1/limits", headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code for n in range(2)
    ]
    assert codes == [401, 429]


def test_without_authentication_nothing_is_counted() -> None:
    bench = WebBench(requests_per_minute=1, stranger_requests_per_minute=1)
    assert {bench.client.get("/api/v1/limits").status_code for _number in range(5)} == {200}


def test_the_defaults_let_ten_thousand_photos_through() -> None:
    settings = Settings()
    # In chunks of 20 as fast as a minute, with their pictures scrolled by half, and a poll every second.
    assert settings.requests_per_minute >= 10_000 / 20 + 10_000 / 2 + 60


def test_a_store_that_fails_lets_no_request_pass_uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_with()
    headers = bench.token("ada")
    storage = bench.services.rate_limits._limiter.storage

    def broken(*_arguments: Any, **_options: Any) -> None:
        raise ConnectionError("redis://secret")

    for name in ("acquire_sliding_window_entry", "get_sliding_window"):
        monkeypatch.setattr(storage, name, _wrapped(broken))
    answer = bench.client.get("/api/v1/limits", headers=headers)
    assert answer.status_code == 503 and "secret" not in answer.text and answer.headers["Retry-After"]


def _wrapped(function: Any) -> Any:
    from limits.errors import StorageError

    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except Exception as error:
            raise StorageError(error) from error

    return call


def test_an_unknown_store_is_refused_at_the_start() -> None:
    with pytest.raises(Exception, match="unknown storage"):
        RateLimits(Settings(rate_limit_storage="nonsense://"))


# --- quotas --------------------------------------------------------------------------------------


def test_files_beyond_the_quota_are_named_and_the_others_go_on() -> None:
    bench = bench_with()
    headers = bench.token("ada", images_per_day=25)
    batch_id = bench.client.post("/api/v1/batches", headers=headers).get_json()["batch_id"]
    url = f"/api/v1/batches/{batch_id}/images"
    answer = bench.client.post(f"{url}?offset=0", headers=headers, data=files(30)).get_json()
    assert len(answer["accepted"]) == 25
    assert [(entry["name"], entry["position"], entry["code"]) for entry in answer["not_stored"]] == [
        (f"{number}.jpg", number, "quota_exceeded") for number in range(25, 30)
    ]
    refused = bench.client.post(f"{url}?offset=30", headers=headers, data=files(1))
    assert refused.status_code == 403
    assert json.loads(refused.data)["detail"] == (
        "the access token's quota of 25 images a day does not suffice; it is reset at midnight, UTC"
    )
    assert bench.images.count("put") == 25
    # Another token of the same owner has a share of its own.
    assert bench.client.post(url, headers=bench.token("ada"), data=files(1)).get_json()["accepted"]


def test_a_failed_file_and_one_beyond_the_quota_have_positions_of_their_own() -> None:
    bench = bench_with()
    headers = bench.token("ada", images_per_day=3)
    batch_id = bench.client.post("/api/v1/batches", headers=headers).get_json()["batch_id"]
    bench.images.fail_next("put", where=lambda key: key.endswith("-2.jpg"))
    answer = bench.client.post(f"/api/v1/batches/{batch_id}/images", headers=headers, data=files(5)).get_json()
    assert [(entry["position"], entry["code"]) for entry in answer["not_stored"]] == [
        (2, "not_stored"),
        (3, "quota_exceeded"),
        (4, "quota_exceeded"),
    ]


def test_what_was_reserved_and_not_used_is_given_back() -> None:
    bench = bench_with()
    headers = bench.token("ada", images_per_day=5)
    batch_id = bench.client.post("/api/v1/batches", headers=headers).get_json()["batch_id"]
    url = f"/api/v1/batches/{batch_id}/images"
    for expected in (2, 2, 1):
        answer = bench.client.post(url, headers=headers, data=files(2)).get_json()
        assert len(answer["accepted"]) == expected
    positions = [entry["position"] for entry in answer["not_stored"]]
    assert positions == [5]


def test_a_body_that_breaks_off_gives_back_the_rest() -> None:
    bench = bench_with()
    headers = bench.token("ada", images_per_day=3)
    batch_id = bench.client.post("/api/v1/batches", headers=headers).get_json()["batch_id"]
    url = f"/api/v1/batches/{batch_id}/images"
    broken = {**headers, "Content-Type": "multipart/form-data; boundary=x"}
    assert bench.client.post(url, headers=broken, data=b"--x\r\nnonsense").status_code == 400
    assert len(bench.client.post(url, headers=headers, data=files(5)).get_json()["accepted"]) == 3


def test_every_way_to_send_an_image_counts() -> None:
    bench = bench_with()
    headers = bench.token("ada", images_per_day=4)
    batch_id = bench.client.post("/api/v1/batches", headers=headers).get_json()["batch_id"]
    image = {**headers, "Content-Type": "image/jpeg"}

    def plan(count: int) -> int:
        planned = {"files": [{"name": f"{number}.jpg", "size_bytes": 9} for number in range(count)]}
        return bench.client.post(f"/api/v1/batches/{batch_id}/uploads", headers=headers, json=planned).status_code

    def compat() -> int:
        return bench.client.post("/", headers=headers, data={"inputFile": (io.BytesIO(JPEG), "a.jpg")}).status_code

    def classify() -> int:
        return bench.client.post("/api/v1/classify", headers=image, data=JPEG).status_code

    assert (classify(), compat(), plan(3), plan(2)) == (202, 503, 403, 200)
    assert (classify(), compat(), plan(1)) == (403, 403, 403)
    form_answer = bench.client.post("/batches", headers=headers, data=files(1))
    assert form_answer.status_code == 403 and "quota" in form_answer.text


@pytest.mark.parametrize("method", ["create_batch", "put"])
def test_a_single_image_that_finds_no_place_is_not_counted(method: str) -> None:
    bench = bench_with()
    headers = {**bench.token("ada", images_per_day=1), "Content-Type": "image/jpeg"}
    bench.images.fail_next(method, error=CloudError("no"))
    assert bench.client.post("/api/v1/classify", headers=headers, data=JPEG).status_code == 503
    assert bench.client.post("/api/v1/classify", headers=headers, data=JPEG).status_code == 202


def test_without_a_quota_nothing_is_counted() -> None:
    bench = bench_with()
    headers = bench.token("ada")
    bench.client.post("/api/v1/classify", headers={**headers, "Content-Type": "image/jpeg"}, data=JPEG)
    assert not [key for key in bench.state.objects if key.startswith("usage/")]
