"""What follows a batch's end, beside the controller: webhooks are delivered, deletions finished."""

from __future__ import annotations

import logging
import threading
import time

from aws.batch_index import BatchIndex
from aws.buckets import ImageStore, ResultStore
from aws.clients import Clients
from aws.state import StateStore
from controller.housekeeping.deletions import Deletions
from controller.housekeeping.webhook_http import HttpSender
from controller.housekeeping.webhooks import Webhooks
from core.settings import Settings

log = logging.getLogger(__name__)


def start_aftercare(settings: Settings, clients: Clients, stop: threading.Event) -> None:
    """Wires both from settings and has a thread do a round of each per janitor's interval, until `stop` is set."""
    images = ImageStore(clients["s3"], settings.input_bucket)
    results = ResultStore(clients["s3"], settings.output_bucket)
    sender = HttpSender(allow_private=bool(settings.webhook_allow_private))
    webhooks = Webhooks(StateStore(clients["s3"], settings.state_bucket), images, results, sender, time.time)
    deletions = Deletions(BatchIndex(clients["s3"], settings.input_bucket), images, results)

    def run() -> None:
        while not stop.wait(settings.janitor_interval_seconds):
            for task in (webhooks, deletions):
                try:
                    task.round()
                except Exception:  # whatever one batch brings about, the others' turn comes
                    log.exception("unexpected trouble after the end of a batch")

    threading.Thread(target=run, name="aftercare", daemon=True).start()
