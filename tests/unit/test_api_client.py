"""The Python client classifies each image once, whatever becomes of its requests, and its errors are one family."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, aclosing
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

import api_client
from api_client import (
    ApiClient,
    ApiError,
    NoResultError,
    Prediction,
    RefusedError,
    Result,
    ServerError,
    UnreachableError,
)
from api_client.client import _pause_seconds
from core.errors import ArgumentError, NoPhotosError
from tests.serving import running
from tests.waiting import wait_until
from tests.web import JPEG, WebBench


@pytest.fixture(autouse=True)
def _retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api_client.session.RETRY_BACKOFF_SECONDS", 0.0)


@pytest.fixture
def bench() -> WebBench:
    bench = WebBench()
    bench.answer_at_once()
    return bench


@pytest.fixture
def client(bench: WebBench) -> Iterator[ApiClient]:
    with bench.served() as address, ApiClient(address) as client:
        yield client


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number:02}.jpg" for number in range(25)]
    for path in paths:
        path.write_bytes(JPEG)
    return paths


def served(app: Any) -> AbstractContextManager[str]:
    """An application behind a real HTTP server on loopback; its address."""
    return running(make_server("127.0.0.1", 0, app, threaded=True))


def test_files_folders_and_archives_have_results_under_their_paths(client: ApiClient, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.jpg").write_bytes(JPEG)
    (tmp_path / "no.jpg").write_bytes(b"no image")
    with zipfile.ZipFile(tmp_path / "trip.zip", "w") as packed:
        packed.writestr("b.jpg", JPEG)
    paths: list[str | Path] = [tmp_path / "set", str(tmp_path / "trip.zip"), tmp_path / "no.jpg", tmp_path / "gone.jpg"]
    results = sorted(client.classify(paths), key=lambda result: result.position)
    assert [(Path(result.path).relative_to(tmp_path).as_posix(), result.label) for result in results] == [
        ("set/a.jpg", "beagle"),
        ("trip.zip/b.jpg", "beagle"),
        ("no.jpg", None),
        ("gone.jpg", None),
    ]
    best = results[0]
    assert (best.score, best.top_k[0], best.error, best.model) == (
        0.9,
        Prediction("beagle", 0.9, "dog"),
        None,
        "test@1",
    )
    assert best.fields["key"].startswith(best.fields["batch_id"])
    assert [result.error.code for result in results if result.error is not None] == ["not_an_image", "unreadable"]


def test_one_image_by_its_path_or_its_content(client: ApiClient, bench: WebBench, tmp_path: Path) -> None:
    path = tmp_path / "dog.jpg"
    path.write_bytes(JPEG)
    assert [client.classify_image(image).label for image in (path, str(path), JPEG)] == ["beagle"] * 3
    assert client.classify_image(JPEG, "camera.jpg").fields["name"] == "camera.jpg"
    failed = client.classify_image(b"")
    assert (failed.label, failed.error and failed.error.code) == (None, "empty")
    (tmp_path / "cat.jpg").write_bytes(JPEG)
    with pytest.raises(ArgumentError, match="has 2 images"):
        client.classify_image(tmp_path)


def test_nothing_to_classify_is_an_error(client: ApiClient, tmp_path: Path) -> None:
    with pytest.raises(NoPhotosError):
        list(client.classify([tmp_path]))


# --- requests that fail --------------------------------------------------------------------------


class FirstAttemptFails:
    """A web tier before which the first request of each kind fails.

    Args:
        status: of the response, before anything is processed; 0: it is processed, and its response is lost.
    """

    def __init__(self, app: Any, status: int) -> None:
        self._app = app
        self._status = status
        self.attempts = Counter[tuple[str, str]]()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        kind = request.method, request.full_path
        self.attempts[kind] += 1
        if self.attempts[kind] > 1:
            return self._app(environ, start_response)  # type: ignore[no-any-return]
        if self._status:
            return Response(status=self._status, headers={"Retry-After": "0"})(environ, start_response)
        Response.from_app(self._app, environ, buffered=True)
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError


@pytest.mark.parametrize("status", [429, 503, 0])
def test_requests_are_repeated_and_no_image_is_doubled(bench: WebBench, photos: list[Path], status: int) -> None:
    app = FirstAttemptFails(bench.app, status)
    with served(app) as address, ApiClient(address) as client:
        results = list(client.classify(photos))
        alone = client.classify_image(JPEG, "alone.jpg")
    assert sorted(result.path for result in results) == sorted(map(str, photos))
    assert {result.label for result in results} == {"beagle"} == {alone.label}
    assert len(bench.images.objects) == len(photos) + 1
    uploads = [count for (_, path), count in app.attempts.items() if "/images?" in path]
    assert uploads == [2] * 3, "two requests of up to twenty photos, and one photo: each sent twice"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("86400", 60)])
def test_a_retry_waits_as_long_as_the_response_asks_within_reason(
    monkeypatch: pytest.MonkeyPatch, header: str, seconds: int
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waited.append)
    response = Response(status=429, headers={"Retry-After": header})
    with served(response) as address, ApiClient(address) as client, pytest.raises(RefusedError, match="too many"):
        client.limits()
    assert waited == [seconds] * 4


PROBLEM = {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": "the quota is used up"}


@pytest.mark.parametrize(
    ("status", "kind"), [(401, RefusedError), (403, RefusedError), (422, RefusedError), (500, ServerError)]
)
def test_an_error_has_the_problem_document(status: int, kind: type[ApiError]) -> None:
    response = Response(json.dumps(PROBLEM), status, mimetype="application/problem+json")
    with served(response) as address, ApiClient(address) as client, pytest.raises(kind) as caught:
        client.classify_image(JPEG)
    assert (type(caught.value), caught.value.status, caught.value.problem) == (kind, status, PROBLEM)


def test_a_response_without_a_problem_document_and_none_at_all() -> None:
    with served(Response("<html>", 404)) as address, ApiClient(address) as client, pytest.raises(RefusedError) as found:
        client.limits()
    assert (found.value.status, found.value.problem) == (404, {})
    with pytest.raises(UnreachableError) as nothing:
        ApiClient("http://127.0.0.1:9").limits()
    assert (nothing.value.status, nothing.value.problem) == (None, {})


def test_images_that_are_never_answered_end_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api_client.client.NO_ANSWER_TIMEOUT_SECONDS", 0.0)
    with WebBench().served() as address, ApiClient(address) as client, pytest.raises(NoResultError, match="0 of"):
        client.classify_image(JPEG)


def test_every_error_is_of_the_one_family() -> None:
    names = [name for name in api_client.__all__ if name.endswith("Error")]
    assert len(names) == 5 and all(issubclass(getattr(api_client, name), ApiError) for name in names)


# --- asyncio -------------------------------------------------------------------------------------


def test_the_event_loop_goes_on_while_results_are_awaited(bench: WebBench, photos: list[Path]) -> None:
    """What answers the images runs in the loop: held up, it would never answer."""
    waiting = WebBench()

    async def classify(client: ApiClient) -> list[Result]:
        async def answer() -> None:
            while True:
                waiting.answer()
                await asyncio.sleep(0.01)

        answering = asyncio.create_task(answer())
        try:
            return [result async for result in client.classify_async(photos)]
        finally:
            answering.cancel()

    with waiting.served() as address, ApiClient(address) as client:
        results = asyncio.run(classify(client))
    assert sorted(result.path for result in results) == sorted(map(str, photos))


def test_an_async_iterator_raises_the_errors_of_the_client() -> None:
    async def classify() -> list[Result]:
        return [result async for result in ApiClient("http://127.0.0.1:9").classify_async([__file__])]

    with pytest.raises(UnreachableError):
        asyncio.run(classify())


def test_a_cancelled_task_ends_its_threads(photos: list[Path]) -> None:
    """Of images that no worker answers."""
    bench = WebBench()

    async def classify(client: ApiClient) -> None:
        async with aclosing(client.classify_async(photos)) as results:
            task = asyncio.ensure_future(anext(results))
            while len(bench.images.objects) < len(photos):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with bench.served() as address, ApiClient(address) as client:
        before = pool_threads()
        asyncio.run(classify(client))
        wait_until(lambda: pool_threads() <= before, "threads of the client go on")


def pool_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")}


def test_a_closed_iterator_uploads_no_more(monkeypatch: pytest.MonkeyPatch, photos: list[Path]) -> None:
    monkeypatch.setattr("api_client.client.IMAGES_PER_REQUEST", 1)
    monkeypatch.setattr("api_client.client.PARALLEL_REQUESTS", 1)
    bench = WebBench(max_batch_images=2)
    bench.answer_at_once()
    with bench.served() as address, ApiClient(address) as client:
        results = client.classify(photos)
        next(results)
        results.close()
        assert len(bench.images.objects) <= 2


@pytest.mark.parametrize(
    ("followed_seconds", "response_seconds", "pause_seconds"),
    [(0, 0.01, 0.05), (0.2, 0.01, 0.05), (0.5, 0.01, 0.1), (60, 0.01, 0.25), (0.1, 0.04, 0.12), (60, 2, 6)],
)
def test_the_first_pauses_between_polls_are_short(
    followed_seconds: float, response_seconds: float, pause_seconds: float
) -> None:
    assert _pause_seconds(followed_seconds, response_seconds) == pytest.approx(pause_seconds)
