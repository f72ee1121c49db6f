"""The number of requests that an uploaded image costs, from the upload to the answer: docs/reference/costs.md.

A later change cannot raise it unnoticed.  `python -m tests.stack.requests_made` counts those of whole tiers over time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from app_tier.decode import DecodedImage
from app_tier.stages import Pixels
from app_tier.worker import Worker, WorkerOptions
from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.queue import JobQueue
from aws.state import StateStore
from core.jobs import Prediction
from core.settings import Settings
from tests.contract.endpoint import Endpoint
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.web import JPEG, BufferingClient, form
from web_tier import create_app

pytestmark = pytest.mark.own_emulator

IMAGES = 40


class _Labeller:
    parallelism = 1

    def classify(self, images: Sequence[Pixels]) -> list[tuple[Prediction, ...]]:
        return [(Prediction("beagle", 0.9),) for _ in images]


@contextmanager
def _counted(endpoint: Endpoint) -> Iterator[Counter[str]]:
    """The requests of the block, by operation."""
    counted: Counter[str] = Counter()
    before = Counter(endpoint.requests)
    yield counted
    for (_service, operation), count in (Counter(endpoint.requests) - before).items():
        counted[operation] += count


def _work(clients: Clients, settings: Settings, **options: Any) -> None:
    """Answers all images by a worker that never waits for the interpreter."""
    worker = Worker(
        JobQueue(clients["sqs"], settings.queue_name),
        ImageStore(clients["s3"], settings.input_bucket),
        ResultStore(clients["s3"], settings.output_bucket),
        lambda body: DecodedImage(np.frombuffer(body, np.uint8), ""),
        _Labeller(),
        WorkerOptions(
            "i-test", "test@1", 30, receive_wait_seconds=1, io_threads=4, inference_batch_size=8,
            shutdown_grace_seconds=PATIENCE_SECONDS, **options,
        ),
    )  # fmt: skip
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,), daemon=True)
    thread.start()
    wait_until(lambda: worker.vitals().answered == IMAGES, "not all images were answered")
    stop.set()
    thread.join(PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("options", "results_stored"),
    [({"max_jobs_in_hand": 30}, IMAGES), ({"max_jobs_in_hand": 60, "results_per_object": 20}, IMAGES // 2)],
    ids=["each result alone", "in packs"],
)
def test_an_uploaded_image_costs_so_many_requests(
    clients: Clients, settings: Settings, endpoint: Endpoint, options: dict[str, int], results_stored: int
) -> None:
    stores = ImageStore(clients["s3"], settings.input_bucket), ResultStore(clients["s3"], settings.output_bucket)
    queue, index = JobQueue(clients["sqs"], settings.queue_name), BatchIndex(clients["s3"], settings.input_bucket)
    app = create_app(settings, *stores, queue, index, StateStore(clients["s3"], settings.state_bucket))
    app.test_client_class = BufferingClient
    client = app.test_client()
    batch = f"/api/v1/batches/{client.post('/api/v1/batches').get_json()['batch_id']}"

    with _counted(endpoint) as upload:
        files = [(f"{number}.jpg", JPEG) for number in range(IMAGES)]
        assert len(client.post(f"{batch}/images?offset=0", data=form(files)).get_json()["accepted"]) == IMAGES
    assert upload["PutObject"] == IMAGES and upload["SendMessageBatch"] == IMAGES / 10
    assert upload.total() <= IMAGES + IMAGES / 10 + 3, "the batch's record, and the queue's address"

    with _counted(endpoint) as work:
        _work(clients, settings, **options)
    assert work["GetObject"] == IMAGES and work["PutObject"] <= results_stored
    # Full requests would be a tenth each; the last ones are not full, and one finds the queue empty.
    assert work["ReceiveMessage"] <= IMAGES / 10 + 3 and work["DeleteMessageBatch"] <= IMAGES / 10 + 8
    assert work.keys() <= {"GetObject", "PutObject", "ReceiveMessage", "DeleteMessageBatch", "GetQueueUrl"}

    with _counted(endpoint) as first:
        found = client.get(f"{batch}/results").get_json()
        assert len(found["results"]) == found["answered"] == IMAGES
    # Each result object once, the batch's record, and a listing of each bucket.
    assert first["GetObject"] <= work["PutObject"] + 1 and first["ListObjectsV2"] == 2
    with _counted(endpoint) as again:
        client.get(f"{batch}/results")
    assert again["GetObject"] <= 1 and again["ListObjectsV2"] <= 2, "what was read is not read again"
