"""Run a whole batch with the generated client: ``whole_batch.py URL TOKEN``; prints what came back as JSON.

Runs in the environment of the generator, with the generated package `elastic_client` on its path.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from elastic_client import AuthenticatedClient
from elastic_client.api.batches import create_batch, delete_batch, get_batch
from elastic_client.api.classify import classify
from elastic_client.api.events import get_events
from elastic_client.api.images import add_images
from elastic_client.api.results import get_result, get_results, get_results_csv, get_results_json, get_results_jsonl
from elastic_client.models import AddImagesFilesBody, NewBatch, Problem
from elastic_client.types import File


def main(url: str, token: str, body: bytes) -> dict[str, Any]:
    """Create a batch, add images, follow its events, read its results in every form, and delete it."""
    client = AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True)
    batch_id = create_batch.sync(client=client, body=NewBatch(name="holiday")).batch_id
    names = ["set_1/image_1.jpg", "set_2/image_1.jpg"]
    files = [File(payload=io.BytesIO(body), file_name=name, mime_type="image/jpeg") for name in names]
    report = add_images.sync(batch_id, client=client, body=AddImagesFilesBody(images=files), offset=0)
    events = get_events.sync(batch_id, client=client)
    page = get_results.sync(batch_id, client=client)
    next_page = get_results.sync(batch_id, client=client, cursor=page.cursor)
    single = get_result.sync(batch_id, page.results[0].key.split("/")[1], client=client)
    table = get_results_csv.sync(batch_id, client=client, columns="image,label,score", search="set_2")
    rows = get_results_json.sync(batch_id, client=client)
    lines = get_results_jsonl.sync(batch_id, client=client)
    state = get_batch.sync(batch_id, client=client)
    deleted = delete_batch.sync_detailed(batch_id, client=client)
    missing = get_batch.sync(batch_id, client=client)
    answer = classify.sync(client=client, body=File(payload=io.BytesIO(body)), name="alone.jpg")
    return {
        "accepted": [file.name for file in report.accepted],
        "events": [event.split("\n") for event in events.strip().split("\n\n")],
        "results": [result.to_dict() for result in page.results],
        "repeated": len(next_page.results),
        "single": single.to_dict(),
        "csv": table,
        "json": [row.to_dict() for row in rows],
        "jsonl": lines,
        "batch": state.to_dict(),
        "deleted": int(deleted.status_code),
        "missing": missing.status if isinstance(missing, Problem) else None,
        "classify": answer.to_dict(),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], sys.stdin.buffer.read())))
