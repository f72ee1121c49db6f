"""A web tier on stores and a queue in memory, and small files to send to it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flask.testing import FlaskClient
from PIL import Image
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from aws.in_memory import (
    InMemoryBatchIndex,
    InMemoryImageStore,
    InMemoryJobQueue,
    InMemoryResultStore,
    InMemoryStateStore,
    ManualClock,
)
from core.jobs import ClassificationJob, ClassificationResult, Failure, Prediction
from core.response_time import ResponseTime
from core.settings import Settings
from core.tokens import SCOPES, new_token
from tests.serving import running
from web_tier import create_app
from web_tier.services import EXTENSION, Services

File = tuple[str, bytes]


def image_bytes(format: str = "JPEG", width: int = 8, height: int = 6, mode: str = "RGB") -> bytes:
    """A small image file."""
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, format)
    return file.getvalue()


JPEG = image_bytes()


class BufferingClient(FlaskClient):
    """A test client that reads and closes a file at once; streams stay open."""

    def open(self, *arguments: Any, **options: Any) -> TestResponse:
        response = super().open(*arguments, **options)
        if response.content_length is not None:
            response.get_data()
            response.close()
        return response


class WebBench:
    """The application under test with everything that it talks to."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, **settings: Any) -> None:
        self.clock = ManualClock()
        self.settings = Settings(**settings)
        self.images = InMemoryImageStore(self.clock, max_image_bytes=self.settings.max_image_bytes)
        self.results = InMemoryResultStore(self.clock)
        self.queue = InMemoryJobQueue(self.clock)
        self.index = InMemoryBatchIndex(self.clock)
        self.state = InMemoryStateStore(self.clock)
        stores: tuple[Any, Any, Any, Any, Any] = (self.images, self.results, self.queue, self.index, self.state)
        self.app = create_app(self.settings, *stores, monotonic)
        self.app.test_client_class = BufferingClient
        self.client = self.app.test_client()
        self.services: Services = self.app.extensions[EXTENSION]

    def token(self, owner: str, *scopes: str, **options: Any) -> dict[str, str]:
        """The headers of a new token's holder; with all scopes where none is named."""
        text, record = new_token(owner, scopes or SCOPES, time.time(), **options)
        self.state.put(record.key, record.encode())
        return {"Authorization": f"Bearer {text}"}

    def create_batch(self) -> str:
        response = self.client.post("/api/v1/batches")
        assert response.status_code == 201
        return str(response.get_json()["batch_id"])

    def post(self, batch_id: str, files: Sequence[File], offset: int | None = None) -> TestResponse:
        query = {} if offset is None else {"offset": offset}
        return self.client.post(f"/api/v1/batches/{batch_id}/images", query_string=query, data=form(files))

    def upload(self, batch_id: str, files: Sequence[File], offset: int | None = None) -> dict[str, Any]:
        response = self.post(batch_id, files, offset)
        assert response.status_code == 200, response.text
        return dict(response.get_json())

    def answer(
        self, label: str = "beagle", score: float = 0.9, response_time: ResponseTime | None = None, note: str = ""
    ) -> None:
        """Does the work of the app tier: answers all jobs and deletes them."""
        while received := self.queue.receive(10, 0):
            for delivery in received:
                assert delivery.job is not None
                predictions = (Prediction(label, score), Prediction("dingo", round(1 - score, 5)))
                key, name = delivery.job.key, delivery.job.name
                self.results.put(
                    ClassificationResult(key, name, predictions, model="test@1", note=note, response_time=response_time)
                )
            self.queue.delete([delivery.receipt_handle for delivery in received])

    def answer_at_once(self) -> None:
        """Answers jobs as soon as they are enqueued, from now on."""
        send = self.queue.send

        def send_and_answer(jobs: Iterable[ClassificationJob]) -> int:
            count = send(jobs)
            self.answer()
            return count

        self.queue.send = send_and_answer

    @contextmanager
    def served(self) -> Iterator[str]:
        """The application behind a real HTTP server on loopback; its address, without a slash at the end."""
        with running(make_server("127.0.0.1", 0, self.app, threaded=True)) as address:
            yield address

    def fail(self, key: str, name: str, sentence: str = "the image is damaged or incomplete") -> None:
        """Stores the failure of one image as a worker would."""
        self.results.put(ClassificationResult(key, name, failure=Failure("broken", sentence), worker_id="i-test"))

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        response = self.client.get(path, query_string=query)
        assert response.status_code == 200, response.text
        return dict(response.get_json())


def form(files: Sequence[File]) -> dict[str, Any]:
    """The files as the test client wants a multipart form, their names quoted the way browsers do it."""
    return {"images": [(io.BytesIO(content), name.replace('"', "%22")) for name, content in files]}
