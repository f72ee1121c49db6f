"""``POST /`` with `inputFile`: whatever goes wrong is one line of text, for programs that read nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from core.errors import CloudError
from tests.web import JPEG, WebBench
from web_tier.domain.result_waiter import ResultWaiter

Post = Callable[[WebBench], TestResponse]
TOKENS: dict[str, Any] = {"authentication": "tokens", "compat_wait_seconds": 0.0}


def post(bench: WebBench, content: bytes = JPEG, **options: Any) -> TestResponse:
    return bench.client.post("/", data={"inputFile": (io.BytesIO(content), "a.jpg")}, **options)


def raw(body: bytes, content_type: str) -> Post:
    return lambda bench: bench.client.post("/", data=body, content_type=content_type)


def with_token(*scopes: str, times: int = 1, **options: Any) -> Post:
    def send(bench: WebBench) -> TestResponse:
        headers = bench.token("ada", *scopes, **options)
        responses = [post(bench, headers=headers) for _number in range(times)]
        return responses[-1]

    return send


def after(prepare: Callable[[WebBench], object]) -> Post:
    def send(bench: WebBench) -> TestResponse:
        prepare(bench)
        return post(bench)

    return send


class Silent(io.BytesIO):
    """A client that stops sending."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise TimeoutError

    def readinto(self, buffer: Any, /) -> int:
        raise TimeoutError


def silent(bench: WebBench) -> TestResponse:
    content_type = "multipart/form-data; boundary=x"
    # As gunicorn says it; without, the stream would be wrapped into one that takes silence for a lost connection.
    terminated = {"wsgi.input_terminated": True}
    stream = Silent(bytes(1000))
    return bench.client.post("/", input_stream=stream, content_type=content_type, environ_overrides=terminated)


def lose_the_queue(bench: WebBench) -> None:
    bench.queue.fail_next("send")


def break_down(bench: WebBench) -> None:
    bench.queue.fail_next("send", error=RuntimeError("a secret of ours"))


CASES: dict[str, tuple[dict[str, Any], Post, int, str]] = {
    "no form": ({}, raw(JPEG, "image/jpeg"), 400, "must be multipart/form-data"),
    "broken form": ({}, raw(b"--x\r\nnonsense", "multipart/form-data; boundary=x"), 400, "multipart/form-data"),
    "no file": ({}, raw(b"--x--\r\n", "multipart/form-data; boundary=x"), 400, "a file in the field inputFile"),
    "foreign name": ({}, lambda bench: post(bench, headers={"Host": "evil.test"}), 400, "does not go by that name"),
    "no token": (TOKENS, post, 401, "an access token is needed"),
    "wrong token": (TOKENS, lambda bench: post(bench, headers={"Authorization": "Bearer eic_x"}), 401, "unknown"),
    "scope": (TOKENS, with_token("read"), 403, "lacks the scope upload"),
    "quota": (TOKENS, with_token("upload", images_per_day=1, times=2), 403, "quota of 1 images a day"),
    "foreign page": ({}, lambda bench: post(bench, headers={"Sec-Fetch-Site": "cross-site"}), 403, "another site"),
    "silence": ({}, silent, 408, "did not arrive in time"),
    "no image": ({}, lambda bench: post(bench, b"text"), 422, "a.jpg:error: the file is not an image"),
    "rate": ({**TOKENS, "requests_per_minute": 1}, with_token("upload", times=2), 429, "too many requests"),
    "strangers": (
        {**TOKENS, "stranger_requests_per_minute": 1},
        lambda bench: [post(bench), post(bench)][-1],
        429,
        "too many requests",
    ),
    "broken server": ({}, after(break_down), 500, "something went wrong on our side"),
    "no storage": ({}, after(lambda bench: bench.images.fail_next("put")), 503, "the storage does not answer"),
    "no queue": ({}, after(lose_the_queue), 503, "the storage does not answer"),
    "no tokens": (
        TOKENS,
        lambda bench: (bench.state.fail_next("get", times=9), with_token("upload")(bench))[1],
        503,
        "the storage does not answer",
    ),
    "crowd": (
        {},
        after(lambda bench: setattr(bench.services.result_waiter, "_max_waiting", 0)),
        503,
        "too many requests",
    ),
    "in vain": ({"compat_wait_seconds": 0.01}, post, 503, "has not been classified in time"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_failure_is_one_line_of_text(name: str) -> None:
    settings, send, status, sentence = CASES[name]
    bench = WebBench(**settings)
    # As a server does it, instead of raising into the test.
    bench.app.config["PROPAGATE_EXCEPTIONS"] = False
    response = send(bench)
    assert (response.status_code, response.mimetype) == (status, "text/plain"), response.text
    assert sentence in response.text
    assert len(response.text.splitlines()) == 1
    assert "secret" not in response.text
    assert ("Retry-After" in response.headers) == (status in (429, 503))
    assert ("WWW-Authenticate" in response.headers) == (status == 401)


def test_what_is_waited_for_in_vain_was_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> bool:
        raise CloudError("S3 is away")

    bench = WebBench()
    monkeypatch.setattr(ResultWaiter, "wait", fail)
    response = post(bench)
    assert (response.status_code, response.mimetype, response.headers["Retry-After"]) == (503, "text/plain", "5")
    assert len(bench.images.objects) == len(bench.queue.jobs) == 1
